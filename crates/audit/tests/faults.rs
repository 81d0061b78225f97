//! What happens when processes are killed, disks are full, and system calls fail.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod common;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::Home;
use entrabot_audit::{Query, Seen, VerifyOptions, query, verify_with};

/// The example that appends. `cargo test` of the whole package builds it; a run of this file alone does not.
fn append_loop() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let build = || {
        let tests = std::env::current_exe().unwrap();
        let target = tests.parent().unwrap().parent().unwrap();
        let path = target.join("examples/append_loop");
        if !path.exists() {
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--package",
                    "entrabot-audit",
                    "--example",
                    "append_loop",
                    "--target-dir",
                ])
                .arg(target.parent().unwrap())
                .status();
            assert!(built.unwrap().success() && path.exists(), "{} cannot be built", path.display());
        }
        path
    };
    BUILT.get_or_init(build).clone()
}

/// Ids of records, and how often each stands in the log.
fn ids(dir: &Path) -> HashMap<String, u32> {
    let mut ids = HashMap::new();
    query(dir, &Query::new(), |seen| {
        match seen {
            Seen::Event(event) => *ids.entry(event.event_id().to_owned()).or_default() += 1,
            other => panic!("{other:?}"),
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    ids
}

/// Reads the first id byte by byte, so that nothing of what follows is lost.
fn first_id(child: &mut Child) -> String {
    let mut line = [0; 37];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    String::from_utf8(line[..36].to_vec()).unwrap()
}

fn acknowledged(child: &mut Child) -> Vec<String> {
    // A line that was cut by the kill is no acknowledgement.
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.len() == 36)
        .collect()
}

#[test]
fn case_05_case_06_case_07_killed_appenders_lose_no_acknowledged_record() {
    let rounds = if std::env::var_os("ENTRABOT_TEST_LONG").is_some() { 100 } else { 6 };
    let home = Home::new();
    let mut all = Vec::new();
    for round in 0..rounds {
        let mut children: Vec<Child> = (0..4)
            .map(|n| {
                let mut command = Command::new(append_loop());
                command.arg(home.dir.path()).stdout(Stdio::piped());
                if n % 2 == 0 {
                    command.arg("permits");
                }
                command.spawn().unwrap()
            })
            .collect();
        // Each is at work before any is killed.
        for child in &mut children {
            all.push(first_id(child));
        }
        std::thread::sleep(Duration::from_millis(20 + round * 13 % 90));
        for child in &mut children {
            child.kill().unwrap();
        }
        for mut child in children {
            all.extend(acknowledged(&mut child));
            child.wait().unwrap();
        }
        let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
        assert!(report.ok, "round {round}: {report:?}");
    }
    // Whoever comes next goes on.
    home.open().log_event(common::entry(0)).unwrap();
    let report = verify_with(&home.audit(), &VerifyOptions::new().with_data_dir(&home.data())).unwrap();
    assert!(report.ok && report.torn_tail_bytes == 0, "{report:?}");
    assert!(report.pending.iter().all(|span| !span.in_flight));
    let ids = ids(&home.audit());
    assert!(all.len() > 20, "only {} records were acknowledged", all.len());
    for id in &all {
        assert_eq!(ids.get(id), Some(&1), "{id}");
    }
    home.open().close_orphans().unwrap();
    assert_eq!(verify_with(&home.audit(), &VerifyOptions::new()).unwrap().pending_without_outcome, 0);
}

#[test]
fn case_11_a_full_disk_refuses_and_works_again_when_there_is_room() {
    let home = Home::new();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "none"])
        .arg(home.dir.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: cannot mount a tmpfs");
        return;
    }
    let children: Vec<Child> = (0..4)
        .map(|_| {
            let mut command = Command::new(append_loop());
            command.arg(home.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut all = Vec::new();
    for mut child in children {
        all.extend(acknowledged(&mut child));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("StorageFull") && text.contains("jsonl"), "{text}");
    }
    let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
    let ids = ids(&home.audit());
    let resized =
        Command::new("mount").args(["-o", "remount,size=4m"]).arg(home.dir.path()).status().unwrap();
    let again = home.open().log_event(common::entry(1));
    let after = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
    Command::new("umount").arg("-l").arg(home.dir.path()).status().unwrap();
    assert!(report.ok, "{report:?}");
    assert!(all.len() > 500 && all.iter().all(|id| ids.get(id) == Some(&1)));
    assert!(resized.success() && again.is_ok() && after.ok, "{again:?} {after:?}");
}

/// Runs three appends under strace with these options; whether it succeeded, what was acknowledged, what it said.
fn under_strace(home: &Home, options: &[&str], log: &str) -> Option<(bool, Vec<String>, String)> {
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", log])
        .args(options)
        .arg(append_loop())
        .arg(home.dir.path())
        .arg("3")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let ids = acknowledged(&mut child);
    let output = child.wait_with_output().unwrap();
    Some((output.status.success(), ids, String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn with_fault(home: &Home, inject: &str) -> Option<(bool, Vec<String>, String)> {
    under_strace(home, &["-e", inject], "/dev/null")
}

fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if !has {
        println!("skipped: strace is not installed");
    }
    has
}

/// A log with one record, and the paths whose system calls count.
fn target() -> (Home, Vec<String>) {
    let home = Home::new();
    home.open().log_event(common::entry(0)).unwrap();
    let paths = [home.audit(), home.audit().join(".lock"), home.day_file()]
        .iter()
        .flat_map(|path| ["-P".to_owned(), path.display().to_string()])
        .collect();
    (home, paths)
}

/// Every system call that touches the directory, the lock or the day file, as often as it happens.
fn calls_that_touch_the_directory() -> Vec<(String, u32)> {
    let (home, paths) = target();
    let trace = home.dir.path().join("trace");
    let options: Vec<&str> = paths.iter().map(String::as_str).collect();
    under_strace(&home, &options, &trace.display().to_string()).unwrap();
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

fn a_fault_never_acknowledges_and_never_breaks_the_chain(chosen: impl Fn(usize) -> bool) {
    let calls = calls_that_touch_the_directory();
    for needed in ["openat", "flock", "fstat", "statx", "write", "lseek", "fdatasync", "pread64"] {
        assert!(calls.iter().any(|(call, _)| call == needed), "{needed} is not among {calls:?}");
    }
    let faults = calls.iter().flat_map(|(call, count)| (1..=*count).map(move |when| (call, when)));
    let errors = ["EIO", "ENOSPC", "EINTR"];
    let faults = faults.flat_map(|fault| errors.map(|error| (fault, error)));
    for (_, ((call, when), error)) in faults.enumerate().filter(|(index, _)| chosen(*index)) {
        let (home, paths) = target();
        let inject = format!("inject={call}:error={error}:when={when}");
        let mut options: Vec<&str> = paths.iter().map(String::as_str).collect();
        options.extend(["-e", &inject]);
        let (succeeded, acknowledged, said) = under_strace(&home, &options, "/dev/null").unwrap();
        let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
        assert!(report.ok, "{inject}: {report:?}");
        let ids = ids(&home.audit());
        assert!(acknowledged.iter().all(|id| ids.get(id) == Some(&1)), "{inject}");
        assert_eq!(succeeded, acknowledged.len() == 3, "{inject}: {said}");
        assert!(!said.contains("panicked"), "{inject}: {said}");
        if call == "fdatasync" {
            // Never retried, never acknowledged after: the log has stopped.
            assert_eq!((succeeded, acknowledged.len()), (false, when as usize - 1), "{inject}: {said}");
        }
        if error == "EINTR" && ["flock", "write", "openat"].contains(&call.as_str()) {
            assert!(succeeded, "{inject}: {said}");
        }
        if call == "write" && error != "EINTR" {
            assert!(!succeeded && said.contains("append to") && said.contains(".jsonl"), "{inject}: {said}");
        }
        home.open().log_event(common::entry(1)).unwrap();
        assert!(verify_with(&home.audit(), &VerifyOptions::new()).unwrap().ok, "{inject}");
    }
}

#[test]
fn case_09_case_10_case_12_case_13_a_failing_system_call_never_acknowledges_and_never_breaks_the_chain() {
    if has_strace() {
        a_fault_never_acknowledges_and_never_breaks_the_chain(|index| index % 11 == 0);
    }
}

#[test]
#[ignore = "every fault at every system call: minutes"]
fn case_09_case_10_case_12_case_13_every_system_call_that_touches_the_directory_may_fail() {
    if has_strace() {
        a_fault_never_acknowledges_and_never_breaks_the_chain(|_| true);
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

/// Runs the appending example under limits that a shell sets.
fn limited(home: &Home, limits: &str, mode: &str) -> (Option<i32>, Vec<String>, String) {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("{limits}; exec \"$0\" \"$1\" {mode}"))
        .arg(append_loop())
        .arg(home.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ids = acknowledged(&mut child);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), ids, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn case_11_a_limit_on_the_files_size_refuses_and_leaves_no_half_line() {
    let home = Home::new();
    // 16 or 32 KiB, by the shell's blocks. The signal is ignored, as the binary ignores it.
    let (code, acknowledged, said) = limited(&home, "trap '' XFSZ; ulimit -f 32", "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FileTooLarge") && said.contains(".jsonl"), "{said}");
    let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
    assert!(report.ok && report.torn_tail_bytes == 0, "{report:?}");
    let ids = ids(&home.audit());
    assert!(acknowledged.len() > 20 && acknowledged.iter().all(|id| ids.get(id) == Some(&1)));
    assert_eq!(ids.len(), acknowledged.len(), "what was refused is not there");
    // Without the limit it goes on.
    home.open().log_event(common::entry(1)).unwrap();
    assert!(verify_with(&home.audit(), &VerifyOptions::new()).unwrap().ok);
}

#[test]
fn case_52_an_open_log_needs_no_further_descriptor() {
    let home = Home::new();
    let (code, acknowledged, said) = limited(&home, "ulimit -n 32", "starved");
    assert_eq!((code, acknowledged.len()), (Some(0), 51), "{said}");
    assert!(verify_with(&home.audit(), &VerifyOptions::new()).unwrap().ok);
    // And one that cannot be opened says so.
    let (code, acknowledged, said) = limited(&Home::new(), "ulimit -n 5", "3");
    assert!(code == Some(1) && acknowledged.is_empty() && !said.contains("panicked"), "{said}");
}

#[test]
fn case_19_rights_do_not_hang_on_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    for umask in ["0", "0777"] {
        let home = Home::new();
        let (code, acknowledged, said) = limited(&home, &format!("umask {umask}"), "3");
        assert_eq!((code, acknowledged.len()), (Some(0), 3), "{said}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.audit()), 0o700, "umask {umask}");
        for file in [home.day_file(), home.audit().join(".lock")] {
            assert_eq!(mode(&file), 0o600, "umask {umask}: {}", file.display());
        }
    }
}
