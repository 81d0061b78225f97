use std::borrow::Cow;

use crate::{Attribution, Diagnose, ErrorClass};

/// An act of identity's own (provisioning) that changes something outside: its stable name and the opaque id it
/// is about. Built only from closed sets and validated ids; nothing free can be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    name: &'static str,
    subject: Option<String>,
}

impl Action {
    #[cfg(feature = "provisioning")]
    pub(crate) fn new(name: &'static str, subject: Option<&uuid::Uuid>) -> Self {
        Self { name, subject: subject.map(|id| id.hyphenated().to_string()) }
    }
    /// E.g. `provision.certificate.add`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// The GUID of the object it is about, when there is one already.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }
}

/// The gate before every changing act of this crate. The audit implements it, the server injects it.
pub trait ActionGate: Send + Sync {
    /// Puts the act on record, durably, before it may happen. Blocks.
    ///
    /// # Errors
    /// The act may not happen.
    fn admit(&self, attribution: &Attribution, action: &Action) -> Result<Box<dyn Admitted>, GateError>;
}

/// An admitted act. Dropped without `settle`, it is on record as failure(abandoned).
#[must_use = "an admitted act must be settled with its outcome"]
pub trait Admitted: Send {
    /// Closes the record: success, or failure with the stable name of the error.
    ///
    /// # Errors
    /// The outcome could not be written. The act happened all the same.
    fn settle(self: Box<Self>, outcome: Result<(), &'static str>) -> Result<(), GateError>;
}

/// The gate did not open, or an outcome could not be written. Carries the audit's own error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct GateError {
    message: String,
    error_type: &'static str,
    hint: Option<String>,
    class: ErrorClass,
}

impl GateError {
    /// From the implementer's own error.
    pub fn from_error(error: &dyn Diagnose) -> Self {
        Self {
            message: error.to_string(),
            error_type: error.error_type(),
            hint: error.hint().map(Cow::into_owned),
            class: error.class(),
        }
    }
}

impl Diagnose for GateError {
    fn error_type(&self) -> &'static str {
        self.error_type
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        self.hint.clone().map(Cow::Owned)
    }
    fn class(&self) -> ErrorClass {
        self.class
    }
}
