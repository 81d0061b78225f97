//! The OS keyring behind an allowlist and a probe. It fails closed.

mod allowlist;
mod diagnose;
mod entry;
mod error;
mod keystore;
mod policy;
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
