//! Appends by one caller, by many threads or tasks, by several processes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_audit::{AuditLog, Auditable, LogEntry, ServerName, Subject, ToolName};
use serde_json::{Map, Value, json};

use crate::limits::{Bare, Guards, group_commit, whole_groups};
use crate::{Append, LONG, entry, figures, open, run};

/// In each of them everything is measured once. What is compared is compared within a round: over a minute the load of a
/// machine changes by more than what is to be seen.
const ROUNDS: usize = 3;

const BARE: &str = "bare_write_and_sync";
const GUARDS: &str = "bare_lock_checks_write_and_sync";
const PYTHON: &str = "python_not_durable";
const INSIDE: &str = "4_processes_sync_inside_lock";

/// What one round measured, by name.
type Round = Map<String, Value>;

pub(crate) fn measure(base: &Path) -> Value {
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| round(tempfile::tempdir_in(base).unwrap().path())).collect();
    let each = |of: &dyn Fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(of).collect() };
    let rates = |over: &str, under: &str| each(&|round| rate(&round[over]) / rate(&round[under]));
    let cost = |of: &str| each(&|round| p50(&round[of]) - p50(&round[BARE]));
    let ratios = [
        ("1_caller_to_python", rates("1_caller", PYTHON)),
        ("8_callers_to_python", rates("8_callers", PYTHON)),
        ("64_callers_to_python", rates("64_callers", PYTHON)),
        ("8_tasks_to_python", rates("8_tasks", PYTHON)),
        ("64_tasks_to_python", rates("64_tasks", PYTHON)),
        ("1_caller_p50_to_bare_p50", each(&|round| p50(&round["1_caller"]) / p50(&round[BARE]))),
        ("4_processes_to_sync_inside", rates("4_processes", INSIDE)),
        ("our_cost_us", cost("1_caller")),
    ];
    // What the same system calls reach with nothing else: no record, no chain.
    let limits = [
        ("1_caller_to_python", rates(GUARDS, PYTHON)),
        ("8_callers_to_python", rates("8_callers_bare_group_commit", PYTHON)),
        ("64_callers_to_python", rates("64_callers_bare_group_commit", PYTHON)),
        ("8_tasks_to_python", rates("8_lines_with_nobody_to_wake", PYTHON)),
        ("64_tasks_to_python", rates("64_lines_with_nobody_to_wake", PYTHON)),
        ("4_processes_to_sync_inside", rates("4_processes_bare_lock_checks_write_and_sync", INSIDE)),
        ("cost_us", cost(GUARDS)),
    ];
    let mut report = typical(&rounds);
    report.insert("ratios".into(), medians(&ratios));
    report.insert("limits".into(), medians(&limits));
    report.insert("ratios_of_each_round".into(), ratios.into_iter().collect());
    report.insert("limits_of_each_round".into(), limits.into_iter().collect());
    Value::Object(report)
}

/// Of each name the round with the median rate.
fn typical(rounds: &[Round]) -> Round {
    let of = |name: &String| {
        let mut figures: Vec<&Value> = rounds.iter().map(|round| &round[name]).collect();
        figures.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        (name.clone(), figures[figures.len() / 2].clone())
    };
    rounds[0].keys().map(of).collect()
}

fn medians(ratios: &[(&str, Vec<f64>)]) -> Value {
    let median = |values: &Vec<f64>| {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    ratios.iter().map(|(name, values)| (*name, median(values))).collect()
}

/// Without Python there is nothing to compare with.
fn rate(figures: &Value) -> f64 {
    figures["events_per_second"].as_f64().unwrap_or(f64::NAN)
}

fn p50(figures: &Value) -> f64 {
    figures["p50_us"].as_f64().unwrap_or(f64::NAN)
}

fn round(dir: &Path) -> Round {
    let part = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let file = |name: &str| OpenOptions::new().create(true).append(true).open(dir.join(name)).unwrap();
    // A single caller's costs differ by microseconds only: these alternate faster still.
    const TURNS: u32 = 3;
    let (mut bare, mut guards, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_file, mut guards_file) = (Bare(file("bare")), Guards::open(&part("guards")));
    let mut our_log = Ours::open(&part("ours-1"));
    for _ in 0..TURNS {
        bare.extend(run(&mut bare_file, LONG / TURNS));
        guards.extend(run(&mut guards_file, LONG / TURNS));
        ours.extend(run(&mut our_log, LONG / TURNS));
    }
    let measured = [
        (BARE, figures(bare, LONG)),
        (GUARDS, figures(guards, LONG)),
        ("1_caller", figures(ours, LONG)),
        (PYTHON, python(&part("python"))),
        ("8_callers", threads(&part("ours-8"), 8)),
        ("8_callers_bare_group_commit", group_commit(&file("group-8"), 8)),
        ("64_callers", threads(&part("ours-64"), 64)),
        ("64_callers_bare_group_commit", group_commit(&file("group-64"), 64)),
        ("8_tasks", tasks(&part("tasks-8"), 8)),
        ("8_lines_with_nobody_to_wake", whole_groups(file("whole-8"), 8)),
        ("64_tasks", tasks(&part("tasks-64"), 64)),
        ("64_lines_with_nobody_to_wake", whole_groups(file("whole-64"), 64)),
        ("permit_and_finish_1_caller", permits(&part("permits"))),
        (INSIDE, processes("sync-inside", &part("inside"))),
        ("4_processes", processes("ours", &part("ours-4p"))),
        ("4_processes_bare_lock_checks_write_and_sync", processes("guards", &part("guards-4p"))),
    ];
    measured.map(|(name, figures)| (name.to_owned(), figures)).into_iter().collect()
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

/// The callers that a server has: tasks, on a runtime like that of `entrabot serve`.
fn tasks(dir: &Path, count: usize) -> Value {
    let log = open(dir);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let begin = Instant::now();
    let task = |log: AuditLog| async move {
        let (entry, mut took) = (entry(), Vec::with_capacity(100_000));
        while begin.elapsed() < LONG {
            let start = Instant::now();
            log.log_event_async(&entry).await.unwrap();
            took.push(start.elapsed());
        }
        took
    };
    let tasks: Vec<_> = (0..count).map(|_| runtime.spawn(task(log.clone()))).collect();
    let took = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
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
