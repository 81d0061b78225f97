use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::{Allowlist, BackendId, Diagnose, ErrorClass, Finding};

/// The active keyring backend is not one that a secret may be put in or read from.
#[derive(Debug)]
pub struct InsecureKeyringBackendError(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    finding: Finding,
    expected: Vec<BackendId>,
    leaked: Vec<PathBuf>,
}

impl InsecureKeyringBackendError {
    pub(crate) fn new(finding: Finding, allowlist: &Allowlist) -> Self {
        Self(Box::new(Refusal { finding, expected: allowlist.ids().to_vec(), leaked: Vec::new() }))
    }

    /// Adds the clear-text files that a secret of ours was found in.
    pub(crate) fn with_leaks(mut self, files: Vec<PathBuf>) -> Self {
        self.0.leaked = files;
        self
    }

    /// What was found: backend, program, collection, state and reason.
    #[must_use]
    pub fn finding(&self) -> &Finding {
        &self.0.finding
    }

    /// The backends that would have been accepted.
    #[must_use]
    pub fn expected(&self) -> &[BackendId] {
        &self.0.expected
    }
}

impl fmt::Display for InsecureKeyringBackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "insecure keyring backend: {}; expected one of: ", self.0.finding)?;
        match self.0.expected.split_first() {
            None => f.write_str("none on this system"),
            Some((first, rest)) => {
                write!(f, "{first}")?;
                rest.iter().try_for_each(|id| write!(f, ", {id}"))
            }
        }
    }
}

impl std::error::Error for InsecureKeyringBackendError {}

impl Diagnose for InsecureKeyringBackendError {
    fn error_type(&self) -> &'static str {
        "InsecureKeyringBackendError"
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let mut hint = String::new();
        for file in &self.0.leaked {
            hint.push_str(&format!(
                "rotate the blueprint key now: it lies in clear text in {:?}; revoke its certificate, then delete \
                 the file; ",
                file.display().to_string()
            ));
        }
        hint.push_str(self.0.finding.remedy());
        Some(Cow::Owned(hint))
    }

    fn class(&self) -> ErrorClass {
        ErrorClass::InsecureKeyring
    }
}

/// Why the keystore did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// No place that secrets may be put in.
    #[error(transparent)]
    Insecure(#[from] InsecureKeyringBackendError),
    /// The guard passed and there is no such entry. The only error that may ever lead to making a new key.
    #[error("no such entry")]
    NoEntry,
    /// The collection is locked; whether it holds the entry cannot be told.
    #[error(transparent)]
    Locked(#[from] KeyringLocked),
    /// The keyring or the bus did not answer in time.
    #[error(transparent)]
    TimedOut(#[from] KeyringTimeout),
    /// Several entries have this name; which one is meant cannot be told.
    #[error(transparent)]
    Ambiguous(#[from] AmbiguousEntry),
    /// The provider went away, or another took its place, while the operation ran.
    #[error(transparent)]
    ProviderGone(#[from] ProviderGone),
    /// The value is larger than an entry may be.
    #[error(transparent)]
    TooLarge(#[from] ValueTooLarge),
    /// The provider answered in a way that the Secret Service does not allow, or refused.
    #[error(transparent)]
    Provider(#[from] ProviderFault),
}

/// The collection is locked.
#[derive(Debug, thiserror::Error)]
#[error("the keyring collection {collection:?} of {backend} is locked")]
pub struct KeyringLocked {
    pub(crate) backend: BackendId,
    pub(crate) collection: String,
}

/// Nothing came back within the deadline.
#[derive(Debug, thiserror::Error)]
#[error("the keyring did not answer in time while {step}")]
pub struct KeyringTimeout {
    pub(crate) step: &'static str,
}

/// Several entries have one name.
#[derive(Debug, thiserror::Error)]
#[error("{count} entries are named {entry}")]
pub struct AmbiguousEntry {
    pub(crate) count: usize,
    pub(crate) entry: crate::EntryName,
}

/// The provider is not the one that passed the guard any more.
#[derive(Debug, thiserror::Error)]
#[error("the keyring provider went away while {step}")]
pub struct ProviderGone {
    pub(crate) step: &'static str,
}

/// The value does not fit.
#[derive(Debug, thiserror::Error)]
#[error("a value of {bytes} bytes does not fit: the limit is {limit}")]
pub struct ValueTooLarge {
    pub(crate) bytes: usize,
    pub(crate) limit: usize,
}

/// The provider refused, or spoke out of turn.
#[derive(Debug, thiserror::Error)]
#[error("the keyring provider failed while {step}: {code}")]
pub struct ProviderFault {
    pub(crate) step: &'static str,
    /// A D-Bus error name, or what was wrong with the answer. Never the answer itself.
    pub(crate) code: String,
}

impl Diagnose for KeystoreError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Insecure(error) => error.error_type(),
            Self::NoEntry => "KeyringEntryNotFoundError",
            Self::Locked(_) => "KeyringLockedError",
            Self::TimedOut(_) => "KeyringTimeoutError",
            Self::Ambiguous(_) => "KeyringAmbiguousEntryError",
            Self::ProviderGone(_) => "KeyringProviderGoneError",
            Self::TooLarge(_) => "KeyringValueTooLargeError",
            Self::Provider(_) => "KeyringProviderError",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Insecure(error) => return error.hint(),
            Self::NoEntry => "check the name with `entrabot keystore list`, or run `entrabot provision`",
            Self::Locked(_) => {
                "unlock the keyring (log in to the desktop, or open the keyring's own program) and try again; \
                 entrabot never asks for the password itself"
            }
            Self::TimedOut(_) => {
                "look for an unanswered unlock prompt or a stopped keyring daemon; then try again"
            }
            Self::Ambiguous(_) => {
                "delete all but one of them with the keyring's own program (seahorse, KeePassXC); entrabot never \
                 guesses which one is meant"
            }
            Self::ProviderGone(_) => "try again: the next attempt checks the keyring anew",
            Self::TooLarge(_) => "store a shorter value; keys and tokens are far below the limit",
            Self::Provider(_) => "run `entrabot doctor`; restarting the keyring daemon often helps",
        }))
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Insecure(error) => error.class(),
            Self::NoEntry => ErrorClass::NotFound,
            Self::Locked(_) | Self::TimedOut(_) | Self::ProviderGone(_) => ErrorClass::Unavailable,
            Self::TooLarge(_) => ErrorClass::Configuration,
            Self::Ambiguous(_) | Self::Provider(_) => ErrorClass::Failed,
        }
    }
}
