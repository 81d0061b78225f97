use crate::{Allowlist, BackendId, EntryName, InsecureKeyringBackendError, KeystoreError, SecretBytes};

/// What was found on this machine, before any secret is touched.
#[derive(Debug)]
pub struct Candidate {
    _private: (),
}

impl Candidate {
    /// Looks, touches no secret.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn detect() -> Result<Self, KeystoreError> {
        todo!("keystore")
    }

    /// The only way to a [`Keystore`].
    ///
    /// # Errors
    /// Names what was found and what was expected.
    pub fn validate(self, _allowlist: &Allowlist) -> Result<Keystore, InsecureKeyringBackendError> {
        todo!("keystore")
    }
}

/// A keyring that passed the guard. Each call is pinned to the provider that passed.
#[derive(Debug)]
pub struct Keystore {
    _private: (),
}

/// What the sanity probe saw.
#[derive(Debug)]
pub struct ProbeReport {
    _private: (),
}

impl Keystore {
    /// # Errors
    /// [`KeystoreError::NoEntry`] when the guard passed and there is none.
    pub fn get(&self, _entry: &EntryName) -> Result<SecretBytes, KeystoreError> {
        todo!("keystore")
    }
    /// # Errors
    /// See [`KeystoreError`].
    pub fn put(&self, _entry: &EntryName, _secret: &SecretBytes) -> Result<(), KeystoreError> {
        todo!("keystore")
    }
    /// # Errors
    /// [`KeystoreError::NoEntry`] when there is none.
    pub fn delete(&self, _entry: &EntryName) -> Result<(), KeystoreError> {
        todo!("keystore")
    }
    /// The entries of a service, by name.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn list(&self, _service: &str) -> Result<Vec<EntryName>, KeystoreError> {
        todo!("keystore")
    }
    /// Stores, reads back on a new connection and deletes a random value.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn sanity_probe(&self) -> Result<ProbeReport, KeystoreError> {
        todo!("keystore")
    }
    /// The backend that passed.
    #[must_use]
    pub fn backend(&self) -> BackendId {
        todo!("keystore")
    }
}
