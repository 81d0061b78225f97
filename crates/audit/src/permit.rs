use std::fmt;
use std::sync::Arc;

use crate::line::Body;
use crate::{AuditError, AuditLog, AuditOutcomeLost, CallId, EventId, Subject};

/// What can be put on record before it is done.
pub trait Auditable: Send + 'static {
    /// What the record says. A closed set: no argument of the call fits in.
    fn subject(&self) -> Subject;
}

/// The ids under which a call is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Joins pending and outcome.
    pub call_id: CallId,
    /// The pending line's id.
    pub event_id: EventId,
}

/// An open span of the log. Dropped, it is closed as failure(abandoned).
pub(crate) struct Span {
    log: AuditLog,
    /// Taken when the span is closed.
    body: Option<Arc<Body>>,
}

impl Span {
    pub(crate) fn new(log: AuditLog, body: Arc<Body>) -> Self {
        Self { log, body: Some(body) }
    }

    pub(crate) fn close(
        mut self,
        outcome: &'static str,
        error_type: Option<&'static str>,
    ) -> Result<(), AuditError> {
        match self.body.take() {
            Some(body) => self.log.close_span(&body, outcome, error_type),
            None => Ok(()),
        }
    }

    #[cfg(feature = "async")]
    async fn close_async(mut self, outcome: &'static str) -> Result<(), AuditError> {
        match self.body.take() {
            Some(body) => self.log.close_span_async(&body, outcome).await,
            None => Ok(()),
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.log.abandon_span(&body);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("call", &self.body.as_ref().map(|body| body.call))
            .finish_non_exhaustive()
    }
}

/// Proof that exactly this call is on record as pending. Dropped, it is on record as failure(abandoned).
#[must_use = "a permit must be finished with the call's outcome"]
pub struct Permit<C: Auditable> {
    call: C,
    recorded: Recorded,
    span: Span,
}

impl<C: Auditable> Permit<C> {
    pub(crate) fn new(call: C, recorded: Recorded, span: Span) -> Self {
        Self { call, recorded, span }
    }

    /// The call that was put on record.
    pub fn call(&self) -> &C {
        &self.call
    }

    /// The ids.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// Closes the span: `Ok` is success, `Err` is failure. Blocks for one write.
    pub fn finish<T, E>(self, result: Result<T, E>) -> Settled<T, E> {
        let closed = self.span.close(outcome_of(&result), None);
        Settled::new(result, self.recorded, closed)
    }

    /// As [`Permit::finish`], for a task. Dropped after its first poll, the outcome is written all the same; dropped
    /// before, it is failure(abandoned).
    ///
    /// # Panics
    /// Outside a tokio runtime with its clock enabled.
    #[cfg(feature = "async")]
    pub async fn finish_async<T, E>(self, result: Result<T, E>) -> Settled<T, E> {
        let closed = self.span.close_async(outcome_of(&result)).await;
        Settled::new(result, self.recorded, closed)
    }
}

fn outcome_of<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "success" } else { "failure" }
}

/// Shows the ids, never the call: it holds the tool's arguments.
impl<C: Auditable> fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("recorded", &self.recorded).finish_non_exhaustive()
    }
}

/// The result of a call whose outcome is on record, or is known to be lost.
#[must_use]
#[derive(Debug)]
pub struct Settled<T, E> {
    result: Result<T, E>,
    recorded: Recorded,
    lost: Option<AuditOutcomeLost>,
}

/// Why a settled call gives no plain result.
#[derive(Debug)]
#[non_exhaustive]
pub enum SettleError<T, E> {
    /// The call failed, and that is on record.
    Failed(E),
    /// The outcome could not be written. Here is what happened all the same.
    OutcomeLost {
        /// What the call gave.
        result: Result<T, E>,
        /// What went wrong with the record.
        lost: AuditOutcomeLost,
    },
}

impl<T, E> Settled<T, E> {
    fn new(result: Result<T, E>, recorded: Recorded, closed: Result<(), AuditError>) -> Self {
        Self { result, recorded, lost: closed.err().map(AuditOutcomeLost::new) }
    }

    /// The ids under which the call is on record.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// The plain result.
    ///
    /// # Errors
    /// The call failed, or its outcome could not be written.
    pub fn into_result(self) -> Result<T, SettleError<T, E>> {
        match self.lost {
            Some(lost) => Err(SettleError::OutcomeLost { result: self.result, lost }),
            None => self.result.map_err(SettleError::Failed),
        }
    }
}
