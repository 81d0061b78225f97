//! Queries over the large log: the real program, from the start of its process to its end, all its output read.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Map, Value, json};

const RUNS: usize = 15;

/// `dir` holds `audit` and `data`; says nothing when the program was not built beside this one.
pub(crate) fn measure(dir: &Path) -> Value {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("entrabot");
    if !program.exists() {
        return json!(null);
    }
    let ask = |terms: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(["audit", "query", "--json"])
            .args(terms)
            .env("HOME", dir)
            .env("ENTRABOT_AUDIT_DIR", dir.join("audit"))
            .env("ENTRABOT_DATA_DIR", dir.join("data"))
            .stderr(Stdio::inherit());
        let start = Instant::now();
        let output = command.output().unwrap();
        let took = start.elapsed().as_secs_f64() * 1000.0;
        assert!(output.status.success());
        (took, output.stdout)
    };
    let failed = ["--outcome", "failure"];
    let (scan_ms, found) = ask(&[&failed[..], &["--no-index"]].concat());
    let (first_ms, again) = ask(&failed);
    assert!(found == again, "the index finds what reading finds");
    let lines: Vec<Value> =
        found.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let middle = &lines[lines.len() / 2];
    let text = |line: &Value, member: &str| line[member].as_str().unwrap().to_owned();
    let (call, event) = (text(middle, "call_id"), text(middle, "event_id"));
    let (since, until) = (text(middle, "timestamp"), text(&lines[lines.len() / 2 + 20], "timestamp"));
    let mut report = Map::new();
    report.insert("every_line_read_ms".into(), json!(scan_ms));
    report.insert("index_made_on_the_way_ms".into(), json!(first_ms));
    for (name, terms) in [
        ("agent", &["--agent", crate::large::OTHER_AGENT][..]),
        ("tool", &["--action", "a365.mcp_MailTools.SendMail"]),
        ("outcome", &failed),
        ("tool_and_outcome", &["--action", "a365.mcp_Word*", "--outcome", "failure"]),
        ("call_id", &["--call-id", &call]),
        ("event_id", &["--event-id", &event]),
        ("time_range", &["--since", &since, "--until", &until]),
        ("first_100", &["-n", "100"]),
    ] {
        let mut runs: Vec<(f64, Vec<u8>)> = (0..RUNS).map(|_| ask(terms)).collect();
        runs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let hits = runs[0].1.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert!(hits > 0, "{name} finds something");
        let figures = json!({"hits": hits, "median_ms": runs[RUNS / 2].0, "worst_ms": runs[RUNS - 1].0});
        report.insert(name.into(), figures);
    }
    Value::Object(report)
}
