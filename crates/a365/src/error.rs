use std::borrow::Cow;

use entrabot_audit::Recorded;

use crate::{Diagnose, ErrorClass};

/// An argument that is refused before anything else happens. Names the argument, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument} {reason}")]
pub struct InvalidArgument {
    argument: Cow<'static, str>,
    reason: Cow<'static, str>,
}

impl InvalidArgument {
    pub(crate) fn new(argument: &'static str, reason: &'static str) -> Self {
        Self { argument: argument.into(), reason: reason.into() }
    }
    pub(crate) fn too_long(argument: &'static str, most: usize) -> Self {
        Self { argument: argument.into(), reason: format!("is longer than {most} bytes").into() }
    }
    /// The argument's name.
    #[must_use]
    pub fn argument(&self) -> &str {
        &self.argument
    }
}

impl Diagnose for InvalidArgument {
    fn error_type(&self) -> &'static str {
        "InvalidArgumentError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("correct the argument; nothing was sent and nothing was recorded".into())
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}

/// Why a Work IQ call gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum A365Error {
    /// An argument is refused.
    #[error(transparent)]
    Argument(#[from] InvalidArgument),
}

impl A365Error {
    /// The ids under which the failed call is on record; `None` when it did not get so far.
    #[must_use]
    pub fn recorded(&self) -> Option<Recorded> {
        None
    }
}

impl Diagnose for A365Error {
    fn error_type(&self) -> &'static str {
        todo!("a365")
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        todo!("a365")
    }
    fn class(&self) -> ErrorClass {
        todo!("a365")
    }
}
