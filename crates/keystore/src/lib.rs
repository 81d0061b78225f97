#![doc = include_str!("../README.md")]
#![deny(unsafe_code)] // `platform` alone may expect it, with a reason

mod allowlist;
mod backend;
mod deadline;
mod diagnose;
mod entry;
mod error;
mod finding;
mod guarded_store;
mod keystore;
pub mod leak_scan;
mod platform;
mod policy;
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub mod private_keyring;
mod probe;
mod secret;
mod signer;
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub mod software_tpm;
mod surroundings;
#[cfg(all(feature = "tpm2", unix))]
mod tpm;

pub use allowlist::{Allowlist, InvalidAllowlist};
pub use backend::BackendId;
pub use diagnose::{Diagnose, ErrorClass};
pub use entry::{EntryName, InvalidEntryName};
pub use error::{
    AmbiguousEntry, InsecureKeyringBackendError, KeyringLocked, KeyringTimeout, KeystoreError, ProviderFault,
    ProviderGone, ValueTooLarge,
};
pub use finding::{AtRest, Finding, Verdict};
pub use guarded_store::GuardedStore;
pub use keystore::{Candidate, Keystore};
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub use platform::enter_own_user_namespace;
#[cfg(all(feature = "test-util", unix))]
pub use platform::in_a_fork;
pub use platform::{ThisProcess, harden_process};
pub use policy::KeystorePolicy;
pub use probe::{ProbeError, ProbeFault, ProbeReport, ProbeTimings};
pub use secret::SecretBytes;
pub use signer::{CertificateThumbprint, PemSigner, SignError, SignatureAlgorithm, Signer};
pub use surroundings::Surroundings;
#[cfg(all(feature = "tpm2", unix))]
pub use tpm::{Tpm, TpmError, TpmErrorKind, TpmKey, TpmSigner};
