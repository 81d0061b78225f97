//! The OS keyring behind an allowlist and a probe. It fails closed.

mod allowlist;
mod diagnose;
mod entry;
mod error;
mod keystore;
mod policy;
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub mod private_keyring;
mod secret;
mod signer;

pub use allowlist::{Allowlist, BackendId};
pub use diagnose::{Diagnose, ErrorClass};
pub use entry::{EntryName, InvalidEntryName};
pub use error::{InsecureKeyringBackendError, KeystoreError};
pub use keystore::{Candidate, Keystore, ProbeReport};
pub use policy::KeystorePolicy;
pub use secret::SecretBytes;
pub use signer::{CertificateThumbprint, PemSigner, SignError, SignatureAlgorithm, Signer};
