use std::future::Future;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use zbus::connection::Builder;
use zbus::{Connection, DBusError as _, DynamicType, Message, Type};

use crate::Surroundings;
use crate::deadline::Deadline;

/// A connection to the session bus. Each call names the one it goes to and how long it may take.
#[derive(Debug)]
pub(super) struct Bus {
    connection: Connection,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum BusError {
    TimedOut,
    /// The bus, or the peer, is not there any more.
    Gone,
    /// The peer answered with this D-Bus error.
    Refused(String),
    /// The answer is not of the shape it must have.
    Malformed,
}

/// Why there is no connection to a session bus.
#[derive(Debug)]
pub(super) enum NoBus {
    NotSet,
    /// The address is not one of a local socket.
    NotLocal,
    Unreachable(&'static str),
    /// The socket is another user's.
    Foreign(u32),
    TimedOut,
}

impl Bus {
    /// Connects to the session bus of these surroundings, which must be a local socket of this user.
    pub(super) fn connect(surroundings: &Surroundings, deadline: Deadline) -> Result<Self, NoBus> {
        let stream = open_socket(&find_socket(surroundings)?, deadline)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|_| NoBus::Unreachable("its owner cannot be told"))?;
        if peer.uid != rustix::process::geteuid() {
            return Err(NoBus::Foreign(peer.uid.as_raw()));
        }
        match wait(Builder::unix_stream(stream).build(), deadline) {
            Ok(Ok(connection)) => Ok(Self { connection }),
            Ok(Err(_)) => Err(NoBus::Unreachable("it does not speak D-Bus")),
            Err(Elapsed) => Err(NoBus::TimedOut),
        }
    }

    /// One method call; its answer, of type `R`.
    pub(super) fn call<B, R>(
        &self,
        to: &str,
        path: &str,
        (interface, method): (&str, &str),
        body: &B,
        deadline: Deadline,
    ) -> Result<R, BusError>
    where
        B: Serialize + DynamicType,
        R: for<'de> Deserialize<'de> + Type,
    {
        let message = self.exchange(to, path, (interface, method), body, deadline)?;
        message.body().deserialize().map_err(|_| BusError::Malformed)
    }

    fn exchange<B>(
        &self,
        to: &str,
        path: &str,
        (interface, method): (&str, &str),
        body: &B,
        deadline: Deadline,
    ) -> Result<Message, BusError>
    where
        B: Serialize + DynamicType,
    {
        let call = self.connection.call_method(Some(to), path, Some(interface), method, body);
        match wait(call, deadline) {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(classify(&error)),
            Err(Elapsed) => Err(BusError::TimedOut),
        }
    }
}

/// The name of a D-Bus error says what to do; its text may hold anything, and stays out.
fn classify(error: &zbus::Error) -> BusError {
    let name = match error {
        zbus::Error::MethodError(name, _, _) => name.to_string(),
        zbus::Error::FDO(error) => match **error {
            zbus::fdo::Error::ZBus(_) => return BusError::Malformed,
            ref error => error.name().to_string(),
        },
        zbus::Error::InputOutput(_) => return BusError::Gone,
        _ => return BusError::Malformed,
    };
    match name.as_str() {
        // What the bus says of a peer that left before the call, or before its answer.
        "org.freedesktop.DBus.Error.ServiceUnknown"
        | "org.freedesktop.DBus.Error.NameHasNoOwner"
        | "org.freedesktop.DBus.Error.NoReply"
        | "org.freedesktop.DBus.Error.Disconnected" => BusError::Gone,
        "org.freedesktop.DBus.Error.TimedOut" | "org.freedesktop.DBus.Error.Timeout" => BusError::TimedOut,
        _ => BusError::Refused(name),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

/// The bus that the address names; without one, the user bus of systemd.
fn find_socket(surroundings: &Surroundings) -> Result<Socket, NoBus> {
    if let Some(address) = surroundings.bus_address() {
        return parse_address(address).ok_or(NoBus::NotLocal);
    }
    let user_bus = surroundings.runtime_dir().map(|directory| directory.join("bus"));
    user_bus.filter(|path| path.exists()).map(Socket::Path).ok_or(NoBus::NotSet)
}

/// The first local socket of a D-Bus server address (D-Bus specification, "Server addresses"). Other transports are
/// passed over: a secret goes over no network, and no program is started to reach a bus.
fn parse_address(address: &str) -> Option<Socket> {
    address.split(';').find_map(|one| {
        one.strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", path) => {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(path)?));
                path.is_absolute().then_some(Socket::Path(path))
            }
            ("abstract", name) => Some(Socket::Abstract(unescape(name)?)),
            _ => None,
        })
    })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            0 => return None,
            other => other,
        });
    }
    (!plain.is_empty() && !plain.contains(&0)).then_some(plain)
}

/// Connects without ever blocking: the socket of a stopped bus has a full queue.
fn open_socket(socket: &Socket, deadline: Deadline) -> Result<UnixStream, NoBus> {
    let unusable = |_| NoBus::Unreachable("its address is too long");
    let address = match socket {
        Socket::Path(path) => SocketAddrUnix::new(Path::new(path)).map_err(unusable)?,
        Socket::Abstract(name) => {
            // Through std, which checks the length too.
            std::os::unix::net::SocketAddr::from_abstract_name(name)
                .map_err(|_| NoBus::Unreachable("its address is too long"))?;
            SocketAddrUnix::new_abstract_name(name).map_err(unusable)?
        }
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let failed = |errno: Errno| {
        NoBus::Unreachable(match errno {
            Errno::NOENT => "there is no socket at its address",
            Errno::CONNREFUSED => "nobody listens at its address",
            Errno::ACCESS | Errno::PERM => "its socket may not be opened by this user",
            _ => "its socket cannot be connected to",
        })
    };
    let descriptor =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    loop {
        match rustix::net::connect(&descriptor, &address) {
            Ok(()) => return Ok(UnixStream::from(descriptor)),
            Err(Errno::AGAIN | Errno::INTR) if !deadline.remaining().is_zero() => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::AGAIN | Errno::INTR) => return Err(NoBus::TimedOut),
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// The deadline passed first.
struct Elapsed;

/// Waits on this thread, while the connection's own thread does the reading, and no longer than to the deadline.
fn wait<F: Future>(future: F, deadline: Deadline) -> Result<F::Output, Elapsed> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return Err(Elapsed);
        }
        thread::park_timeout(remaining);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Option<Socket> {
        Some(Socket::Path(PathBuf::from(text)))
    }

    #[test]
    fn only_a_local_socket_is_a_session_bus() {
        assert_eq!(parse_address("unix:path=/run/user/1000/bus"), path("/run/user/1000/bus"));
        assert_eq!(parse_address("unix:path=/a%20b,guid=00"), path("/a b"));
        assert_eq!(parse_address("tcp:host=evil,port=1;unix:path=/bus"), path("/bus"));
        assert_eq!(parse_address("unix:abstract=/tmp/x"), Some(Socket::Abstract(b"/tmp/x".to_vec())));
        for address in [
            "",
            "garbage",
            "tcp:host=127.0.0.1,port=1",
            "unixexec:path=/bin/sh",
            "autolaunch:",
            "unix:path=relative",
            "unix:path=",
            "unix:path=/a%0",
            "unix:path=/a%00b",
            "unix:dir=/tmp",
            "UNIX:path=/bus",
        ] {
            assert_eq!(parse_address(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_address_is_too_strange(address in ".{0,80}") {
            drop(parse_address(&address));
        }
    }
}
