//! What runs beside the callers: leads for records that nobody waits for, and syncs outcomes in time.

use std::time::Duration;

use super::sync::{Ordering, PoisonError};
use super::{GroupCommit, Target, lock};
use crate::AuditError;

/// How long an acknowledged outcome may wait for its sync.
const OUTCOME_SYNC: Duration = Duration::from_millis(100);

impl<T: Target> GroupCommit<T> {
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

    /// Makes durable all that was written up to now.
    fn sync_written(&self) -> Result<(), AuditError> {
        let unsynced = lock(&self.queue).unsynced.clone();
        let Some((number, written)) = unsynced else { return self.check_stopped() };
        self.make_durable(number, &written)?;
        lock(&self.queue).forget_synced(number);
        Ok(())
    }
}
