//! A throw-away keyring for tests, demonstrations and benchmarks (feature `test-util`, never in the binary).
//!
//! Starts its own D-Bus session bus, whose configuration has no service directory (nothing can be activated on it),
//! and its own `gnome-keyring-daemon`, in a temporary directory with its own `HOME` and `XDG_*` directories. Nothing
//! of the person's session is read or written.
//!
//! The daemons die with the [`PrivateKeyring`], and with this process even when it is killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// What the provider must have said yes to, and how long it may take on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(20);
const PROVIDER: &str = "gnome-keyring-daemon";
/// Programs, and the Debian packages that have them.
const BUS_PACKAGES: &[(&str, &str)] =
    &[("dbus-daemon", "dbus-daemon"), ("dbus-send", "dbus-bin"), ("setpriv", "util-linux")];
const PROVIDER_PACKAGE: &[(&str, &str)] = &[(PROVIDER, "gnome-keyring")];
const SERVICE_PATH: &str = "/org/freedesktop/secrets";
const LOGIN: &str = "/org/freedesktop/secrets/collection/login";

/// The state that the private keyring is in when [`PrivateKeyring::start`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// An encrypted `login` keyring, unlocked.
    Encrypted,
    /// An encrypted `login` keyring that is locked; nothing can answer an unlock prompt.
    Locked,
    /// An unlocked `login` keyring with an empty password: its items lie in clear text on the disk.
    Cleartext,
    /// The same, but the provider still calls it locked.
    CleartextLocked,
    /// A session bus on which nobody owns `org.freedesktop.secrets`.
    NoProvider,
    /// The same, but the bus promises to start a provider, and what it starts never takes the name.
    NeverActivates,
}

/// A running private bus with (unless [`Mode::NoProvider`]) a keyring daemon. Dropping it ends both and removes
/// their directory.
#[derive(Debug)]
pub struct PrivateKeyring {
    address: String,
    password: String,
    provider: Option<Child>,
    bus: Child,
    directory: TemporaryDirectory,
}

impl PrivateKeyring {
    /// The Debian packages that [`PrivateKeyring::start`] needs and this machine lacks.
    #[must_use]
    pub fn missing_packages() -> Vec<&'static str> {
        missing(&[BUS_PACKAGES, PROVIDER_PACKAGE].concat())
    }

    /// Starts a bus and the system's `gnome-keyring-daemon` in the given state: about 80 ms.
    ///
    /// # Errors
    /// When a package is missing (the text names it) or a daemon does not get ready.
    pub fn start(mode: Mode) -> io::Result<Self> {
        Self::start_with_provider(mode, Path::new(PROVIDER))
    }

    /// The same with another program in the place of `gnome-keyring-daemon`, e.g. a copy of it.
    ///
    /// # Errors
    /// As [`PrivateKeyring::start`].
    pub fn start_with_provider(mode: Mode, program: &Path) -> io::Result<Self> {
        let with_provider = !matches!(mode, Mode::NoProvider | Mode::NeverActivates);
        let missing = if with_provider { Self::missing_packages() } else { missing(BUS_PACKAGES) };
        if !missing.is_empty() {
            return Err(failure(format!(
                "missing Debian packages: apt-get install -y --no-install-recommends {}",
                missing.join(" ")
            )));
        }
        let directory = TemporaryDirectory::create()?;
        for path in ["run", "home/.local/share/keyrings", "home/.local/state", "home/.config", "home/.cache"]
        {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory.0.join(path))?;
        }
        let (bus, address) = start_bus(&directory.0, mode == Mode::NeverActivates)?;
        let mut keyring = Self { address, password: random_hex()?, provider: None, bus, directory };
        if with_provider {
            keyring.start_provider(mode, program)?;
        }
        Ok(keyring)
    }

    /// The environment for a process that shall see this keyring and no other.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let mut all = BTreeMap::from([("DBUS_SESSION_BUS_ADDRESS".to_owned(), self.address.clone())]);
        // What tools find through HOME goes on working: they are told where they were installed.
        if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
            for (name, folder) in
                [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"), ("PYENV_ROOT", ".pyenv")]
            {
                if std::env::var_os(name).is_none() && home.join(folder).is_dir() {
                    all.insert(name.to_owned(), text(&home.join(folder)));
                }
            }
        }
        let home = self.directory.0.join("home");
        for (name, path) in [
            ("HOME", home.clone()),
            ("XDG_DATA_HOME", home.join(".local/share")),
            ("XDG_STATE_HOME", home.join(".local/state")),
            ("XDG_CONFIG_HOME", home.join(".config")),
            ("XDG_CACHE_HOME", home.join(".cache")),
            ("XDG_RUNTIME_DIR", self.directory.0.join("run")),
        ] {
            all.insert(name.to_owned(), text(&path));
        }
        all.into_iter().collect()
    }

    /// The D-Bus address of the private bus, e.g. `unix:path=/tmp/.../run/bus,guid=...`.
    #[must_use]
    pub fn bus_address(&self) -> &str {
        &self.address
    }

    /// The process id of the keyring daemon, if one runs.
    #[must_use]
    pub fn provider_pid(&self) -> Option<u32> {
        self.provider.as_ref().map(Child::id)
    }

    /// The file that the `login` keyring lies in.
    #[must_use]
    pub fn keyring_file(&self) -> PathBuf {
        self.home().join(".local/share/keyrings/login.keyring")
    }

    /// The private home directory.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.directory.0.join("home")
    }

    /// Locks the `login` keyring, as a screen lock or a log-out would.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn lock(&self) -> io::Result<()> {
        self.secrets(&[
            SERVICE_PATH,
            "org.freedesktop.Secret.Service.Lock",
            &format!("array:objpath:{LOGIN}"),
        ])?;
        Ok(())
    }

    /// Ends the keyring daemon and waits for its end; the bus stays.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill_provider(&mut self) -> io::Result<()> {
        match self.provider.take() {
            Some(mut child) => end(&mut child),
            None => Ok(()),
        }
    }

    /// Starts `gnome-keyring-daemon` again, on the encrypted keyring that an earlier one left.
    ///
    /// # Errors
    /// As [`PrivateKeyring::start`].
    pub fn restart_provider(&mut self) -> io::Result<()> {
        self.kill_provider()?;
        self.start_provider(Mode::Encrypted, Path::new(PROVIDER))
    }

    /// Runs a program on this bus, in this home, that dies with this process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, program: &Path, arguments: &[&str], stdin: Option<&[u8]>) -> io::Result<Child> {
        let mut command = confined(program);
        command.args(arguments).envs(self.env());
        let log = private_file(&self.directory.0.join("spawned.log"))?;
        command
            .stdin(stdin.map_or_else(Stdio::null, |_| Stdio::piped()))
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut child = spawn_for_life(command)?;
        if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(bytes)?;
        }
        Ok(child)
    }

    fn start_provider(&mut self, mode: Mode, program: &Path) -> io::Result<()> {
        let control = format!("--control-directory={}", text(&self.directory.0.join("run/keyring")));
        let mut arguments = vec!["--foreground", "--components=secrets", control.as_str()];
        let mut password = None;
        if matches!(mode, Mode::Cleartext | Mode::CleartextLocked) {
            // What an empty password leaves on the disk; `--unlock` with nothing on stdin makes no keyring at all.
            private_file(&self.keyring_file())?.write_all(
                b"[keyring]\ndisplay-name=Login\nctime=0\nmtime=0\nlock-on-idle=false\nlock-after=false\n",
            )?;
        } else {
            // A newline would be part of the password.
            arguments.push("--unlock");
            password = Some(self.password.as_bytes());
        }
        self.provider = Some(self.spawn(program, &arguments, password)?);

        let started = Instant::now();
        let login = format!("\"{LOGIN}\"");
        let alias = [SERVICE_PATH, "org.freedesktop.Secret.Service.ReadAlias", "string:login"];
        while !self.secrets(&alias).is_ok_and(|answer| answer.contains(&login)) {
            let ended = self.provider.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || started.elapsed() > READY_WITHIN {
                let log = fs::read_to_string(self.directory.0.join("spawned.log")).unwrap_or_default();
                return Err(failure(format!("{PROVIDER} did not get ready: {}", log.trim_end())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let all = format!("array:objpath:{LOGIN}");
        match mode {
            Mode::Locked => self.lock()?,
            Mode::Cleartext => {
                self.secrets(&[SERVICE_PATH, "org.freedesktop.Secret.Service.Unlock", &all])?;
            }
            _ => {}
        }
        self.expect_state(mode)
    }

    /// A harness that is not in the state asked for would make tests pass for the wrong reason.
    fn expect_state(&self, mode: Mode) -> io::Result<()> {
        let get = "org.freedesktop.DBus.Properties.Get";
        let locked =
            self.secrets(&[LOGIN, get, "string:org.freedesktop.Secret.Collection", "string:Locked"])?;
        let want_locked = matches!(mode, Mode::Locked | Mode::CleartextLocked);
        let want_magic: &[u8] = match mode {
            Mode::Cleartext | Mode::CleartextLocked => b"[keyring]",
            _ => b"GnomeKeyring\n\r\0\n",
        };
        let at_rest = fs::read(self.keyring_file())?;
        if locked.contains(&format!("boolean {want_locked}")) && at_rest.starts_with(want_magic) {
            Ok(())
        } else {
            Err(failure(format!("the private keyring is not in the state {mode:?}")))
        }
    }

    /// One call to the provider by `dbus-send`; its printed answer.
    fn secrets(&self, arguments: &[&str]) -> io::Result<String> {
        let Output { status, stdout, stderr } = Command::new("dbus-send")
            .args(["--session", "--print-reply", "--reply-timeout=5000", "--dest=org.freedesktop.secrets"])
            .args(arguments)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .stdin(Stdio::null())
            .output()?;
        if status.success() {
            Ok(String::from_utf8_lossy(&stdout).into_owned())
        } else {
            Err(failure(String::from_utf8_lossy(&stderr).trim_end().to_owned()))
        }
    }
}

impl Drop for PrivateKeyring {
    fn drop(&mut self) {
        // Nobody is left to tell: the daemons also end with this process, and the directory is a temporary one.
        drop(self.kill_provider());
        drop(end(&mut self.bus));
    }
}

/// A directory of this user alone, with a short path (a socket's name may hold 108 bytes), removed on drop.
#[derive(Debug)]
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn create() -> io::Result<Self> {
        let mut parent = std::env::temp_dir();
        if parent.as_os_str().len() > 60 {
            parent = PathBuf::from("/tmp");
        }
        let path = parent.join(format!("keyring.{}", &random_hex()?[..12]));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn start_bus(directory: &Path, promise_a_provider: bool) -> io::Result<(Child, String)> {
    let configuration = directory.join("bus.conf");
    let mut services = String::new();
    if promise_a_provider {
        let folder = directory.join("services");
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        private_file(&folder.join("org.freedesktop.secrets.service"))?.write_all(
            b"[D-BUS Service]\nName=org.freedesktop.secrets\nExec=/usr/bin/setpriv --pdeathsig KILL /bin/sleep 20\n",
        )?;
        services = format!("<servicedir>{}</servicedir>", text(&folder));
    }
    private_file(&configuration)?.write_all(
        format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig>\n<type>session</type>\n<listen>unix:path={}</listen>{services}\n<auth>EXTERNAL</auth>\n\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy>\n</busconfig>\n",
            text(&directory.join("run/bus"))
        )
        .as_bytes(),
    )?;
    let mut command = confined(Path::new("dbus-daemon"));
    let mut option = OsString::from("--config-file=");
    option.push(&configuration);
    command
        .arg(option)
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(private_file(&directory.join("bus.log"))?);
    let mut bus = spawn_for_life(command)?;
    let mut address = String::new();
    if let Some(stdout) = bus.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    if address.trim_end().is_empty() {
        end(&mut bus)?;
        let log = fs::read_to_string(directory.join("bus.log")).unwrap_or_default();
        return Err(failure(format!("dbus-daemon did not start: {}", log.trim_end())));
    }
    Ok((bus, address.trim_end().to_owned()))
}

/// A command that is killed with the thread that starts it, and knows nothing of the person's session.
fn confined(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    for name in [
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "GNOME_KEYRING_CONTROL",
        "GNOME_KEYRING_PID",
        "SSH_AUTH_SOCK",
        "DBUS_STARTER_ADDRESS",
        "DBUS_STARTER_BUS_TYPE",
    ] {
        command.env_remove(name);
    }
    command
}

/// Starts a command from a thread that lives as long as this process.
///
/// The kernel sends the parent-death signal when the *thread* that started the child ends, and a test's thread ends
/// before other tests that share the keyring.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                // The one who asked waits for the answer, so the channel is open.
                drop(answer.send(command.spawn()));
            }
        });
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    spawner.send((command, answer)).map_err(|_| failure("the spawning thread ended".to_owned()))?;
    child.recv().map_err(|_| failure("the spawning thread ended".to_owned()))?
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs
        .iter()
        .filter(|(program, _)| find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect()
}

fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn failure(message: String) -> io::Error {
    io::Error::other(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_starts_in_its_state_and_leaves_nothing_behind() {
        for mode in [Mode::Encrypted, Mode::Locked, Mode::Cleartext, Mode::CleartextLocked, Mode::NoProvider]
        {
            let keyring = PrivateKeyring::start(mode).unwrap();
            let (home, pid) = (keyring.home(), keyring.provider_pid());
            assert!(keyring.env().iter().any(|(name, value)| name == "HOME" && Path::new(value) == home));
            drop(keyring);
            assert!(!home.exists(), "{mode:?}");
            assert!(pid.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "{mode:?}");
        }
    }

    #[test]
    fn a_keyring_outlives_the_thread_that_started_it() {
        let keyring = std::thread::spawn(|| PrivateKeyring::start(Mode::Encrypted)).join().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        keyring.lock().unwrap();
    }
}
