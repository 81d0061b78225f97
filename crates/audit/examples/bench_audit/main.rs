//! Measures appends, verification, checkpoints and the cold start, each beside the bare limit of the machine and the
//! Python original's append, in one run and one directory. Appends are measured in three rounds, and each ratio is the
//! median of the rounds' own. Prints JSON.
//!
//! `bench [--dir DIR] [--events N] [--only disk|tmpfs|large]`; the directory should lie on the disk that matters.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark has nobody to report to but its reader"
)]

mod appends;
mod large;
mod limits;
mod queries;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_audit::{AttributionChain, AuditLog, AuditOptions, Config, LogEntry, Session, SigningPolicy};
use entrabot_identity::AttributionType;
use serde_json::{Map, Value, json};

/// How long each kind of caller appends in a round.
const LONG: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["child", "ours", dir] => appends::child(&mut appends::Ours::open(Path::new(dir))),
        ["child", "sync-inside", dir] => appends::child(&mut limits::SyncInside::open(Path::new(dir))),
        ["child", "guards", dir] => appends::child(&mut limits::Guards::open(Path::new(dir))),
        ["child", "verify", dir] => large::child_verify(Path::new(dir)),
        _ => {
            let option =
                |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
            let base = option("--dir")
                .map_or_else(|| std::env::current_dir().unwrap().join("target"), PathBuf::from);
            let events = option("--events").map_or(1_000_000, |count| count.parse().unwrap());
            let only = option("--only").copied();
            std::fs::create_dir_all(&base).unwrap();
            let disk = tempfile::tempdir_in(&base).unwrap();
            let memory = tempfile::tempdir_in("/dev/shm").unwrap();
            let mut report = Map::new();
            let mut part = |name: &str, measure: &dyn Fn() -> Value| {
                if only.is_none_or(|only| only == name) {
                    report.insert(name.to_owned(), measure());
                }
            };
            part("disk", &|| appends::measure(disk.path()));
            part("tmpfs", &|| appends::measure(memory.path()));
            part("large", &|| large::measure(disk.path(), events));
            println!("{}", serde_json::to_string_pretty(&report).unwrap());
        }
    }
}

fn open(dir: &Path) -> AuditLog {
    open_signing(dir, SigningPolicy::Off)
}

fn open_signing(dir: &Path, signing: SigningPolicy) -> AuditLog {
    open_as(dir, "22222222-2222-4222-8222-222222222222", signing)
}

fn open_as(dir: &Path, agent: &str, signing: SigningPolicy) -> AuditLog {
    let config = Config::from_variables([("ENTRABOT_AGENT_ID", agent)]).unwrap();
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let options = AuditOptions::new(&dir.join("audit"), &dir.join("data")).with_signing(signing);
    AuditLog::open(options, who).unwrap()
}

fn entry() -> LogEntry {
    let name = "a365.mcp_WordServer.GetDocumentContent";
    let metadata = json!({"server": "mcp_WordServer", "tool": "GetDocumentContent"});
    LogEntry::cli(name, name, "success", AttributionType::Agent)
        .with_metadata(metadata.as_object().unwrap().clone())
}

/// Appends one durable record.
trait Append {
    fn append(&mut self);
}

/// Appends for a while; the time of each.
fn run(append: &mut dyn Append, long: Duration) -> Vec<Duration> {
    let mut took = Vec::with_capacity(100_000);
    let (mut start, mut end) = (Instant::now(), Instant::now());
    let until = start + long;
    // The clock is read twice for each, as Python's benchmark does: beside an append on tmpfs a reading counts.
    while end < until {
        start = Instant::now();
        append.append();
        end = Instant::now();
        took.push(end - start);
    }
    took
}

fn figures(mut took: Vec<Duration>, total: Duration) -> Value {
    took.sort_unstable();
    let micros = |at: usize| took[at.min(took.len() - 1)].as_nanos() as f64 / 1000.0;
    json!({
        "events_per_second": took.len() as f64 / total.as_secs_f64(),
        "p50_us": micros(took.len() / 2),
        "p99_us": micros(took.len() * 99 / 100),
    })
}
