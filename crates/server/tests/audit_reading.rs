//! What an auditor takes away: the page, and the log in other formats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{AGENT, Home};
use entrabot_keystore::private_keyring::Mode;

/// A home with a log of three records, sealed.
fn home_with_a_log() -> Home {
    let mut home = Home::with_directories(Mode::Encrypted);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    for outcome in ["success", "failure", "success"] {
        let arguments =
            ["audit", "append", "--action", "test.act", "--resource", "a thing", "--outcome", outcome];
        home.run(&arguments).expect(0);
    }
    home
}

/// Changes a record of that log.
fn tamper(home: &Home) {
    let day = fs::read_dir(home.path("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    fs::write(&day, fs::read_to_string(&day).unwrap().replacen("a thing", "b thing", 1)).unwrap();
}

#[test]
fn the_report_is_a_private_page_that_tells_of_its_checkpoint() {
    let home = home_with_a_log();
    let file = home.path("report.html");
    let answer = home.run(&["audit", "report", "--html", "report.html", "--json"]).expect(0).json();
    assert_eq!((&answer["events"], &answer["intact"]), (&3.into(), &true.into()), "{answer}");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("The log is intact, signed and anchored") && page.contains("chain "), "{page}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // To stdout, and only what is asked for.
    let page = home.run(&["audit", "report", "--html", "-", "--action", "other.*"]).expect(0).text();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Nothing is on record here."), "{page}");
}

#[test]
fn the_report_of_a_log_that_is_not_intact_is_made_and_exits_with_1() {
    let home = home_with_a_log();
    tamper(&home);
    let finished = home.run(&["audit", "report", "--html", "report.html"]).expect(1);
    assert!(finished.stderr.contains("not intact"), "{finished:?}");
    assert!(fs::read_to_string(home.path("report.html")).unwrap().contains("The log is not intact"));
}

#[test]
fn the_report_refuses_to_replace_what_is_no_file_and_a_missing_log() {
    let home = home_with_a_log();
    fs::create_dir(home.path("folder")).unwrap();
    for arguments in [
        ["audit", "report", "--html", "folder"].as_slice(),
        &["audit", "report", "--html", "x", "--dir", "nowhere"],
    ] {
        let finished = home.run(arguments).expect(2);
        assert!(finished.stderr.contains("folder") || finished.stderr.contains("nowhere"), "{finished:?}");
    }
    assert!(!home.path("x").exists());
}

#[test]
fn the_log_is_exported_in_every_format_to_stdout_or_to_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = home_with_a_log();
    for (format, lines, holds) in [
        ("jsonl", 3, "\"action\":\"test.act\""),
        ("otlp-json", 1, "\"resourceLogs\""),
        ("ocsf", 3, "\"class_uid\":6003"),
        ("aat", 5, "\"sig_alg\":\"ES256\""),
    ] {
        let text = home.run(&["audit", "export", "--format", format]).expect(0).text();
        assert_eq!(text.lines().count(), lines, "{format}: {text}");
        assert!(text.contains(holds), "{format}: {text}");
        let file = home.path(format);
        let arguments =
            ["audit", "export", "--format", format, "-o", format, "--outcome", "failure", "--json"];
        let answer = home.run(&arguments).expect(0).json();
        let written = fs::read_to_string(&file).unwrap();
        assert_eq!(answer["lines"], written.lines().count(), "{format}");
        assert!(written.lines().count() < lines || format == "otlp-json", "{format}: {written}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_checkpoint_is_the_signed_note_whole_and_there_is_none_of_a_part() {
    let home = home_with_a_log();
    let note = home.run(&["audit", "export", "--format", "checkpoint"]).expect(0).text();
    assert!(
        note.starts_with("entrabot.audit/") && note.contains("\n3\n") && note.contains("\n\n\u{2014} "),
        "{note}"
    );
    home.run(&["audit", "export", "--format", "checkpoint", "--agent", AGENT]).expect(2);
    fs::create_dir(home.path("bare")).unwrap();
    let finished = home.run(&["audit", "export", "--format", "checkpoint", "--dir", "bare"]).expect(1);
    assert!(finished.stderr.contains("hint: "), "{finished:?}");
}

#[test]
fn an_export_that_fails_leaves_no_file_behind() {
    let mut home = home_with_a_log();
    home.set("ENTRABOT_AUDIT_SIGNING", "off");
    home.run(&["audit", "export", "--format", "aat", "-o", "trail"]).expect(2);
    assert!(!home.path("trail").exists());
    let left: Vec<_> =
        fs::read_dir(home.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".tmp")), "{left:?}");
}

#[test]
fn the_doctor_tells_of_a_broken_chain_and_of_the_room_left() {
    let home = home_with_a_log();
    let look = || home.run(&["doctor", "--json"]).json();
    let check = |checks: &serde_json::Value, name: &str| {
        checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone()
    };
    let sound = look();
    assert_eq!(check(&sound, "audit chain")["status"], "pass", "{sound}");
    assert!(check(&sound, "audit chain")["detail"].as_str().unwrap().contains("anchored"), "{sound}");
    assert_ne!(check(&sound, "disk space")["status"], "skip", "{sound}");
    assert_eq!(check(&sound, "other instances")["status"], "pass", "{sound}");
    tamper(&home);
    let broken = look();
    assert_eq!(check(&broken, "audit chain")["status"], "fail", "{broken}");
}

/// Days of a writer without a chain, as the Python original left them, and then one of ours.
fn home_with_old_days() -> Home {
    let mut home = Home::with_directories(Mode::Encrypted);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    fs::create_dir_all(home.path("audit")).unwrap();
    for day in ["2026-01-05", "2026-01-06", "2026-02-01"] {
        let line = format!(
            r#"{{"event_id":"{day}","timestamp":"{day}T10:00:00+00:00","agent_id":"a","action":"old.act","resource":"r","outcome":"success","attribution_type":"agent","metadata":{{}}}}"#
        );
        fs::write(home.path("audit").join(format!("{day}.jsonl")), format!("{line}\n")).unwrap();
    }
    home.run(&["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"]).expect(0);
    home
}

#[test]
fn old_days_are_pruned_and_the_verification_says_so() {
    let home = home_with_old_days();
    let days = |home: &Home| {
        fs::read_dir(home.path("audit"))
            .unwrap()
            .filter(|entry| {
                entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "jsonl")
            })
            .count()
    };
    for wrong in [
        &["audit", "prune"][..],
        &["audit", "prune", "--before", "soon"],
        &["audit", "prune", "--keep-days", "1", "--before", "2026-01-01"],
    ] {
        home.run(wrong).expect(2);
    }
    let plan =
        home.run(&["audit", "prune", "--before", "2026-03-01", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((plan["lines"].as_u64(), days(&home)), (Some(3), 4), "{plan}");
    let answer = home.run(&["audit", "prune", "--before", "2026-03-01", "--json"]).expect(0).json();
    assert_eq!(answer["days"], plan["days"]);
    assert!(answer["tombstone"].as_str().unwrap().contains("\npruned-by uid "), "{answer}");
    assert_eq!(days(&home), 1);
    let verified = home.run(&["audit", "verify", "--json"]).expect(0).json();
    assert_eq!(
        (&verified["level"], &verified["pruned"][0]["days"]),
        (&"anchored".into(), &3.into()),
        "{verified}"
    );
    assert!(home.run(&["audit", "verify"]).expect(0).text().contains("pruned: 2026-01-05 to 2026-02-01"));
    assert!(home.run(&["audit", "query", "--action", "old.act"]).expect(0).stdout.is_empty());
    // Nothing is left to do; and a day that goes without a tombstone is an alarm.
    let again = home.run(&["audit", "prune", "--keep-days", "0", "--json"]).expect(0).json();
    assert_eq!(again["days"], serde_json::json!([]));
    fs::remove_file(home.path("audit/checkpoints/tombstones.notes")).unwrap();
    home.run(&["audit", "verify"]).expect(1);
    let refused = home.run(&["audit", "prune", "--keep-days", "0", "--json"]).expect(1).json();
    assert_eq!(refused["error_type"], "AuditPruneError");
}
