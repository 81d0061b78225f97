//! Measures appends, verification, checkpoints and the cold start, each beside the bare limit of the machine and the
//! Python original's append, in one run and one directory. Prints JSON.
//!
//! `bench [--dir DIR] [--events N]`; the directory should lie on the disk that matters.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark has nobody to report to but its reader"
)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_audit::{
    AttributionChain, AuditLog, AuditOptions, Auditable, Config, LogEntry, ServerName, Session,
    SigningPolicy, Subject, ToolName, VerifyOptions, generate_signing_key, verify_with,
};
use entrabot_identity::AttributionType;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const LONG: Duration = Duration::from_millis(1500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["child", "ours", dir] => child(&mut Ours::open(Path::new(dir))),
        ["child", "sync-inside", dir] => child(&mut SyncInside::open(Path::new(dir))),
        ["child", "verify", dir] => child_verify(Path::new(dir)),
        _ => {
            let option =
                |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
            let base = option("--dir")
                .map_or_else(|| std::env::current_dir().unwrap().join("target"), PathBuf::from);
            let events = option("--events").map_or(1_000_000, |count| count.parse().unwrap());
            std::fs::create_dir_all(&base).unwrap();
            let disk = tempfile::tempdir_in(&base).unwrap();
            let memory = tempfile::tempdir_in("/dev/shm").unwrap();
            let report = json!({
                "disk": appends(disk.path()),
                "tmpfs": appends(memory.path()),
                "large": large(disk.path(), events),
            });
            println!("{}", serde_json::to_string_pretty(&report).unwrap());
        }
    }
}

#[derive(Debug)]
struct Call;

impl Auditable for Call {
    fn subject(&self) -> Subject {
        Subject::WorkIq {
            server: ServerName::parse("mcp_WordServer").unwrap(),
            tool: ToolName::parse("GetDocumentContent").unwrap(),
        }
    }
}

fn open(dir: &Path) -> AuditLog {
    let config =
        Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")]).unwrap();
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    AuditLog::open(AuditOptions::new(&dir.join("audit"), &dir.join("data")), who).unwrap()
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

struct Ours {
    log: AuditLog,
    entry: LogEntry,
}

impl Ours {
    fn open(dir: &Path) -> Self {
        Self { log: open(dir), entry: entry() }
    }
}

impl Append for Ours {
    fn append(&mut self) {
        self.log.log_event(self.entry.clone()).unwrap();
    }
}

/// The same chain with the sync inside the lock: the obvious way, for comparison.
struct SyncInside {
    lock: File,
    file: File,
    seen: u64,
    hash: [u8; 32],
}

impl SyncInside {
    fn open(dir: &Path) -> Self {
        let options = || OpenOptions::new().create(true).append(true).read(true).clone();
        Self {
            lock: options().open(dir.join("lock")).unwrap(),
            file: options().open(dir.join("log")).unwrap(),
            seen: 0,
            hash: [0; 32],
        }
    }
}

impl Append for SyncInside {
    fn append(&mut self) {
        self.lock.lock().unwrap();
        let end = self.file.metadata().unwrap().len();
        let mut delta = vec![0; usize::try_from(end - self.seen).unwrap()];
        self.file.read_exact_at(&mut delta, self.seen).unwrap();
        for line in delta.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.hash = Sha256::new().chain_update(self.hash).chain_update(line).finalize().into();
        }
        let mut line = vec![b'x'; 458];
        self.hash = Sha256::new().chain_update(self.hash).chain_update(&line).finalize().into();
        line.push(b'\n');
        self.file.write_all(&line).unwrap();
        self.seen = end + line.len() as u64;
        self.file.sync_data().unwrap();
        self.lock.unlock().unwrap();
    }
}

struct Bare(File);

impl Append for Bare {
    fn append(&mut self) {
        self.0.write_all(&[b'x'; 459]).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// Appends for a while; the time of each.
fn run(append: &mut dyn Append, long: Duration) -> Vec<Duration> {
    let begin = Instant::now();
    let mut took = Vec::with_capacity(100_000);
    while begin.elapsed() < long {
        let start = Instant::now();
        append.append();
        took.push(start.elapsed());
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

fn appends(dir: &Path) -> Value {
    let part = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let file = |name: &str| OpenOptions::new().create(true).append(true).open(dir.join(name)).unwrap();
    // Alternating, so that a change of load meets all alike.
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    let (mut bare_file, mut our_log) = (Bare(file("bare")), Ours::open(&part("ours-1")));
    for _ in 0..5 {
        bare.extend(run(&mut bare_file, LONG / 5));
        ours.extend(run(&mut our_log, LONG / 5));
    }
    let (bare, one) = (figures(bare, LONG), figures(ours, LONG));
    let python = python(&part("python"));
    let eight = threads(&part("ours-8"), 8);
    let many = threads(&part("ours-64"), 64);
    let permits = permits(&part("permits"));
    let inside = processes("sync-inside", &part("inside"));
    let four = processes("ours", &part("ours-4p"));
    let rate = |value: &Value| value["events_per_second"].as_f64().unwrap();
    let p50 = |value: &Value| value["p50_us"].as_f64().unwrap();
    json!({
        "ratios": {
            "1_caller_to_python": rate(&one) / rate(&python),
            "8_callers_to_python": rate(&eight) / rate(&python),
            "64_callers_to_python": rate(&many) / rate(&python),
            "1_caller_p50_to_bare_p50": p50(&one) / p50(&bare),
            "4_processes_to_sync_inside": rate(&four) / rate(&inside),
            "our_cost_us": p50(&one) - p50(&bare),
        },
        "python_not_durable": python,
        "bare_write_and_sync": bare,
        "1_caller": one,
        "8_callers": eight,
        "64_callers": many,
        "permit_and_finish_1_caller": permits,
        "4_processes": four,
        "4_processes_sync_inside_lock": inside,
    })
}

fn threads(dir: &Path, count: usize) -> Value {
    let log = open(dir);
    let begin = Instant::now();
    let took = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|_| {
                let log = log.clone();
                scope.spawn(move || run(&mut Ours { log, entry: entry() }, LONG))
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    figures(took, begin.elapsed())
}

fn permits(dir: &Path) -> Value {
    struct Permits(AuditLog);
    impl Append for Permits {
        fn append(&mut self) {
            self.0.permit(Call).unwrap().finish(Ok::<(), ()>(())).into_result().unwrap();
        }
    }
    figures(run(&mut Permits(open(dir)), LONG), LONG)
}

fn processes(kind: &str, dir: &Path) -> Value {
    let mut children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["child", kind])
                .arg(dir)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    // All begin together.
    for child in &mut children {
        let mut ready = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    }
    for child in &mut children {
        drop(child.stdin.take());
    }
    let mut took = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let times: Vec<u64> = serde_json::from_slice(&output.stdout).unwrap();
        took.extend(times.into_iter().map(Duration::from_nanos));
    }
    figures(took, LONG)
}

fn child(append: &mut dyn Append) {
    append.append();
    print!(" ");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let took: Vec<u64> =
        run(append, LONG).iter().map(|time| u64::try_from(time.as_nanos()).unwrap()).collect();
    println!("{}", serde_json::to_string(&took).unwrap());
}

fn python(dir: &Path) -> Value {
    let script = include_str!("python_append.py");
    let output = Command::new("python3").args(["-c", script]).arg(dir).arg("8000").output();
    match output {
        Ok(output) if output.status.success() => serde_json::from_slice(&output.stdout).unwrap(),
        _ => json!({"events_per_second": f64::NAN, "p50_us": f64::NAN, "note": "no python3"}),
    }
}

/// One large log: cold start, checkpoint, verification.
fn large(dir: &Path, events: usize) -> Value {
    let dir = dir.join("large");
    let log = open(&dir);
    let entries: Vec<LogEntry> = vec![entry(); 4096];
    let mut left = events;
    while left > 0 {
        let count = left.min(entries.len());
        log.log_events(&entries[..count], |_, result| assert!(result.is_ok())).unwrap();
        left -= count;
    }
    drop(log);
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
    log.log_event(entry()).unwrap();
    let cold_open = start.elapsed();
    drop(log);

    let pem = dir.join("key.pem");
    std::fs::write(&pem, generate_signing_key().unwrap().expose()).unwrap();
    let config =
        Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")]).unwrap();
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let options =
        AuditOptions::new(&dir.join("audit"), &dir.join("data")).with_signing(SigningPolicy::File(pem));
    let log = AuditLog::open(options, who).unwrap();
    let (start, cpu) = (Instant::now(), cpu_time());
    log.checkpoint().unwrap();
    let cold_checkpoint = start.elapsed();
    let cold_checkpoint_cpu = cpu_time() - cpu;
    log.log_event(entry()).unwrap();
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
    })
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

fn child_verify(dir: &Path) {
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
