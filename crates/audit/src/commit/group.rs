//! Where the callers of one group wait, and what they are told.

use std::task::Waker;
use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::{Until, lock};
use crate::AuditError;

/// For whom a record is.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    /// Rises from record to record.
    pub(super) ticket: u64,
    pub(super) until: Until,
    pub(super) who: Who,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A thread that waits, and can lead.
    Thread,
    /// A task that waits.
    Task,
    /// Whoever waits may stop waiting: the record stands all the same, and must not be lost in silence.
    Nobody,
}

pub(super) struct Group {
    pub(super) state: Mutex<State>,
    on_written: Condvar,
    on_durable: Condvar,
}

pub(super) struct State {
    stage: Stage,
    /// From this ticket on the records are not on the log, though those before them are.
    refused: Option<(u64, AuditError)>,
    /// One of those that wait is to lead.
    pub(super) lead: bool,
    parked_until_written: usize,
    parked_until_durable: usize,
    tasks: Vec<Task>,
    /// Who gave up after the leader had taken the group.
    pub(super) given_up: Vec<u64>,
}

struct Task {
    until: Until,
    /// Taken when it is woken.
    waker: Option<Waker>,
}

enum Stage {
    Open,
    Written,
    Done(Result<(), AuditError>),
}

impl Group {
    pub(super) fn new() -> Self {
        let state = State {
            stage: Stage::Open,
            refused: None,
            lead: false,
            parked_until_written: 0,
            parked_until_durable: 0,
            tasks: Vec::new(),
            given_up: Vec::new(),
        };
        Self { state: Mutex::new(state), on_written: Condvar::new(), on_durable: Condvar::new() }
    }

    pub(super) fn park<'a>(
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

    /// Wakes one of those that wait to lead this group.
    pub(super) fn appoint_leader(&self) {
        let mut state = lock(&self.state);
        state.lead = true;
        if state.parked_until_durable > 0 {
            self.on_durable.notify_one();
        } else if state.parked_until_written > 0 {
            self.on_written.notify_one();
        }
    }

    /// Tells the callers from this ticket on that their records are not on the log.
    pub(super) fn refuse_from(&self, ticket: u64, error: AuditError) {
        let mut state = lock(&self.state);
        state.refused = Some((ticket, error));
        self.wake_all(state);
    }

    pub(super) fn reach_written(&self) {
        let mut state = lock(&self.state);
        state.stage = Stage::Written;
        let parked = state.parked_until_written > 0;
        let tasks = state.take_wakers(|until| until == Until::Written);
        drop(state);
        if parked {
            self.on_written.notify_all();
        }
        tasks.into_iter().for_each(Waker::wake);
    }

    /// Wakes everybody; gives the tickets of those that gave up.
    pub(super) fn finish(&self, result: &Result<(), AuditError>) -> Vec<u64> {
        let mut state = lock(&self.state);
        state.stage = Stage::Done(result.clone());
        let given_up = std::mem::take(&mut state.given_up);
        self.wake_all(state);
        given_up
    }

    fn wake_all(&self, mut state: MutexGuard<'_, State>) {
        let (written, durable) = (state.parked_until_written > 0, state.parked_until_durable > 0);
        let tasks = state.take_wakers(|_| true);
        drop(state);
        if written {
            self.on_written.notify_all();
        }
        if durable {
            self.on_durable.notify_all();
        }
        tasks.into_iter().for_each(Waker::wake);
    }
}

impl State {
    pub(super) fn result(&self, caller: Caller) -> Option<Result<(), AuditError>> {
        if let Some((from, error)) = &self.refused
            && caller.ticket >= *from
        {
            return Some(Err(error.clone()));
        }
        match &self.stage {
            Stage::Done(result) => Some(result.clone()),
            Stage::Written if caller.until == Until::Written => Some(Ok(())),
            Stage::Written | Stage::Open => None,
        }
    }

    /// Has a task woken once its record is taken. `slot` is the task's own, which it keeps.
    pub(super) fn wake_then(&mut self, slot: &mut Option<usize>, until: Until, waker: &Waker) {
        match slot.and_then(|slot| self.tasks.get_mut(slot)) {
            Some(Task { waker: Some(old), .. }) => old.clone_from(waker),
            Some(task) => task.waker = Some(waker.clone()),
            None => {
                *slot = Some(self.tasks.len());
                self.tasks.push(Task { until, waker: Some(waker.clone()) });
            }
        }
    }

    fn take_wakers(&mut self, wanted: impl Fn(Until) -> bool) -> Vec<Waker> {
        self.tasks.iter_mut().filter(|task| wanted(task.until)).filter_map(|task| task.waker.take()).collect()
    }

    fn parked(&mut self, until: Until) -> &mut usize {
        match until {
            Until::Written => &mut self.parked_until_written,
            Until::Durable => &mut self.parked_until_durable,
        }
    }
}
