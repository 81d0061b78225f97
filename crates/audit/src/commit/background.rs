//! What runs beside the callers: leads for tasks and for records that nobody waits for, and syncs outcomes in time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::sync::PoisonError;
use super::{GroupCommit, Target, lock};
use crate::AuditError;

/// When an acknowledged outcome is synced, so that it is durable within 100 ms.
const OUTCOME_SYNC: Duration = Duration::from_millis(50);

impl<T: Target> GroupCommit<T> {
    /// Leads for tasks and for records that nobody waits for, and syncs outcomes in time.
    pub(crate) fn run_background(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let left = queue.unsynced.as_ref().map(|unsynced| {
                OUTCOME_SYNC.saturating_sub(self.target.now().saturating_duration_since(unsynced.since))
            });
            if left == Some(Duration::ZERO) {
                drop(queue);
                // A failure stops the log, which is all that can still be said here.
                let _stopped = self.sync_written();
                queue = lock(&self.queue);
            } else if !queue.leading && (!queue.groups.is_empty() || queue.pace.tasks > 1) {
                queue.leading = true;
                drop(queue);
                // One that panicked stopped the log, which those that still wait are to be told.
                let _stopped = catch_unwind(AssertUnwindSafe(|| self.lead()));
                queue = lock(&self.queue);
            } else if queue.closing && queue.groups.is_empty() && !queue.leading {
                drop(queue);
                let _stopped = self.sync_written();
                return;
            } else {
                queue.background_sleeps = true;
                queue = match left {
                    None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                    Some(left) => {
                        self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
                queue.background_sleeps = false;
            }
        }
    }

    /// Ends the background once nothing waits any more.
    pub(crate) fn close(&self) {
        lock(&self.queue).closing = true;
        self.wake.notify_all();
    }

    /// Makes durable all that was written up to now.
    fn sync_written(&self) -> Result<(), AuditError> {
        let unsynced = lock(&self.queue).unsynced.take();
        let Some(unsynced) = unsynced else { return self.check_stopped() };
        self.make_durable(unsynced.number, &unsynced.written)
    }
}
