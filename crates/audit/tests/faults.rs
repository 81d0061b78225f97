//! What happens when processes are killed, disks are full, and system calls fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// Runs three appends under strace with a fault; whether it succeeded, what was acknowledged, what it said.
fn with_fault(home: &Home, inject: &str) -> Option<(bool, Vec<String>, String)> {
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", inject])
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

#[test]
fn case_09_case_10_case_12_case_13_a_failing_system_call_never_acknowledges_and_never_breaks_the_chain() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: strace is not installed");
        return;
    }
    let started = Instant::now();
    let calls = [
        "fdatasync",
        "fsync",
        "flock",
        "fstat",
        "newfstatat",
        "pread64",
        "ftruncate",
        "lseek",
        "fchmod",
        "mkdirat",
    ];
    for call in calls {
        for error in ["EIO", "ENOSPC", "EINTR"] {
            for when in 1..=3 {
                let home = Home::new();
                home.open().log_event(common::entry(0)).unwrap();
                let inject = format!("inject={call}:error={error}:when={when}");
                let Some((succeeded, acknowledged, said)) = with_fault(&home, &inject) else { return };
                let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
                assert!(report.ok, "{inject}: {report:?}");
                let ids = ids(&home.audit());
                assert!(acknowledged.iter().all(|id| ids.get(id) == Some(&1)), "{inject}");
                assert_eq!(succeeded, acknowledged.len() == 3, "{inject}: {said}");
                assert!(!said.contains("panicked"), "{inject}: {said}");
                if call == "fdatasync" {
                    // Never retried, never acknowledged after: the log has stopped.
                    assert_eq!((succeeded, acknowledged.len()), (false, when - 1), "{inject}: {said}");
                }
                if call == "flock" && error == "EINTR" {
                    assert!(succeeded, "{inject}: {said}");
                }
                home.open().log_event(common::entry(1)).unwrap();
                assert!(verify_with(&home.audit(), &VerifyOptions::new()).unwrap().ok, "{inject}");
            }
        }
        if started.elapsed() > Duration::from_secs(40) && std::env::var_os("ENTRABOT_TEST_LONG").is_none() {
            println!("stopped after {call}: this machine is slow");
            return;
        }
    }
}

#[test]
fn case_13_after_a_failed_sync_the_log_takes_nothing_any_more() {
    let home = Home::new();
    let Some((succeeded, acknowledged, said)) = with_fault(&home, "inject=fdatasync:error=EIO:when=2") else {
        println!("skipped: strace is not installed");
        return;
    };
    assert_eq!((succeeded, acknowledged.len()), (false, 1), "{said}");
    assert!(said.contains("sync"), "{said}");
}
