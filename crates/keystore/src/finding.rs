use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::BackendId;

/// What the guard thinks of a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Provider, collection and the state of its file were checked, and are sound.
    Verified,
    /// Nothing speaks against it, but the system does not let us look, or we know no way to.
    Unverifiable,
    /// It is not a place for a secret. No setting can change that.
    Rejected,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Unverifiable => "unverifiable",
            Self::Rejected => "rejected",
        })
    }
}

/// How the secrets of a collection lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AtRest {
    /// Encrypted.
    Encrypted,
    /// In clear text, or under a key that an empty password gives, which is the same: the keyring has no password.
    Cleartext,
    /// Not known.
    Unknown,
}

impl fmt::Display for AtRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => "encrypted",
            Self::Cleartext => "clear text",
            Self::Unknown => "unknown",
        })
    }
}

/// What the guard found, fit for a log: names and states, never a value.
#[derive(Clone, Debug)]
pub struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) backend: Option<BackendId>,
    pub(crate) executable: Option<PathBuf>,
    pub(crate) collection: Option<String>,
    pub(crate) at_rest: AtRest,
    pub(crate) locked: Option<bool>,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) remedy: Cow<'static, str>,
}

impl Finding {
    pub(crate) fn new(
        verdict: Verdict,
        reason: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            verdict,
            backend: None,
            executable: None,
            collection: None,
            at_rest: AtRest::Unknown,
            locked: None,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn rejected(
        reason: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Verdict::Rejected, reason, remedy)
    }

    /// Verified, unverifiable or rejected.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The backend, where the provider's program told it.
    #[must_use]
    pub fn backend(&self) -> Option<BackendId> {
        self.backend
    }

    /// The provider's program.
    #[must_use]
    pub fn executable(&self) -> Option<&Path> {
        self.executable.as_deref()
    }

    /// The name of the collection that entries go to, e.g. `login`.
    #[must_use]
    pub fn collection(&self) -> Option<&str> {
        self.collection.as_deref()
    }

    /// How the collection lies on the disk.
    #[must_use]
    pub fn at_rest(&self) -> AtRest {
        self.at_rest
    }

    /// Whether the provider called the collection locked when it was looked at.
    #[must_use]
    pub fn is_locked(&self) -> Option<bool> {
        self.locked
    }

    /// Why the verdict is what it is, one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do about it; empty when nothing is to be done.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (backend {}", self.reason, self.backend.map_or("none", BackendId::as_str))?;
        if let Some(executable) = &self.executable {
            // A path comes from outside: escaped, so that it stays one line.
            write!(f, ", program {:?}", executable.display().to_string())?;
        }
        if let Some(collection) = &self.collection {
            write!(f, ", collection {collection:?}")?;
        }
        if self.at_rest != AtRest::Unknown {
            write!(f, ", at rest {}", self.at_rest)?;
        }
        if self.locked == Some(true) {
            f.write_str(", locked")?;
        }
        f.write_str(")")
    }
}
