use std::borrow::Cow;
use std::time::Duration;

use super::SessionState;
use crate::{Diagnose, ErrorClass};

/// The table has no such step.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no session step from {from} to {to}")]
pub struct InvalidTransitionError {
    pub(super) from: SessionState,
    pub(super) to: SessionState,
}

impl InvalidTransitionError {
    /// The state it was in.
    #[must_use]
    pub fn from(&self) -> SessionState {
        self.from
    }
    /// The state it was asked to enter.
    #[must_use]
    pub fn to(&self) -> SessionState {
        self.to
    }
}

/// Why a session did not take a step. It is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The table has no such step.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransitionError),
    /// Another step held the session too long.
    #[error("the session was busy for {} s", waited.as_secs())]
    TransitionTimeout {
        /// How long this one waited.
        waited: Duration,
    },
    /// The step's own work failed.
    #[error("the step to {to} failed and was taken back")]
    Transition {
        /// Where it would have led.
        to: SessionState,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Diagnose for SessionError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidTransition(_) => "InvalidTransitionError",
            Self::TransitionTimeout { .. } => "TransitionTimeoutError",
            Self::Transition { .. } => "TransitionError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InvalidTransition(_) => Some("sign out first".into()),
            Self::TransitionTimeout { .. } => Some("wait for the sign-in under way, then try again".into()),
            Self::Transition { .. } => None,
        }
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::TransitionTimeout { .. } => ErrorClass::Unavailable,
            Self::InvalidTransition(_) | Self::Transition { .. } => ErrorClass::NotSignedIn,
        }
    }
}
