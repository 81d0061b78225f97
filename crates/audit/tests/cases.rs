//! The edge cases of the log's specification on a real directory, by number. Those that need a simulated disk, a
//! clock or another process's death are beside the code (`src/sim_tests.rs`, `src/case_tests.rs`) and in `faults.rs`.
//!
//! Elsewhere: case 28 in `fork.rs`; 05 to 07, 11, 19 and 52 in `faults.rs`; 09, 10, 12, 13 and 51 in `system_calls.rs`
//! and on a simulated disk in `src/sim_tests.rs`, with 54; 22 to 26, 35, 38 to 40, 47 and 53 in `src/case_tests.rs` and
//! `src/time.rs`; 32 to 34, 36 and 37 in `seal.rs` and `keyring.rs`; 55 and the exit codes of 43 and 45 with the command
//! line (`crates/server/tests/commands.rs`), and 24 there too (`audit_commands.rs`); 29 and 30 where a batch is raced in
//! `races.rs`; 51 on a real FUSE file system in `faults.rs`, and by type in `src/disk.rs`. Case 35's tombstones are in
//! `src/prune/tests.rs` and `src/sim_tests.rs`; case 51 on Windows belongs to a build for it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use common::{Call, FOREIGN, Home, entry, foreign, python_verifier};
use entrabot_audit::{
    AttributionType, AuditError, Diagnose as _, LogEntry, Query, Seen, VerifyOptions, VerifyReport, query,
    tail, verify, verify_with,
};

fn written(count: usize) -> Home {
    let home = Home::new();
    let log = home.open();
    (0..count).for_each(|n| assert!(log.log_event(&entry(n)).is_ok()));
    home
}

fn check(home: &Home) -> VerifyReport {
    verify(&home.audit()).unwrap()
}

/// Writes the lines anew.
fn edit(home: &Home, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let path = home.day_file();
    let bytes = fs::read(&path).unwrap();
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    change(&mut lines);
    fs::write(&path, lines.concat()).unwrap();
}

#[test]
fn case_01_case_02_case_03_a_torn_tail_is_no_tampering_and_the_next_append_moves_it_aside() {
    let whole = FOREIGN.as_bytes();
    for torn in [&b"{\"event_id\":\"half"[..], whole, &[0; 300]] {
        let home = written(2);
        home.add(torn);
        let report = check(&home);
        assert!(report.ok, "{report:?}");
        assert_eq!(report.torn_tail_bytes, torn.len() as u64);
        assert!(report.to_text().contains("torn"));
        assert!(python_verifier(&home).status.success(), "torn");
        home.open().log_event(&entry(9)).unwrap();
        let lines = home.lines();
        assert_eq!(lines[2]["action"], "audit.recovered");
        assert_eq!(lines[2]["metadata"]["bytes"], torn.len());
        let aside = home.day_file().with_extension("torn");
        assert_eq!(fs::read(aside).unwrap(), [torn, b"\n"].concat());
        let report = check(&home);
        assert_eq!((report.ok, report.events, report.torn_tail_bytes), (true, 4, 0));
        assert!(python_verifier(&home).status.success(), "recovered");
    }
}

#[test]
fn case_03_a_nul_before_later_lines_is_an_error() {
    let home = written(3);
    edit(&home, |lines| lines[1][20] = 0);
    assert_eq!(check(&home).first_error.unwrap().line, 2);
}

#[test]
fn case_04_an_unfinished_line_in_a_closed_day_is_an_error() {
    let home = written(2);
    let day = home.day_file();
    fs::copy(&day, home.audit().join("2020-01-01.jsonl")).unwrap();
    fs::write(home.audit().join("2020-01-01.jsonl"), "{\"half").unwrap();
    assert_eq!(check(&home).first_error.unwrap().file, "2020-01-01.jsonl");
}

#[test]
fn case_08_a_stopped_holder_of_the_lock_is_named_at_the_deadline() {
    let home = written(1);
    let lock = fs::File::open(home.audit().join(".lock")).unwrap();
    lock.lock().unwrap();
    let options = home.options().with_deadline(Duration::from_millis(200));
    let log = entrabot_audit::AuditLog::open(options, common::who()).unwrap();
    match log.log_event(&entry(1)) {
        Err(AuditError::LockTimeout { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    lock.unlock().unwrap();
    log.log_event(&entry(2)).unwrap();
    assert_eq!(check(&home).events, 2);
}

#[test]
fn case_14_a_reader_writes_nothing_and_makes_no_lock() {
    let home = written(2);
    fs::remove_file(home.audit().join(".lock")).unwrap();
    let before: Vec<_> =
        fs::read_dir(home.audit()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(check(&home).ok);
    assert_eq!(tail(&home.audit(), 5).unwrap().len(), 2);
    let after: Vec<_> = fs::read_dir(home.audit()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before, after);
}

#[test]
fn case_14_on_a_read_only_disk_the_log_refuses_and_readers_read() {
    let home = Home::new();
    let mount = |options: &str| {
        std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(home.dir.path())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !mount("size=1m,mode=0700") {
        println!("skipped: cannot mount a tmpfs");
        return;
    }
    home.open().log_event(&entry(0)).unwrap();
    let read_only = mount("remount,ro");
    let append = || {
        let log = entrabot_audit::AuditLog::open(home.options(), common::who());
        log.and_then(|log| log.log_event(&entry(1)))
    };
    let (refused, report, seen) = (append(), verify(&home.audit()), tail(&home.audit(), 5));
    let again = mount("remount,rw").then(append);
    let events = check(&home).events;
    std::process::Command::new("umount").arg("-l").arg(home.dir.path()).status().unwrap();
    assert!(read_only);
    let error = refused.unwrap_err();
    assert!(matches!(&error, AuditError::Storage(storage) if storage.code() == Some(30)), "{error:?}");
    assert!(error.to_string().contains("audit/.lock"), "{error}");
    assert!(report.unwrap().ok && seen.unwrap().len() == 1);
    assert!(again.is_some_and(|result| result.is_ok()) && events == 2);
}

#[test]
fn case_15_the_directory_itself_may_be_no_link_and_no_file() {
    let home = Home::new();
    let real = home.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, home.audit()).unwrap();
    let open = || entrabot_audit::AuditLog::open(home.options(), common::who());
    assert!(matches!(open(), Err(AuditError::Unsafe(_))));
    fs::remove_file(home.audit()).unwrap();
    fs::write(home.audit(), "").unwrap();
    assert!(matches!(open(), Err(AuditError::Unsafe(_))));
    fs::remove_file(home.audit()).unwrap();
    // A link further up is fine.
    let linked = home.dir.path().join("linked");
    symlink(&real, &linked).unwrap();
    let options = entrabot_audit::AuditOptions::new(&linked.join("audit"), &home.data());
    entrabot_audit::AuditLog::open(options, common::who()).unwrap().log_event(&entry(0)).unwrap();
}

fn make_node(path: &std::path::Path, kind: rustix::fs::FileType) -> rustix::io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, rustix::fs::makedev(1, 3))
}

#[test]
fn case_16_a_day_file_that_is_none_is_refused_without_hanging() {
    for kind in ["symlink", "dangling", "fifo", "dir", "device"] {
        let home = written(1);
        let day = home.day_file();
        let moved = home.dir.path().join("moved");
        fs::rename(&day, &moved).unwrap();
        match kind {
            "symlink" => symlink(&moved, &day).unwrap(),
            "dangling" => symlink("/nonexistent/x", &day).unwrap(),
            "fifo" => make_node(&day, rustix::fs::FileType::Fifo).unwrap(),
            // `/dev/null` by another name; only root may make one.
            "device" if make_node(&day, rustix::fs::FileType::CharacterDevice).is_err() => continue,
            "device" => {}
            _ => fs::create_dir(&day).unwrap(),
        }
        let error = home.open().log_event(&entry(1)).unwrap_err();
        assert!(matches!(error, AuditError::Unsafe(_)), "{kind}: {error:?}");
        assert!(!check(&home).ok, "{kind}");
    }
}

#[test]
fn case_17_a_second_name_of_the_file_is_refused() {
    let home = written(1);
    let log = home.open();
    log.log_event(&entry(1)).unwrap();
    fs::hard_link(home.day_file(), home.dir.path().join("other")).unwrap();
    assert!(matches!(log.log_event(&entry(2)), Err(AuditError::Unsafe(_))));
    assert!(matches!(home.open().log_event(&entry(2)), Err(AuditError::Unsafe(_))));
    fs::remove_file(home.dir.path().join("other")).unwrap();
    log.log_event(&entry(3)).unwrap();
}

#[test]
fn case_17_another_users_directory_is_refused_to_root() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let home = written(1);
    std::os::unix::fs::chown(home.audit(), Some(12345), Some(12345)).unwrap();
    let open = |options| entrabot_audit::AuditLog::open(options, common::who());
    assert!(matches!(open(home.options()), Err(AuditError::Unsafe(_))));
    open(home.options().as_root()).unwrap();
}

#[test]
fn case_18_case_19_rights_are_tight_whatever_they_were() {
    let home = written(1);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home.audit()), mode(&home.day_file())), (0o700, 0o600));
    fs::set_permissions(home.audit(), fs::Permissions::from_mode(0o775)).unwrap();
    fs::set_permissions(home.day_file(), fs::Permissions::from_mode(0o664)).unwrap();
    let log = home.open();
    log.log_event(&entry(1)).unwrap();
    assert_eq!((mode(&home.audit()), mode(&home.day_file())), (0o700, 0o600));
    assert_eq!(log.take_notices().len(), 2);
    assert!(log.take_notices().is_empty());
}

#[test]
fn case_20_a_file_that_is_taken_away_is_noticed_and_missed_until_it_is_back() {
    let home = written(2);
    let log = home.open();
    log.log_event(&entry(2)).unwrap();
    let (day, moved) = (home.day_file(), home.dir.path().join("rotated"));
    fs::rename(&day, &moved).unwrap();
    log.log_event(&entry(3)).unwrap();
    assert_eq!(home.lines()[0]["action"], "audit.file_missing");
    assert!(!check(&home).ok);
    // The lines before and after belong together.
    let all = [fs::read(&moved).unwrap(), fs::read(&day).unwrap()].concat();
    fs::write(&day, all).unwrap();
    assert!(check(&home).ok);
}

#[test]
fn case_20_a_directory_that_was_moved_takes_nothing_until_it_is_back() {
    let home = written(1);
    let log = home.open();
    log.log_event(&entry(1)).unwrap();
    // From here on the writer takes the directory for granted as long as it does not change.
    std::thread::sleep(Duration::from_millis(40));
    log.log_event(&entry(2)).unwrap();
    let moved = home.dir.path().join("moved");
    for replaced in [false, true] {
        fs::rename(home.audit(), &moved).unwrap();
        if replaced {
            fs::create_dir(home.audit()).unwrap();
        }
        let error = log.log_event(&entry(3)).unwrap_err();
        assert!(matches!(&error, AuditError::Unsafe(_)), "{error:?}");
        assert!(error.to_string().contains("moved"), "{error}");
        if replaced {
            fs::remove_dir(home.audit()).unwrap();
        }
        fs::rename(&moved, home.audit()).unwrap();
        log.log_event(&entry(4)).unwrap();
    }
    assert_eq!((check(&home).ok, check(&home).events), (true, 5));
    fs::remove_dir_all(home.audit()).unwrap();
    assert!(log.log_event(&entry(5)).is_err());
}

#[test]
fn case_20_a_file_is_missed_long_after_its_name_was_last_looked_at() {
    let home = written(1);
    let log = home.open();
    // From here on the writer takes the name for granted as long as the directory does not change.
    std::thread::sleep(Duration::from_millis(40));
    for number in 1..4 {
        log.log_event(&entry(number)).unwrap();
    }
    fs::rename(home.day_file(), home.dir.path().join("rotated")).unwrap();
    log.log_event(&entry(4)).unwrap();
    assert_eq!(home.lines()[0]["action"], "audit.file_missing");
    std::thread::sleep(Duration::from_millis(40));
    log.log_event(&entry(5)).unwrap();
    fs::remove_file(home.day_file()).unwrap();
    log.log_event(&entry(6)).unwrap();
    assert_eq!(home.lines()[0]["action"], "audit.file_missing");
    std::thread::sleep(Duration::from_millis(40));
    log.log_event(&entry(7)).unwrap();
    fs::hard_link(home.day_file(), home.audit().join("second")).unwrap();
    assert!(matches!(log.log_event(&entry(8)), Err(AuditError::Unsafe(_))));
}

#[test]
fn case_21_a_file_that_was_cut_stops_the_log_until_somebody_accepts_it() {
    let home = written(1);
    let log = home.open();
    log.log_event(&entry(1)).unwrap();
    fs::OpenOptions::new().write(true).open(home.day_file()).unwrap().set_len(0).unwrap();
    assert!(matches!(log.log_event(&entry(2)), Err(AuditError::Shrunk(_))));
    assert!(log.permit(Call).is_err());
    log.accept_shrunk().unwrap();
    assert!(home.lines().iter().any(|line| line["action"] == "audit.shrunk"));
    log.log_event(&entry(3)).unwrap();
}

#[test]
fn case_27_processes_that_start_on_nothing_make_one_chain() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let home = &home;
            scope.spawn(move || home.open().log_event(&entry(n)).unwrap());
        }
    });
    let report = check(&home);
    assert_eq!((report.ok, report.events), (true, 8));
}

#[test]
fn case_29_case_30_foreign_lines_are_counted_and_covered() {
    let home = written(2);
    home.add(format!("{}\n{}\n", foreign(1), foreign(2)).as_bytes());
    let log = home.open();
    log.log_event(&entry(2)).unwrap();
    home.add(format!("{}\n", foreign(3)).as_bytes());
    log.log_event(&entry(3)).unwrap();
    let report = check(&home);
    assert_eq!((report.ok, report.events, report.foreign), (true, 4, 3));
    assert!(!verify_with(&home.audit(), &VerifyOptions::new().strict()).unwrap().ok);
    let whole = fs::read(home.day_file()).unwrap();
    edit(&home, |lines| lines.insert(1, format!("{}\n", foreign(9)).into_bytes()));
    assert!(!check(&home).ok, "inserted");
    fs::write(home.day_file(), &whole).unwrap();
    edit(&home, |lines| lines[2][1] ^= 0);
    edit(&home, |lines| lines[2] = format!("{}\n", foreign(7)).into_bytes());
    assert!(!check(&home).ok, "edited");
    fs::write(home.day_file(), &whole).unwrap();
    edit(&home, |lines| drop(lines.remove(5)));
    assert!(!check(&home).ok, "removed");
}

#[test]
fn case_29_a_writer_without_the_lock_at_the_same_time_never_breaks_the_chain() {
    let home = written(1);
    let path = home.day_file();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                file.write_all(format!("{}\n", foreign(number)).as_bytes()).unwrap();
                number += 1;
                // A writer faster than the hash would never be caught up with.
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        let log = home.open();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..60).for_each(|n| assert!(log.log_event(&entry(n)).is_ok())));
            }
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let report = check(&home);
    assert!(report.ok, "{report:?}");
    assert!(report.events >= 241 && report.foreign > 0);
    // And the tail is found again.
    home.open().log_event(&entry(0)).unwrap();
    assert!(check(&home).ok);
}

#[test]
fn case_31_every_way_of_changing_lines_is_found_with_its_place() {
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(&str, Change, u64); 9] = [
        ("deleted", |lines| drop(lines.remove(3)), 4),
        ("swapped", |lines| lines.swap(3, 4), 4),
        ("duplicated", |lines| lines.insert(4, lines[3].clone()), 5),
        ("replayed", |lines| lines.push(lines[0].clone()), 9),
        (
            "re-serialised",
            |lines| {
                lines[3] =
                    String::from_utf8(lines[3].clone()).unwrap().replace(",\"action", ", \"action").into()
            },
            5,
        ),
        (
            "CRLF",
            |lines| {
                lines[3].pop();
                lines[3].extend(b"\r\n");
            },
            4,
        ),
        ("BOM", |lines| lines[0].splice(0..0, [0xef, 0xbb, 0xbf]).for_each(drop), 1),
        ("blank", |lines| lines.insert(3, b"\n".to_vec()), 4),
        (
            "duplicate key",
            |lines| {
                lines[3].pop();
                lines[3].pop();
                lines[3].extend(b",\"action\":\"z\"}\n");
            },
            4,
        ),
    ];
    for (name, change, line) in changes {
        let home = written(8);
        edit(&home, change);
        let error = check(&home).first_error.unwrap_or_else(|| panic!("{name} was not found"));
        assert_eq!(error.line, line, "{name}: {error:?}");
        assert_eq!(python_verifier(&home).status.code(), Some(1), "{name}");
    }
}

#[test]
fn case_35_a_day_that_is_gone_is_missed() {
    let home = written(3);
    let day = home.day_file();
    let bytes = fs::read(&day).unwrap();
    let cut = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&day, &bytes[cut..]).unwrap();
    assert_eq!(check(&home).first_error.unwrap().line, 1);
}

#[test]
fn case_40_doubled_ids_and_stray_outcomes_are_found() {
    let home = written(1);
    home.add(format!("{}\n{}\n", foreign(1), foreign(1)).as_bytes());
    let report = check(&home);
    assert!(report.ok && report.warnings.len() == 1, "{report:?}");
}

#[test]
fn case_41_case_42_a_pending_call_of_a_dead_process_is_an_orphan_and_can_be_closed() {
    let home = Home::new();
    let log = home.open();
    let permit = log.permit(Call).unwrap();
    let with_data = VerifyOptions::new().with_data_dir(&home.data());
    let report = verify_with(&home.audit(), &with_data).unwrap();
    assert!(report.ok && report.pending[0].in_flight, "{report:?}");
    // Another process sees that it lives and leaves it alone.
    assert!(home.open().close_orphans().unwrap().is_empty());
    // As if this process had died: its word is gone.
    fs::remove_dir_all(home.data().join("audit-owners")).unwrap();
    assert!(!verify_with(&home.audit(), &with_data).unwrap().pending[0].in_flight);
    assert_eq!(home.open().close_orphans().unwrap().len(), 1);
    let report = verify_with(&home.audit(), &with_data).unwrap();
    assert_eq!((report.ok, report.pending_without_outcome), (true, 0));
    assert_eq!(home.lines()[1]["src"], "system");
    std::mem::drop(permit);
    drop(log);
    assert!(!check(&home).ok, "the dead one was alive after all: a second outcome is found");
}

#[test]
fn case_42_a_panic_inside_a_call_closes_its_span() {
    let home = Home::new();
    let log = home.open();
    let inside = std::panic::AssertUnwindSafe(|| {
        let _permit = log.permit(Call).unwrap();
        panic!("inside the call");
    });
    assert!(std::panic::catch_unwind(inside).is_err());
    drop(log);
    assert_eq!(home.lines()[1]["outcome"], "failure");
}

#[test]
fn case_43_what_is_too_large_is_refused_whole() {
    let home = Home::new();
    let log = home.open();
    let long = |count: usize| "x".repeat(count);
    let put = |action: &str, resource: &str| {
        log.log_event(&LogEntry::cli(action, resource, "success", AttributionType::Agent))
    };
    for result in [put(&long(1025), "r"), put("a", &long(8193)), put("a", &"\u{1f600}".repeat(2000))] {
        let error = result.unwrap_err();
        assert!(matches!(error, AuditError::TooLarge { .. }), "{error:?}");
        assert!(!error.to_string().contains("xxx"));
    }
    let metadata = serde_json::json!({"m": long(17_000)}).as_object().unwrap().clone();
    assert!(log.log_event(&entry(0).with_metadata(metadata)).is_err());
    put(&long(1024), &long(8192)).unwrap();
    assert_eq!(home.lines().len(), 1);
}

#[test]
fn case_44_nothing_that_steers_a_terminal_is_stored_or_shown() {
    let home = Home::new();
    let nasty = "a\u{1b}[2J\n\r\u{202e}\u{2028}\u{200b}\u{7f}b";
    let log = home.open();
    log.log_event(&LogEntry::tool(nasty, nasty, "success", AttributionType::Agent)).unwrap();
    let bytes = fs::read(home.day_file()).unwrap();
    assert!(bytes[..bytes.len() - 1].iter().all(|byte| (0x20..0x7f).contains(byte)));
    let event = tail(&home.audit(), 1).unwrap().remove(0);
    assert_eq!(event.action(), nasty);
    for shown in [event.to_text(), event.to_json().to_owned(), check(&home).to_text()] {
        assert!(shown.chars().all(|c| matches!(c, ' '..='~' | '\n')), "{shown:?}");
    }
    // Raw in a foreign line, escaped on the way out.
    home.add(format!("{}\n", FOREIGN.replace("\"x\"", "\"x\u{202e}\u{9b}\"")).as_bytes());
    let event = tail(&home.audit(), 1).unwrap().remove(0);
    assert!(event.to_text().is_ascii() && event.to_json().is_ascii());
}

#[test]
fn case_45_bytes_that_are_no_text_are_found_and_passed_over() {
    let home = written(2);
    home.add(b"{\"event_id\":\"\xff\"}\n");
    assert_eq!(check(&home).first_error.unwrap().line, 3);
    let (mut events, mut skipped) = (0, 0);
    query(&home.audit(), &Query::new(), |seen| {
        match seen {
            Seen::Event(_) => events += 1,
            _ => skipped += 1,
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((events, skipped), (2, 1));
}

#[test]
fn case_46_bombs_are_errors_and_no_crash() {
    for bomb in ["1e999".to_owned(), format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))] {
        let home = written(1);
        home.add(format!("{}\n", FOREIGN.replace("\"v\"", &bomb)).as_bytes());
        assert_eq!(check(&home).first_error.unwrap().line, 2);
    }
}

#[test]
fn case_48_verification_beside_writers_never_cries_wolf() {
    let home = written(1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let log = home.open();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(log.permit(Call).unwrap());
                    log.log_event(&entry(0)).unwrap();
                }
            });
        }
        for _ in 0..20 {
            let report = check(&home);
            assert!(report.ok, "{report:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn case_49_a_reader_stops_at_a_line_without_end_and_goes_on_when_it_has_one() {
    let home = written(2);
    let (mut follower, events) = entrabot_audit::Follower::open(&home.audit(), 10).unwrap();
    assert_eq!(events.len(), 2);
    home.add(&FOREIGN.as_bytes()[..50]);
    assert!(follower.poll().unwrap().is_empty());
    home.add(format!("{}\n", &FOREIGN[50..]).as_bytes());
    assert_eq!(follower.poll().unwrap().len(), 1);
}

#[test]
fn case_50_other_names_are_ignored_with_a_count() {
    let home = written(1);
    for name in ["2026-01-01.jsonl~", "x.swp", "2026-13-45.jsonl"] {
        fs::write(home.audit().join(name), "junk").unwrap();
    }
    let report = check(&home);
    assert_eq!((report.ok, report.ignored_names), (true, 3));
    assert!(!verify_with(&home.audit(), &VerifyOptions::new().strict()).unwrap().ok);
}

#[test]
fn attribution_says_agent_only_with_an_identity() {
    let home = Home::new();
    let log = entrabot_audit::AuditLog::open(home.options(), common::chain(&[])).unwrap();
    let put = |kind| log.log_event(&LogEntry::cli("a", "r", "success", kind));
    // Without a bus to ask, the keystore link is an insecure or an absent one; either way nothing is written.
    let error = put(AttributionType::Agent).unwrap_err();
    assert!(
        ["AuditAttributionError", "InsecureKeyringBackendError"].contains(&error.error_type()),
        "{error:?}"
    );
    assert!(log.permit(Call).is_err());
    assert!(common::day_files(&home.audit()).is_empty());
}

#[test]
fn self_asserted_records_never_pass_for_the_transports() {
    let home = Home::new();
    let log = home.open();
    log.log_event(&LogEntry::tool("a365.s.t", "a365.s.t", "success", AttributionType::Agent)).unwrap();
    drop(log.permit(Call).unwrap());
    drop(log);
    let sources: Vec<_> = home.lines().iter().map(|line| line["src"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sources, ["tool", "transport", "transport"]);
}

#[test]
fn the_python_verifier_agrees() {
    let home = written(20);
    let log = home.open();
    drop(log.permit(Call).unwrap());
    drop(log);
    let script = fs::read_to_string(common::python_script()).unwrap();
    assert!(script.lines().count() <= 60);
    let modules = script.lines().find_map(|line| line.strip_prefix("import ")).unwrap();
    assert_eq!(script.matches("import ").count(), 1);
    let standard = ["base64", "functools", "hashlib", "json", "os", "re", "subprocess", "sys", "tempfile"];
    assert!(modules.split(", ").all(|module| standard.contains(&module)), "{modules}");
    let pem = home.dir.path().join("key.pem");
    fs::write(&pem, entrabot_audit::generate_signing_key().unwrap().expose()).unwrap();
    let options = home.options().with_signing(entrabot_audit::SigningPolicy::File(pem));
    let log = entrabot_audit::AuditLog::open(options, common::who()).unwrap();
    log.checkpoint().unwrap();
    home.add(format!("{}\n", foreign(1)).as_bytes());
    log.log_event(&entry(1)).unwrap();
    log.checkpoint().unwrap();
    let run = || python_verifier(&home);
    let output = run();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("intact: 24 lines, 23 of them ours"),
        "{output:?}"
    );
    let bytes = fs::read(home.day_file()).unwrap();
    for at in (0..bytes.len()).step_by(501) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(home.day_file(), &changed).unwrap();
        let output = run();
        assert_eq!(output.status.code(), Some(1), "byte {at}: {output:?}");
        assert!(!check(&home).ok);
    }
    let cut = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(home.day_file(), &bytes[..cut]).unwrap();
    assert_eq!(run().status.code(), Some(1));
    fs::write(home.day_file(), &bytes).unwrap();
    let vkeys = home.data().join("audit-vkeys");
    let other = entrabot_audit::generate_signing_key().unwrap();
    assert!(!other.expose().is_empty());
    let notes = fs::read_dir(home.audit().join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&notes).unwrap();
    fs::write(&notes, text.replace("entrabot.audit/", "entrabot.xudit/")).unwrap();
    assert_eq!(run().status.code(), Some(1), "{}", fs::read_to_string(vkeys).unwrap());
}
