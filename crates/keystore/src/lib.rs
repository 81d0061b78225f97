//! The OS keyring behind an allowlist and a probe. It fails closed.
#![forbid(unsafe_code)]

mod allowlist;
mod backend;
mod deadline;
mod diagnose;
mod entry;
mod error;
mod finding;
mod keystore;
pub mod leak_scan;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
mod policy;
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub mod private_keyring;
mod secret;
mod signer;
mod surroundings;

pub use allowlist::{Allowlist, InvalidAllowlist};
pub use backend::BackendId;
pub use diagnose::{Diagnose, ErrorClass};
pub use entry::{EntryName, InvalidEntryName};
pub use error::{
    AmbiguousEntry, InsecureKeyringBackendError, KeyringLocked, KeyringTimeout, KeystoreError, ProviderFault,
    ProviderGone, ValueTooLarge,
};
pub use finding::{AtRest, Finding, Verdict};
pub use keystore::{Candidate, Keystore};
pub use policy::KeystorePolicy;
pub use secret::SecretBytes;
pub use signer::{CertificateThumbprint, PemSigner, SignError, SignatureAlgorithm, Signer};
pub use surroundings::Surroundings;
