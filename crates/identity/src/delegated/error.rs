use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use entrabot_keystore::KeystoreError;

use crate::{Diagnose, ErrorClass, TokenExchangeError};

/// Why no person is signed in. Holds nothing of an answer but what [`TokenExchangeError`] may hold.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DelegatedError {
    /// The token endpoint refused, or did not answer.
    #[error(transparent)]
    Exchange(#[from] TokenExchangeError),
    /// The keystore refused: without a sound one nobody is asked to sign in.
    #[error(transparent)]
    Keystore(Arc<KeystoreError>),
    /// Settings that a person's sign-in needs are missing.
    #[error("a person cannot sign in: not set: {}", missing.join(", "))]
    NotConfigured {
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// Without a prompt there is no token (`AuthRefreshRequiredError`).
    #[error("a person has to sign in: {reason}")]
    InteractionRequired {
        /// Why.
        reason: &'static str,
    },
    /// Nobody finished the sign-in in time.
    #[error("nobody signed in within {} s", within.as_secs())]
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// The person declined.
    #[error("the sign-in was declined")]
    Cancelled,
    /// The browser came back with an error of the sign-in page.
    #[error("the sign-in page refused: {code}")]
    Refused {
        /// Its own code, as RFC 6749 and Entra define them.
        code: String,
    },
    /// The loopback listener cannot be had, so no browser can come back.
    #[error("cannot listen on localhost:{port}: {kind}")]
    Listener {
        /// The port.
        port: u16,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// No browser could be opened.
    #[error("no browser could be opened")]
    NoBrowser,
    /// An answer that does not belong to this sign-in, or to this person.
    #[error("the sign-in's answer was refused: {reason}")]
    Untrusted {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<KeystoreError> for DelegatedError {
    fn from(error: KeystoreError) -> Self {
        Self::Keystore(Arc::new(error))
    }
}

impl Diagnose for DelegatedError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Exchange(error) => error.error_type(),
            Self::Keystore(error) => error.error_type(),
            Self::NotConfigured { .. } => "ConfigError",
            Self::InteractionRequired { .. } => "AuthRefreshRequiredError",
            Self::TimedOut { .. } => "AuthTimeoutError",
            Self::Cancelled => "AuthCancelledError",
            Self::Refused { .. } | Self::Listener { .. } | Self::NoBrowser | Self::Untrusted { .. } => {
                "AuthError"
            }
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Exchange(error) => return error.hint(),
            Self::Keystore(error) => return error.hint(),
            Self::NotConfigured { .. } => {
                "set ENTRABOT_TENANT_ID, and ENTRABOT_CLIENT_ID to a public client app of it".into()
            }
            Self::InteractionRequired { .. } | Self::TimedOut { .. } => "run `entrabot sign-in`".into(),
            Self::Cancelled => "run `entrabot sign-in` again, and accept".into(),
            Self::Refused { .. } => {
                "look at what the page says; an administrator may have to consent to the app of \
                 ENTRABOT_CLIENT_ID"
                    .into()
            }
            Self::Listener { .. } => {
                "end what listens there, choose another port (`--port`), or use `entrabot sign-in --device-code`"
                    .into()
            }
            Self::NoBrowser => "use `entrabot sign-in --device-code`, or set BROWSER".into(),
            Self::Untrusted { .. } => {
                "run `entrabot sign-in` again; if it stays, something answers in Entra's place".into()
            }
        })
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Exchange(error) => error.class(),
            Self::Keystore(error) => error.class(),
            Self::NotConfigured { .. } => ErrorClass::Configuration,
            Self::TimedOut { .. } => ErrorClass::Unavailable,
            Self::InteractionRequired { .. }
            | Self::Cancelled
            | Self::Refused { .. }
            | Self::Listener { .. }
            | Self::NoBrowser
            | Self::Untrusted { .. } => ErrorClass::NotSignedIn,
        }
    }
}
