use std::borrow::Cow;

use crate::{Diagnose, ErrorClass};

/// The active keyring backend is not one that a secret may be put in or read from.
#[derive(Debug, thiserror::Error)]
#[error("insecure keyring backend: {found}")]
pub struct InsecureKeyringBackendError {
    found: String,
}

impl Diagnose for InsecureKeyringBackendError {
    fn error_type(&self) -> &'static str {
        "InsecureKeyringBackendError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        todo!("keystore")
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
}

impl Diagnose for KeystoreError {
    fn error_type(&self) -> &'static str {
        todo!("keystore")
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        todo!("keystore")
    }
    fn class(&self) -> ErrorClass {
        todo!("keystore")
    }
}
