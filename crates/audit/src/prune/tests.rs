//! What is pruned is gone, what stays is proved, and every other way to lose a day is still an alarm.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::ops::{ControlFlow, Deref};
use std::path::PathBuf;
use std::sync::Arc;

use entrabot_identity::AttributionType;

use super::PruneUntil;
use super::survey::Survey;
use crate::test_bench::{Bench, Call, open};
use crate::time::{Clock as _, Day};
use crate::tombstone::Tombstone;
use crate::{
    AuditError, AuditLog, AuditOptions, LogEntry, Query, SigningPolicy, Timestamp, VerifyLevel,
    VerifyOptions, VerifyReport, generate_signing_key, query, verify_with,
};

const DAY: i64 = 86_400_000_000;
/// 2026-07-12T10:00:00.
const START: i64 = 1_783_850_400_000_000;

/// A log whose key lies in a file.
struct Home(Bench);

impl Deref for Home {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl Home {
    fn new() -> Self {
        let bench = Bench::at(START, 1);
        fs::write(bench.dir.path().join("key.pem"), generate_signing_key().unwrap().expose()).unwrap();
        Self(bench)
    }
    /// Days from 2026-07-12 on, some lines each, sealed.
    fn with_days(days: usize) -> Self {
        let home = Self::new();
        for _ in 0..days {
            home.day();
        }
        home
    }
    fn day(&self) {
        let log = self.open();
        for _ in 0..3 {
            log.log_event(&entry()).unwrap();
        }
        drop(log.permit(Call).unwrap().finish(Ok::<(), ()>(())));
        log.checkpoint().unwrap();
        self.shift(DAY);
    }
    fn options(&self) -> AuditOptions {
        self.0.options().with_signing(SigningPolicy::File(self.dir.path().join("key.pem")))
    }
    fn open(&self) -> AuditLog {
        open(self.options())
    }
    fn verify(&self) -> VerifyReport {
        verify_with(&self.audit(), &VerifyOptions::new().with_data_dir(&self.data())).unwrap()
    }
    fn sound(&self) -> VerifyReport {
        let report = self.verify();
        assert!(report.ok && report.level == VerifyLevel::Anchored, "{report:?}");
        report
    }
    fn broken(&self) -> String {
        let report = self.verify();
        assert!(!report.ok, "{report:?}");
        report.first_error.unwrap().reason
    }
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.audit()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.') && name != "checkpoints");
        names.sort();
        names
    }
    fn tombstones(&self) -> PathBuf {
        self.audit().join("checkpoints/tombstones.notes")
    }
    fn actions(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        query(&self.audit(), &Query::new(), |seen| {
            if let crate::Seen::Event(event) = seen {
                found.push((event.action().to_owned(), event.outcome().to_owned()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }
}

fn entry() -> LogEntry {
    LogEntry::cli("a", "r", "success", AttributionType::Agent)
}

fn before(day: &str) -> PruneUntil {
    PruneUntil::before(day).unwrap()
}

#[test]
fn what_is_pruned_is_gone_and_what_stays_is_proved() {
    let home = Home::with_days(5);
    let full = home.sound();
    fs::write(home.audit().join("2026-07-13.torn"), "half a line\n").unwrap();
    let plan = home.open().plan_prune(before("2026-07-15")).unwrap();
    assert_eq!(home.files().len(), 6, "a plan removes nothing");
    let pruned = home.open().prune(before("2026-07-15")).unwrap();
    assert_eq!(pruned.days, ["2026-07-12", "2026-07-13", "2026-07-14"]);
    assert_eq!((pruned.lines, &pruned.days, pruned.kept), (15, &plan.days, None));
    assert_eq!(home.files(), ["2026-07-15.jsonl", "2026-07-16.jsonl", "2026-07-17.jsonl"]);
    let report = home.sound();
    assert_eq!(report.events, full.events - 15 + 2);
    assert_eq!(report.pruned.len(), 1);
    assert_eq!((report.pruned[0].from.as_str(), report.pruned[0].to.as_str()), ("2026-07-12", "2026-07-14"));
    assert_eq!((report.pruned[0].days, report.pruned[0].lines), (3, 15));
    assert!(report.pruned[0].by.starts_with("uid ") && report.pruned[0].at.starts_with("2026-07-17T10:00"));
    assert!(report.to_text().contains("pruned: 2026-07-12 to 2026-07-14 (3 days, 15 lines), at 2026-07-17"));
    #[cfg(feature = "report")]
    {
        let options = VerifyOptions::new().with_data_dir(&home.data());
        let page = crate::Report::collect(&home.audit(), &Query::new(), &options).unwrap().to_html();
        assert!(page.contains("2026-07-12 to 2026-07-14, 15 lines"), "{page}");
    }
    // It is on record itself, before and after.
    let last: Vec<_> = home.actions().into_iter().rev().take(2).collect();
    let said = |outcome: &str| ("audit.prune".to_owned(), outcome.to_owned());
    assert_eq!(last, [said("success"), said("pending")]);
    // Writing, sealing from nothing cached, and pruning go on.
    let caches = fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().path());
    caches
        .filter(|path| path.to_string_lossy().contains("frontier"))
        .for_each(|path| fs::remove_file(path).unwrap());
    home.shift(DAY);
    home.day();
    home.sound();
    home.open().prune(before("2026-07-17")).unwrap();
    let report = home.sound();
    assert_eq!(report.pruned.len(), 2);
    assert_eq!(home.files()[0], "2026-07-17.jsonl");
    home.day();
    home.sound();
}

#[test]
fn the_newest_day_stays_and_so_does_what_is_young() {
    let home = Home::with_days(3);
    home.shift(-DAY);
    // Of 12, 13 and 14 July, on the fourteenth.
    assert_eq!(home.open().prune(before("2027-01-01")).unwrap().days, ["2026-07-12", "2026-07-13"]);
    assert_eq!(home.files(), ["2026-07-14.jsonl"]);
    let again = home.open().prune(before("2027-01-01")).unwrap();
    assert!(again.days.is_empty() && again.tombstone.is_none());
    home.sound();
    let kept = PruneUntil::keeping_days(2);
    assert_eq!(
        kept.before,
        Timestamp::from_micros(crate::time::SystemClock.now().as_micros()).day().minus(2)
    );
}

#[test]
fn a_day_that_is_missing_without_a_tombstone_is_an_alarm() {
    let home = Home::with_days(5);
    fs::remove_file(home.audit().join("2026-07-12.jsonl")).unwrap();
    home.broken();
    assert!(matches!(home.open().prune(before("2026-07-15")), Err(AuditError::NotPruned { .. })));
    assert_eq!(home.files().len(), 4, "evidence is never removed");

    let home = Home::with_days(5);
    home.open().prune(before("2026-07-14")).unwrap();
    let tombstone = fs::read_to_string(home.tombstones()).unwrap();
    // One day more than it says.
    let next = home.audit().join("2026-07-14.jsonl");
    let kept = fs::read(&next).unwrap();
    fs::remove_file(&next).unwrap();
    home.broken();
    fs::write(&next, &kept).unwrap();
    home.sound();
    // None, another one, one of somebody else.
    fs::remove_file(home.tombstones()).unwrap();
    home.broken();
    for (from, to) in [("by uid ", "by uid 1"), ("next-seq 10", "next-seq 11"), ("2026-07-13", "2026-07-14")]
    {
        assert!(tombstone.contains(from), "{from}: {tombstone}");
        fs::write(home.tombstones(), tombstone.replace(from, to)).unwrap();
        assert!(home.broken().contains("signature does not fit"), "{from}");
    }
    let stranger = Home::with_days(5);
    stranger.open().prune(before("2026-07-14")).unwrap();
    fs::copy(stranger.tombstones(), home.tombstones()).unwrap();
    home.broken();
    fs::write(home.tombstones(), &tombstone).unwrap();
    home.sound();
    // Twice the same, and an unfinished one.
    fs::write(home.tombstones(), format!("{tombstone}{tombstone}")).unwrap();
    home.broken();
    fs::write(home.tombstones(), format!("{tombstone}{}", &tombstone[..200])).unwrap();
    home.sound();
}

#[test]
fn a_pruned_day_that_is_here_again_is_the_one_that_was_pruned_or_an_alarm() {
    let home = Home::with_days(4);
    let path = home.audit().join("2026-07-13.jsonl");
    let copy = fs::read_to_string(&path).unwrap();
    home.open().prune(before("2026-07-15")).unwrap();
    fs::write(&path, &copy).unwrap();
    let report = home.sound();
    assert!(report.warnings.iter().any(|warning| warning.contains("still there, unchanged")), "{report:?}");
    fs::write(&path, copy.replacen("success", "failure", 1)).unwrap();
    assert!(home.broken().contains("with other lines"));
    assert!(home.open().prune(before("2026-07-15")).is_err());
    fs::write(&path, &copy).unwrap();
    // The next run takes it away again, and says so on record.
    let pruned = home.open().prune(before("2026-07-15")).unwrap();
    assert_eq!((pruned.finished, pruned.days.len()), (1, 0));
    assert!(!path.exists() && home.sound().warnings.is_empty());
}

#[test]
fn without_a_public_key_a_tombstone_proves_nothing() {
    let home = Home::with_days(4);
    home.open().prune(before("2026-07-14")).unwrap();
    let report = crate::verify(&home.audit()).unwrap();
    assert!(!report.ok && report.first_error.unwrap().reason.contains("--vkey"));
    // With the key and without the anchor it does.
    let vkeys = VerifyOptions::new().with_vkeys(&home.data().join("audit-vkeys"));
    let report = verify_with(&home.audit(), &vkeys).unwrap();
    assert!(report.ok && report.level == VerifyLevel::Signed, "{report:?}");
}

#[test]
fn a_tombstone_of_which_nothing_is_on_record_is_an_alarm() {
    let home = Home::with_days(4);
    let log = home.open();
    let data = log.data().open().unwrap();
    let survey =
        Survey::take(Arc::clone(log.folder()), &*data, Day::parse("2026-07-14").unwrap(), true).unwrap();
    let last = survey.last().unwrap();
    let forged = Tombstone {
        origin: String::new(),
        tree: last.tree.clone(),
        chain: last.chain,
        next_seq: last.next_seq,
        first: survey.first,
        at: "today".into(),
        by: "nobody".into(),
        record: uuid::Uuid::from_u128(1),
        days: survey.days().iter().map(|day| day.pruned.clone()).collect(),
        carried: Vec::new(),
    };
    log.sealer().unwrap().bury(forged).unwrap();
    ["2026-07-12.jsonl", "2026-07-13.jsonl"]
        .iter()
        .for_each(|day| fs::remove_file(home.audit().join(day)).unwrap());
    assert!(home.broken().contains("nothing is on record"));
}

#[test]
fn a_day_with_an_open_call_stays_and_a_call_over_midnight_does_not_keep_one() {
    let home = Home::new();
    home.day();
    let log = home.open();
    home.shift(13 * DAY / 24 + DAY / 24 / 2);
    // 23:30 on 13 July: one call ends after midnight, one never.
    let late = log.permit(Call).unwrap();
    home.shift(DAY / 24);
    drop(late.finish(Ok::<(), ()>(())));
    home.shift(DAY / 2);
    drop(log);
    home.day();
    let pruned = home.open().prune(before("2026-07-14")).unwrap();
    assert_eq!((pruned.days.len(), pruned.kept), (2, None));
    assert!(pruned.tombstone.unwrap().contains("\ncarried "));
    let report = home.sound();
    assert_eq!(report.pending_without_outcome, 0);

    let home = Home::with_days(2);
    let log = home.open();
    let lost = log.permit(Call).unwrap();
    #[expect(clippy::mem_forget, reason = "the process dies")]
    std::mem::forget(lost);
    drop(log);
    home.shift(DAY);
    home.day();
    home.day();
    let pruned = home.open().prune(before("2026-07-17")).unwrap();
    assert_eq!(pruned.days, ["2026-07-12", "2026-07-13"]);
    let kept = pruned.kept.unwrap();
    assert!(kept.contains("2026-07-14.jsonl") && kept.contains("has no outcome"), "{kept}");
    home.sound();
    // As far as this test is a process that lives, its call is in flight.
    fs::remove_dir_all(home.data().join("audit-owners")).unwrap();
    assert_eq!(home.open().close_orphans().unwrap().len(), 1);
    assert_eq!(home.open().prune(before("2026-07-17")).unwrap().days.len(), 3);
    home.sound();
}

#[test]
fn what_is_not_sealed_or_not_ours_at_its_border_stays() {
    // Chain only.
    let home = Home::with_days(3);
    let off = open(home.options().with_signing(SigningPolicy::Off));
    assert!(matches!(off.prune(before("2026-07-14")), Err(AuditError::Sealing { .. })));
    assert!(matches!(off.plan_prune(before("2026-07-14")), Err(AuditError::Sealing { .. })));
    drop(off);
    // A writer without a chain at the beginning of a day.
    let foreign = r#"{"event_id":"f","timestamp":"t","agent_id":"a","action":"x","resource":"y","outcome":"o","attribution_type":"agent","metadata":{}}"#;
    let mut file =
        fs::OpenOptions::new().create(true).append(true).open(home.audit().join("2026-07-15.jsonl")).unwrap();
    writeln!(file, "{foreign}").unwrap();
    home.day();
    home.day();
    let pruned = home.open().prune(before("2026-07-15")).unwrap();
    assert_eq!(pruned.days, ["2026-07-12", "2026-07-13"]);
    assert!(pruned.kept.unwrap().contains("does not begin with a line of ours"));
    home.sound();
    // Further on there is a border that can stand.
    home.day();
    assert_eq!(home.open().prune(before("2026-07-16")).unwrap().days.len(), 2);
    home.sound();
}

#[test]
fn keys_may_change_between_prunings() {
    let home = Home::with_days(4);
    home.open().prune(before("2026-07-13")).unwrap();
    let old = fs::read_to_string(home.tombstones()).unwrap();
    // As a rotation in the keyring does it, with two signers of our own.
    let log = home.open();
    let second = home.dir.path().join("second.pem");
    fs::write(&second, generate_signing_key().unwrap().expose()).unwrap();
    let current = crate::signing::load(&SigningPolicy::File(second.clone()), false).unwrap().current;
    let previous =
        crate::signing::load(&SigningPolicy::File(home.dir.path().join("key.pem")), false).unwrap().current;
    let sealer = log.sealer().unwrap();
    sealer.set_signers(crate::signing::Signers { current, previous: Some(previous) });
    log.log_event(&entry()).unwrap();
    log.checkpoint().unwrap();
    log.prune(before("2026-07-14")).unwrap();
    drop(log);
    home.sound();
    // A tombstone by the key that was replaced, behind one by the new.
    let both = fs::read_to_string(home.tombstones()).unwrap();
    fs::write(home.tombstones(), format!("{}{old}", both.strip_prefix(&old).unwrap())).unwrap();
    assert!(home.broken().contains("no key in force"));
}

#[test]
fn the_python_verifier_agrees() {
    let home = Home::with_days(5);
    home.open().prune(before("2026-07-14")).unwrap();
    home.day();
    home.open().prune(before("2026-07-15")).unwrap();
    home.day();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verify_audit.py");
    let says = |expected: &str| {
        let output = std::process::Command::new("python3")
            .arg(&script)
            .args([home.audit(), home.data().join("audit-vkeys"), home.data().join("audit-anchor")])
            .output()
            .unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(output.status.success(), home.verify().ok, "{said}");
    };
    says("intact: 39 lines, 39 of them ours, 15 pruned");
    let tombstones = fs::read_to_string(home.tombstones()).unwrap();
    fs::write(home.tombstones(), tombstones.replace("by uid ", "by uid 1")).unwrap();
    says("NOT intact");
    fs::remove_file(home.tombstones()).unwrap();
    says("NOT intact");
    fs::write(home.tombstones(), &tombstones).unwrap();
    let day = home.audit().join("2026-07-13.jsonl");
    fs::write(&day, "").unwrap();
    says("other lines");
    fs::remove_file(&day).unwrap();
    fs::remove_file(home.audit().join("2026-07-15.jsonl")).unwrap();
    says("NOT intact");
}
