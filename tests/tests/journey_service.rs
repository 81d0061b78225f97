//! The unit that `entrabot service install` writes, under a real user manager of systemd: an agent acts from within its
//! sandbox, a crash is recovered from, and nothing is left when it goes.

mod journey;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_tests::listening::request;
use entrabot_tests::stand_in::Options;
use journey::{Finished, Home, finished, spans};
use serde_json::{Value, json};

const SYSTEMD: &str = "/lib/systemd/systemd";
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
const PATIENCE: Duration = Duration::from_secs(40);

/// A user's manager with a `/run` of its own, in which the system looks booted by systemd.
struct Manager {
    child: Child,
}

impl Manager {
    /// `None` where there is no systemd or this user may make no namespace.
    fn start(home: &mut Home) -> io::Result<Option<Self>> {
        let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
        if !fs::exists(SYSTEMD)? || !may.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        for (name, directory) in [("HOME", "home"), ("XDG_CONFIG_HOME", "home/.config")] {
            let directory = home.scratch().join(directory);
            fs::create_dir_all(&directory)?;
            home.set(name, directory.display().to_string());
        }
        home.set("XDG_RUNTIME_DIR", "/run/user/entrabot");
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/user/entrabot && \
             chmod 700 /run/user/entrabot && exec {SYSTEMD} --user --log-target=console"
        );
        let mut command = in_the_home(home, "unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(File::create(home.scratch().join("systemd.log"))?);
        command.stderr(File::create(home.scratch().join("systemd.err"))?);
        let manager = Self { child: command.spawn()? };
        manager.wait_for(
            home,
            "the manager",
            |state| state.stdout.trim() == "running",
            &["systemctl", "--user", "is-system-running"],
        )?;
        // `dbus.socket` told its services of the manager's own bus; the keyring of this test is on another.
        let bus = home
            .keyring
            .env()
            .into_iter()
            .find(|(name, _)| name == BUS)
            .map(|(_, bus)| format!("{BUS}={bus}"));
        let bus = bus.ok_or_else(|| io::Error::other("the keyring has no bus"))?;
        manager.run(home, &["systemctl", "--user", "set-environment", &bus])?.assert_code(0);
        Ok(Some(manager))
    }

    /// Runs a program where the manager is.
    fn run(&self, home: &Home, arguments: &[&str]) -> io::Result<Finished> {
        let mut command = in_the_home(home, "nsenter");
        command.args(["--mount", "--target", &self.child.id().to_string(), "--"]).args(arguments);
        finished(command, b"")
    }

    fn wait_for(
        &self,
        home: &Home,
        what: &str,
        holds: impl Fn(&Finished) -> bool,
        arguments: &[&str],
    ) -> io::Result<Finished> {
        let started = Instant::now();
        loop {
            let state = self.run(home, arguments)?;
            if holds(&state) {
                return Ok(state);
            }
            assert!(started.elapsed() < PATIENCE, "{what}: {state:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn entrabot(&self, home: &Home, arguments: &[&str]) -> io::Result<Finished> {
        let program = home.command(&[]).get_program().to_string_lossy().into_owned();
        self.run(home, &[&[program.as_str()], arguments].concat())
    }

    /// The main process of the service that is up, other than `before`.
    fn service(&self, home: &Home, before: &str) -> io::Result<String> {
        let show = ["systemctl", "--user", "show", "entrabot.service", "--property=MainPID", "--value"];
        let up = |state: &Finished| !["", "0", before].contains(&state.stdout.trim());
        Ok(self.wait_for(home, "the service", up, &show)?.stdout.trim().to_owned())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // A manager that is told to end ends its services first.
        drop(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status());
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Another program with the environment and the directory that `entrabot` has there.
fn in_the_home(home: &Home, program: &str) -> Command {
    let entrabot = home.command(&[]);
    let mut command = Command::new(program);
    command.env_clear().envs(entrabot.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(home.scratch());
    command
}

/// A port that nobody listens on.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks the service, as soon as it listens.
fn post(port: u16, bearer: &str, message: &Value) -> io::Result<(String, Value)> {
    let started = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let headers = format!("Authorization: Bearer {bearer}\r\nConnection: close\r\n");
    stream.write_all(request(&format!("127.0.0.1:{port}"), &headers, message).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn create_document(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": "create_word_document", "arguments": {"file_name": "x", "content_html": "<p>x</p>"}}})
}

#[test]
fn an_agent_acts_from_within_the_unit_and_outlives_a_crash() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    let Some(manager) = Manager::start(&mut home)? else {
        eprintln!("note: no systemd, or no right to a mount namespace: its user manager was not run");
        return Ok(());
    };
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    manager.entrabot(&home, &["service", "install", "--yes", "--http", &address])?.assert_code(0);
    let first = manager.service(&home, "")?;
    let limits = fs::read_to_string(format!("/proc/{first}/status"))?;
    for in_force in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(limits.contains(in_force), "{in_force}: {limits}");
    }

    let (status, _) = post(port, "wrong", &create_document(1))?;
    assert_eq!(status, "401");
    let bearer = home.run(&["serve", "--show-bearer"], b"")?.stdout;
    let (status, answer) = post(port, bearer.trim(), &create_document(2))?;
    assert_eq!((status.as_str(), &answer["result"]["isError"]), ("200", &json!(false)), "{answer}");

    assert!(Command::new("kill").args(["-KILL", &first]).status()?.success());
    manager.service(&home, &first)?;
    let (status, answer) = post(port, bearer.trim(), &create_document(3))?;
    assert_eq!((status.as_str(), &answer["result"]["isError"]), ("200", &json!(false)), "{answer}");
    let closed = vec![vec!["pending".to_owned(), "success".to_owned()]; 2];
    assert_eq!(spans(&home.a365_records()?), closed);

    manager.entrabot(&home, &["service", "uninstall", "--yes"])?.assert_code(0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nothing listens any more");
    home.run(&["audit", "verify"], b"")?.assert_code(0);
    let mode = fs::metadata(home.audit_dir())?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    Ok(())
}
