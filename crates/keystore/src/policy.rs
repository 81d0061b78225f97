use crate::{Keystore, KeystoreError};

/// Which backends may be used, as the operator set it. Opening goes through detection, guard and pin each time.
///
/// A malformed setting does not fail here: it is kept, and [`KeystorePolicy::open`] refuses with
/// `InsecureKeyringBackendError`, so that a server can start and refuse each call by name.
#[derive(Clone, Debug)]
pub struct KeystorePolicy {
    _private: (),
}

impl KeystorePolicy {
    /// From the raw values of `ENTRABOT_KEYRING_BACKEND` (or `PYTHON_KEYRING_BACKEND`) and
    /// `ENTRABOT_KEYRING_BACKEND_ALLOWLIST`; `None` means "not set".
    #[must_use]
    pub fn from_settings(_backend: Option<&str>, _allowlist: Option<&str>) -> Self {
        todo!("keystore")
    }

    /// `Candidate::detect()?.validate(..)`: at most 2 s, never a prompt.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn open(&self) -> Result<Keystore, KeystoreError> {
        todo!("keystore")
    }
}

impl Default for KeystorePolicy {
    fn default() -> Self {
        Self::from_settings(None, None)
    }
}
