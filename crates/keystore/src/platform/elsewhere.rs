//! Systems whose keyring cannot be verified yet: nothing is ever stored there.

use std::convert::Infallible;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::{EntryName, Finding, KeystoreError, SecretBytes, Surroundings};

/// No provider ever passes here, so there is no value of this type.
#[derive(Debug)]
pub(crate) struct Pinned(Infallible);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Same,
    #[expect(dead_code, reason = "no provider ever passes here")]
    Changed,
}

#[derive(Debug)]
pub(crate) struct Detected {
    pub(crate) finding: Finding,
    pub(crate) pinned: Option<Pinned>,
}

pub(crate) fn detect(_: &Surroundings, _: Deadline) -> Result<Detected, KeystoreError> {
    let reason = "no keyring of this operating system can be verified yet";
    Ok(Detected { finding: Finding::rejected(reason, "run entrabot on Linux"), pinned: None })
}

impl Pinned {
    pub(crate) fn touch(&self, _: Deadline) -> Result<Touch, KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn is_exposed(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn expect_unlocked(&self, _: Deadline) -> Result<(), KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn get(&self, _: &EntryName, _: Deadline) -> Result<SecretBytes, KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn put(&self, _: &EntryName, _: &SecretBytes, _: Deadline) -> Result<(), KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn delete(&self, _: &EntryName, _: Deadline) -> Result<(), KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn list(&self, _: &str, _: Deadline) -> Result<Vec<EntryName>, KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn contains(&self, _: &EntryName, _: Deadline) -> Result<bool, KeystoreError> {
        match self.0 {}
    }

    pub(crate) fn older_than(
        &self,
        _: Duration,
        _: &str,
        _: &str,
        _: Deadline,
    ) -> Result<Vec<EntryName>, KeystoreError> {
        match self.0 {}
    }
}
