//! `cargo xtask bench serve`: the release binary from start to the first tools/list answer, its memory, and what a call
//! costs with the audit's sync in it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use serde_json::{Value, json};

use crate::Failure;
use crate::build::{root, run_cargo, target_dir};
use crate::cloud::Cloud;

const STARTS: usize = 20;
const CALLS: usize = 200;

pub(super) fn run() -> Result<(), Failure> {
    run_cargo(["build", "--quiet", "--release", "--package", "entrabot-server", "--bin", "entrabot"])?;
    run_cargo(["build", "--quiet", "--package", "entrabot-tests", "--bin", "stand-in"])?;
    let home = target_dir().join("bench-serve");
    drop(fs::remove_dir_all(&home));
    fs::create_dir_all(&home)?;
    let keyring = PrivateKeyring::start(Mode::Encrypted)?;
    let cloud = Cloud::start(&home.join("cloud"))?;
    let environment = environment(&keyring, &cloud, &home)?;
    put_key(&cloud, &environment)?;

    let mut starts = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let mut server = Server::start(&environment)?;
        server.request("tools/list", json!({}))?;
        starts.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(300));
        resident.push(server.resident_kib()?);
        server.stop()?;
    }
    resident.sort_unstable();
    println!("start to the tools/list answer   {}", summary(&mut starts));
    println!("resident, signed in and idle     {} KiB (median of {STARTS})", resident[resident.len() / 2]);

    let mut server = Server::start(&environment)?;
    let html = fs::read_to_string(root().join("demo/coastal-report.html"))?;
    let created =
        server.call("create_word_document", json!({"file_name": "bench.docx", "content_html": html}))?;
    let url = created["url"].clone();
    let mut logged = server.time(CALLS, "audit_log", &json!({"action": "bench", "resource": "none"}))?;
    println!("audit_log (one durable record)   {}", summary(&mut logged));
    let mut read = server.time(CALLS, "get_a365_file_metadata_by_url", &json!({"url": url}))?;
    println!("get_a365_file_metadata_by_url    {}", summary(&mut read));
    println!("resident after {:>4} calls        {} KiB", 2 * CALLS + 1, server.resident_kib()?);
    server.stop()?;
    let size = fs::metadata(binary())?.len();
    println!("binary                           {:.1} MB", size as f64 / 1e6);
    Ok(())
}

fn binary() -> std::path::PathBuf {
    target_dir().join("release/entrabot")
}

fn environment(
    keyring: &PrivateKeyring,
    cloud: &Cloud,
    home: &std::path::Path,
) -> Result<Vec<(String, String)>, Failure> {
    let mut environment = keyring.env();
    for (setting, directory) in
        [("ENTRABOT_AUDIT_DIR", "audit"), ("ENTRABOT_DATA_DIR", "data"), ("ENTRABOT_LOG_DIR", "logs")]
    {
        environment.push((setting.into(), home.join(directory).display().to_string()));
    }
    environment.push(("ENTRABOT_ENV_FILE".into(), home.join("none.env").display().to_string()));
    fs::write(home.join("none.env"), "")?;
    for (setting, key) in [
        ("ENTRABOT_AUTHORITY_BASE", "authority_base"),
        ("ENTRABOT_GRAPH_BASE", "graph_base"),
        ("ENTRABOT_A365_BASE", "a365_base"),
        ("ENTRABOT_CA_BUNDLE", "ca_bundle"),
        ("ENTRABOT_TENANT_ID", "tenant_id"),
        ("ENTRABOT_BLUEPRINT_APP_ID", "blueprint_app_id"),
        ("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", "blueprint_cert_thumbprint"),
        ("ENTRABOT_AGENT_ID", "agent_id"),
        ("ENTRABOT_AGENT_USER_ID", "agent_user_id"),
        ("ENTRABOT_A365_TOOLING_MANIFEST", "manifest"),
    ] {
        environment.push((setting.into(), cloud.get(key)?.into()));
    }
    Ok(environment)
}

fn put_key(cloud: &Cloud, environment: &[(String, String)]) -> Result<(), Failure> {
    let key = fs::File::open(cloud.get("blueprint_key_pem")?)?;
    let status = Command::new(binary())
        .args(["keystore", "set", "entrabot", "blueprint-private-key"])
        .envs(environment.iter().cloned())
        .stdin(key)
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the key did not go in: {status}").into()) }
}

/// Median, 99th percentile and largest.
fn summary(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let at = |share: f64| milliseconds(times[((times.len() - 1) as f64 * share) as usize]);
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms (n={})", at(0.5), at(0.99), at(1.0), times.len())
}

/// A server under a bare JSON-RPC client, so that the client's own cost stays out of the figures.
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
}

impl Server {
    fn start(environment: &[(String, String)]) -> Result<Self, Failure> {
        let mut child = Command::new(binary())
            .arg("serve")
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut server = Self { child, stdin, stdout, next_id: 0 };
        let client = json!({"name": "bench", "version": "0"});
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        server.request("initialize", hello)?;
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(server)
    }

    fn send(&mut self, message: &Value) -> Result<(), Failure> {
        writeln!(self.stdin, "{message}")?;
        Ok(self.stdin.flush()?)
    }

    fn request(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err(format!("the server ended during {method}").into());
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == json!(id) {
                return Ok(answer["result"].take());
            }
        }
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let mut result = self.request("tools/call", json!({"name": tool, "arguments": arguments}))?;
        if result["isError"] == json!(true) || result.is_null() {
            return Err(format!("{tool} failed: {}", result["content"]).into());
        }
        Ok(result["structuredContent"].take())
    }

    fn time(&mut self, times: usize, tool: &str, arguments: &Value) -> Result<Vec<Duration>, Failure> {
        self.call(tool, arguments.clone())?;
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let started = Instant::now();
            self.call(tool, arguments.clone())?;
            taken.push(started.elapsed());
        }
        Ok(taken)
    }

    fn resident_kib(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn stop(mut self) -> Result<(), Failure> {
        drop(self.stdin);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }
}
