//! The MCP server from start to answer, its memory and its calls, beside a bare rmcp server and PyPI's `mcp`, in one run.
//!
//! `cargo xtask bench server` builds what this runs: the release binary and the bare server.

#![allow(clippy::print_stdout, reason = "the figures are the answer")]

mod http;
mod peer;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_tests::peers::{Python, PythonPeer};
use entrabot_tests::settings;
use entrabot_tests::stand_in::{Options, StandIn};
use peer::{Call, Peer};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

const STARTS: usize = 20;
const CALLS: usize = 500;
const MANY: usize = 6_400;
const IN_FLIGHT: usize = 64;

const FAST_MCP: &str = r#"
from mcp.server.fastmcp import FastMCP
server = FastMCP("bench", log_level="ERROR")
@server.tool()
def echo(text: str) -> str:
    return text
server.run()
"#;

/// Where the agent lives, and what it is set up with.
struct Settings {
    binary: PathBuf,
    variables: Vec<(String, String)>,
}

impl Settings {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(self.variables.iter().cloned());
        command
    }

    /// The same with the audit elsewhere.
    fn with_audit(&self, directory: &Path) -> Self {
        let mut variables = self.variables.clone();
        variables.push(("ENTRABOT_AUDIT_DIR".into(), directory.display().to_string()));
        Self { binary: self.binary.clone(), variables }
    }
}

fn main() -> Result<(), Failure> {
    let release = std::env::current_exe()?.ancestors().nth(2).ok_or("not below target")?.to_owned();
    let home = tempfile::tempdir_in(&release)?;
    let cloud = StandIn::start(Options::default());
    let keyring = PrivateKeyring::start(Mode::Encrypted)?;
    let ours = settings(release.join("entrabot"), &cloud, &keyring, home.path())?;
    let python = Python::with(release.parent().ok_or("not below target")?, PythonPeer::McpOne)?;
    let echo = Call::new("echo", json!({"text": "bench"}));
    let log = Call::new("audit_log", json!({"action": "bench", "resource": "none"}));

    let bare = || Command::new(release.join("examples/bare_rmcp"));
    let fast_mcp = || python.command(FAST_MCP);
    // In turns, so that a busy moment of the machine strikes all of them.
    let (mut ours_cold, mut bare_cold, mut python_cold) = (Vec::new(), Vec::new(), Vec::new());
    let mut idle = Vec::new();
    for round in 0..STARTS {
        let (took, server) = cold(ours.command(&["serve"]))?;
        ours_cold.push(took);
        // It signs in beside the handshake.
        std::thread::sleep(Duration::from_millis(300));
        idle.push(server.resident_kib()?);
        server.stop()?;
        let (took, server) = cold(bare())?;
        bare_cold.push(took);
        server.stop()?;
        if round % 4 == 0 {
            let (took, server) = cold(fast_mcp())?;
            python_cold.push(took);
            server.stop()?;
        }
    }
    let (ours_cold, bare_cold) = (median(&mut ours_cold), median(&mut bare_cold));
    println!("start to the tools/list answer, median of {STARTS} in turns");
    row(
        "entrabot",
        format!("{} ({:.1}x of bare)", ms(ours_cold), ours_cold.as_secs_f64() / bare_cold.as_secs_f64()),
    );
    row("bare rmcp", ms(bare_cold));
    row("FastMCP", ms(median(&mut python_cold)));
    idle.sort_unstable();

    let mut server = Peer::start(ours.command(&["serve"]))?;
    let (mut calls, mut syncs) = (Vec::new(), Vec::new());
    let mut file = File::create(home.path().join("sync"))?;
    for _ in 0..5 {
        calls.append(&mut server.in_turn(CALLS / 5, &log)?);
        syncs.append(&mut bare_syncs(&mut file, CALLS / 5)?);
    }
    println!("one call without network, in turn, p50 and p99 of {CALLS}");
    row("entrabot audit_log", format!("{} {}", ms(median(&mut calls)), ms(p99(&mut calls))));
    row("bare write and sync", format!("{} {}", ms(median(&mut syncs)), ms(p99(&mut syncs))));
    let on_disk = server.at_once(MANY, IN_FLIGHT, &log)?;
    let after = server.resident_kib()?;
    server.stop()?;

    let memory = tempfile::tempdir_in("/dev/shm")?;
    let mut server = Peer::start(ours.with_audit(memory.path()).command(&["serve"]))?;
    let mut tmpfs = server.in_turn(CALLS, &log)?;
    row("the same without the sync", format!("{} {}", ms(median(&mut tmpfs)), ms(p99(&mut tmpfs))));
    let in_memory = server.at_once(MANY, IN_FLIGHT, &log)?;
    server.stop()?;
    let mut others = Vec::new();
    for (name, command) in [("bare rmcp echo", bare()), ("FastMCP echo", fast_mcp())] {
        let mut server = Peer::start(command)?;
        let resident = server.resident_kib()?;
        let mut calls = server.in_turn(CALLS, &echo)?;
        row(name, format!("{} {}", ms(median(&mut calls)), ms(p99(&mut calls))));
        let rate = server.at_once(MANY, IN_FLIGHT, &echo)?;
        others.push((name, rate, resident, server.resident_kib()?));
        server.stop()?;
    }
    println!("{IN_FLIGHT} in flight, {MANY} calls");
    row("entrabot audit_log", format!("{on_disk:.0}/s"));
    row("entrabot, audit on tmpfs", format!("{in_memory:.0}/s"));
    for (name, rate, _, _) in &others {
        row(name, format!("{rate:.0}/s"));
    }
    println!("resident, idle and after {MANY} calls");
    row("entrabot, signed in", format!("{} {}", mib(idle[idle.len() / 2]), mib(after)));
    for (name, _, idle, after) in &others {
        row(name, format!("{} {}", mib(*idle), mib(*after)));
    }

    let mut held = http::held(&ours)?;
    println!("1000 HTTP connections held, all asking at once, {} answers", held.len());
    row("entrabot", format!("p50 {}, last {}", ms(median(&mut held)), ms(*held.last().ok_or("no answers")?)));
    println!("binary");
    row("entrabot", format!("{:.2} MB", fs::metadata(&ours.binary)?.len() as f64 / 1e6));
    Ok(())
}

fn cold(command: Command) -> Result<(Duration, Peer), Failure> {
    let started = Instant::now();
    let mut server = Peer::start(command)?;
    server.request("tools/list", json!({}))?;
    Ok((started.elapsed(), server))
}

/// What the disk takes for as many bytes at the end of a growing file, and the sync. (The log grows in larger steps.)
fn bare_syncs(file: &mut File, times: usize) -> Result<Vec<Duration>, Failure> {
    let record = [b'x'; 512];
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        taken.push(started.elapsed());
    }
    Ok(taken)
}

fn settings(
    binary: PathBuf,
    cloud: &StandIn,
    keyring: &PrivateKeyring,
    home: &Path,
) -> Result<Settings, Failure> {
    let info = cloud.info();
    let known = [
        settings::of_cloud(info),
        settings::of_agent(info),
        settings::of_certificate(info),
        settings::of_state(home),
    ];
    let mut variables = keyring.env();
    variables.extend(known.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
    let settings = Settings { binary, variables };
    let mut set = settings.command(&["keystore", "set", "entrabot", "blueprint-private-key"]);
    let status = set.stdin(File::open(&info.blueprint_key_pem)?).status()?;
    if status.success() { Ok(settings) } else { Err(format!("the key did not go in: {status}").into()) }
}

fn median(times: &mut [Duration]) -> Duration {
    share(times, 0.5)
}

fn p99(times: &mut [Duration]) -> Duration {
    share(times, 0.99)
}

fn share(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

fn row(name: &str, figures: String) {
    println!("  {name:<28}{figures}");
}
