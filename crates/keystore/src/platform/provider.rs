use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::{EntryName, Finding, KeystoreError, SecretBytes};

/// What detection found; `provider` where it got far enough to talk to one.
#[derive(Debug)]
pub(crate) struct Detected {
    pub(crate) finding: Finding,
    pub(crate) provider: Option<Arc<dyn Provider>>,
}

impl Detected {
    /// Nothing that could ever be used.
    pub(crate) fn rejected(finding: Finding) -> Self {
        Self { finding, provider: None }
    }
}

/// Whether the provider is still the one that passed the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Same,
    /// Something changed: a new guard must decide.
    Changed,
}

/// One provider that the guard looked at. Whatever is said goes to that very one.
pub(crate) trait Provider: fmt::Debug + Send + Sync {
    /// Checks before an act that nothing changed since the guard.
    fn touch(&self, deadline: Deadline) -> Result<Touch, KeystoreError>;

    /// Whether values lie less safely on the disk than when the guard looked.
    fn is_exposed(&self) -> bool;

    fn expect_unlocked(&self, deadline: Deadline) -> Result<(), KeystoreError>;

    fn get(&self, entry: &EntryName, deadline: Deadline) -> Result<SecretBytes, KeystoreError>;

    fn put(&self, entry: &EntryName, value: &SecretBytes, deadline: Deadline) -> Result<(), KeystoreError>;

    fn delete(&self, entry: &EntryName, deadline: Deadline) -> Result<(), KeystoreError>;

    fn contains(&self, entry: &EntryName, deadline: Deadline) -> Result<bool, KeystoreError>;

    /// The names of all entries of a service, sorted; a name that several entries have comes once.
    fn list(&self, service: &str, deadline: Deadline) -> Result<Vec<EntryName>, KeystoreError>;

    /// The entries of a service whose user name begins with `prefix` and that were made at least `age` ago. A store that
    /// keeps no times has none.
    fn older_than(
        &self,
        age: Duration,
        service: &str,
        prefix: &str,
        deadline: Deadline,
    ) -> Result<Vec<EntryName>, KeystoreError>;
}
