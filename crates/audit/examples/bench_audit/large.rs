//! One large log: cold start, checkpoint, verification.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use entrabot_audit::{LogEntry, SigningPolicy, VerifyOptions, generate_signing_key, verify_with};
use entrabot_identity::AttributionType;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{entry, open, open_as, open_signing};

/// Who made the last 500 calls.
pub(crate) const OTHER_AGENT: &str = "33333333-3333-4333-8333-333333333333";

pub(crate) fn measure(dir: &Path, events: usize) -> Value {
    let dir = dir.join("large");
    let log = open(&dir);
    let entries: Vec<LogEntry> = (0..4096).map(varied).collect();
    let mut left = events;
    while left > 0 {
        let count = left.min(entries.len());
        log.log_events(&entries[..count], |_, result| assert!(result.is_ok())).unwrap();
        left -= count;
    }
    drop(log);
    let other = open_as(&dir, OTHER_AGENT, SigningPolicy::Off);
    other.log_events(&entries[..500], |_, result| assert!(result.is_ok())).unwrap();
    drop(other);
    let path = std::fs::read_dir(dir.join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let limits: Vec<(Duration, Duration)> = (0..3).map(|_| limit(&path)).collect();
    let limit = limits.iter().map(|(wall, _)| *wall).min().unwrap();
    let limit_cpu = limits.iter().map(|(_, cpu)| *cpu).min().unwrap();

    // What was written is on the disk before the clock starts: the first sync would wait for all of it.
    File::open(&path).unwrap().sync_all().unwrap();
    let start = Instant::now();
    let log = open(&dir);
    log.log_event(&entry()).unwrap();
    let cold_open = start.elapsed();
    drop(log);

    let pem = dir.join("key.pem");
    std::fs::write(&pem, generate_signing_key().unwrap().expose()).unwrap();
    let log = open_signing(&dir, SigningPolicy::File(pem));
    let (start, cpu) = (Instant::now(), cpu_time());
    log.checkpoint().unwrap();
    let cold_checkpoint = start.elapsed();
    let cold_checkpoint_cpu = cpu_time() - cpu;
    log.log_event(&entry()).unwrap();
    let start = Instant::now();
    log.checkpoint().unwrap();
    let warm_checkpoint = start.elapsed();

    let output =
        Command::new(std::env::current_exe().unwrap()).args(["child", "verify"]).arg(&dir).output().unwrap();
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    json!({
        "events": events,
        "bytes": bytes,
        "read_and_hash_limit_s": limit.as_secs_f64(),
        "read_and_hash_limit_cpu_s": limit_cpu.as_secs_f64(),
        "verify": verified,
        "verify_to_limit": limit.as_secs_f64() / verified["all_threads_s"].as_f64().unwrap(),
        "verify_one_thread_to_limit": limit.as_secs_f64() / verified["one_thread_s"].as_f64().unwrap(),
        "cold_open_and_first_append_ms": cold_open.as_secs_f64() * 1000.0,
        "cold_checkpoint_s": cold_checkpoint.as_secs_f64(),
        "cold_checkpoint_cpu_s": cold_checkpoint_cpu.as_secs_f64(),
        "warm_checkpoint_ms": warm_checkpoint.as_secs_f64() * 1000.0,
        "query": crate::queries::measure(&dir),
    })
}

/// Calls of a dozen tools; one in a hundred failed, one in a thousand mails.
fn varied(number: usize) -> LogEntry {
    const TOOLS: [&str; 12] = [
        "GetDocumentContent",
        "CreateDocument",
        "AddComment",
        "ReplyToComment",
        "ListEvents",
        "FindFile",
        "SearchMessages",
        "GetMessage",
        "ListDrives",
        "ListChildren",
        "GetFile",
        "ListChats",
    ];
    let (server, tool) = match number {
        7 | 1_031 | 2_055 | 3_079 => ("mcp_MailTools", "SendMail"),
        _ => ("mcp_WordServer", TOOLS[number % TOOLS.len()]),
    };
    let outcome = if number % 100 == 3 { "failure" } else { "success" };
    let metadata = json!({"server": server, "tool": tool});
    let name = format!("a365.{server}.{tool}");
    LogEntry::cli(&name, &name, outcome, AttributionType::Agent)
        .with_metadata(metadata.as_object().unwrap().clone())
}

/// Reads the file, splits its lines and hashes each: what no verification can be faster than on one thread.
fn limit(path: &Path) -> (Duration, Duration) {
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1024 * 1024];
    let (mut kept, mut hash) = (0, [0_u8; 32]);
    loop {
        let count = file.read(&mut buffer[kept..]).unwrap();
        if count == 0 {
            break;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &buffer[..kept + count]) {
            hash = Sha256::new().chain_update(hash).chain_update(&buffer[start..end]).finalize().into();
            start = end + 1;
        }
        buffer.copy_within(start..kept + count, 0);
        kept = kept + count - start;
    }
    std::hint::black_box(hash);
    (start.elapsed(), cpu_time() - cpu)
}

/// What this process has used: on a busy machine the only figure that compares.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

pub(crate) fn child_verify(dir: &Path) {
    let timed = |options: &VerifyOptions| {
        let start = Instant::now();
        let report = verify_with(&dir.join("audit"), options).unwrap();
        assert!(report.ok, "{report:?}");
        start.elapsed().as_secs_f64()
    };
    let options = VerifyOptions::new().with_data_dir(&dir.join("data"));
    let all = timed(&options).min(timed(&options));
    let one = timed(&options.clone().with_threads(1));
    let cpu = cpu_time();
    timed(&options);
    let cpu = (cpu_time() - cpu).as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("", str::trim);
    println!("{}", json!({"all_threads_s": all, "one_thread_s": one, "cpu_s": cpu, "peak_rss": peak}));
}
