//! A home with its own keyring, and `entrabot` in it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use serde_json::{Value, json};

pub const AGENT: &str = "00000000-0000-4000-8000-00000000000a";
const TENANT: &str = "00000000-0000-4000-8000-0000000000aa";
const BLUEPRINT: &str = "00000000-0000-4000-8000-00000000000b";
const USER: &str = "00000000-0000-4000-8000-00000000000c";
const THUMBPRINT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A home directory, a private keyring, and settings.
pub struct Home {
    pub keyring: PrivateKeyring,
    pub dir: tempfile::TempDir,
    pub settings: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

impl Home {
    pub fn new(mode: Mode) -> Self {
        let keyring = PrivateKeyring::start(mode)
            .expect("a private keyring (`cargo xtask test` installs what it needs)");
        Self { keyring, dir: tempfile::tempdir().expect("a directory"), settings: BTreeMap::new() }
    }

    /// With audit, data and log directories of its own, outside of HOME.
    pub fn with_directories(mode: Mode) -> Self {
        let mut home = Self::new(mode);
        for (name, dir) in
            [("ENTRABOT_AUDIT_DIR", "audit"), ("ENTRABOT_DATA_DIR", "data"), ("ENTRABOT_LOG_DIR", "logs")]
        {
            home.set(name, home.path(dir).display().to_string());
        }
        home
    }

    /// The same with an agent whose token endpoint is at `authority` (port on localhost).
    pub fn with_agent(mode: Mode, authority: u16) -> Self {
        let mut home = Self::with_directories(mode);
        let base = format!("https://localhost:{authority}");
        for (name, value) in [
            ("ENTRABOT_AUTHORITY_BASE", base.clone()),
            ("ENTRABOT_GRAPH_BASE", base.clone()),
            ("ENTRABOT_A365_BASE", format!("{base}/agents/servers")),
            ("ENTRABOT_TENANT_ID", TENANT.to_owned()),
            ("ENTRABOT_BLUEPRINT_APP_ID", BLUEPRINT.to_owned()),
            ("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", THUMBPRINT.to_owned()),
            ("ENTRABOT_AGENT_ID", AGENT.to_owned()),
            ("ENTRABOT_AGENT_USER_ID", USER.to_owned()),
        ] {
            home.set(name, value);
        }
        home
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_entrabot"));
        command
            .args(arguments)
            .env_clear()
            .envs(self.keyring.env())
            .envs(&self.settings)
            .current_dir(self.dir.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, b"")
    }

    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Finished {
        let started = Instant::now();
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("entrabot starts");
        // A command that wants no input may be gone before it is written.
        drop(child.stdin.take().expect("stdin").write_all(input));
        let output = child.wait_with_output().expect("entrabot ends");
        Finished {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed: started.elapsed(),
        }
    }

    pub fn serve(&self) -> Server {
        Server::start(self.command(&["serve"]))
    }
}

/// A running `entrabot serve`; every line of its stdout must be JSON-RPC.
pub struct Server {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    next: i64,
}

impl Server {
    pub fn start(mut command: Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self::over(child)
    }

    /// A process that was started otherwise.
    pub fn over(mut child: Child) -> Self {
        let (to, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if to.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Self { child, stdin, lines, next: 0 }
    }

    pub fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(line.as_bytes()).expect("it reads");
        stdin.write_all(b"\n").expect("it reads");
    }

    #[track_caller]
    pub fn receive(&mut self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("a line on stdout");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    pub fn receive_within(&mut self, time: Duration) -> Option<Value> {
        self.lines.recv_timeout(time).ok().map(|line| serde_json::from_str(&line).expect("JSON"))
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let answer = self.receive();
            if answer["id"] == json!(id) {
                return answer;
            }
        }
    }

    #[track_caller]
    pub fn initialize(&mut self) -> Value {
        let answer = self.request(
            "initialize",
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}),
        );
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        answer["result"].clone()
    }

    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))["result"].clone()
    }

    /// The members of a failed call's one text item.
    #[track_caller]
    pub fn failure(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        assert!(result.get("structuredContent").is_none(), "{result}");
        serde_json::from_str(result["content"][0]["text"].as_str().expect("text")).expect("JSON")
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Closes stdin and waits.
    pub fn end(mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.wait(Duration::from_secs(6))
    }

    #[track_caller]
    pub fn wait(&mut self, longest: Duration) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < longest {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("still running after {longest:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone when the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that was free a moment ago, so that connecting to it is refused.
pub fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// Every file below a directory with its size, to see what a command left behind.
pub fn files_below(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    files.insert(path.clone(), 0);
                    todo.push(path);
                }
                Ok(metadata) => {
                    files.insert(path, metadata.len());
                }
                Err(_) => {}
            }
        }
    }
    files
}
