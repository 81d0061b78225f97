use std::path::Path;
use std::sync::Arc;

use entrabot_identity::{Action, ActionGate, Admitted, Attribute, Attribution, GateError};

use crate::{Auditable, AuditError, EventId, LogEntry, Permit};

/// Where the log lies and how it is sealed.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    _private: (),
}

impl AuditOptions {
    /// The audit directory and the data directory (anchor and public keys).
    #[must_use]
    pub fn new(_audit_dir: &Path, _data_dir: &Path) -> Self {
        todo!("audit")
    }
}

/// The log of one directory. Cheap to clone; all clones share one writer. Every method blocks.
#[derive(Clone, Debug)]
pub struct AuditLog {
    _private: (),
}

impl AuditLog {
    /// # Errors
    /// The directory cannot be made or is not safe to write to.
    pub fn open(_options: AuditOptions, _who: Arc<dyn Attribute>) -> Result<Self, AuditError> {
        todo!("audit")
    }

    /// Writes one record, durable before it returns.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn log_event(&self, _entry: LogEntry) -> Result<EventId, AuditError> {
        todo!("audit")
    }

    /// Takes the call itself, says who acts, writes `pending`; durable before it returns.
    ///
    /// # Errors
    /// The call may not be made.
    pub fn permit<C: Auditable>(&self, _call: C) -> Result<Permit<C>, AuditError> {
        todo!("audit")
    }
}

impl ActionGate for AuditLog {
    fn admit(&self, _attribution: &Attribution, _action: &Action) -> Result<Box<dyn Admitted>, GateError> {
        todo!("audit")
    }
}
