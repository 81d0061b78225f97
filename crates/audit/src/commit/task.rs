//! Callers that are tasks: the background leads for them, and they are woken when their records are taken.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::group::Who;
use super::queue::Place;
use super::{GroupCommit, QUEUE, Target, Until, lock};
use crate::AuditError;

impl<T: Target> GroupCommit<T> {
    /// As [`GroupCommit::submit`], for a task, and without the deadline: whoever waits here gives up by dropping this.
    /// Then the record is taken back, or closed when it is on the log already. One that is to be `kept` stays and is
    /// written all the same; it never waits for room.
    pub(crate) fn submission(&self, record: T::Record, until: Until, kept: Kept) -> Submission<'_, T> {
        Submission { commit: self, kept, until, stage: Stage::Outside(record) }
    }
}

/// What becomes of a record that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    No,
    Yes,
}

#[must_use = "a record is not even queued before this is polled"]
pub(crate) struct Submission<'a, T: Target> {
    commit: &'a GroupCommit<T>,
    kept: Kept,
    until: Until,
    stage: Stage<T>,
}

enum Stage<T: Target> {
    /// Not in the queue yet.
    Outside(T::Record),
    Queued {
        place: Place,
        opened: Option<T::Opened>,
        /// Where its waker is.
        slot: Option<usize>,
    },
    Over,
}

// Nothing in it is ever pinned.
impl<T: Target> Unpin for Submission<'_, T> {}

impl<T: Target> Future for Submission<'_, T> {
    type Output = Result<(), AuditError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::Outside(record) => this.enter(record, context),
            queued => {
                this.stage = queued;
                this.result_or_wake(context)
            }
        };
        if result.is_ready() {
            this.stage = Stage::Over;
        }
        result
    }
}

impl<T: Target> Submission<'_, T> {
    /// Puts the record in the queue, once there is room.
    fn enter(&mut self, record: T::Record, context: &mut Context<'_>) -> Poll<Result<(), AuditError>> {
        self.commit.check()?;
        let mut queue = lock(&self.commit.queue);
        if self.kept == Kept::No && queue.length >= QUEUE {
            queue.tasks_outside.push(context.waker().clone());
            self.stage = Stage::Outside(record);
            return Poll::Pending;
        }
        let who = match self.kept {
            Kept::No => Who::Task,
            Kept::Yes => Who::Nobody,
        };
        let opened = T::opened(&record);
        let place = queue.add(record, self.until, who);
        self.commit.wake_leader(&queue);
        drop(queue);
        self.stage = Stage::Queued { place, opened, slot: None };
        self.result_or_wake(context)
    }

    fn result_or_wake(&mut self, context: &Context<'_>) -> Poll<Result<(), AuditError>> {
        let Stage::Queued { place, slot, .. } = &mut self.stage else {
            panic!("polled after it was ready");
        };
        let mut state = lock(&place.group.state);
        match state.result(place.caller) {
            Some(result) => Poll::Ready(result),
            None => {
                state.wake_then(slot, self.until, context.waker());
                Poll::Pending
            }
        }
    }
}

impl<T: Target> Drop for Submission<'_, T> {
    fn drop(&mut self) {
        let (place, opened) = match (std::mem::replace(&mut self.stage, Stage::Over), self.kept) {
            (Stage::Queued { place, opened, .. }, Kept::No) => (place, opened),
            // As outside a runtime, where the timer panics before the first poll.
            (Stage::Outside(record), Kept::Yes) => return self.commit.leave(record),
            _ => return,
        };
        // Nothing that is still queued may be written later as if it had been allowed.
        let queue = lock(&self.commit.queue);
        let state = lock(&place.group.state);
        match state.result(place.caller) {
            None => self.commit.withdraw(queue, state, &place),
            Some(Err(_)) => {}
            Some(Ok(())) => {
                drop((state, queue));
                if let Some(opened) = opened {
                    self.commit.close_opened(&opened);
                }
            }
        }
    }
}
