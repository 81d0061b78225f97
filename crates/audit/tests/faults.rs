//! What happens when processes are killed, disks are full and limits are reached.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod common;

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::Home;
use common::children::{acknowledged, append_loop, ids};
use entrabot_audit::{VerifyOptions, verify_with};

/// Reads the first id byte by byte, so that nothing of what follows is lost.
fn first_id(child: &mut Child) -> String {
    let mut line = [0; 37];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    String::from_utf8(line[..36].to_vec()).unwrap()
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
    home.open().log_event(&common::entry(0)).unwrap();
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
    let again = home.open().log_event(&common::entry(1));
    let after = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
    Command::new("umount").arg("-l").arg(home.dir.path()).status().unwrap();
    assert!(report.ok, "{report:?}");
    assert!(all.len() > 500 && all.iter().all(|id| ids.get(id) == Some(&1)));
    assert!(resized.success() && again.is_ok() && after.ok, "{again:?} {after:?}");
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
    home.open().log_event(&common::entry(1)).unwrap();
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

/// A directory that another file system shows, until dropped.
struct Fuse(Home);

impl Fuse {
    fn over(home: Home) -> Option<Self> {
        let mounted = Command::new("bindfs").arg(home.dir.path()).arg(home.dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(home))
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.dir.path()).status());
    }
}

#[test]
fn case_51_a_fuse_file_system_is_told_of_once_and_the_log_works_on_it() {
    let told = |log: &entrabot_audit::AuditLog| log.take_notices().join("\n");
    let home = Home::new();
    let log = home.open();
    assert!(!told(&log).contains("FUSE"), "a local disk is not told of");
    drop(log);
    let Some(Fuse(home)) = &Fuse::over(home) else {
        println!("skipped: cannot mount a FUSE file system (bindfs)");
        return;
    };
    let log = home.open();
    let notice = told(&log);
    assert_eq!(notice.matches("network or FUSE file system").count(), 1, "{notice}");
    assert!(notice.contains(&home.audit().display().to_string()), "{notice}");
    log.log_event(&common::entry(0)).unwrap();
    drop(log.permit(common::Call).unwrap());
    assert_eq!(told(&log), "");
    drop(log);
    // Several processes, one chain: the lock works there.
    let children: Vec<Child> = (0..2)
        .map(|_| {
            Command::new(append_loop()).arg(home.dir.path()).arg("20").stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let acknowledged: usize = children
        .into_iter()
        .map(|mut child| {
            let ids = acknowledged(&mut child);
            assert!(child.wait().unwrap().success());
            ids.len()
        })
        .sum();
    let report = verify_with(&home.audit(), &VerifyOptions::new()).unwrap();
    assert_eq!((report.ok, report.events, acknowledged), (true, 43, 40), "{report:?}");
}
