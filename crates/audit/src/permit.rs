use crate::{AuditLog, AuditOutcomeLost, CallId, EventId, Subject};

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

/// Proof that exactly this call is on record as pending. Dropped, it is on record as failure(abandoned).
#[must_use = "a permit must be finished with the call's outcome"]
#[derive(Debug)]
pub struct Permit<C: Auditable> {
    call: Option<C>,
    recorded: Recorded,
    _log: AuditLog,
}

impl<C: Auditable> Permit<C> {
    /// The call that was put on record.
    pub fn call(&self) -> &C {
        self.call.as_ref().expect("taken only when the permit is consumed")
    }
    /// The ids.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }
    /// Closes the span: `Ok` is success, `Err` is failure. Blocks for one write.
    pub fn finish<T, E>(self, _result: Result<T, E>) -> Settled<T, E> {
        todo!("audit")
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
    /// The ids under which the call is on record.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }
    /// # Errors
    /// The call failed, or its outcome could not be written.
    pub fn into_result(self) -> Result<T, SettleError<T, E>> {
        match self.lost {
            Some(lost) => Err(SettleError::OutcomeLost { result: self.result, lost }),
            None => self.result.map_err(SettleError::Failed),
        }
    }
}
