//! What the tests on real daemons share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{Allowlist, Candidate, EntryName, Keystore, KeystoreError, SecretBytes, Surroundings};

/// A private keyring, or why there can be none on this machine: a test that cannot run must not pass.
pub fn keyring(mode: Mode) -> PrivateKeyring {
    PrivateKeyring::start(mode).expect("a private keyring starts (see `cargo xtask test`, which installs what it needs)")
}

pub fn surroundings(keyring: &PrivateKeyring) -> Surroundings {
    Surroundings::from_vars(&keyring.env())
}

pub fn open(keyring: &PrivateKeyring) -> Result<Keystore, KeystoreError> {
    Ok(Candidate::detect_in(&surroundings(keyring))?.validate(&Allowlist::default())?)
}

pub fn entry(username: &str) -> EntryName {
    EntryName::new("entrabot-test", username).unwrap()
}

pub fn secret(bytes: impl Into<Vec<u8>>) -> SecretBytes {
    SecretBytes::new(bytes.into())
}
