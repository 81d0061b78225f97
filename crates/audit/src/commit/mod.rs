//! The group commit. Callers queue their records in groups; one of them, the leader, writes the oldest group under the
//! lock and syncs once for all of it. The next leader is a thread that waits in the next group, or the background where
//! only tasks wait. Nobody waits longer than the deadline.
//!
//! A record that stands for a coming act is acknowledged only after its sync. An outcome is acknowledged after its
//! write; the next sync, at most 100 ms later, makes it durable. What is on the log is acknowledged even when a later
//! write for the same group failed: only the callers of that later write are refused.

mod background;
mod group;
mod lead;
mod queue;
#[cfg_attr(not(feature = "async"), allow(dead_code, reason = "tasks come by the async door alone"))]
pub(crate) mod task;

use std::task::Waker;
use std::time::{Duration, Instant};

use entrabot_keystore::ThisProcess;

use self::group::{State, Who};
use self::queue::{Place, Queue};
use super::sync::{self, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use crate::AuditError;
use crate::journal::Failed;

/// How many records may wait; more than that wait outside.
pub(super) const QUEUE: usize = 4096;

/// What groups are written to.
pub(crate) trait Target {
    type Record;
    /// What a sync has to cover.
    type Written: Clone;
    /// What a record opened and another has to close.
    type Opened;

    /// Writes records in order. Called by one thread at a time.
    fn write(&self, records: &[Self::Record]) -> Result<Put<Self::Written>, Failed>;
    /// Makes durable what was written up to there.
    fn sync(&self, written: &Self::Written) -> Result<(), AuditError>;
    fn opened(record: &Self::Record) -> Option<Self::Opened>;
    /// The record that closes what another opened: that is on record although its caller was refused.
    fn closing(&self, opened: &Self::Opened) -> Result<Self::Record, AuditError>;
    /// About how many bytes it takes.
    fn size(record: &Self::Record) -> usize;
    fn now(&self) -> Instant;
}

/// What a write put on the log.
#[derive(Clone, Debug)]
pub(crate) struct Put<W> {
    /// What a sync has to cover.
    pub(crate) written: W,
    /// How many of the records are on the log, from the first on: at least one.
    pub(crate) count: usize,
    /// Why the rest is not.
    pub(crate) refused: Option<AuditError>,
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
    /// Wakes the leader in the background.
    wake: Condvar,
    /// Wakes whoever syncs in the background.
    sync_due: Condvar,
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
    process: ThisProcess,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here protect is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Target> GroupCommit<T> {
    pub(crate) fn new(target: T, deadline: Duration) -> Self {
        Self {
            target,
            queue: Mutex::new(Queue::new()),
            room: Condvar::new(),
            wake: Condvar::new(),
            sync_due: Condvar::new(),
            syncing: Mutex::new(()),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            sync_time: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            cause: Mutex::new(None),
            deadline,
            process: ThisProcess::new(),
        }
    }

    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// How many callers the next leader gives a moment to come.
    #[cfg(test)]
    #[allow(dead_code, reason = "asked only where this is compiled on shuttle's primitives")]
    pub(crate) fn expected(&self) -> usize {
        lock(&self.queue).pace.expected
    }

    /// Refuses when nothing may be written any more.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        if !self.process.is_current() {
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
        self.check()?;
        let mut queue = lock(&self.queue);
        if queue.is_idle() {
            queue.leading = true;
            drop(queue);
            return self.lead_alone(&record, until);
        }
        let deadline = self.target.now() + self.deadline;
        let (place, lead) = self.when_room(queue, until, deadline)?.push(record, until);
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
        self.check()?;
        let deadline = self.target.now() + self.deadline;
        let mut queue = self.when_room(lock(&self.queue), Until::Durable, deadline)?;
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
    fn when_room<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue<T>>,
        until: Until,
        deadline: Instant,
    ) -> Result<MutexGuard<'a, Queue<T>>, AuditError> {
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
        queue.add(record, Until::Written, Who::Nobody);
        self.wake_leader(&queue);
    }

    /// Closes what a record opened whose caller gave up.
    fn close_opened(&self, opened: &T::Opened) {
        match self.target.closing(opened) {
            Ok(closing) => self.leave(closing),
            Err(error) => self.stop(error),
        }
    }

    /// For a caller that gave up: takes its record back, or leaves word for the leader that has it.
    fn withdraw(&self, mut queue: MutexGuard<'_, Queue<T>>, mut state: MutexGuard<'_, State>, place: &Place) {
        if !queue.take_back(place) {
            state.given_up.push(place.caller.ticket);
            return;
        }
        if queue.outside > 0 {
            self.room.notify_one();
        }
        // All of them: one alone may have given up too.
        let outside = std::mem::take(&mut queue.tasks_outside);
        drop((state, queue));
        outside.into_iter().for_each(Waker::wake);
    }

    fn wait(&self, place: &Place, deadline: Instant) -> Result<(), AuditError> {
        let Place { group, caller } = place;
        let mut state = lock(&group.state);
        loop {
            if let Some(result) = state.result(*caller) {
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
            let queue = lock(&self.queue);
            state = lock(&group.state);
            if state.lead || state.result(*caller).is_some() {
                drop(queue);
                continue;
            }
            self.withdraw(queue, state, place);
            return Err(AuditError::Timeout { waited: self.deadline });
        }
    }
}
