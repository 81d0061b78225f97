//! Appends by one caller, by many, by several processes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_audit::{AuditLog, Auditable, LogEntry, ServerName, Subject, ToolName};
use serde_json::{Value, json};

use crate::limits::{Bare, Guards, group_commit};
use crate::{Append, LONG, entry, figures, open, run};

pub(crate) fn measure(dir: &Path) -> Value {
    let part = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let file = |name: &str| OpenOptions::new().create(true).append(true).open(dir.join(name)).unwrap();
    // Alternating, so that a change of load meets all alike.
    let (mut bare, mut guards, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_file, mut guards_file) = (Bare(file("bare")), Guards::open(&part("guards")));
    let mut our_log = Ours::open(&part("ours-1"));
    for _ in 0..5 {
        bare.extend(run(&mut bare_file, LONG / 5));
        guards.extend(run(&mut guards_file, LONG / 5));
        ours.extend(run(&mut our_log, LONG / 5));
    }
    let (bare, guards, one) = (figures(bare, LONG), figures(guards, LONG), figures(ours, LONG));
    let python_before = python(&part("python"));
    let eight = threads(&part("ours-8"), 8);
    let bare_eight = group_commit(&file("group-8"), 8);
    let many = threads(&part("ours-64"), 64);
    let bare_many = group_commit(&file("group-64"), 64);
    let permits = permits(&part("permits"));
    let inside = processes("sync-inside", &part("inside"));
    let four = processes("ours", &part("ours-4p"));
    let bare_four = processes("guards", &part("guards-4p"));
    let python_after = python(&part("python"));
    let rate = |value: &Value| value["events_per_second"].as_f64().unwrap();
    let p50 = |value: &Value| value["p50_us"].as_f64().unwrap();
    let python = (rate(&python_before) + rate(&python_after)) / 2.0;
    json!({
        "ratios": {
            "1_caller_to_python": rate(&one) / python,
            "8_callers_to_python": rate(&eight) / python,
            "64_callers_to_python": rate(&many) / python,
            "1_caller_p50_to_bare_p50": p50(&one) / p50(&bare),
            "4_processes_to_sync_inside": rate(&four) / rate(&inside),
            "our_cost_us": p50(&one) - p50(&bare),
        },
        // What the same system calls reach with nothing else: no record, no chain.
        "limits": {
            "1_caller_to_python": rate(&guards) / python,
            "8_callers_to_python": rate(&bare_eight) / python,
            "64_callers_to_python": rate(&bare_many) / python,
            "4_processes_to_sync_inside": rate(&bare_four) / rate(&inside),
            "cost_us": p50(&guards) - p50(&bare),
        },
        "python_not_durable": [python_before, python_after],
        "bare_write_and_sync": bare,
        "bare_lock_checks_write_and_sync": guards,
        "1_caller": one,
        "8_callers": eight,
        "8_callers_bare_group_commit": bare_eight,
        "64_callers": many,
        "64_callers_bare_group_commit": bare_many,
        "permit_and_finish_1_caller": permits,
        "4_processes": four,
        "4_processes_bare_lock_checks_write_and_sync": bare_four,
        "4_processes_sync_inside_lock": inside,
    })
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

pub(crate) struct Ours {
    log: AuditLog,
    entry: LogEntry,
}

impl Ours {
    pub(crate) fn open(dir: &Path) -> Self {
        Self { log: open(dir), entry: entry() }
    }
}

impl Append for Ours {
    fn append(&mut self) {
        self.log.log_event(&self.entry).unwrap();
    }
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

pub(crate) fn child(append: &mut dyn Append) {
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
    let output = Command::new("python3").args(["-c", script]).arg(dir).arg("20000").output();
    match output {
        Ok(output) if output.status.success() => serde_json::from_slice(&output.stdout).unwrap(),
        _ => json!({"events_per_second": f64::NAN, "p50_us": f64::NAN, "note": "no python3"}),
    }
}
