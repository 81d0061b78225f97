//! The group commit. Callers queue their records in groups; one of them, the leader, writes the oldest group under the
//! lock and syncs once for all of it. The next leader is one that waits in the next group. Nobody waits longer than
//! the deadline.
//!
//! A record that stands for a coming act is acknowledged only after its sync. An outcome is acknowledged after its
//! write; the next sync, at most [`OUTCOME_SYNC`] later, makes it durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError, yield_now};
use crate::AuditError;
use crate::journal::{Failed, MAX_WRITE};
use crate::line::MAX_LINE;

/// How long an acknowledged outcome may wait for its sync.
const OUTCOME_SYNC: Duration = Duration::from_millis(100);
/// How many records may wait; more than that wait outside.
const QUEUE: usize = 4096;
/// The most lines of one group.
const GROUP: usize = 1024;

/// What groups are written to.
pub(crate) trait Target {
    type Record;
    /// What a sync has to cover.
    type Written: Clone;

    /// Writes records in order. Called by one thread at a time.
    fn write(&self, records: &[Self::Record]) -> Result<Self::Written, Failed>;
    /// Makes durable what was written up to there.
    fn sync(&self, written: &Self::Written) -> Result<(), AuditError>;
    /// The record that closes what this one opened: it is on record although its caller was refused.
    fn closing(&self, record: &Self::Record) -> Result<Option<Self::Record>, AuditError>;
    /// About how many bytes it takes.
    fn size(record: &Self::Record) -> usize;
    fn now(&self) -> Instant;
}

/// When a record counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Written,
    Durable,
}

pub(crate) struct GroupCommit<T: Target> {
    target: T,
    queue: Mutex<Queue<T>>,
    /// Room in the queue.
    room: Condvar,
    /// Wakes the thread in the background.
    wake: Condvar,
    /// One sync at a time: an error is reported once per descriptor, so two at once could tell only one of them.
    syncing: Mutex<()>,
    /// Numbers the groups that were written.
    written: AtomicU64,
    /// The last of them that a sync covers.
    durable: AtomicU64,
    /// About how long a sync takes, in nanoseconds.
    sync_time: AtomicU64,
    stopped: AtomicBool,
    /// The first failure after which nothing may be written.
    cause: Mutex<Option<AuditError>>,
    deadline: Duration,
    process: u32,
}

struct Queue<T: Target> {
    /// Those that wait, oldest first; records join the last one.
    groups: VecDeque<Waiting<T::Record>>,
    /// How many records are in them.
    length: usize,
    /// How many callers wait for room.
    outside: usize,
    leading: bool,
    closing: bool,
    /// What the last sync did not cover.
    unsynced: Option<(u64, T::Written)>,
    background_sleeps: bool,
    next_ticket: u64,
    pace: Pace,
}

/// A group that is still open.
struct Waiting<R> {
    group: Arc<Group>,
    records: Vec<R>,
    /// Who waits for each record; nobody for what a drop left.
    callers: Vec<Option<Caller>>,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Caller {
    ticket: u64,
    until: Until,
}

/// Where the callers of one group wait.
struct Group {
    state: Mutex<State>,
    on_written: Condvar,
    on_durable: Condvar,
}

struct State {
    stage: Stage,
    /// One of those that wait is to lead.
    lead: bool,
    parked_until_written: usize,
    parked_until_durable: usize,
    /// Who gave up after the leader had taken the group.
    given_up: Vec<u64>,
}

enum Stage {
    Open,
    Written,
    Done(Result<(), AuditError>),
}

/// A record's place in the queue.
struct Place {
    group: Arc<Group>,
    caller: Caller,
}

/// Callers that come back at once are waited for a little, so that one sync serves all of them: without that, half of
/// them always miss the sync that the other half waits for.
#[derive(Default)]
struct Pace {
    /// How many came at once lately.
    expected: usize,
    /// So many groups go without waiting, since it was in vain.
    hurried: u32,
}

/// After waiting in vain.
const HURRY: u32 = 16;
/// Where a sync takes less, nothing is gained by sharing it.
const WORTHWHILE: Duration = Duration::from_micros(40);
const MOST_PATIENCE: Duration = Duration::from_micros(100);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here protect is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Target> GroupCommit<T> {
    pub(crate) fn new(target: T, deadline: Duration) -> Self {
        Self {
            target,
            queue: Mutex::new(Queue {
                groups: VecDeque::new(),
                length: 0,
                outside: 0,
                leading: false,
                closing: false,
                unsynced: None,
                background_sleeps: false,
                next_ticket: 0,
                pace: Pace::default(),
            }),
            room: Condvar::new(),
            wake: Condvar::new(),
            syncing: Mutex::new(()),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            sync_time: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            cause: Mutex::new(None),
            deadline,
            process: std::process::id(),
        }
    }

    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// Refuses when nothing may be written any more.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        if std::process::id() != self.process {
            return Err(AuditError::Forked);
        }
        self.check_stopped()
    }

    fn check_stopped(&self) -> Result<(), AuditError> {
        if !self.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let cause = lock(&self.cause).as_ref().map(ToString::to_string).unwrap_or_default();
        Err(AuditError::Stopped { cause })
    }

    /// Nothing may be written any more.
    pub(crate) fn stop(&self, cause: AuditError) {
        lock(&self.cause).get_or_insert(cause);
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Puts a record on the log and waits until it is taken.
    pub(crate) fn submit(&self, record: T::Record, until: Until) -> Result<(), AuditError> {
        let deadline = self.target.now() + self.deadline;
        let (place, lead) = self.queue_for(until, deadline)?.push(record, until);
        if lead {
            self.lead();
        }
        self.wait(&place, deadline)
    }

    /// Puts records on the log in order and hands each result out as soon as it is known.
    pub(crate) fn submit_all(
        &self,
        records: Vec<T::Record>,
        mut each: impl FnMut(usize, Result<(), AuditError>),
    ) -> Result<(), AuditError> {
        let deadline = self.target.now() + self.deadline;
        let mut queue = self.queue_for(Until::Durable, deadline)?;
        let mut lead = false;
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let (place, first) = queue.push(record, Until::Durable);
            lead |= first;
            places.push(place);
        }
        drop(queue);
        if lead {
            self.lead();
        }
        for (index, place) in places.iter().enumerate() {
            each(index, self.wait(place, deadline));
        }
        Ok(())
    }

    /// The queue, once there is room in it.
    fn queue_for(&self, until: Until, deadline: Instant) -> Result<MutexGuard<'_, Queue<T>>, AuditError> {
        self.check()?;
        let mut queue = lock(&self.queue);
        // An outcome's place was reserved by its permit: it never waits for room.
        while until == Until::Durable && queue.length >= QUEUE {
            let left = deadline.saturating_duration_since(self.target.now());
            if left == Duration::ZERO {
                return Err(AuditError::Timeout { waited: self.deadline });
            }
            queue.outside += 1;
            queue = self.room.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            queue.outside -= 1;
        }
        Ok(queue)
    }

    /// Leaves a record to the background; never blocks on the disk.
    pub(crate) fn leave(&self, record: T::Record) {
        let mut queue = lock(&self.queue);
        queue.add(record, None);
        self.wake.notify_all();
    }

    fn wait(&self, place: &Place, deadline: Instant) -> Result<(), AuditError> {
        let Place { group, caller } = place;
        let mut state = lock(&group.state);
        loop {
            if let Some(result) = state.result(caller.until) {
                return result;
            }
            if std::mem::take(&mut state.lead) {
                drop(state);
                self.lead();
                state = lock(&group.state);
                continue;
            }
            let left = deadline.saturating_duration_since(self.target.now());
            if left > Duration::ZERO {
                state = group.park(state, caller.until, left);
                continue;
            }
            // Too late. Nothing that is still queued may be written later as if it had been allowed.
            drop(state);
            let mut queue = lock(&self.queue);
            state = lock(&group.state);
            if state.lead || state.result(caller.until).is_some() {
                drop(queue);
                continue;
            }
            if !queue.take_back(place) {
                state.given_up.push(caller.ticket);
            } else if queue.outside > 0 {
                self.room.notify_one();
            }
            return Err(AuditError::Timeout { waited: self.deadline });
        }
    }

    /// Writes the oldest group, syncs it if anybody needs that, and hands the lead over.
    fn lead(&self) {
        // Handed over even when a commit panics: the others must not wait for ever.
        let mut hand_over = HandOver { commit: self, served: 0 };
        let Some(group) = self.take_group() else { return };
        let mut led = Led { commit: self, group, done: false };
        hand_over.served = led.group.records.len();
        let result = self.write(&led.group.records).and_then(|(number, written)| {
            if led.waits(Until::Written) {
                led.group.group.reach_written();
            }
            if led.waits(Until::Durable) {
                return self.make_durable(number, &written);
            }
            let mut queue = lock(&self.queue);
            queue.unsynced = Some((number, written));
            if queue.background_sleeps {
                self.wake.notify_all();
            }
            Ok(())
        });
        led.finish(&result);
    }

    fn take_group(&self) -> Option<Waiting<T::Record>> {
        let mut queue = lock(&self.queue);
        if queue.length < queue.pace.expected {
            queue = self.gather(queue);
        }
        let group = queue.groups.pop_front()?;
        queue.length -= group.records.len();
        if queue.outside > 0 {
            self.room.notify_all();
        }
        Some(group)
    }

    /// Gives those that are expected a moment to come.
    fn gather<'a>(&'a self, mut queue: MutexGuard<'a, Queue<T>>) -> MutexGuard<'a, Queue<T>> {
        let sync = Duration::from_nanos(self.sync_time.load(Ordering::Relaxed));
        if sync < WORTHWHILE {
            return queue;
        }
        if queue.pace.hurried > 0 {
            queue.pace.hurried -= 1;
            return queue;
        }
        let expected = queue.pace.expected;
        let until = self.target.now() + MOST_PATIENCE.min(sync / 2);
        while queue.length < expected {
            if self.target.now() >= until {
                queue.pace.hurried = HURRY;
                break;
            }
            drop(queue);
            yield_now();
            queue = lock(&self.queue);
        }
        queue
    }

    fn write(&self, records: &[T::Record]) -> Result<(u64, T::Written), AuditError> {
        self.check_stopped()?;
        match self.target.write(records) {
            Ok(written) => Ok((self.written.fetch_add(1, Ordering::SeqCst) + 1, written)),
            Err(Failed::Refused(error)) => Err(error),
            Err(Failed::Fatal(error)) => {
                self.stop(error.clone());
                Err(error)
            }
        }
    }

    /// Syncs the group of this number and all before it.
    fn make_durable(&self, number: u64, written: &T::Written) -> Result<(), AuditError> {
        self.sync_alone(|| {
            if self.durable.load(Ordering::SeqCst) >= number {
                return Ok(());
            }
            let begin = self.target.now();
            self.target.sync(written)?;
            let took = u64::try_from((self.target.now() - begin).as_nanos()).unwrap_or(u64::MAX / 4);
            let before = self.sync_time.load(Ordering::Relaxed);
            self.sync_time.store((before * 3 + took) / 4, Ordering::Relaxed);
            self.durable.fetch_max(number, Ordering::SeqCst);
            Ok(())
        })
    }

    /// Runs a sync while no other runs. Its failure stops the log.
    pub(crate) fn sync_alone(&self, sync: impl FnOnce() -> Result<(), AuditError>) -> Result<(), AuditError> {
        let _one_at_a_time = lock(&self.syncing);
        // First this: if the sync before failed, ours may report nothing at all.
        self.check_stopped()?;
        sync().inspect_err(|error| self.stop(error.clone()))
    }

    /// Makes durable all that was written up to now.
    fn sync_written(&self) -> Result<(), AuditError> {
        let unsynced = lock(&self.queue).unsynced.clone();
        let Some((number, written)) = unsynced else { return self.check_stopped() };
        self.make_durable(number, &written)?;
        lock(&self.queue).forget_synced(number);
        Ok(())
    }

    fn hand_over(&self, served: usize) {
        let mut queue = lock(&self.queue);
        queue.pace.expected = served + queue.length;
        queue.forget_synced(self.durable.load(Ordering::SeqCst));
        if let Some(next) = queue.groups.front()
            && next.callers.iter().any(Option::is_some)
        {
            let mut state = lock(&next.group.state);
            state.lead = true;
            if state.parked_until_durable > 0 {
                next.group.on_durable.notify_one();
            } else if state.parked_until_written > 0 {
                next.group.on_written.notify_one();
            }
            return;
        }
        queue.leading = false;
        if !queue.groups.is_empty() {
            self.wake.notify_all();
        }
    }

    /// The background: leads for records that nobody waits for, and syncs outcomes in time.
    pub(crate) fn run_background(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if !queue.leading && !queue.groups.is_empty() {
                queue.leading = true;
                drop(queue);
                self.lead();
                queue = lock(&self.queue);
                continue;
            }
            if queue.closing && queue.groups.is_empty() && !queue.leading {
                drop(queue);
                // A failure stops the log, which is all that can still be said here.
                let _stopped = self.sync_written();
                return;
            }
            match queue.unsynced.as_ref().map(|(number, _)| *number) {
                None => {
                    queue.background_sleeps = true;
                    queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.background_sleeps = false;
                }
                Some(seen) => {
                    let half = OUTCOME_SYNC / 2;
                    queue = self.wake.wait_timeout(queue, half).unwrap_or_else(PoisonError::into_inner).0;
                    // Still the same one, or others after it, and no sync of theirs in between.
                    let due = queue.unsynced.is_some() && self.durable.load(Ordering::SeqCst) < seen;
                    if due && queue.groups.is_empty() {
                        drop(queue);
                        let _stopped = self.sync_written();
                        queue = lock(&self.queue);
                    }
                }
            }
        }
    }

    /// Ends the background once nothing waits any more.
    pub(crate) fn close(&self) {
        lock(&self.queue).closing = true;
        self.wake.notify_all();
    }
}

impl<T: Target> Queue<T> {
    /// The record's place, and whether its caller is to lead.
    fn push(&mut self, record: T::Record, until: Until) -> (Place, bool) {
        let caller = Caller { ticket: self.next_ticket, until };
        self.next_ticket += 1;
        let group = self.add(record, Some(caller));
        (Place { group, caller }, !std::mem::replace(&mut self.leading, true))
    }

    fn add(&mut self, record: T::Record, caller: Option<Caller>) -> Arc<Group> {
        if self.groups.back().is_none_or(Waiting::is_full) {
            self.groups.push_back(Waiting::new());
        }
        let waiting = self.groups.back_mut().expect("one was just put there");
        waiting.bytes += T::size(&record);
        waiting.records.push(record);
        waiting.callers.push(caller);
        self.length += 1;
        Arc::clone(&waiting.group)
    }

    /// Whether the record was still here to be taken away.
    fn take_back(&mut self, place: &Place) -> bool {
        let Some(at) = self.groups.iter().position(|waiting| Arc::ptr_eq(&waiting.group, &place.group))
        else {
            return false;
        };
        let waiting = &mut self.groups[at];
        let same = |caller: &Option<Caller>| caller.is_some_and(|other| other.ticket == place.caller.ticket);
        let Some(index) = waiting.callers.iter().position(same) else { return false };
        waiting.callers.remove(index);
        waiting.records.remove(index);
        if waiting.records.is_empty() {
            self.groups.remove(at);
        }
        self.length -= 1;
        true
    }

    fn forget_synced(&mut self, durable: u64) {
        if self.unsynced.as_ref().is_some_and(|(number, _)| *number <= durable) {
            self.unsynced = None;
        }
    }
}

impl<R> Waiting<R> {
    fn new() -> Self {
        let state = State {
            stage: Stage::Open,
            lead: false,
            parked_until_written: 0,
            parked_until_durable: 0,
            given_up: Vec::new(),
        };
        let group =
            Group { state: Mutex::new(state), on_written: Condvar::new(), on_durable: Condvar::new() };
        Self { group: Arc::new(group), records: Vec::new(), callers: Vec::new(), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= GROUP || self.bytes + MAX_LINE > MAX_WRITE
    }
}

impl Group {
    fn park<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: Until,
        left: Duration,
    ) -> MutexGuard<'a, State> {
        let condvar = match until {
            Until::Written => &self.on_written,
            Until::Durable => &self.on_durable,
        };
        *state.parked(until) += 1;
        let mut state = condvar.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        *state.parked(until) -= 1;
        state
    }

    fn reach_written(&self) {
        let mut state = lock(&self.state);
        state.stage = Stage::Written;
        let parked = state.parked_until_written > 0;
        drop(state);
        if parked {
            self.on_written.notify_all();
        }
    }

    /// Wakes everybody; gives the tickets of those that gave up.
    fn finish(&self, result: &Result<(), AuditError>) -> Vec<u64> {
        let mut state = lock(&self.state);
        state.stage = Stage::Done(result.clone());
        let (written, durable) = (state.parked_until_written > 0, state.parked_until_durable > 0);
        let given_up = std::mem::take(&mut state.given_up);
        drop(state);
        if written {
            self.on_written.notify_all();
        }
        if durable {
            self.on_durable.notify_all();
        }
        given_up
    }
}

impl State {
    fn result(&self, until: Until) -> Option<Result<(), AuditError>> {
        match &self.stage {
            Stage::Done(result) => Some(result.clone()),
            Stage::Written if until == Until::Written => Some(Ok(())),
            Stage::Written | Stage::Open => None,
        }
    }

    fn parked(&mut self, until: Until) -> &mut usize {
        match until {
            Until::Written => &mut self.parked_until_written,
            Until::Durable => &mut self.parked_until_durable,
        }
    }
}

/// A group on its way to the disk. However that ends, those that wait for it are told.
struct Led<'a, T: Target> {
    commit: &'a GroupCommit<T>,
    group: Waiting<T::Record>,
    done: bool,
}

impl<T: Target> Led<'_, T> {
    fn waits(&self, until: Until) -> bool {
        self.group.callers.iter().flatten().any(|caller| caller.until == until)
    }

    fn finish(&mut self, result: &Result<(), AuditError>) {
        self.done = true;
        let given_up = self.group.group.finish(result);
        if let Err(error) = result {
            // What nobody waits for must not be lost in silence: the next permit is refused.
            if self.group.callers.iter().any(Option::is_none) {
                self.commit.stop(error.clone());
            }
            return;
        }
        for ticket in given_up {
            let same = |caller: &Option<Caller>| caller.is_some_and(|caller| caller.ticket == ticket);
            let index = self.group.callers.iter().position(same);
            let Some(record) = index.and_then(|at| self.group.records.get(at)) else { continue };
            match self.commit.target.closing(record) {
                Ok(Some(closing)) => self.commit.leave(closing),
                Ok(None) => {}
                Err(error) => self.commit.stop(error),
            }
        }
    }
}

impl<T: Target> Drop for Led<'_, T> {
    fn drop(&mut self) {
        if !self.done {
            let error = AuditError::Stopped { cause: "a commit panicked".to_owned() };
            self.commit.stop(error.clone());
            self.finish(&Err(error));
        }
    }
}

struct HandOver<'a, T: Target> {
    commit: &'a GroupCommit<T>,
    served: usize,
}

impl<T: Target> Drop for HandOver<'_, T> {
    fn drop(&mut self) {
        self.commit.hand_over(self.served);
    }
}
