use std::borrow::Cow;

use entrabot_identity::Unattributed;

use crate::{Diagnose, ErrorClass};

/// Nobody could be named as the one who acts; nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("cannot attribute {action} on {resource}: {reason}")]
pub struct AuditAttributionError {
    action: String,
    resource: String,
    reason: Unattributed,
}

/// The act's outcome could not be written after the act happened. The pending line stays as evidence, and the log
/// refuses new permits until it is opened again.
#[derive(Debug, thiserror::Error)]
#[error("the act happened, but its outcome could not be written to the audit log")]
pub struct AuditOutcomeLost {
    #[source]
    source: Box<AuditError>,
}

/// Why the log did not take a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Nobody could be named.
    #[error(transparent)]
    Attribution(#[from] Box<AuditAttributionError>),
}

impl Diagnose for AuditError {
    fn error_type(&self) -> &'static str {
        todo!("audit")
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        todo!("audit")
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::AuditUnavailable
    }
}
