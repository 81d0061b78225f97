//! The whole log on a disk that loses power at every operation, and on one that fails at every operation.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use entrabot_identity::{Attribute, AttributionChain, AttributionType, Config, Session};

use crate::data::DataDir;
use crate::line::{Body, Record, new_id};
use crate::log::LOCK;
use crate::sim::{FOREIGN, Fault, LOSSES, Loss, Sim};
use crate::storage::read_range;
use crate::time::{Clock, Timestamp};
use crate::verify::verify_folder;
use crate::{
    AuditLog, AuditOptions, Auditable, CallId, CheckpointSigner, LogEntry, ServerName, SigningPolicy,
    Subject, ToolName, VerifyOptions,
};

#[derive(Debug)]
struct SimClock(AtomicI64);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1000, Ordering::Relaxed))
    }
}

struct Call;

impl Auditable for Call {
    fn subject(&self) -> Subject {
        Subject::WorkIq { server: ServerName::parse("s").unwrap(), tool: ToolName::parse("t").unwrap() }
    }
}

const DAY: i64 = 86_400_000_000;
const MIDNIGHT: i64 = 20_000 * DAY;
const START: i64 = MIDNIGHT - 5_000_000;

/// What became of a run's records.
#[derive(Debug, Default)]
struct Ran {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    stopped: bool,
}

struct Machine {
    signer: Arc<dyn CheckpointSigner>,
    who: Arc<dyn Attribute>,
}

impl Machine {
    fn new() -> Self {
        let config = Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")]);
        let who = Arc::new(AttributionChain::new(&config.unwrap(), Arc::new(Session::new())));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, crate::generate_signing_key().unwrap().expose()).unwrap();
        let signers = crate::signing::load(&SigningPolicy::File(path), false).unwrap();
        Self { signer: signers.current, who }
    }

    fn open(&self, sim: &Sim, now: i64) -> (AuditLog, Arc<SimClock>) {
        let clock = Arc::new(SimClock(AtomicI64::new(now)));
        let options = AuditOptions::new(Path::new("/audit"), Path::new("/data"))
            .with_signing(SigningPolicy::Signer(Arc::clone(&self.signer)))
            .with_clock(Arc::clone(&clock) as _);
        let data = DataDir::Simulated(sim.root("/data"));
        (AuditLog::over(sim.root("/audit"), data, options, Arc::clone(&self.who), Vec::new()).unwrap(), clock)
    }

    /// Appends, checkpoints, a day that ends, calls; gives the ids that were acknowledged. Any step may fail once
    /// the power is off.
    fn work(&self, sim: &Sim) -> Vec<String> {
        let (log, clock) = self.open(sim, START);
        let mut acknowledged = Vec::new();
        let entry = || LogEntry::cli("a", "r", "success", AttributionType::Agent);
        for round in 0..3 {
            for _ in 0..2 {
                acknowledged.extend(log.log_event(&entry()).ok().map(|id| id.to_string()));
            }
            if let Ok(permit) = log.permit(Call) {
                acknowledged.push(permit.recorded().event_id.to_string());
                drop(permit.finish(Ok::<(), ()>(())).into_result());
            }
            drop(log.checkpoint());
            if round == 1 {
                // An outcome that is not synced yet when the day ends: the next file's first line covers it.
                if let Ok(permit) = log.permit(Call) {
                    acknowledged.push(permit.recorded().event_id.to_string());
                    drop(permit.finish(Ok::<(), ()>(())).into_result());
                }
                clock.0.fetch_add(DAY, Ordering::Relaxed);
            }
            let batch = vec![entry(); 5];
            drop(log.log_events(&batch, |_, id| acknowledged.extend(id.ok().map(|id| id.to_string()))));
        }
        acknowledged
    }

    /// Batches that need several writes: over midnight, and behind a line of a writer without the lock. Whatever is
    /// acknowledged is closed.
    fn batches(&self, sim: &Sim) -> Ran {
        // The one without the lock was seen here before.
        let lock = sim.root("/audit").lock(LOCK, false).unwrap();
        drop(crate::announced::note_others(&*lock));
        let (log, clock) = self.open(sim, START);
        let mut ran = Ran::default();
        let first = log.log_event(&LogEntry::cli("a", "r", "success", AttributionType::Agent));
        ran.acknowledged.extend(first.ok().map(|id| id.to_string()));
        clock.0.store(MIDNIGHT - 3000, Ordering::Relaxed);
        self.acts(&log, &clock, 6, &mut ran);
        drop(log.checkpoint());
        write_without_the_lock(sim);
        self.acts(&log, &clock, 3, &mut ran);
        drop(log.checkpoint());
        ran.stopped = log.engine().check().is_err();
        ran
    }

    /// Acts put on record together, and their outcomes.
    fn acts(&self, log: &AuditLog, clock: &SimClock, count: usize, ran: &mut Ran) {
        let bodies: Vec<Arc<Body>> = (0..count)
            .map(|_| Arc::new(Call.subject().body(&self.who.attribute().unwrap(), CallId(new_id(0)))))
            .collect();
        let records: Vec<Record> = bodies
            .iter()
            .map(|body| Record::new(body, "pending", None, clock.now()).unwrap().opening(body))
            .collect();
        let ids: Vec<String> = records.iter().map(|record| record.event.to_string()).collect();
        let mut results = Vec::new();
        if log.engine().submit_all(records, |_, result| results.push(result)).is_err() {
            ran.refused.extend(ids);
            return;
        }
        for ((id, body), result) in ids.into_iter().zip(&bodies).zip(results) {
            match result {
                Ok(()) => {
                    ran.acknowledged.push(id);
                    // When that fails the log has stopped, which is looked at in the end.
                    drop(log.close_span(body, "success", None));
                }
                Err(_) => ran.refused.push(id),
            }
        }
    }

    fn check(&self, sim: &Sim, acknowledged: &[String], when: &str) {
        let data = sim.root("/data");
        let report = verify_folder(sim.root("/audit"), Some(&*data), &VerifyOptions::new()).unwrap();
        assert!(report.ok, "{when}: {report:?}");
        let seen = ids(sim);
        for id in acknowledged {
            assert_eq!(seen.get(id), Some(&1), "{when}: {id}");
        }
    }
}

/// A line as the Python original adds it, unless it would be glued to a torn one: its own failure is none of the log's.
fn write_without_the_lock(sim: &Sim) {
    let Ok(file) = sim.root("/audit").open_append("2024-10-04.jsonl") else { return };
    let Ok(bytes) = file.stat().and_then(|stat| read_range(&*file, 0, stat.size)) else { return };
    if bytes.ends_with(b"\n") {
        drop(file.append(FOREIGN));
    }
}

/// The ids on the log, and how often each stands there.
fn ids(sim: &Sim) -> HashMap<String, u32> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let read = std::sync::atomic::AtomicU64::new(0);
    crate::read::query_folder(sim.root("/audit"), &crate::Query::new(), None, &read, |event| {
        if let crate::Seen::Event(event) = event {
            *seen.entry(event.event_id().to_owned()).or_default() += 1;
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    seen
}

/// Two of the four at each operation, the other two at the next, unless there is time.
fn chosen(cut: u64) -> impl Iterator<Item = (usize, Loss)> {
    let all = std::env::var_os("ENTRABOT_TEST_LONG").is_some();
    let losses = LOSSES.into_iter().enumerate();
    losses.filter(move |(index, _)| all || (*index as u64 + cut).is_multiple_of(2))
}

#[test]
fn case_54_power_loss_at_every_operation_loses_no_acknowledged_record_and_never_looks_like_tampering() {
    let machine = Machine::new();
    let whole = Sim::new();
    let acknowledged = machine.work(&whole);
    assert_eq!(acknowledged.len(), 25);
    machine.check(&whole, &acknowledged, "no loss");
    let operations = whole.operations();
    for cut in 0..operations {
        let sim = Sim::new();
        sim.cut_power_after(cut);
        let acknowledged = machine.work(&sim);
        for (index, loss) in chosen(cut) {
            let when = format!("power cut after operation {cut} of {operations}, {loss:?}");
            let back = sim.after_power_loss(loss, cut * 7 + index as u64);
            machine.check(&back, &acknowledged, &when);
            // The next process goes on, and is believed.
            let (log, _clock) = machine.open(&back, START + 2 * DAY);
            let id = log.log_event(&LogEntry::cli("b", "r", "success", AttributionType::Agent)).unwrap();
            log.checkpoint().unwrap_or_else(|error| panic!("{when}: {error}"));
            drop(log);
            let all: Vec<String> = acknowledged.iter().cloned().chain([id.to_string()]).collect();
            machine.check(&back, &all, &format!("{when}, then went on"));
        }
    }
}

impl Machine {
    /// Runs the batches on a disk with this fault: what was acknowledged is there and closed, what was refused is not
    /// there, and the next process goes on.
    fn survive(&self, fault: Fault) {
        let sim = Sim::new();
        sim.fail(Some(fault));
        let ran = self.batches(&sim);
        sim.fail(None);
        let when = format!("{fault:?}: {ran:?}");
        let data = sim.root("/data");
        let report = verify_folder(sim.root("/audit"), Some(&*data), &VerifyOptions::new()).unwrap();
        self.check(&sim, &ran.acknowledged, &when);
        let seen = ids(&sim);
        // A log that has stopped cannot close anything any more: what it leaves open is its evidence.
        if !ran.stopped {
            assert_eq!(report.pending_without_outcome, 0, "{when}: {report:?}");
            assert!(ran.refused.iter().all(|id| !seen.contains_key(id)), "{when}");
        }
        let (log, _clock) = self.open(&sim, START + 2 * DAY);
        log.log_event(&LogEntry::cli("b", "r", "success", AttributionType::Agent)).unwrap();
        log.checkpoint().unwrap_or_else(|error| panic!("{when}: {error}"));
        self.check(&sim, &ran.acknowledged, &format!("{when}, then went on"));
    }
}

#[test]
fn case_10_case_11_case_12_case_13_a_batch_cut_short_acknowledges_exactly_what_is_on_the_log() {
    let machine = Machine::new();
    let whole = Sim::new();
    let ran = machine.batches(&whole);
    assert_eq!((ran.acknowledged.len(), ran.refused.len(), ran.stopped), (10, 0, false));
    // Every second of them, unless there is time.
    let all = std::env::var_os("ENTRABOT_TEST_LONG").is_some();
    let chosen = |at: u64, times: u64| all || (at + times).is_multiple_of(2);
    for at in 1..=whole.operations() {
        for times in (1..=3).filter(|times| chosen(at, *times)) {
            machine.survive(Fault { at, times, half: false, slip: false });
        }
    }
    // From an append on: done by half, raced, both; and nothing works for a while after it.
    for append in whole.log_appends() {
        for (half, slip) in [(true, false), (false, true), (true, true)] {
            for times in (0..=4).filter(|times| chosen(append, *times)) {
                machine.survive(Fault { at: append + 1, times, half, slip });
            }
            // As if the process had died there.
            machine.survive(Fault { at: append + 1, times: u64::MAX / 2, half, slip });
        }
    }
}

#[test]
fn case_35_a_pruning_that_is_cut_at_any_step_leaves_a_log_that_verifies_and_is_finished_by_the_next() {
    let machine = Machine::new();
    let before = Sim::new();
    machine.work(&before);
    let until = crate::PruneUntil::before("2024-10-04").unwrap();
    let day = |sim: &Sim| sim.root("/audit").stat("2024-10-03.jsonl").unwrap().is_some();
    let whole = before.after_power_loss(Loss::Kept, 0);
    let (log, _clock) = machine.open(&whole, START + 2 * DAY);
    assert_eq!(log.prune(until).unwrap().days, ["2024-10-03"]);
    drop(log);
    assert!(day(&before) && !day(&whole));
    machine.check(&whole, &[], "no loss");
    let (mut gone, mut left) = (0, 0);
    for cut in 0..whole.operations() {
        for (index, loss) in chosen(cut) {
            let when = format!("power cut after operation {cut} of {}, {loss:?}", whole.operations());
            let sim = before.after_power_loss(Loss::Kept, 0);
            sim.cut_power_after(cut);
            let (log, _clock) = machine.open(&sim, START + 2 * DAY);
            // Whatever it says, the power went.
            drop(log.prune(until));
            drop(log);
            let back = sim.after_power_loss(loss, cut * 11 + index as u64);
            machine.check(&back, &[], &when);
            if day(&back) {
                left += 1
            } else {
                gone += 1
            }
            let (log, _clock) = machine.open(&back, START + 2 * DAY);
            log.prune(until).unwrap_or_else(|error| panic!("{when}: {error}"));
            let id = log.log_event(&LogEntry::cli("b", "r", "success", AttributionType::Agent)).unwrap();
            log.checkpoint().unwrap();
            drop(log);
            assert!(!day(&back), "{when}, then run again");
            machine.check(&back, &[id.to_string()], &format!("{when}, then run again"));
        }
    }
    assert!(gone > 10 && left > 10, "{gone} {left}");
}
