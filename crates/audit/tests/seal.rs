//! Checkpoints, anchor, and what they catch that the chain alone cannot.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{Home, day_files, entry};
use entrabot_audit::{
    AuditLog, SigningPolicy, VerifyLevel, VerifyOptions, VerifyReport, generate_signing_key, status,
    verify_with,
};

/// A home whose key lies in a file.
struct Sealed {
    home: Home,
}

impl Sealed {
    fn new() -> Self {
        let home = Home::new();
        std::fs::write(home.dir.path().join("key.pem"), generate_signing_key().unwrap().expose()).unwrap();
        Self { home }
    }
    fn open(&self) -> AuditLog {
        let options =
            self.home.options().with_signing(SigningPolicy::File(self.home.dir.path().join("key.pem")));
        AuditLog::open(options, common::who()).unwrap()
    }
    fn write(&self, count: usize) {
        let log = self.open();
        let entries: Vec<_> = (0..count).map(entry).collect();
        log.log_events(&entries, |_, result| assert!(result.is_ok())).unwrap();
        log.checkpoint().unwrap();
    }
    fn verify(&self) -> VerifyReport {
        self.verify_copy(&self.home.audit())
    }
    fn verify_copy(&self, dir: &Path) -> VerifyReport {
        verify_with(dir, &VerifyOptions::new().with_data_dir(&self.home.data())).unwrap()
    }
    fn cut_lines(&self, count: usize) {
        let path = self.home.day_file();
        let text = std::fs::read_to_string(&path).unwrap();
        let keep: Vec<&str> = text.lines().collect();
        let keep = &keep[..keep.len() - count];
        std::fs::write(&path, keep.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
}

#[test]
fn a_sealed_log_is_anchored() {
    let sealed = Sealed::new();
    for _ in 0..5 {
        sealed.write(7);
    }
    let report = sealed.verify();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.level, VerifyLevel::Anchored);
    assert_eq!((report.events, report.sealed_lines, report.checkpoints), (35, 35, 5));
    let status = status(&sealed.home.audit(), &sealed.home.data()).unwrap();
    assert_eq!((status.events, status.unsealed_events, status.keys), (35, Some(0), 1));
    assert!(report.to_text().contains("anchored"));
}

#[test]
fn nothing_new_makes_no_new_checkpoint() {
    let sealed = Sealed::new();
    sealed.write(3);
    let log = sealed.open();
    assert_eq!(log.checkpoint().unwrap().unwrap().note, None);
    assert_eq!(sealed.verify().checkpoints, 1);
}

#[test]
fn case_33_removed_last_lines_are_missed() {
    let sealed = Sealed::new();
    sealed.write(10);
    sealed.cut_lines(1);
    let report = sealed.verify();
    assert!(!report.ok, "{report:?}");
    // Without keys and anchor the chain alone cannot tell.
    assert!(!verify_with(&sealed.home.audit(), &VerifyOptions::new()).unwrap().ok, "the checkpoint tells");
    std::fs::remove_dir_all(sealed.home.audit().join("checkpoints")).unwrap();
    assert!(verify_with(&sealed.home.audit(), &VerifyOptions::new()).unwrap().ok);
    assert!(!sealed.verify().ok, "the anchor tells");
    std::fs::write(sealed.home.day_file(), "").unwrap();
    assert!(!sealed.verify().ok);
    std::fs::remove_dir_all(sealed.home.audit()).unwrap();
    assert!(!sealed.verify().ok, "a directory that is gone");
}

#[test]
fn case_34_stripped_checkpoints_are_missed() {
    let sealed = Sealed::new();
    sealed.write(5);
    std::fs::remove_dir_all(sealed.home.audit().join("checkpoints")).unwrap();
    let report = sealed.verify();
    assert!(!report.ok);
    assert!(report.first_error.unwrap().reason.contains("missing"));
}

#[test]
fn case_32_a_log_that_was_computed_anew_without_the_key_is_found_out() {
    let sealed = Sealed::new();
    sealed.write(5);
    // The same installation, another log in its place, with checkpoints of another key.
    let other = Sealed::new();
    other.write(9);
    std::fs::remove_dir_all(sealed.home.audit()).unwrap();
    std::fs::rename(other.home.audit(), sealed.home.audit()).unwrap();
    let report = sealed.verify();
    assert!(!report.ok, "{report:?}");
}

#[test]
fn case_36_another_installations_log_is_found_out_wherever_it_lies() {
    let (sealed, other) = (Sealed::new(), Sealed::new());
    sealed.write(5);
    other.write(5);
    let report = sealed.verify_copy(&other.home.audit());
    assert!(!report.ok, "{report:?}");
}

/// A copy of the directory, as a backup keeps it.
fn copy_of(dir: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([dir, to]).status();
    assert!(status.unwrap().success());
}

#[test]
fn case_33_a_directory_that_was_rolled_back_is_missed() {
    let sealed = Sealed::new();
    sealed.write(4);
    let backup = sealed.home.dir.path().join("backup");
    copy_of(&sealed.home.audit(), &backup);
    sealed.write(3);
    std::fs::remove_dir_all(sealed.home.audit()).unwrap();
    copy_of(&backup, &sealed.home.audit());
    let report = sealed.verify();
    assert!(!report.ok && report.first_error.unwrap().reason.contains("7 lines"));
    // Without the anchor it hangs on what the checkpoints cover, and the report says how much that is.
    let vkeys = sealed.home.data().join("audit-vkeys");
    sealed.home.open().log_event(&entry(0)).unwrap();
    let options = VerifyOptions::new().with_vkeys(&vkeys);
    let report = verify_with(&sealed.home.audit(), &options).unwrap();
    assert_eq!((report.ok, report.level, report.sealed_lines), (true, VerifyLevel::Signed, 4), "{report:?}");
    assert!(report.events > report.sealed_lines && report.to_text().contains("covering 4 lines"));
}

#[test]
fn case_36_a_backup_that_was_put_back_and_went_on_is_a_fork() {
    let sealed = Sealed::new();
    sealed.write(5);
    let backup = sealed.home.dir.path().join("backup");
    copy_of(&sealed.home.audit(), &backup);
    sealed.write(3);
    std::fs::remove_dir_all(sealed.home.audit()).unwrap();
    copy_of(&backup, &sealed.home.audit());
    // The other head. It goes on being written, and is never sealed as if it were the one that the anchor knows.
    let log = sealed.open();
    for number in 0..6 {
        log.log_event(&entry(number)).unwrap();
    }
    let error = log.checkpoint().unwrap_err();
    assert!(error.to_string().contains("not the one that its anchor knows"), "{error}");
    let reason = sealed.verify().first_error.unwrap().reason;
    assert!(reason.contains("8 lines") && reason.contains("covers 5"), "{reason}");
}

#[test]
fn a_copy_is_known_by_its_first_line() {
    let sealed = Sealed::new();
    sealed.write(5);
    let copy = sealed.home.dir.path().join("copy");
    std::fs::rename(sealed.home.audit(), &copy).unwrap();
    assert_eq!(sealed.verify_copy(&copy).level, VerifyLevel::Anchored);
    let path = day_files(&copy).remove(0);
    let text = std::fs::read_to_string(&path).unwrap();
    let cut = text[..text.len() - 1].rfind('\n').unwrap() + 1;
    std::fs::write(&path, &text[..cut]).unwrap();
    assert!(!sealed.verify_copy(&copy).ok);
}

#[test]
fn every_byte_that_is_flipped_is_found() {
    let sealed = Sealed::new();
    sealed.write(3);
    let path = sealed.home.day_file();
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let report = sealed.verify();
        assert!(!report.ok, "byte {at} of {}: {:?}", bytes.len(), report);
    }
    std::fs::write(&path, &bytes).unwrap();
    assert!(sealed.verify().ok);
}

#[test]
fn case_37_a_key_changes_only_with_a_checkpoint_signed_by_both() {
    let sealed = Sealed::new();
    sealed.write(4);
    let pem = sealed.home.dir.path().join("key.pem");
    let old = std::fs::read(&pem).unwrap();
    let new = generate_signing_key().unwrap();
    // A new key alone is refused: nothing leads to it.
    std::fs::write(&pem, new.expose()).unwrap();
    assert!(sealed.open().checkpoint().is_ok(), "nothing new to sign");
    let log = sealed.open();
    log.log_event(&entry(1)).unwrap();
    assert!(log.checkpoint().is_err());
    drop(log);
    std::fs::write(&pem, [new.expose(), &old[..]].concat()).unwrap();
    sealed.write(1);
    std::fs::write(&pem, new.expose()).unwrap();
    sealed.write(1);
    let report = sealed.verify();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.checkpoints, 3);
    // Who knows only the first key sees that a key it does not know took over.
    let vkeys = sealed.home.data().join("audit-vkeys");
    let first = std::fs::read_to_string(&vkeys).unwrap().lines().next().unwrap().to_owned();
    let auditor = sealed.home.dir.path().join("auditor");
    std::fs::write(&auditor, first).unwrap();
    let report = verify_with(&sealed.home.audit(), &VerifyOptions::new().with_vkeys(&auditor)).unwrap();
    assert!(!report.ok);
}

#[test]
fn an_auditor_needs_only_the_directory_and_the_public_key() {
    let sealed = Sealed::new();
    sealed.write(4);
    let vkeys = sealed.home.dir.path().join("vkey");
    std::fs::copy(sealed.home.data().join("audit-vkeys"), &vkeys).unwrap();
    let report = verify_with(&sealed.home.audit(), &VerifyOptions::new().with_vkeys(&vkeys)).unwrap();
    assert_eq!((report.ok, report.level), (true, VerifyLevel::Signed));
}

#[test]
fn a_torn_checkpoint_or_anchor_is_healed_and_no_tampering() {
    let sealed = Sealed::new();
    sealed.write(4);
    let anchor = sealed.home.data().join("audit-anchor");
    let notes =
        std::fs::read_dir(sealed.home.audit().join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    for path in [&anchor, &notes] {
        let mut bytes = std::fs::read(path).unwrap();
        let half = bytes[..bytes.len() / 2].to_vec();
        bytes.extend_from_slice(&half);
        std::fs::write(path, bytes).unwrap();
    }
    let report = sealed.verify();
    assert!(report.ok, "{report:?}");
    sealed.write(2);
    let report = sealed.verify();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.sealed_lines, 6);
}

#[test]
fn a_lost_cache_is_computed_anew() {
    let sealed = Sealed::new();
    sealed.write(300);
    for entry in std::fs::read_dir(sealed.home.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("audit-frontier") {
            std::fs::remove_file(path).unwrap();
        }
    }
    sealed.write(3);
    let report = sealed.verify();
    assert_eq!((report.ok, report.sealed_lines), (true, 303));
}
