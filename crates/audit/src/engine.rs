//! The group commit. Callers queue their records; one of them, the leader, writes all that wait under the lock and
//! syncs once for all. The next leader is the first that still waits. Nobody waits longer than the deadline.
//!
//! A record that stands for a coming act is acknowledged only after its sync. An outcome is acknowledged after its
//! write; the next sync, at most [`OUTCOME_SYNC`] later, makes it durable.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::AuditError;
use crate::journal::{Extent, Failed, Journal, MAX_WRITE};
use crate::line::{Body, MAX_LINE, Record};
use crate::locker::{Held, Locker, NotLocked};
use crate::owners::Mark;
use crate::storage::LogFile;
use crate::time::{Clock, Day};

/// How long an acknowledged outcome may wait for its sync.
const OUTCOME_SYNC: Duration = Duration::from_millis(100);
/// How many records may wait; more than that wait outside.
const QUEUE: usize = 4096;
/// A checkpoint is due after so many records, or so long after the first.
const SEAL_RECORDS: u64 = 1000;
const SEAL_INTERVAL: Duration = Duration::from_secs(60);
/// The most lines of one commit.
const BATCH: usize = 1024;

/// When a record counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Written,
    Durable,
}

#[derive(Debug)]
pub(crate) struct Engine {
    queue: Mutex<Queue>,
    /// Room in the queue.
    room: Condvar,
    /// Wakes the thread in the background.
    wake: Condvar,
    journal: Mutex<Journal>,
    locker: Locker,
    /// One sync at a time: an error is reported once per descriptor, so two at once could tell only one of them.
    syncing: Mutex<()>,
    /// Numbers the commits.
    written: AtomicU64,
    /// The last commit that a sync covers.
    durable: AtomicU64,
    /// The first failure after which nothing may be written.
    stopped: OnceLock<AuditError>,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    process: u32,
    /// Counts records for whoever seals the log.
    records: AtomicU64,
    pulse: Mutex<Pulse>,
    pulsed: Condvar,
    mark: Mark,
}

/// What the one who seals waits for.
#[derive(Debug, Default)]
struct Pulse {
    due: bool,
    closing: bool,
    /// Waits for the first record since the last checkpoint.
    idle: bool,
}

/// Why a wait for the next checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// For the last time.
    Closing,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    leading: bool,
    closing: bool,
    /// The file whose sync covers the last commit, while that is not synced.
    unsynced: Option<(u64, Arc<dyn LogFile>, String)>,
    background_sleeps: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

struct Entry {
    record: Record,
    until: Until,
    /// Who waits for it; nobody for what a drop left.
    slot: Option<Arc<Slot>>,
    /// The span that this record opens.
    opens: Option<Arc<Body>>,
}

struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Queued,
    /// The one that waits is to lead.
    Lead,
    /// A leader has it.
    Taken,
    /// Nobody waits any more, and it may still be written.
    Abandoned,
    Done(Result<(), AuditError>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here protect is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn new(journal: Journal, locker: Locker, clock: Arc<dyn Clock>, deadline: Duration) -> Self {
        Self {
            queue: Mutex::default(),
            room: Condvar::new(),
            wake: Condvar::new(),
            journal: Mutex::new(journal),
            locker,
            syncing: Mutex::default(),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            stopped: OnceLock::new(),
            clock,
            deadline,
            process: std::process::id(),
            records: AtomicU64::new(0),
            pulse: Mutex::default(),
            pulsed: Condvar::new(),
            mark: Mark::new(),
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
    /// Ends the ids of this process's calls.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn count(&self, more: u64, rolled: bool) {
        let before = self.records.fetch_add(more, Ordering::Relaxed);
        let full = before / SEAL_RECORDS != (before + more) / SEAL_RECORDS;
        // The one who seals looks at the counter before it goes idle, under this lock.
        let mut pulse = lock(&self.pulse);
        pulse.due |= rolled || full;
        if pulse.due || pulse.idle {
            self.pulsed.notify_all();
        }
    }

    /// Waits until a checkpoint is due: so many records or so long after the first one that `sealed` does not count,
    /// or when a day has ended, or at the end.
    pub(crate) fn wait_until_due(&self, sealed: u64) -> Due {
        let mut pulse = lock(&self.pulse);
        let mut until: Option<Instant> = None;
        loop {
            if pulse.closing {
                return Due::Closing;
            }
            let unsealed = self.records() != sealed;
            if unsealed && std::mem::take(&mut pulse.due) {
                return Due::Now;
            }
            pulse = match (unsealed, until) {
                (false, _) => {
                    pulse.idle = true;
                    let mut pulse = self.pulsed.wait(pulse).unwrap_or_else(PoisonError::into_inner);
                    pulse.idle = false;
                    pulse
                }
                (true, Some(time)) => {
                    let left = time.saturating_duration_since(Instant::now());
                    if left == Duration::ZERO {
                        return Due::Now;
                    }
                    self.pulsed.wait_timeout(pulse, left).unwrap_or_else(PoisonError::into_inner).0
                }
                (true, None) => {
                    until = Some(Instant::now() + SEAL_INTERVAL);
                    pulse
                }
            };
        }
    }
    pub(crate) fn take_notices(&self) -> Vec<String> {
        lock(&self.journal).take_notices()
    }

    /// Refuses when nothing may be written any more.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        if std::process::id() != self.process {
            return Err(AuditError::Forked);
        }
        match self.stopped.get() {
            Some(cause) => Err(AuditError::Stopped { cause: cause.to_string() }),
            None => Ok(()),
        }
    }

    /// Nothing may be written any more.
    pub(crate) fn stop(&self, cause: AuditError) {
        let _first_cause_stays = self.stopped.set(cause);
    }

    /// Puts a record on the log and waits until it is taken.
    pub(crate) fn submit(
        &self,
        record: Record,
        until: Until,
        opens: Option<Arc<Body>>,
    ) -> Result<(), AuditError> {
        let mut records = self.enqueue(vec![(record, opens)], until)?;
        let slot = records.pop().expect("one record gives one slot");
        self.wait(&slot, Instant::now() + self.deadline)
    }

    /// Puts records on the log in order and hands each result out as soon as it is known.
    pub(crate) fn submit_all(
        &self,
        records: Vec<Record>,
        mut each: impl FnMut(usize, Result<(), AuditError>),
    ) -> Result<(), AuditError> {
        let slots =
            self.enqueue(records.into_iter().map(|record| (record, None)).collect(), Until::Durable)?;
        let deadline = Instant::now() + self.deadline;
        for (index, slot) in slots.iter().enumerate() {
            each(index, self.wait(slot, deadline));
        }
        Ok(())
    }

    fn enqueue(
        &self,
        records: Vec<(Record, Option<Arc<Body>>)>,
        until: Until,
    ) -> Result<Vec<Arc<Slot>>, AuditError> {
        self.check()?;
        let deadline = Instant::now() + self.deadline;
        let mut queue = lock(&self.queue);
        // An outcome's place was reserved by its permit: it never waits for room.
        while until == Until::Durable && queue.waiting.len() >= QUEUE {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Err(AuditError::Timeout { waited: self.deadline });
            }
            queue = self.room.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut slots = Vec::with_capacity(records.len());
        for (record, opens) in records {
            let slot = Arc::new(Slot { state: Mutex::new(State::Queued), changed: Condvar::new() });
            slots.push(Arc::clone(&slot));
            queue.waiting.push_back(Entry { record, until, slot: Some(slot), opens });
        }
        if !queue.leading
            && let Some(first) = slots.first()
        {
            queue.leading = true;
            *lock(&first.state) = State::Lead;
        }
        Ok(slots)
    }

    /// Leaves a record to the background; never blocks on the disk.
    pub(crate) fn leave(&self, record: Record) {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(Entry { record, until: Until::Written, slot: None, opens: None });
        self.wake.notify_all();
    }

    fn wait(&self, slot: &Arc<Slot>, deadline: Instant) -> Result<(), AuditError> {
        let mut state = lock(&slot.state);
        loop {
            match &*state {
                State::Done(result) => return result.clone(),
                State::Lead => {
                    drop(state);
                    self.lead();
                    state = lock(&slot.state);
                    continue;
                }
                State::Queued | State::Taken | State::Abandoned => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left > Duration::ZERO {
                state = slot.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            // Too late. Nothing that is still queued may be written later as if it had been allowed.
            drop(state);
            let mut queue = lock(&self.queue);
            state = lock(&slot.state);
            match &*state {
                State::Queued => {
                    queue
                        .waiting
                        .retain(|entry| !entry.slot.as_ref().is_some_and(|other| Arc::ptr_eq(other, slot)));
                    self.room.notify_one();
                    return Err(AuditError::Timeout { waited: self.deadline });
                }
                State::Taken => {
                    *state = State::Abandoned;
                    return Err(AuditError::Timeout { waited: self.deadline });
                }
                State::Lead | State::Abandoned | State::Done(_) => drop(queue),
            }
        }
    }

    /// Writes what waits, syncs it if anybody needs that, and hands the lead over.
    fn lead(&self) {
        // Handed over even when a commit panics: the others must not wait for ever.
        let _hand_over = HandOver(self);
        let batch = self.take_batch();
        if batch.is_empty() {
            return;
        }
        let records: Vec<&Record> = batch.iter().map(|entry| &entry.record).collect();
        let (number, file, name) = match self.write(&records) {
            Ok(written) => written,
            Err(error) => return self.complete(&batch, |_| true, &Err(error)),
        };
        self.complete(&batch, |entry| entry.until == Until::Written, &Ok(()));
        if batch.iter().any(|entry| entry.until == Until::Durable) {
            let result = self.make_durable(number, &*file, &name);
            self.complete(&batch, |entry| entry.until == Until::Durable, &result);
        }
    }

    fn take_batch(&self) -> Vec<Entry> {
        let mut queue = lock(&self.queue);
        let most = queue.waiting.len().min(BATCH).min(MAX_WRITE / MAX_LINE * 16);
        let batch: Vec<Entry> = queue.waiting.drain(..most).collect();
        for entry in &batch {
            if let Some(slot) = &entry.slot {
                *lock(&slot.state) = State::Taken;
            }
        }
        self.room.notify_all();
        batch
    }

    fn write(&self, records: &[&Record]) -> Result<(u64, Arc<dyn LogFile>, String), AuditError> {
        self.check()?;
        let mut journal = lock(&self.journal);
        let held = self.lock_folder()?;
        let result = journal.commit(records);
        drop(held);
        let written = match result {
            Ok(written) => written,
            Err(Failed::Refused(error)) => return Err(error),
            Err(Failed::Fatal(error)) => {
                self.stop(error.clone());
                return Err(error);
            }
        };
        let number = self.written.fetch_add(1, Ordering::AcqRel) + 1;
        self.count(records.len() as u64, written.rolled);
        let mut queue = lock(&self.queue);
        queue.unsynced = Some((number, Arc::clone(&written.file), written.name.clone()));
        if queue.background_sleeps {
            self.wake.notify_all();
        }
        Ok((number, written.file, written.name))
    }

    fn lock_folder(&self) -> Result<Held<'_>, AuditError> {
        self.locker.acquire(Instant::now() + self.deadline).map_err(|error| match error {
            NotLocked::Io(error) => AuditError::storage("lock", ".lock", &error),
            NotLocked::Timeout { holder } => AuditError::LockTimeout { waited: self.deadline, holder },
        })
    }

    /// Syncs commit `number` and all before it.
    fn make_durable(&self, number: u64, file: &dyn LogFile, name: &str) -> Result<(), AuditError> {
        let _one_at_a_time = lock(&self.syncing);
        // First this: if the sync before failed, ours may report nothing at all.
        self.check()?;
        if self.durable.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        if let Err(error) = file.sync_data() {
            let error = AuditError::storage("sync", name, &error);
            self.stop(error.clone());
            return Err(error);
        }
        self.durable.fetch_max(number, Ordering::AcqRel);
        let mut queue = lock(&self.queue);
        if queue.unsynced.as_ref().is_some_and(|(last, ..)| *last <= number) {
            queue.unsynced = None;
        }
        Ok(())
    }

    /// Makes durable all that was written up to now.
    pub(crate) fn sync_written(&self) -> Result<(), AuditError> {
        let unsynced = lock(&self.queue).unsynced.clone();
        match unsynced {
            Some((number, file, name)) => self.make_durable(number, &*file, &name),
            None => self.check(),
        }
    }

    fn complete(&self, batch: &[Entry], which: impl Fn(&Entry) -> bool, result: &Result<(), AuditError>) {
        for entry in batch.iter().filter(|entry| which(entry)) {
            let Some(slot) = &entry.slot else {
                // What nobody waits for must not be lost in silence: the next permit is refused.
                if let Err(error) = result {
                    self.stop(error.clone());
                }
                continue;
            };
            let mut state = lock(&slot.state);
            if let (State::Abandoned, Ok(()), Some(body)) = (&*state, result, &entry.opens) {
                // It was refused to its caller and is on record all the same: close it.
                self.leave_abandoned(body);
            }
            *state = State::Done(result.clone());
            slot.changed.notify_all();
        }
    }

    /// Leaves failure(abandoned) for a span.
    pub(crate) fn leave_abandoned(&self, body: &Body) {
        match Record::new(body, "failure", Some("abandoned"), self.clock.now()) {
            Ok(record) => self.leave(record),
            Err(error) => self.stop(error),
        }
    }

    fn hand_over(&self) {
        let mut queue = lock(&self.queue);
        for entry in &queue.waiting {
            if let Some(slot) = &entry.slot {
                let mut state = lock(&slot.state);
                if matches!(*state, State::Queued) {
                    *state = State::Lead;
                    slot.changed.notify_all();
                    return;
                }
            }
        }
        queue.leading = false;
        if !queue.waiting.is_empty() {
            self.wake.notify_all();
        }
    }

    /// What a checkpoint may cover: the newest file, its size, the next `seq`. All of it is synced on return.
    pub(crate) fn synced_snapshot(&self) -> Result<Option<(Day, u64, u64)>, AuditError> {
        self.check()?;
        let mut journal = lock(&self.journal);
        let held = self.lock_folder()?;
        let snapshot = journal.snapshot();
        drop(held);
        let next_seq = journal.next_seq();
        drop(journal);
        let Extent { day, size, file } = match snapshot {
            Ok(Some(extent)) => extent,
            Ok(None) => return Ok(None),
            Err(Failed::Refused(error)) => return Err(error),
            Err(Failed::Fatal(error)) => {
                self.stop(error.clone());
                return Err(error);
            }
        };
        let _one_at_a_time = lock(&self.syncing);
        self.check()?;
        if let Err(error) = file.sync_data() {
            let error = AuditError::storage("sync", day.file_name(), &error);
            self.stop(error.clone());
            return Err(error);
        }
        Ok(Some((day, size, next_seq)))
    }

    /// Lets one step of the journal happen that an operator accepted.
    pub(crate) fn accept(&self, clock: bool, shrunk: bool) {
        let mut journal = lock(&self.journal);
        if clock {
            journal.accept_clock();
        }
        if shrunk {
            journal.accept_shrunk();
        }
    }

    /// The background: leads for records that nobody waits for, and syncs outcomes in time.
    pub(crate) fn run_background(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if !queue.leading && !queue.waiting.is_empty() {
                queue.leading = true;
                drop(queue);
                self.lead();
                queue = lock(&self.queue);
                continue;
            }
            if queue.closing && queue.waiting.is_empty() && !queue.leading {
                drop(queue);
                // A failure stops the log, which is all that can still be said here.
                let _stopped = self.sync_written();
                return;
            }
            match queue.unsynced.as_ref().map(|(number, ..)| *number) {
                None => {
                    queue.background_sleeps = true;
                    queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.background_sleeps = false;
                }
                Some(seen) => {
                    let half = OUTCOME_SYNC / 2;
                    queue = self.wake.wait_timeout(queue, half).unwrap_or_else(PoisonError::into_inner).0;
                    // Still the same one, or others after it, and no sync of theirs in between.
                    let due = queue.unsynced.is_some() && self.durable.load(Ordering::Acquire) < seen;
                    if due && queue.waiting.is_empty() {
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

    /// Lets the one who seals do so for the last time.
    pub(crate) fn close_sealing(&self) {
        lock(&self.pulse).closing = true;
        self.pulsed.notify_all();
    }
}

struct HandOver<'a>(&'a Engine);

impl Drop for HandOver<'_> {
    fn drop(&mut self) {
        self.0.hand_over();
    }
}
