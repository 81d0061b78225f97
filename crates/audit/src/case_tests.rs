//! The edge cases that need a clock, a signer or a disk of the test's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_identity::AttributionType;

use crate::test_bench::{Bench, Call, open};
use crate::{
    AuditError, CheckpointSigner, LogEntry, SettleError, SigningPolicy, VerifyOptions, verify, verify_with,
};

const HOUR: i64 = 3_600_000_000;
/// 2026-07-12T23:59:59.5.
const BEFORE_MIDNIGHT: i64 = 1_783_900_799_500_000;

fn bench() -> Bench {
    Bench::at(BEFORE_MIDNIGHT, 1)
}

fn lines_of(bench: &Bench, day: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(bench.audit().join(day)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn entry() -> LogEntry {
    LogEntry::cli("a", "r", "success", AttributionType::Agent)
}

#[test]
fn case_22_case_23_a_call_over_midnight_is_joined_by_its_call_id() {
    let bench = bench();
    let log = bench.open();
    let permit = log.permit(Call).unwrap();
    bench.shift(2_000_000);
    let recorded = permit.recorded();
    drop(permit.finish(Ok::<(), ()>(())).into_result());
    let (before, after) = (lines_of(&bench, "2026-07-12.jsonl"), lines_of(&bench, "2026-07-13.jsonl"));
    assert_eq!(before[0]["call_id"], recorded.call_id.to_string());
    assert_eq!(after[0]["call_id"], recorded.call_id.to_string());
    drop(log);
    let report = verify(&bench.audit()).unwrap();
    assert_eq!((report.ok, report.events, report.pending_without_outcome, report.files), (true, 2, 0, 2));
    // A process that starts now finds the chain's end over the file's border.
    bench.open().log_event(&entry()).unwrap();
    assert!(verify(&bench.audit()).unwrap().ok);
}

#[test]
fn case_24_a_clock_that_steps_back_is_held_and_then_refused() {
    let bench = bench();
    let log = bench.open();
    log.log_event(&entry()).unwrap();
    bench.shift(-5_000_000);
    log.log_event(&entry()).unwrap();
    bench.shift(-24 * HOUR);
    log.log_event(&entry()).unwrap();
    let lines = lines_of(&bench, "2026-07-12.jsonl");
    assert_eq!(lines[1]["timestamp"], lines[0]["timestamp"]);
    assert!(lines[1]["wall"].as_str().unwrap() < lines[0]["timestamp"].as_str().unwrap());
    assert!(lines[0].get("wall").is_none());
    bench.shift(-49 * HOUR);
    assert!(matches!(log.log_event(&entry()), Err(AuditError::ClockStepped(_))));
    assert!(matches!(bench.open().permit(Call), Err(AuditError::ClockStepped(_))));
    let error = bench.open().log_event(&entry()).unwrap_err().to_string();
    assert!(error.contains("2026-07-12.jsonl"), "{error}");
    log.accept_clock().unwrap();
    assert!(lines_of(&bench, "2026-07-12.jsonl").iter().any(|line| line["action"] == "audit.clock_accepted"));
    // Accepted once, for every process.
    log.log_event(&entry()).unwrap();
    bench.open().log_event(&entry()).unwrap();
    assert!(verify(&bench.audit()).unwrap().ok);
}

#[test]
fn case_24_the_newest_files_day_counts_also_when_no_record_of_ours_is_in_it() {
    let bench = bench();
    bench.open().log_event(&entry()).unwrap();
    for (day, text) in [("2026-07-20", &[][..]), ("2026-07-21", crate::sim::FOREIGN)] {
        std::fs::write(bench.audit().join(format!("{day}.jsonl")), text).unwrap();
        assert!(matches!(bench.open().log_event(&entry()), Err(AuditError::ClockStepped(_))), "{day}");
    }
    bench.shift(8 * 24 * HOUR);
    bench.open().log_event(&entry()).unwrap();
    assert!(verify(&bench.audit()).unwrap().ok);
}

#[test]
fn case_25_a_clock_that_jumps_ahead_opens_a_new_file_and_coming_back_is_a_step_back() {
    let bench = bench();
    let log = bench.open();
    log.log_event(&entry()).unwrap();
    bench.shift(365 * 24 * HOUR);
    log.log_event(&entry()).unwrap();
    bench.shift(-365 * 24 * HOUR);
    assert!(matches!(log.log_event(&entry()), Err(AuditError::ClockStepped(_))));
    assert!(verify(&bench.audit()).unwrap().ok);
}

#[test]
fn another_process_that_went_on_to_the_next_day_is_followed() {
    let bench = bench();
    let (here, there) = (bench.open(), bench.open());
    here.log_event(&entry()).unwrap();
    there.log_event(&entry()).unwrap();
    bench.shift(24 * HOUR);
    there.log_event(&entry()).unwrap();
    bench.shift(-2 * HOUR);
    // Here the clock still says the old day.
    here.log_event(&entry()).unwrap();
    assert_eq!(lines_of(&bench, "2026-07-12.jsonl").len(), 2);
    assert_eq!(lines_of(&bench, "2026-07-13.jsonl").len(), 2);
    assert!(verify(&bench.audit()).unwrap().ok);
}

#[test]
fn case_35_a_day_file_that_is_gone_is_missed_whichever_it_was() {
    let bench = bench();
    let log = bench.open();
    for _ in 0..4 {
        log.log_event(&entry()).unwrap();
        bench.shift(24 * HOUR);
    }
    drop(log);
    assert_eq!(verify(&bench.audit()).unwrap().files, 4);
    let aside = bench.dir.path().join("aside");
    for (gone, noticed_in) in [("2026-07-12", "2026-07-13"), ("2026-07-14", "2026-07-15")] {
        let path = bench.audit().join(format!("{gone}.jsonl"));
        std::fs::rename(&path, &aside).unwrap();
        let error = verify(&bench.audit()).unwrap().first_error.unwrap();
        assert_eq!((error.file, error.line), (format!("{noticed_in}.jsonl"), 1));
        std::fs::rename(&aside, &path).unwrap();
    }
    assert!(verify(&bench.audit()).unwrap().ok);
}

#[derive(Debug)]
struct Stuck {
    inner: Arc<dyn CheckpointSigner>,
    delay: Duration,
}

impl CheckpointSigner for Stuck {
    fn public_key(&self) -> &[u8] {
        self.inner.public_key()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, AuditError> {
        std::thread::sleep(self.delay);
        self.inner.sign(message)
    }
}

fn signer(dir: &Path) -> Arc<dyn CheckpointSigner> {
    let path = dir.join("key.pem");
    std::fs::write(&path, crate::generate_signing_key().unwrap().expose()).unwrap();
    crate::signing::load(&SigningPolicy::File(path), false).unwrap().current
}

#[test]
fn case_39_a_signer_that_hangs_holds_up_no_call() {
    let bench = bench();
    let stuck = Stuck { inner: signer(bench.dir.path()), delay: Duration::from_secs(2) };
    let options = bench.options().with_signing(SigningPolicy::Signer(Arc::new(stuck)));
    let log = open(options.with_deadline(Duration::from_secs(10)));
    // So many that a checkpoint is due.
    drop(log.permit(Call).unwrap());
    log.log_events(&vec![entry(); 1100], |_, result| assert!(result.is_ok())).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    for _ in 0..20 {
        drop(log.permit(Call).unwrap().finish(Ok::<(), ()>(())).into_result());
    }
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[test]
fn case_38_without_its_key_the_log_goes_on_with_the_chain_and_says_so() {
    let bench = bench();
    let missing = SigningPolicy::File(bench.dir.path().join("missing.pem"));
    let log = open(bench.options().with_signing(missing.clone()));
    drop(log.permit(Call).unwrap().finish(Ok::<(), ()>(())).into_result());
    assert!(log.checkpoint().is_err());
    drop(log);
    let lines = lines_of(&bench, "2026-07-12.jsonl");
    assert_eq!(lines[2]["action"], "audit.checkpoint_skipped");
    assert!(verify(&bench.audit()).unwrap().ok);
    // Unless a seal is required.
    let log = open(bench.options().with_signing(missing).require_seal());
    assert!(log.permit(Call).is_err());
}

#[test]
fn a_clean_exit_seals_and_a_day_that_ended_is_closed() {
    let bench = bench();
    let options = || {
        let signer = signer(bench.dir.path());
        bench.options().with_signing(SigningPolicy::Signer(signer))
    };
    let log = open(options());
    drop(log.permit(Call).unwrap().finish(Ok::<(), ()>(())).into_result());
    bench.shift(HOUR);
    drop(log.permit(Call).unwrap().finish(Err::<(), _>("no")).into_result());
    drop(log);
    let notes = std::fs::read_dir(bench.audit().join("checkpoints")).unwrap();
    let text: String = notes.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert!(text.contains("\nclosed 2026-07-12.jsonl "), "{text}");
    let report = verify_with(&bench.audit(), &VerifyOptions::new().with_data_dir(&bench.data())).unwrap();
    assert_eq!((report.ok, report.sealed_lines, report.level.as_str()), (true, 4, "anchored"), "{report:?}");
    // A line that is added to the closed day, with a chain that fits, is found by the checkpoint.
    std::fs::write(bench.audit().join("2026-07-13.jsonl"), "").unwrap();
    let report = verify_with(&bench.audit(), &VerifyOptions::new().with_data_dir(&bench.data())).unwrap();
    assert!(!report.ok);
}

#[test]
fn an_outcome_that_cannot_be_written_is_never_lost_in_silence() {
    let bench = bench();
    let log = bench.open();
    let permit = log.permit(Call).unwrap();
    std::fs::hard_link(bench.audit().join("2026-07-12.jsonl"), bench.dir.path().join("second")).unwrap();
    match permit.finish(Ok::<_, ()>(7)).into_result() {
        Err(SettleError::OutcomeLost { result, .. }) => assert_eq!(result, Ok(7)),
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(bench.dir.path().join("second")).unwrap();
    assert!(matches!(log.permit(Call), Err(AuditError::Stopped { .. })));
    // Opened again, it works, and the pending line is the evidence.
    bench.open().log_event(&entry()).unwrap();
    assert_eq!(verify(&bench.audit()).unwrap().pending_without_outcome, 1);
}

#[test]
fn case_53_callers_that_do_not_fit_wait_and_are_refused_at_the_deadline() {
    let bench = bench();
    open(bench.options()).log_event(&entry()).unwrap();
    let lock = std::fs::File::open(bench.audit().join(".lock")).unwrap();
    lock.lock().unwrap();
    let log = open(bench.options().with_deadline(Duration::from_millis(300)));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(log.log_event(&entry()).is_err()));
        }
    });
    // Each waits its own deadline, some for the lock and some for their turn; none is written later.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    lock.unlock().unwrap();
    log.log_event(&entry()).unwrap();
    assert_eq!(verify(&bench.audit()).unwrap().events, 2);
}

#[test]
fn case_53_a_full_queue_holds_callers_back_and_refuses_them_at_the_deadline() {
    let bench = bench();
    open(bench.options()).log_event(&entry()).unwrap();
    let log = open(bench.options().with_deadline(Duration::from_millis(200)));
    // Outcomes that drops left wait for the background, which does not run here; their places were reserved.
    let body = crate::line::Body::system("a", "r", &serde_json::Map::new());
    (0..4096).for_each(|_| log.engine().leave_abandoned(&body));
    let start = Instant::now();
    assert!(matches!(log.log_event(&entry()), Err(AuditError::Timeout { .. })));
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    let mut told = 0;
    assert!(matches!(log.log_events(&[entry()], |_, _| told += 1), Err(AuditError::Timeout { .. })));
    drop(log);
    assert_eq!((told, verify(&bench.audit()).unwrap().events), (0, 1));
}

/// A log with these lines, linked as they should be; `{prev}` and `{seq}` are filled in.
fn forged(lines: &[String]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut hash = crate::chain::GENESIS;
    let mut bytes = Vec::new();
    for (seq, line) in lines.iter().enumerate() {
        let line = line.replace("{prev}", &crate::json::hex(&hash)).replace("{seq}", &seq.to_string());
        hash = crate::chain::extend(&hash, line.as_bytes());
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    std::fs::create_dir(dir.path().join("audit")).unwrap();
    std::fs::write(dir.path().join("audit/2026-07-12.jsonl"), bytes).unwrap();
    dir
}

fn line(event: u32, call: u32, outcome: &str, source: &str) -> String {
    format!(
        r#"{{"event_id":"00000000-0000-7000-8000-{event:012}","timestamp":"2026-07-12T10:00:00.000000+00:00","agent_id":"a","action":"x","resource":"y","outcome":"{outcome}","attribution_type":"agent","metadata":{{}},"v":1,"seq":{{seq}},"call_id":"00000000-0000-7000-8000-{call:012}","src":"{source}","via":"session","prev":"{{prev}}"}}"#
    )
}

#[test]
fn case_40_doubled_ids_and_stray_outcomes_are_found_in_a_log_that_is_linked_well() {
    let pending = |event, call| line(event, call, "pending", "transport");
    let success = |event, call| line(event, call, "success", "transport");
    let report = |lines: &[String]| verify(&forged(lines).path().join("audit")).unwrap();
    let good =
        report(&[pending(1, 1), success(2, 1), line(3, 2, "success", "cli"), line(4, 3, "success", "tool")]);
    assert_eq!((good.ok, good.events), (true, 4), "{good:?}");
    let cases = [
        (vec![pending(1, 1), success(1, 1)], 2, "event_id"),
        (vec![pending(1, 1), success(2, 1), success(3, 1)], 3, "second outcome"),
        (vec![success(1, 1)], 1, "without its pending"),
        (vec![pending(1, 1), pending(2, 1)], 2, "second pending"),
        (vec![line(1, 1, "success", "somebody")], 1, "src"),
        (vec![line(1, 1, "success", "cli").replace("{seq}", "7")], 1, "seq"),
        (vec![line(1, 1, "success", "cli").replace("07-12T", "07-13T")], 1, "another day"),
    ];
    for (lines, number, reason) in cases {
        let error = report(&lines).first_error.unwrap();
        assert!(error.line == number && error.reason.contains(reason), "{reason}: {error:?}");
    }
}

#[test]
fn case_47_a_newer_version_is_verified_by_its_bytes() {
    let newer = line(2, 2, "postponed", "oracle").replace(r#""v":1"#, r#""v":2,"colour":[1,{"deep":null}]"#);
    let unknown = line(3, 3, "success", "cli").replace(r#""via":"#, r#""hue":3,"via":"#);
    let lines = [line(1, 1, "success", "cli"), newer, unknown];
    let dir = forged(&lines);
    let report = verify(&dir.path().join("audit")).unwrap();
    assert_eq!((report.ok, report.events, report.newer_version), (true, 3, 1), "{report:?}");
    let shown = crate::tail(&dir.path().join("audit"), 2).unwrap();
    assert!(shown[0].to_json().contains("colour"));
    let path = dir.path().join("audit/2026-07-12.jsonl");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("postponed", "cancelled")).unwrap();
    assert!(!verify(&dir.path().join("audit")).unwrap().ok);
}

#[test]
fn a_batch_that_a_foreign_line_slipped_into_needs_its_explanation() {
    // first | foreign | second (leaves it out), third (goes on from second's prev) | audit.raced (true prev)
    let foreign = r#"{"event_id":"f","timestamp":"t","agent_id":"a","action":"x","resource":"y","outcome":"o","attribution_type":"agent","metadata":{}}"#;
    let with = |text: String, seq: u32, prev: &crate::chain::Hash| {
        text.replace("{seq}", &seq.to_string()).replace("{prev}", &crate::json::hex(prev))
    };
    let extend = |hash: &crate::chain::Hash, line: &str| crate::chain::extend(hash, line.as_bytes());
    let first = with(line(1, 1, "success", "cli"), 0, &crate::chain::GENESIS);
    let one = extend(&crate::chain::GENESIS, &first);
    let second = with(line(2, 2, "success", "cli"), 1, &one);
    let third = with(line(3, 3, "success", "cli"), 2, &extend(&one, &second));
    let truth = [foreign, &second, &third].iter().fold(one, |hash, line| extend(&hash, line));
    let raced = with(
        line(4, 4, "success", "system").replace(r#""action":"x""#, r#""action":"audit.raced""#),
        3,
        &truth,
    );
    let write = |lines: &[&str]| {
        let dir = forged(&[]);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.path().join("audit/2026-07-12.jsonl"), text).unwrap();
        verify(&dir.path().join("audit")).unwrap()
    };
    let report = write(&[&first, foreign, &second, &third, &raced]);
    assert!(report.ok, "{report:?}");
    assert!(!write(&[&first, foreign, &second, &third]).ok, "nobody explained it");
    assert!(write(&[&first, foreign, &second]).ok, "a single line needs no explanation");
    let late = with(line(5, 5, "success", "cli"), 3, &truth);
    assert!(!write(&[&first, foreign, &second, &third, &late]).ok, "another record is no explanation");
}
