//! A TCP relay before the stand-in, which dies as a server does: at once, with all its connections.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) struct Relay {
    port: u16,
    to: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    dead: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Listens on a free port.
    pub(crate) fn to(to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let mut relay = Self { port, to, shared: Arc::default(), accepting: None };
        relay.accept(listener)?;
        Ok(relay)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Every connection ends, and none can be made.
    pub(crate) fn kill(&mut self) {
        self.shared.dead.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("the relay does not panic");
        }
        self.cut();
    }

    /// Every connection ends.
    pub(crate) fn cut(&self) {
        for connection in self.shared.connections.lock().expect("no holder panics").drain(..) {
            // It may have ended by itself.
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// After a kill: the same port again.
    pub(crate) fn revive(&mut self) -> io::Result<()> {
        if self.accepting.is_none() {
            self.accept(TcpListener::bind(("127.0.0.1", self.port))?)?;
        }
        Ok(())
    }

    fn accept(&mut self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.shared.dead.store(false, Ordering::SeqCst);
        let (shared, to) = (Arc::clone(&self.shared), self.to);
        self.accepting = Some(std::thread::spawn(move || {
            while !shared.dead.load(Ordering::SeqCst) {
                let Ok((client, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                // What cannot be relayed ends, as it would with a server.
                drop(relay(client, to, &shared));
            }
        }));
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

fn relay(client: TcpStream, to: u16, shared: &Shared) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect(("127.0.0.1", to))?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let mut connections = shared.connections.lock().expect("no holder panics");
    connections.extend([client.try_clone()?, server.try_clone()?]);
    drop(connections);
    for (mut from, mut into) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        std::thread::spawn(move || {
            // Either side's end is the end of both.
            drop(io::copy(&mut from, &mut into));
            drop(from.shutdown(Shutdown::Both));
            drop(into.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}
