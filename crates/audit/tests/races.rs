//! A writer without the lock, such as the Python original, that slips a line in front of a batch of ours, which then dies
//! before it can say so. What comes of that is told from a line that somebody put there later.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::children::{append_loop, has_strace};
use common::{Home, entry, foreign, python_verifier};
use entrabot_audit::{SigningPolicy, VerifyOptions, VerifyReport, generate_signing_key, verify_with};

/// What both verifiers say; they have to agree.
fn check(home: &Home) -> VerifyReport {
    let report = verify_with(&home.audit(), &VerifyOptions::new().with_data_dir(&home.data())).unwrap();
    let theirs = python_verifier(home);
    assert_eq!(theirs.status.success(), report.ok, "{report:?} {theirs:?}");
    report
}

fn lines(home: &Home) -> Vec<String> {
    fs::read_to_string(home.day_file()).unwrap().lines().map(str::to_owned).collect()
}

fn put(home: &Home, lines: &[String]) {
    fs::write(home.day_file(), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// A batch of five on its way to the disk: held up for a second right before its write, and killed right after it.
fn doomed_batch(home: &Home) -> Child {
    let inject = ["inject=write:delay_enter=1000000:when=1", "inject=lseek:signal=KILL:when=1"];
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", inject[0], "-e", inject[1], "-P"])
        .arg(home.day_file())
        .args([append_loop().as_path(), home.dir.path(), Path::new("batch")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn add(home: &Home, line: &str) {
    home.add(format!("{line}\n").as_bytes());
}

/// Lets a line slip in front of a batch of five whose writer dies before it can say so.
fn race(home: &Home, slipped: &str) {
    let (before, lock) = (lines(home).len(), home.audit().join(".lock"));
    assert_eq!(fs::read(&lock).unwrap(), b"others\n");
    let batch = doomed_batch(home);
    // It is announced when nothing but the write is left to be done.
    let begin = Instant::now();
    while fs::read(&lock).unwrap() == b"others\n" {
        assert!(begin.elapsed() < Duration::from_secs(20), "no batch was announced");
        std::thread::sleep(Duration::from_millis(2));
    }
    add(home, slipped);
    let output = batch.wait_with_output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let lines = lines(home);
    assert_eq!((lines.len(), lines[before].as_str()), (before + 6, slipped), "{lines:#?}");
}

/// So many lines of ours in a directory where somebody without the lock was seen before.
fn written(count: usize) -> Home {
    let home = Home::new();
    fs::create_dir(home.audit()).unwrap();
    fs::write(home.audit().join(".lock"), "others\n").unwrap();
    let log = home.open();
    (0..count).for_each(|number| assert!(log.log_event(&entry(number)).is_ok()));
    home
}

#[test]
fn case_29_batches_are_announced_once_a_writer_without_the_lock_was_seen() {
    let home = Home::new();
    let batch = || {
        let entries: Vec<_> = (0..3).map(entry).collect();
        home.open().log_events(&entries, |_, id| assert!(id.is_ok())).unwrap();
        fs::read_to_string(home.audit().join(".lock")).unwrap()
    };
    assert_eq!(batch(), "", "nobody else was ever here");
    add(&home, &foreign(1));
    // Each line goes alone beside it, so that none is to be announced.
    assert_eq!(batch(), "others\n");
    // The next day's.
    let today = home.day_file();
    fs::rename(&today, today.with_file_name("2024-01-01.jsonl")).unwrap();
    let announced = batch();
    assert!(announced.ends_with('\n') && announced.contains(".jsonl 0 3 "), "{announced}");
}

#[test]
fn case_29_a_batch_that_was_raced_and_whose_writer_died_is_no_tampering_and_the_next_append_explains_it() {
    if !has_strace() {
        return;
    }
    let home = written(2);
    race(&home, &foreign(1));
    let report = check(&home);
    assert!(report.ok && report.warnings.iter().any(|warning| warning.contains("slipped")), "{report:?}");
    // The one without the lock goes on.
    add(&home, &foreign(2));
    assert!(check(&home).ok);
    home.open().log_event(&entry(8)).unwrap();
    let said = home.lines();
    assert_eq!(said[9]["action"], "audit.raced");
    assert_eq!(said[9]["metadata"]["lines"], 5);
    assert_eq!(said[9]["metadata"]["foreign_bytes"], foreign(1).len() + 1);
    let report = check(&home);
    assert_eq!((report.ok, report.events, report.foreign), (true, 9, 2), "{report:?}");
    assert!(report.warnings.is_empty(), "{report:?}");
    // Said once; and whoever comes later finds the chain's end, between foreign lines too.
    for number in 3..6 {
        add(&home, &foreign(number));
        home.open().log_event(&entry(9)).unwrap();
        assert!(check(&home).ok);
    }
    assert_eq!(home.lines().iter().filter(|line| line["action"] == "audit.raced").count(), 1);
    let mut without = lines(&home);
    without.retain(|line| !line.contains("audit.raced"));
    put(&home, &without);
    assert!(!check(&home).ok, "the record is needed");
}

#[test]
fn case_29_a_process_that_was_there_all_along_explains_the_race_of_one_that_died() {
    if !has_strace() {
        return;
    }
    let home = written(1);
    let survivor = home.open();
    survivor.log_event(&entry(1)).unwrap();
    race(&home, &foreign(1));
    survivor.log_event(&entry(2)).unwrap();
    assert_eq!(home.lines()[8]["action"], "audit.raced");
    assert!(check(&home).ok);
}

#[test]
fn case_30_a_line_put_in_later_is_no_race_wherever_it_is_put() {
    if !has_strace() {
        return;
    }
    let home = written(2);
    race(&home, &foreign(1));
    let whole = lines(&home);
    let announced = fs::read_to_string(home.audit().join(".lock")).unwrap();
    let mut without = whole.clone();
    without.remove(2);
    put(&home, &without);
    assert!(check(&home).ok);
    // In front of the last line alone nothing tells it from a race (the next line of ours does), nor in front of the
    // last batch: that is where this one was.
    for at in [0, 1, 3, 4, 5] {
        let mut forged = without.clone();
        forged.insert(at, foreign(1));
        put(&home, &forged);
        assert!(!check(&home).ok, "in front of line {at}");
        home.open().log_event(&entry(9)).unwrap();
        assert!(!check(&home).ok, "in front of line {at}, and the log went on");
    }
    // Nor is it one where nothing, or another batch, was announced.
    put(&home, &whole);
    let (front, prev) = announced.trim_end().rsplit_once(' ').unwrap();
    let another: String = prev.chars().rev().collect();
    for other in ["", &announced.replace(" 5 ", " 4 "), &format!("{front} {another}\n")] {
        fs::write(home.audit().join(".lock"), other).unwrap();
        assert!(!check(&home).ok, "{other}");
    }
}

#[test]
fn case_30_a_line_put_in_front_of_a_batch_that_the_log_went_on_behind_is_found() {
    for sealed in [false, true] {
        let home = Home::new();
        let pem = home.dir.path().join("key.pem");
        fs::write(&pem, generate_signing_key().unwrap().expose()).unwrap();
        let options = home.options().with_signing(SigningPolicy::File(pem));
        let log = entrabot_audit::AuditLog::open(options, common::who()).unwrap();
        log.log_event(&entry(0)).unwrap();
        let entries: Vec<_> = (0..5).map(entry).collect();
        log.log_events(&entries, |_, id| assert!(id.is_ok())).unwrap();
        if sealed {
            log.checkpoint().unwrap();
        } else {
            log.log_event(&entry(6)).unwrap();
        }
        drop(log);
        let mut lines = lines(&home);
        lines.insert(1, foreign(1));
        put(&home, &lines);
        assert!(!check(&home).ok, "sealed: {sealed}");
        home.open().log_event(&entry(7)).unwrap();
        assert!(!check(&home).ok, "sealed: {sealed}, and the log went on");
    }
}
