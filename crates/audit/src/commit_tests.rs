//! The group commit under many orders in which its threads can run. The code under test is `commit` itself,
//! compiled a second time on the primitives of shuttle, whose scheduler decides at each of their steps who goes on; a
//! thread that is never woken is a deadlock, and that is a failure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sync {
    use std::sync::LockResult;
    use std::time::Duration;

    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError};
    pub(crate) use shuttle::thread::yield_now;

    /// Shuttle's own never times out. This one may, at once, and the clock goes on by as much.
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(shuttle::sync::Condvar::new())
        }
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            self.0.wait(guard)
        }
        pub(crate) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            limit: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            if super::clock::runs_out() {
                super::clock::pass(limit);
                return Ok((guard, ()));
            }
            match self.0.wait(guard) {
                Ok(guard) => Ok((guard, ())),
                Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), ()))),
            }
        }
        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

#[path = "commit/mod.rs"]
#[allow(dead_code, reason = "the engine uses the rest")]
#[expect(clippy::duplicate_mod, reason = "once on the system's primitives, once on shuttle's")]
mod commit;

/// Time as the test wants it. All threads of a shuttle test run on one thread of the system.
mod clock {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    use shuttle::rand::{Rng as _, thread_rng};

    thread_local! {
        static BEGIN: Instant = Instant::now();
        static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        static PRESSING: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn now() -> Instant {
        // Every look takes time, so that whoever waits for time to pass comes to an end.
        pass(Duration::from_micros(10));
        BEGIN.with(|begin| *begin + PASSED.get())
    }
    pub(super) fn pass(time: Duration) {
        PASSED.set(PASSED.get() + time);
    }
    /// Whether waits may end before anybody is woken.
    pub(super) fn press(pressing: bool) {
        PRESSING.set(pressing);
    }
    pub(super) fn runs_out() -> bool {
        PRESSING.get() && thread_rng().gen_bool(0.3)
    }
}

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use commit::task::{Kept, Submission};
use commit::{GroupCommit, Put, QUEUE, Target, Until};
use shuttle::rand::Rng as _;
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::AuditError;
use crate::journal::Failed;

const DEADLINE: Duration = Duration::from_secs(5);
/// Orders tried in each test.
const ORDERS: usize = 1500;

#[derive(Clone, Copy, Debug)]
struct Line {
    id: u32,
    /// Whether it stands for a coming act.
    opens: bool,
    closes: Option<u32>,
}

impl Line {
    fn act(id: u32) -> Self {
        Self { id, opens: true, closes: None }
    }
    fn outcome(id: u32) -> Self {
        Self { id, opens: false, closes: None }
    }
}

#[derive(Default)]
struct Disk {
    state: Mutex<DiskState>,
    /// The how manyeth write is refused, or is after its first half, or panics, and sync fails.
    refuse: Option<u32>,
    halve: Option<u32>,
    panic: Option<u32>,
    break_sync: Option<u32>,
}

#[derive(Default)]
struct DiskState {
    lines: Vec<Line>,
    synced: usize,
    writing: bool,
    syncing: bool,
    writes: u32,
    syncs: u32,
    broken: bool,
}

fn failure(what: &str) -> AuditError {
    AuditError::Stopped { cause: what.to_owned() }
}

impl Target for Disk {
    type Record = Line;
    type Written = ();
    type Opened = u32;

    fn write(&self, records: &[Line]) -> Result<Put<()>, Failed> {
        let mut state = self.state.lock().unwrap();
        assert!(!std::mem::replace(&mut state.writing, true), "two wrote at once");
        assert!(!state.broken, "written after a sync had failed");
        assert!(!records.is_empty());
        state.writes += 1;
        drop(state);
        thread::yield_now();
        let mut state = self.state.lock().unwrap();
        state.writing = false;
        if self.panic == Some(state.writes) {
            drop(state);
            panic!("inside a write");
        }
        if self.refuse == Some(state.writes) {
            return Err(Failed::Refused(failure("full")));
        }
        let count = if self.halve == Some(state.writes) { records.len() / 2 } else { records.len() };
        if count == 0 {
            return Err(Failed::Refused(failure("full")));
        }
        state.lines.extend_from_slice(&records[..count]);
        let refused = (count < records.len()).then(|| failure("full"));
        Ok(Put { written: (), count, refused })
    }

    fn sync(&self, (): &()) -> Result<(), AuditError> {
        let mut state = self.state.lock().unwrap();
        assert!(!std::mem::replace(&mut state.syncing, true), "two synced at once");
        assert!(!state.broken, "synced again after a sync had failed");
        state.syncs += 1;
        let covered = state.lines.len();
        drop(state);
        clock::pass(Duration::from_micros(120));
        thread::yield_now();
        let mut state = self.state.lock().unwrap();
        state.syncing = false;
        if self.break_sync == Some(state.syncs) {
            state.broken = true;
            return Err(failure("EIO"));
        }
        state.synced = covered;
        Ok(())
    }

    fn opened(line: &Line) -> Option<u32> {
        line.opens.then_some(line.id)
    }

    fn closing(&self, &id: &u32) -> Result<Line, AuditError> {
        Ok(Line { id: id + 1000, opens: false, closes: Some(id) })
    }

    fn size(_line: &Line) -> usize {
        500
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}

/// What became of a record.
type Fate = (Line, Until, Result<(), AuditError>);

fn put(log: &GroupCommit<Disk>, line: Line, until: Until) -> Fate {
    let result = log.submit(line, until);
    told(log, line, until, result)
}

fn told(log: &GroupCommit<Disk>, line: Line, until: Until, result: Result<(), AuditError>) -> Fate {
    if result.is_ok() {
        let state = log.target().state.lock().unwrap();
        let at = state.lines.iter().position(|other| other.id == line.id);
        let at = at.expect("acknowledged and not written");
        assert!(until == Until::Written || at < state.synced, "acknowledged before its sync");
    }
    (line, until, result)
}

/// The same by a task, which gives up after so many looks.
async fn put_async(log: &GroupCommit<Disk>, line: Line, until: Until, mut looks: u32) -> Fate {
    let kept = if line.opens { Kept::No } else { Kept::Yes };
    let mut submission = log.submission(line, until, kept);
    let result = poll_fn(|context| match Pin::new(&mut submission).poll(context) {
        Poll::Pending if looks == 0 => Poll::Ready(Err(AuditError::Timeout { waited: DEADLINE })),
        Poll::Pending if looks < PATIENT => {
            looks -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
        result => result,
    })
    .await;
    drop(submission);
    told(log, line, until, result)
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whoever looks so often never gives up.
const PATIENT: u32 = u32::MAX;

/// Leads for tasks, and syncs outcomes.
fn background(log: &Arc<GroupCommit<Disk>>) -> [thread::JoinHandle<()>; 2] {
    let (leading, syncing) = (Arc::clone(log), Arc::clone(log));
    [thread::spawn(move || leading.lead_in_background()), thread::spawn(move || syncing.sync_in_background())]
}

/// Three callers, each with an act and its outcome, beside the background; what became of each record.
fn run(disk: Disk) -> (Arc<GroupCommit<Disk>>, Vec<Fate>) {
    run_beside_tasks(disk, 3, 0, || PATIENT)
}

/// So many of them are threads, and so many tasks.
fn run_beside_tasks(
    disk: Disk,
    threads: u32,
    tasks: u32,
    looks: fn() -> u32,
) -> (Arc<GroupCommit<Disk>>, Vec<Fate>) {
    let log = Arc::new(GroupCommit::new(disk, DEADLINE));
    let background = background(&log);
    let tasks: Vec<_> = (threads..threads + tasks)
        .map(|caller| {
            let log = Arc::clone(&log);
            shuttle::future::spawn(async move {
                let act = put_async(&log, Line::act(caller * 10), Until::Durable, looks()).await;
                if act.2.is_err() {
                    return vec![act];
                }
                let outcome = put_async(&log, Line::outcome(caller * 10 + 1), Until::Written, looks()).await;
                vec![act, outcome]
            })
        })
        .collect();
    let callers: Vec<_> = (0..threads)
        .map(|caller| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let act = put(&log, Line::act(caller * 10), Until::Durable);
                if act.2.is_err() {
                    return vec![act];
                }
                let outcome = put(&log, Line::outcome(caller * 10 + 1), Until::Written);
                vec![act, outcome]
            })
        })
        .collect();
    let mut fates: Vec<Fate> = Vec::new();
    for task in tasks {
        // Its background may be gone with a commit that panicked.
        fates.extend(shuttle::future::block_on(task).unwrap());
    }
    let by_threads: Vec<Fate> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    fates.extend(by_threads);
    log.close();
    background.into_iter().for_each(|thread| thread.join().unwrap());
    (log, fates)
}

fn count(state: &DiskState, wanted: impl Fn(&Line) -> bool) -> usize {
    state.lines.iter().filter(|line| wanted(line)).count()
}

#[test]
fn every_record_is_written_once_and_none_is_acknowledged_before_its_time() {
    shuttle::check_random(
        || {
            clock::press(false);
            let (log, fates) = run(Disk::default());
            assert!(fates.len() == 6 && fates.iter().all(|(.., result)| result.is_ok()));
            let state = log.target().state.lock().unwrap();
            for (line, ..) in &fates {
                assert_eq!(count(&state, |other| other.id == line.id), 1);
            }
            assert_eq!((state.lines.len(), state.synced), (6, 6), "the background syncs what is left");
            assert!(state.syncs <= 7, "no sync without need");
        },
        ORDERS,
    );
}

#[test]
fn many_records_of_one_caller_keep_their_order_beside_another() {
    shuttle::check_random(
        || {
            clock::press(false);
            let log = Arc::new(GroupCommit::new(Disk::default(), DEADLINE));
            let other = {
                let log = Arc::clone(&log);
                thread::spawn(move || put(&log, Line::act(100), Until::Durable).2.unwrap())
            };
            let mut seen = Vec::new();
            log.submit_all((0..4).map(Line::act).collect(), |index, result| {
                result.unwrap();
                seen.push(index);
            })
            .unwrap();
            other.join().unwrap();
            assert_eq!(seen, [0, 1, 2, 3]);
            let state = log.target().state.lock().unwrap();
            let order: Vec<u32> = state.lines.iter().map(|line| line.id).filter(|id| *id < 4).collect();
            assert_eq!(order, [0, 1, 2, 3]);
        },
        ORDERS,
    );
}

#[test]
fn tasks_are_served_beside_threads_and_without_any() {
    for threads in 0..=1 {
        shuttle::check_random(
            move || {
                clock::press(false);
                let (log, fates) = run_beside_tasks(Disk::default(), threads, 3, || PATIENT);
                assert!(fates.iter().all(|(.., result)| result.is_ok()), "{fates:?}");
                let state = log.target().state.lock().unwrap();
                for (line, ..) in &fates {
                    assert_eq!(count(&state, |other| other.id == line.id), 1);
                }
                assert_eq!(state.synced, state.lines.len(), "the background syncs what is left");
            },
            ORDERS / 2,
        );
    }
}

#[test]
fn a_task_that_gave_up_is_not_acted_for_but_its_outcome_is_on_record() {
    shuttle::check_random(
        || {
            clock::press(true);
            let looks = || shuttle::rand::thread_rng().gen_range(0..12);
            let (log, fates) = run_beside_tasks(Disk::default(), 1, 3, looks);
            assert!(log.check().is_ok());
            assert_told_the_truth(&log, &fates);
            let state = log.target().state.lock().unwrap();
            for (line, ..) in fates.iter().filter(|(line, ..)| !line.opens && line.id >= 10) {
                assert_eq!(count(&state, |other| other.id == line.id), 1, "{fates:?}");
            }
        },
        ORDERS,
    );
}

#[test]
fn a_failure_is_told_to_the_tasks_that_it_meets() {
    type Breaks = fn(u32) -> Disk;
    let failures: [Breaks; 3] = [
        |number| Disk { break_sync: Some(number), ..Disk::default() },
        |number| Disk { refuse: Some(number), ..Disk::default() },
        |number| Disk { halve: Some(number), ..Disk::default() },
    ];
    for failure in failures {
        for number in 1..=3 {
            shuttle::check_random(
                move || {
                    clock::press(false);
                    let looks = || match shuttle::rand::thread_rng().gen_bool(0.5) {
                        true => PATIENT,
                        false => 3,
                    };
                    let (log, fates) = run_beside_tasks(failure(number), 1, 2, looks);
                    let stopped = log.check().is_err();
                    if !log.target().state.lock().unwrap().broken {
                        assert_told_the_truth(&log, &fates);
                    }
                    let state = log.target().state.lock().unwrap();
                    assert!(!state.broken || stopped);
                    for (line, ..) in fates.iter().filter(|(line, ..)| !line.opens && line.id >= 10) {
                        let written = count(&state, |other| other.id == line.id);
                        assert!(stopped || written == 1, "an outcome is never lost in silence: {fates:?}");
                    }
                },
                ORDERS / 6,
            );
        }
    }
}

#[test]
fn tasks_that_wait_when_a_commit_panics_are_told_that_the_log_stopped() {
    for number in 1..=2 {
        shuttle::check_random(
            move || {
                clock::press(false);
                let disk = Disk { panic: Some(number), ..Disk::default() };
                // Nobody gives up here: one that is not told waits for ever.
                let (log, fates) = run_beside_tasks(disk, 0, 3, || PATIENT);
                assert!(log.check().is_err());
                for (line, _, result) in &fates {
                    assert!(
                        matches!(result, Ok(()) | Err(AuditError::Stopped { .. })),
                        "{line:?} {result:?}"
                    );
                }
            },
            ORDERS / 6,
        );
    }
}

#[test]
fn room_that_a_task_gives_back_goes_to_a_task_that_waits_outside() {
    shuttle::check_random(
        || {
            let log = GroupCommit::new(Disk::default(), DEADLINE);
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let poll = |submission: &mut Submission<Disk>| {
                Pin::new(submission).poll(&mut Context::from_waker(&waker))
            };
            let act = |id| log.submission(Line::act(id), Until::Durable, Kept::No);
            let mut inside: Vec<_> = (0..QUEUE as u32).map(act).collect();
            assert!(inside.iter_mut().all(|submission| poll(submission).is_pending()));
            let mut outside = act(QUEUE as u32);
            assert!(poll(&mut outside).is_pending());
            assert!(!woken.0.load(Ordering::SeqCst));
            inside.pop();
            assert!(woken.0.load(Ordering::SeqCst), "there is room");
        },
        1,
    );
}

#[test]
fn an_outcome_whose_task_is_gone_before_it_is_queued_is_written() {
    shuttle::check_random(
        || {
            clock::press(false);
            let log = Arc::new(GroupCommit::new(Disk::default(), DEADLINE));
            let background = background(&log);
            drop(log.submission(Line::outcome(1), Until::Written, Kept::Yes));
            drop(log.submission(Line::act(2), Until::Durable, Kept::No));
            log.close();
            background.into_iter().for_each(|thread| thread.join().unwrap());
            let state = log.target().state.lock().unwrap();
            assert_eq!((state.lines.len(), state.lines[0].id, state.synced), (1, 1, 1));
        },
        ORDERS / 6,
    );
}

#[test]
fn the_background_ends_also_when_a_thread_leads_last() {
    shuttle::check_random(
        || {
            clock::press(false);
            let log = Arc::new(GroupCommit::new(Disk::default(), DEADLINE));
            let background = background(&log);
            let caller = thread::spawn({
                let log = Arc::clone(&log);
                move || put(&log, Line::act(1), Until::Durable).2.unwrap()
            });
            log.close();
            caller.join().unwrap();
            background.into_iter().for_each(|thread| thread.join().unwrap());
        },
        ORDERS,
    );
}

#[test]
fn no_more_callers_are_waited_for_than_there_are() {
    const CALLERS: u32 = 3;
    shuttle::check_random(
        || {
            let log = Arc::new(GroupCommit::new(Disk::default(), DEADLINE));
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    let log = Arc::clone(&log);
                    thread::spawn(move || {
                        for act in 0..4 {
                            put(&log, Line::act(caller * 10 + act), Until::Durable).2.unwrap();
                            assert!(log.expected() <= CALLERS as usize, "{}", log.expected());
                        }
                    })
                })
                .collect();
            for caller in callers {
                caller.join().unwrap();
            }
        },
        ORDERS,
    );
}

/// What each caller was told is what is on the log: closed is exactly what its caller gave up on.
fn assert_told_the_truth(log: &GroupCommit<Disk>, fates: &[Fate]) {
    let state = log.target().state.lock().unwrap();
    let stopped = log.check().is_err();
    for (line, until, result) in fates {
        let written = count(&state, |other| other.id == line.id);
        let closed = count(&state, |other| other.closes == Some(line.id));
        let told = format!("{line:?} {result:?}: {written} written, {closed} closed");
        assert!(written <= 1, "{told}");
        match result {
            Ok(()) => assert_eq!((written, closed), (1, 0), "{told}"),
            Err(AuditError::Timeout { .. }) if *until == Until::Written => assert_eq!(closed, 0, "{told}"),
            // A closing record that is refused itself stops the log: what is open then is its evidence.
            Err(AuditError::Timeout { .. }) if stopped => assert!(closed <= written, "{told}"),
            Err(AuditError::Timeout { .. }) => assert_eq!(closed, written, "{told}"),
            Err(AuditError::Stopped { .. }) => assert!(written == 0 || stopped, "{told}"),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(stopped || state.synced == state.lines.len());
}

#[test]
fn a_caller_that_gave_up_is_not_acted_for() {
    shuttle::check_random(
        || {
            clock::press(true);
            let (log, fates) = run(Disk::default());
            assert!(log.check().is_ok());
            let refused = |fate: &Fate| matches!(fate.2, Err(AuditError::Stopped { .. }));
            assert!(!fates.iter().any(refused), "{fates:?}");
            assert_told_the_truth(&log, &fates);
        },
        ORDERS,
    );
}

#[test]
fn after_a_failed_sync_nobody_is_told_that_all_is_well() {
    for number in 1..=3 {
        shuttle::check_random(
            move || {
                clock::press(false);
                // The disk itself asserts that nothing is written or synced after the failure.
                let (log, fates) = run(Disk { break_sync: Some(number), ..Disk::default() });
                if log.target().state.lock().unwrap().broken {
                    assert!(log.check().is_err());
                } else {
                    assert!(fates.iter().all(|(.., result)| result.is_ok()));
                }
            },
            ORDERS / 3,
        );
    }
}

#[test]
fn a_refused_write_is_told_to_its_own_callers_and_the_next_one_works() {
    shuttle::check_random(
        || {
            clock::press(false);
            let (log, fates) = run(Disk { refuse: Some(2), ..Disk::default() });
            let state = log.target().state.lock().unwrap();
            for (line, _, result) in &fates {
                assert_eq!(count(&state, |other| other.id == line.id), usize::from(result.is_ok()));
            }
            assert!(fates.iter().any(|(.., result)| result.is_ok()));
            assert_eq!(state.synced, state.lines.len());
        },
        ORDERS,
    );
}

#[test]
fn what_is_on_the_log_is_acknowledged_when_a_later_write_of_its_group_fails() {
    for number in 1..=3 {
        shuttle::check_random(
            move || {
                clock::press(false);
                let (log, fates) = run(Disk { halve: Some(number), ..Disk::default() });
                let state = log.target().state.lock().unwrap();
                for (line, _, result) in &fates {
                    assert_eq!(count(&state, |other| other.id == line.id), usize::from(result.is_ok()));
                }
                assert_eq!(state.synced, state.lines.len());
                assert!(log.check().is_ok(), "and the next one works");
            },
            ORDERS / 3,
        );
    }
}

#[test]
fn of_many_records_of_one_caller_the_first_are_acknowledged_when_a_later_write_fails() {
    shuttle::check_random(
        || {
            clock::press(false);
            let log = Arc::new(GroupCommit::new(Disk { halve: Some(1), ..Disk::default() }, DEADLINE));
            let other = {
                let log = Arc::clone(&log);
                thread::spawn(move || put(&log, Line::act(100), Until::Durable).2)
            };
            let mut results = Vec::new();
            log.submit_all((0..5).map(Line::act).collect(), |_, result| results.push(result)).unwrap();
            let theirs = other.join().unwrap();
            let state = log.target().state.lock().unwrap();
            for (id, result) in
                results.iter().chain([&theirs]).zip([0, 1, 2, 3, 4, 100]).map(|(r, id)| (id, r))
            {
                assert_eq!(count(&state, |line| line.id == id), usize::from(result.is_ok()), "{id}");
            }
            let refused = results.iter().position(Result::is_err).unwrap_or(5);
            assert!(results[refused..].iter().all(Result::is_err), "nothing goes on behind a gap");
        },
        ORDERS,
    );
}

#[test]
fn who_gave_up_is_closed_only_for_what_is_on_the_log() {
    for number in 1..=3 {
        shuttle::check_random(
            move || {
                clock::press(true);
                let (log, fates) = run(Disk { halve: Some(number), ..Disk::default() });
                assert_told_the_truth(&log, &fates);
            },
            ORDERS / 3,
        );
    }
}

#[test]
fn after_a_commit_that_panicked_nobody_waits_for_ever_and_nothing_more_is_written() {
    for number in 1..=2 {
        shuttle::check_random(
            move || {
                clock::press(false);
                let log =
                    Arc::new(GroupCommit::new(Disk { panic: Some(number), ..Disk::default() }, DEADLINE));
                let callers: Vec<_> = (0..3)
                    .map(|id| {
                        let log = Arc::clone(&log);
                        thread::spawn(move || {
                            let put =
                                std::panic::AssertUnwindSafe(|| put(&log, Line::act(id), Until::Durable).2);
                            std::panic::catch_unwind(put).is_ok_and(|result| result.is_ok())
                        })
                    })
                    .collect();
                let acknowledged =
                    callers.into_iter().filter_map(|caller| caller.join().ok().filter(|ok| *ok));
                let acknowledged = acknowledged.count();
                let writes = log.target().state.lock().unwrap().writes;
                // With fewer writes than that, nothing panicked.
                assert!(writes < number || (writes == number && acknowledged < 3), "{writes} {acknowledged}");
                assert_eq!(log.check().is_err(), writes >= number);
            },
            ORDERS / 3,
        );
    }
}
