//! The commands that read the log and set it right.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use common::{AGENT, Home};
use entrabot_audit::{
    AttributionChain, AuditLog, AuditOptions, Auditable, Config, Permit, ServerName, Session, Subject,
    ToolName,
};
use entrabot_keystore::private_keyring::Mode;
use serde_json::Value;

const OTHER: &str = "00000000-0000-4000-8000-00000000000d";

fn home() -> Home {
    let mut home = Home::with_directories(Mode::Encrypted);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    home
}

fn append(home: &Home, action: &str, outcome: &str) -> String {
    let arguments = ["audit", "append", "--action", action, "--resource", "r", "--outcome", outcome];
    home.run(&arguments).expect(0).text().trim_end().to_owned()
}

fn events(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let text = home.run(&[&["audit"], arguments, &["--json"]].concat()).expect(0).text();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn found(home: &Home, filter: &[&str]) -> Vec<String> {
    let events = events(home, &[&["query"], filter].concat());
    events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

struct Call;

impl Auditable for Call {
    fn subject(&self) -> Subject {
        Subject::WorkIq {
            server: ServerName::parse("mcp_MailTools").unwrap(),
            tool: ToolName::parse("SendMail").unwrap(),
        }
    }
}

/// A call as the server makes it, in the log of this home.
fn permit(home: &Home) -> Permit<Call> {
    let config = Config::from_variables([("ENTRABOT_AGENT_ID", AGENT)]).unwrap();
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let options = AuditOptions::new(&home.path("audit"), &home.path("data"));
    AuditLog::open(options, who).unwrap().permit(Call).unwrap()
}

#[test]
fn a_query_finds_by_time_action_outcome_agent_and_call_as_text_and_as_json() {
    let mut home = home();
    let first = append(&home, "report.sent", "success");
    let second = append(&home, "report.read", "failure");
    home.set("ENTRABOT_AGENT_ID", OTHER);
    let third = append(&home, "mail.sent", "success");
    let call = permit(&home);
    let (call_id, pending) = (call.recorded().call_id.to_string(), call.recorded().event_id.to_string());
    assert_eq!(call.finish(Ok::<_, ()>(())).into_result().ok(), Some(()));
    let all = events(&home, &["query"]);
    assert_eq!(all.len(), 5);
    let time_of = |id: &str| {
        let event = all.iter().find(|event| event["event_id"] == *id).unwrap();
        event["timestamp"].as_str().unwrap().to_owned()
    };

    // From a time on, and before one.
    let (from, to) = (time_of(&second), time_of(&third));
    assert_eq!(found(&home, &["--since", &from, "--until", &to]), [second.as_str()]);
    assert_eq!(found(&home, &["--until", &from]), [first.as_str()]);
    assert_eq!(found(&home, &["--since", "2999-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(found(&home, &["--action", "report.read"]), [second.as_str()]);
    assert_eq!(found(&home, &["--action", "report.*"]), [first.as_str(), &second]);
    assert_eq!(found(&home, &["--outcome", "failure"]), [second.as_str()]);
    assert_eq!(found(&home, &["--agent", OTHER]), [third.as_str()]);
    assert_eq!(
        found(&home, &["--agent", AGENT, "--outcome", "success", "--source", "cli"]),
        [first.as_str()]
    );
    assert_eq!(found(&home, &["--event-id", &third]), [third.as_str()]);
    // A call: its pending and its outcome, whichever case the id is written in.
    let calls = events(&home, &["query", "--call-id", &call_id.to_uppercase()]);
    assert_eq!(calls.len(), 2);
    assert_eq!((&calls[0]["event_id"], &calls[0]["outcome"]), (&Value::from(pending), &"pending".into()));
    assert_eq!((&calls[1]["src"], &calls[1]["outcome"]), (&"transport".into(), &"success".into()));
    assert_eq!(found(&home, &["-n", "2"]), [first.as_str(), &second]);
    assert_eq!(found(&home, &["--no-index", "--agent", OTHER]), [third.as_str()]);

    // For a person: a line for each, with what it says.
    let text = home.run(&["audit", "query", "--agent", AGENT, "--source", "cli"]).expect(0).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, words) in
        lines.iter().zip([[&first, "report.sent", "success"], [&second, "report.read", "failure"]])
    {
        assert!(line.starts_with(&time_of(words[0])), "{line}");
        assert!(words.iter().chain(&[AGENT, "cli", "agent"]).all(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn tail_shows_the_last_records_and_follow_shows_each_as_it_comes() {
    let home = home();
    let ids: Vec<String> = (0..3).map(|_| append(&home, "a", "success")).collect();
    let shown: Vec<Value> = events(&home, &["tail", "-n", "2"]);
    assert_eq!(shown.iter().map(|event| event["event_id"].as_str().unwrap()).collect::<Vec<_>>(), &ids[1..]);
    for arguments in
        [&["audit", "tail", "-f", "-n", "1"][..], &["audit", "tail", "--follow", "-n", "1", "--json"]]
    {
        let mut child = home.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let before = lines.next().unwrap();
        let new = append(&home, "b", "failure");
        let line = lines.next().unwrap();
        // As the server writes: pending first, then its outcome.
        let call = permit(&home);
        let pending = lines.next().unwrap();
        drop(call);
        let outcome = lines.next().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!before.contains(&new) && line.contains(&new) && line.contains("failure"), "{line}");
        assert!(pending.contains("pending") && outcome.contains("failure"), "{pending} {outcome}");
        let json = arguments.contains(&"--json");
        assert!([line, pending, outcome].iter().all(|line| line.starts_with('{') == json));
    }
}

#[test]
fn a_checkpoint_seals_all_that_is_on_record_and_status_says_how_the_log_stands() {
    let home = home();
    append(&home, "a", "success");
    drop(permit(&home));
    let status = events(&home, &["status"]).remove(0);
    assert_eq!((&status["events"], &status["unsealed_events"]), (&3.into(), &2.into()), "{status}");
    assert_eq!(
        (&status["files"], &status["keys"], &status["sealed_lines"]),
        (&1.into(), &1.into(), &1.into())
    );
    let note = home.run(&["audit", "checkpoint"]).expect(0).text();
    // A signed note: origin, size, root, chain, an empty line, the signature.
    let lines: Vec<&str> = note.lines().collect();
    assert!(
        lines[0].starts_with("entrabot.audit/") && lines[1] == "3" && lines[3].starts_with("chain "),
        "{note}"
    );
    assert!(lines[4].is_empty() && lines[5].starts_with("\u{2014} entrabot.audit/"), "{note}");
    let again = home.run(&["audit", "checkpoint"]).expect(0).text();
    assert!(again.contains("covers all 3 lines"), "{again}");
    let status = events(&home, &["status"]).remove(0);
    assert_eq!((&status["sealed_lines"], &status["anchored_lines"]), (&3.into(), &3.into()), "{status}");
    assert_eq!(status["unsealed_events"], 0);
    let text = home.run(&["audit", "status"]).expect(0).text();
    assert!(text.contains("sealed_lines") && text.contains("anchored_lines"), "{text}");
    let report = events(&home, &["verify"]).remove(0);
    assert_eq!((&report["level"], &report["sealed_lines"]), (&"anchored".into(), &3.into()));
}

#[test]
fn orphans_are_closed_and_calls_of_a_living_process_are_left_alone() {
    let home = home();
    let call = permit(&home);
    let call_id = call.recorded().call_id.to_string();
    let close = || events(&home, &["close-orphans"]).remove(0)["closed"].clone();
    assert_eq!(close(), Value::Array(Vec::new()), "this process is at work");
    // As if it had been killed: the word that it lives is gone, and nobody closes the call.
    let _killed = std::mem::ManuallyDrop::new(call);
    fs::remove_dir_all(home.path("data/audit-owners")).unwrap();
    let report = events(&home, &["verify"]).remove(0);
    assert_eq!((&report["ok"], &report["pending_without_outcome"]), (&true.into(), &1.into()));
    assert_eq!(report["pending"][0]["call_id"], *call_id);
    let closed = close();
    assert_eq!(
        (closed.as_array().unwrap().len(), &closed[0]["call_id"]),
        (1, &Value::from(call_id.as_str()))
    );
    let lines = events(&home, &["query", "--call-id", &call_id]);
    assert_eq!((&lines[1]["outcome"], &lines[1]["src"]), (&"failure".into(), &"system".into()));
    assert_eq!(lines[0]["metadata"], lines[1]["metadata"], "nothing is added to what a Work IQ record says");
    assert_eq!(close(), Value::Array(Vec::new()));
    let report = events(&home, &["verify"]).remove(0);
    assert_eq!((&report["ok"], &report["pending_without_outcome"]), (&true.into(), &0.into()));
}

fn day_files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

#[test]
fn case_24_a_clock_that_stepped_back_stops_the_log_until_somebody_accepts_it_on_record() {
    let home = home();
    append(&home, "a", "success");
    // The log goes on in the year 2999, as it would behind a clock that was wrong.
    let line = r#"{"event_id": "x", "timestamp": "2999-01-01T00:00:00.000000+00:00", "agent_id": "a", "action": "x", "resource": "y", "outcome": "success", "attribution_type": "agent", "metadata": {}}"#;
    fs::write(home.path("audit/2999-01-01.jsonl"), format!("{line}\n")).unwrap();
    let arguments = ["audit", "append", "--action", "b", "--resource", "r", "--outcome", "success"];
    let refused = home.run(&arguments).expect(7);
    assert!(refused.stdout.is_empty(), "{refused:?}");
    for word in ["2999-01-01.jsonl", "hint: ", "audit resume --accept-clock"] {
        assert!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    home.run(&["audit", "resume"]).expect(2);
    let id = home.run(&["audit", "resume", "--accept-clock"]).expect(0).text();
    assert_eq!(id.trim_end().len(), 36);
    append(&home, "b", "success");
    let events = events(&home, &["query", "--source", "system"]);
    let actions: HashSet<&str> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, HashSet::from(["audit.clock_accepted", "audit.resumed"]));
    let accepted = events.iter().find(|event| event["action"] == "audit.clock_accepted").unwrap();
    assert!(accepted["metadata"]["last"].as_str().unwrap().starts_with("2999-01-01"), "{accepted}");
    assert_eq!(day_files(&home.path("audit")).len(), 2, "nothing is written behind the newest file");
    assert_eq!(home.run(&["audit", "verify"]).expect(0).code, Some(0));
}
