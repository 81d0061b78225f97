//! What happens when system calls fail: strace injects an error at each one in turn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Stdio};

use common::Home;
use common::children::{acknowledged, append_loop, has_strace, ids};
use entrabot_audit::{VerifyOptions, verify_with};

/// Runs the appending example under strace with these options; whether it succeeded, what was acknowledged, what it
/// said.
fn under_strace(home: &Home, options: &[&str], log: &str, mode: &str) -> Option<(bool, Vec<String>, String)> {
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", log])
        .args(options)
        .arg(append_loop())
        .arg(home.dir.path())
        .arg(mode)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let ids = acknowledged(&mut child);
    let output = child.wait_with_output().unwrap();
    Some((output.status.success(), ids, String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn with_fault(home: &Home, inject: &str) -> Option<(bool, Vec<String>, String)> {
    under_strace(home, &["-e", inject], "/dev/null", "3")
}

/// A log with one record, and the paths whose system calls count.
fn target() -> (Home, Vec<String>) {
    let home = Home::new();
    home.open().log_event(&common::entry(0)).unwrap();
    // A writer without the lock was seen here, so that batches are announced.
    std::fs::write(home.audit().join(".lock"), "others\n").unwrap();
    let paths = [home.audit(), home.audit().join(".lock"), home.day_file()]
        .iter()
        .flat_map(|path| ["-P".to_owned(), path.display().to_string()])
        .collect();
    (home, paths)
}

/// Every system call that touches the directory, the lock or the day file, as often as it happens.
fn calls_that_touch_the_directory(mode: &str) -> Vec<(String, u32)> {
    let (home, paths) = target();
    let trace = home.dir.path().join("trace");
    let options: Vec<&str> = paths.iter().map(String::as_str).collect();
    under_strace(&home, &options, &trace.display().to_string(), mode).unwrap();
    count_calls(&trace)
}

/// How often each call stands in a trace.
fn count_calls(trace: &std::path::Path) -> Vec<(String, u32)> {
    let mut calls: Vec<(String, u32)> = Vec::new();
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        // `1234  openat(AT_FDCWD, ...`
        let Some((name, _)) = line.split_once('(') else { continue };
        let name = name.split_ascii_whitespace().next_back().unwrap_or_default().to_owned();
        match calls.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            // Closing is done by dropping; nothing depends on what it says.
            None if name == "close" => {}
            None => calls.push((name, 1)),
        }
    }
    calls
}

#[test]
fn case_09_case_10_case_12_case_13_every_system_call_that_touches_the_directory_may_fail() {
    if !has_strace() {
        return;
    }
    may_fail("3", 3, "fstat");
}

#[test]
fn case_09_case_10_case_12_case_13_every_system_call_of_a_batch_may_fail() {
    if has_strace() {
        may_fail("batch", 5, "pwrite64");
    }
}

/// Each call of a run in this mode fails in turn, in each of three ways.
fn may_fail(mode: &str, records: usize, also: &str) {
    let calls = calls_that_touch_the_directory(mode);
    for needed in ["openat", "flock", "statx", "write", "lseek", "fdatasync", "pread64", also] {
        assert!(calls.iter().any(|(call, _)| call == needed), "{needed} is not among {calls:?}");
    }
    let faults = calls.iter().flat_map(|(call, count)| (1..=*count).map(move |when| (call, when)));
    let errors = ["EIO", "ENOSPC", "EINTR"];
    let faults = faults.flat_map(|fault| errors.map(|error| (fault, error)));
    for ((call, when), error) in faults {
        let (home, paths) = target();
        let inject = format!("inject={call}:error={error}:when={when}");
        let mut options: Vec<&str> = paths.iter().map(String::as_str).collect();
        options.extend(["-e", &inject]);
        let (succeeded, acknowledged, said) = under_strace(&home, &options, "/dev/null", mode).unwrap();
        let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
        assert!(report.ok, "{inject}: {report:?}");
        let ids = ids(&home.audit());
        assert!(acknowledged.iter().all(|id| ids.get(id) == Some(&1)), "{inject}");
        assert_eq!(succeeded, acknowledged.len() == records, "{inject}: {said}");
        assert!(!said.contains("panicked"), "{inject}: {said}");
        if call == "fdatasync" {
            // Never retried, never acknowledged after: the log has stopped.
            let synced = (when as usize - 1) * if mode == "batch" { records } else { 1 };
            assert_eq!((succeeded, acknowledged.len()), (false, synced), "{inject}: {said}");
        }
        if error == "EINTR" && ["flock", "write", "openat", "pwrite64"].contains(&call.as_str()) {
            assert!(succeeded, "{inject}: {said}");
        }
        if call == "write" && error != "EINTR" {
            assert!(!succeeded && said.contains("append to") && said.contains(".jsonl"), "{inject}: {said}");
        }
        home.open().log_event(&common::entry(1)).unwrap();
        assert!(verify_with(&home.audit(), &VerifyOptions::new()).unwrap().ok, "{inject}");
    }
}

/// A home with nothing but a key, its log sealed by that key.
fn with_key() -> Home {
    let home = Home::new();
    let key = entrabot_audit::generate_signing_key().unwrap();
    std::fs::write(home.dir.path().join("key.pem"), key.expose()).unwrap();
    home
}

/// From nothing: directories, lock, day file, public key, checkpoints, anchor and cache are made under faults. Counts
/// every call of the process, also of those that load it.
fn a_fault_while_a_sealed_log_is_made_never_looks_like_tampering(chosen: impl Fn(usize) -> bool) {
    let home = with_key();
    let trace = home.dir.path().join("trace");
    under_strace(&home, &[], &trace.display().to_string(), "sealed").unwrap();
    let touching = [
        "mkdirat",
        "openat",
        "fchmod",
        "statx",
        "fstat",
        "flock",
        "write",
        "lseek",
        "pread64",
        "fdatasync",
        "fsync",
        "renameat",
        "unlinkat",
        "getdents64",
    ];
    let calls: Vec<_> =
        count_calls(&trace).into_iter().filter(|(call, _)| touching.contains(&call.as_str())).collect();
    assert!(calls.len() >= touching.len() - 1, "{calls:?}");
    let faults = calls.iter().flat_map(|(call, count)| (1..=*count).map(move |when| (call, when)));
    let faults = faults.flat_map(|fault| ["EIO", "ENOSPC", "EINTR"].map(|error| (fault, error)));
    for (_, ((call, when), error)) in faults.enumerate().filter(|(index, _)| chosen(*index)) {
        let home = with_key();
        let inject = format!("inject={call}:error={error}:when={when}");
        let (_, acknowledged, said) = under_strace(&home, &["-e", &inject], "/dev/null", "sealed").unwrap();
        assert!(!said.contains("panicked"), "{inject}: {said}");
        let options = VerifyOptions::new().with_data_dir(&home.data());
        if home.audit().exists() {
            let report = verify_with(&home.audit(), &options).unwrap();
            assert!(report.ok, "{inject}: {report:?} {said}");
            let ids = ids(&home.audit());
            assert!(acknowledged.iter().all(|id| ids.get(id) == Some(&1)), "{inject}");
        }
        // Whoever comes next goes on and seals all of it.
        let policy = entrabot_audit::SigningPolicy::File(home.dir.path().join("key.pem"));
        let log = entrabot_audit::AuditLog::open(home.options().with_signing(policy), common::who()).unwrap();
        log.log_event(&common::entry(1)).unwrap();
        log.checkpoint().unwrap_or_else(|error| panic!("{inject}: {error}; before: {said}"));
        let report = verify_with(&home.audit(), &options).unwrap();
        assert!(report.ok && report.sealed_lines == report.events, "{inject}: {report:?}");
    }
}

#[test]
fn case_09_case_13_case_37_a_failing_call_while_a_sealed_log_is_made_never_looks_like_tampering() {
    if has_strace() {
        a_fault_while_a_sealed_log_is_made_never_looks_like_tampering(|index| index % 59 == 7);
    }
}

#[test]
#[ignore = "every fault at every system call"]
fn case_09_case_13_case_37_every_call_while_a_sealed_log_is_made_may_fail() {
    if has_strace() {
        a_fault_while_a_sealed_log_is_made_never_looks_like_tampering(|_| true);
    }
}

#[test]
fn case_13_after_a_failed_sync_the_log_takes_nothing_any_more() {
    if !has_strace() {
        return;
    }
    let home = Home::new();
    let (succeeded, acknowledged, said) = with_fault(&home, "inject=fdatasync:error=EIO:when=2").unwrap();
    assert_eq!((succeeded, acknowledged.len()), (false, 1), "{said}");
    assert!(said.contains("sync"), "{said}");
}

#[test]
fn case_51_a_file_system_that_cannot_lock_takes_no_record() {
    if !has_strace() {
        return;
    }
    for error in ["ENOLCK", "EOPNOTSUPP"] {
        let home = Home::new();
        let inject = format!("inject=flock:error={error}:when=1+");
        let (succeeded, acknowledged, said) = with_fault(&home, &inject).unwrap();
        assert_eq!((succeeded, acknowledged.len()), (false, 0), "{said}");
        assert!(said.contains("lock") && !said.contains("panicked"), "{said}");
        assert!(common::day_files(&home.audit()).is_empty());
    }
}
