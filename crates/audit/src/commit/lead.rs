//! The leader: one caller at a time that writes and syncs for all.

use std::task::Waker;
use std::time::Duration;

use super::group::Who;
use super::queue::{Queue, Unsynced, Waiting};
use super::sync::{MutexGuard, Ordering, yield_now};
use super::{GroupCommit, Put, Target, Until, lock};
use crate::AuditError;
use crate::journal::Failed;

/// Where a sync takes less, nothing is gained by sharing it.
const WORTHWHILE: Duration = Duration::from_micros(40);
const MOST_PATIENCE: Duration = Duration::from_micros(200);

impl<T: Target> GroupCommit<T> {
    /// Writes the oldest group, syncs it if anybody needs that, and hands the lead over.
    pub(super) fn lead(&self) {
        // Handed over even when a commit panics: the others must not wait for ever.
        let mut hand_over = HandOver { commit: self, done: false };
        if let Some(waiting) = self.take_group() {
            let mut led = Led { commit: self, waiting, lost: None, done: false };
            let result = self.write(&led.waiting.records).and_then(|(number, put)| {
                if let Some(error) = put.refused {
                    led.refuse_from(put.count, error);
                }
                self.acknowledge(&led.waiting, number, put.written)
            });
            // Those that are about to be woken may be back before the lead is handed over: counted later, they would
            // count twice, and the next leader would wait in vain for more than there are.
            self.expect(led.waiting.callers_until(Until::Durable), led.waiting.tasks());
            led.finish(&result);
        }
        hand_over.done = true;
    }

    /// The same for a caller that is the only one: its record needs no group, and nobody is to be woken.
    pub(super) fn lead_alone(&self, record: &T::Record, until: Until) -> Result<(), AuditError> {
        let mut hand_over = HandOver { commit: self, done: false };
        let result = self.write(std::slice::from_ref(record)).and_then(|(number, put)| match until {
            Until::Durable => self.make_durable(number, &put.written),
            Until::Written => {
                self.leave_unsynced(number, put.written);
                Ok(())
            }
        });
        self.expect(1, 0);
        hand_over.done = true;
        result
    }

    /// So many are about to come back, some of them tasks, beside those that wait already.
    fn expect(&self, served: usize, tasks: usize) {
        let mut queue = lock(&self.queue);
        queue.pace.expected = served + queue.length;
        queue.pace.tasks = tasks;
    }

    /// Tells those that wait how far their records have come, as far as anybody waits for it.
    fn acknowledge(
        &self,
        waiting: &Waiting<T::Record>,
        number: u64,
        written: T::Written,
    ) -> Result<(), AuditError> {
        if waiting.callers_until(Until::Written) > 0 {
            waiting.group.reach_written();
        }
        if waiting.callers_until(Until::Durable) == 0 {
            self.leave_unsynced(number, written);
            return Ok(());
        }
        let begin = self.target.now();
        self.make_durable(number, &written)?;
        let took = u64::try_from((self.target.now() - begin).as_nanos()).unwrap_or(u64::MAX / 4);
        let before = self.sync_time.load(Ordering::Relaxed);
        self.sync_time.store((before * 3 + took) / 4, Ordering::Relaxed);
        Ok(())
    }

    /// Leaves the sync to the next record that needs one, or to the background.
    fn leave_unsynced(&self, number: u64, written: T::Written) {
        let mut queue = lock(&self.queue);
        let since = queue.unsynced.as_ref().map_or_else(|| self.target.now(), |before| before.since);
        queue.unsynced = Some(Unsynced { number, written, since });
        if queue.syncer_sleeps {
            self.sync_due.notify_all();
        }
    }

    fn take_group(&self) -> Option<Waiting<T::Record>> {
        let mut queue = lock(&self.queue);
        if queue.length < queue.pace.expected {
            queue = self.gather(queue);
        }
        queue.pace.tasks = 0;
        let group = queue.groups.pop_front()?;
        queue.length -= group.records.len();
        if queue.outside > 0 {
            self.room.notify_all();
        }
        let outside = std::mem::take(&mut queue.tasks_outside);
        drop(queue);
        outside.into_iter().for_each(Waker::wake);
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
        let until = self.target.now() + MOST_PATIENCE.min(sync);
        while queue.length < expected {
            if self.target.now() >= until {
                queue.pace.in_vain();
                return queue;
            }
            drop(queue);
            yield_now();
            queue = lock(&self.queue);
        }
        queue.pace.vain = 0;
        queue
    }

    /// The group's number, and what of it is on the log.
    fn write(&self, records: &[T::Record]) -> Result<(u64, Put<T::Written>), AuditError> {
        self.check_stopped()?;
        match self.target.write(records) {
            Ok(put) => Ok((self.written.fetch_add(1, Ordering::SeqCst) + 1, put)),
            Err(Failed::Refused(error)) => Err(error),
            Err(Failed::Fatal(error)) => {
                self.stop(error.clone());
                Err(error)
            }
        }
    }

    /// Syncs the group of this number and all before it.
    pub(super) fn make_durable(&self, number: u64, written: &T::Written) -> Result<(), AuditError> {
        self.sync_alone(|| {
            if self.durable.load(Ordering::SeqCst) >= number {
                return Ok(());
            }
            self.target.sync(written)?;
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

    fn hand_over(&self) {
        let mut queue = lock(&self.queue);
        queue.forget_synced(self.durable.load(Ordering::SeqCst));
        if let Some(next) = queue.groups.front()
            && next.has_thread()
        {
            next.group.appoint_leader();
            return;
        }
        queue.leading = false;
        self.wake_leader(&queue);
    }
}

/// A group on its way to the disk. However that ends, those that wait for it are told.
struct Led<'a, T: Target> {
    commit: &'a GroupCommit<T>,
    waiting: Waiting<T::Record>,
    /// Why a record is not on the log although it has to be.
    lost: Option<AuditError>,
    done: bool,
}

impl<T: Target> Led<'_, T> {
    /// The records from there on are not on the log, and that is told to those that wait for them. The group goes on
    /// without them.
    fn refuse_from(&mut self, count: usize, error: AuditError) {
        self.waiting.records.truncate(count);
        let refused = self.waiting.callers.split_off(count);
        if refused.iter().any(|caller| caller.who == Who::Nobody) {
            self.lost = Some(error.clone());
        }
        if let Some(first) = refused.first() {
            self.waiting.group.refuse_from(first.ticket, error);
        }
    }

    fn finish(&mut self, result: &Result<(), AuditError>) {
        self.done = true;
        let given_up = self.waiting.group.finish(result);
        if let Err(error) = result
            && self.waiting.callers.iter().any(|caller| caller.who == Who::Nobody)
        {
            self.lost = Some(error.clone());
        }
        // What nobody waits for must not be lost in silence: the next permit is refused.
        if let Some(error) = self.lost.take() {
            self.commit.stop(error);
        }
        if result.is_ok() {
            given_up.into_iter().for_each(|ticket| self.close(ticket));
        }
    }

    /// Closes what a record opened whose caller gave up.
    fn close(&self, ticket: u64) {
        let Some(index) = self.waiting.callers.iter().position(|caller| caller.ticket == ticket) else {
            return;
        };
        if let Some(opened) = T::opened(&self.waiting.records[index]) {
            self.commit.close_opened(&opened);
        }
    }
}

impl<T: Target> Drop for Led<'_, T> {
    fn drop(&mut self) {
        if !self.done {
            let error = panicked();
            self.commit.stop(error.clone());
            self.finish(&Err(error));
        }
    }
}

fn panicked() -> AuditError {
    AuditError::Stopped { cause: "a commit panicked".to_owned() }
}

struct HandOver<'a, T: Target> {
    commit: &'a GroupCommit<T>,
    done: bool,
}

impl<T: Target> Drop for HandOver<'_, T> {
    fn drop(&mut self) {
        if !self.done {
            // What the panic left on the log is not known.
            self.commit.stop(panicked());
        }
        self.commit.hand_over();
    }
}
