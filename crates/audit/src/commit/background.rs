//! What runs beside the callers: one thread leads for tasks and for records that nobody waits for, another syncs outcomes
//! in time. Two, because whoever leads may wait for a lock that somebody else holds, and what is acknowledged is synced
//! all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::queue::Queue;
use super::sync::{MutexGuard, PoisonError};
use super::{GroupCommit, Target, lock};
use crate::AuditError;

/// When an acknowledged outcome is synced, so that it is durable within 100 ms.
const OUTCOME_SYNC: Duration = Duration::from_millis(50);

impl<T: Target> GroupCommit<T> {
    /// Leads for tasks and for records that nobody waits for.
    pub(crate) fn lead_in_background(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if !queue.leading && (!queue.groups.is_empty() || queue.pace.tasks > 1) {
                queue.leading = true;
                drop(queue);
                // One that panicked stopped the log, which those that still wait are to be told.
                let _stopped = catch_unwind(AssertUnwindSafe(|| self.lead()));
                queue = lock(&self.queue);
            } else if queue.closing && queue.groups.is_empty() && !queue.leading {
                queue.drained = true;
                self.sync_due.notify_all();
                return;
            } else {
                queue.leader_sleeps = true;
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.leader_sleeps = false;
            }
        }
    }

    /// Syncs outcomes in time, and at last whatever is not synced yet.
    pub(crate) fn sync_in_background(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let left = queue.unsynced.as_ref().map(|unsynced| {
                OUTCOME_SYNC.saturating_sub(self.target.now().saturating_duration_since(unsynced.since))
            });
            queue = match left {
                Some(Duration::ZERO) => {
                    drop(queue);
                    // A failure stops the log, which is all that can still be said here.
                    let _stopped = self.sync_written();
                    lock(&self.queue)
                }
                _ if queue.drained => {
                    drop(queue);
                    let _stopped = self.sync_written();
                    return;
                }
                Some(left) => {
                    self.sync_due.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    queue.syncer_sleeps = true;
                    let mut queue = self.sync_due.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.syncer_sleeps = false;
                    queue
                }
            };
        }
    }

    /// Ends the background once nothing waits any more.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closing = true;
        self.wake_leader(&queue);
    }

    /// Wakes the leader in the background, if it sleeps and is the one to go on.
    pub(super) fn wake_leader(&self, queue: &MutexGuard<'_, Queue<T>>) {
        if queue.leader_sleeps && !queue.leading && (queue.closing || !queue.groups.is_empty()) {
            self.wake.notify_all();
        }
    }

    /// Makes durable all that was written up to now.
    fn sync_written(&self) -> Result<(), AuditError> {
        let unsynced = lock(&self.queue).unsynced.take();
        let Some(unsynced) = unsynced else { return self.check_stopped() };
        self.make_durable(unsynced.number, &unsynced.written)
    }
}
