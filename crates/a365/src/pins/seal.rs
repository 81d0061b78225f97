use std::fmt;
use std::path::Path;
use std::sync::Arc;

use entrabot_identity::Config;
use entrabot_keystore::{EntryName, KeystoreError, KeystorePolicy, SecretBytes};
use sha2::{Digest as _, Sha256};

use crate::definitions::hex;

/// Where the digest of the pin file is kept: out of reach of whoever can only write the data directory. So a pin that
/// is changed, removed or rolled back behind our back is noticed.
pub trait PinSeal: fmt::Debug + Send + Sync {
    /// What was kept last; `None` where nothing ever was. Blocks.
    ///
    /// # Errors
    /// The store cannot be used: that is never "nothing was kept".
    fn kept(&self) -> Result<Option<String>, KeystoreError>;

    /// Keeps a line of at most 200 bytes. Blocks.
    ///
    /// # Errors
    /// The store cannot be used.
    fn keep(&self, line: &str) -> Result<(), KeystoreError>;
}

/// The seal in the guarded keyring: the entry `entrabot` / `a365-pins-{16 hex digits of the data directory}`.
#[derive(Debug)]
pub struct KeyringSeal {
    policy: KeystorePolicy,
    entry: EntryName,
}

impl KeyringSeal {
    /// The seal of one data directory's pins.
    #[must_use]
    pub fn new(policy: KeystorePolicy, data_dir: &Path) -> Self {
        // The same words mean another directory elsewhere.
        let place = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let place = hex(&Sha256::digest(place.as_os_str().as_encoded_bytes())[..8]);
        let entry = EntryName::new("entrabot", format!("a365-pins-{place}"))
            .expect("letters, digits and dashes are an entry's name");
        Self { policy, entry }
    }
}

impl PinSeal for KeyringSeal {
    fn kept(&self) -> Result<Option<String>, KeystoreError> {
        match self.policy.open()?.get(&self.entry) {
            Ok(line) => Ok(Some(String::from_utf8_lossy(line.expose()).into_owned())),
            Err(KeystoreError::NoEntry) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn keep(&self, line: &str) -> Result<(), KeystoreError> {
        self.policy.open()?.put(&self.entry, &SecretBytes::new(line.as_bytes().to_vec()))
    }
}

/// The seal of the settings. An installation whose blueprint proves itself without a key on this machine opens no keyring
/// for its pins either, wherever the audit has its key: they are then as safe as its data directory.
pub(crate) fn of_config(config: &Config) -> Option<Arc<dyn PinSeal>> {
    (!config.needs_no_keystore()).then(|| {
        Arc::new(KeyringSeal::new(config.keystore_policy().clone(), config.data_dir())) as Arc<dyn PinSeal>
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blueprints_credential_alone_decides_whether_pins_open_the_keyring() {
        for (credential, signing, sealed) in [
            ("keystore", "keystore", true),
            ("keystore", "off", true),
            ("workload-identity", "keystore", false),
            ("managed-identity", "off", false),
        ] {
            let config = Config::from_variables([
                ("ENTRABOT_BLUEPRINT_CREDENTIAL", credential),
                ("ENTRABOT_AUDIT_SIGNING", signing),
            ]);
            assert_eq!(of_config(&config.unwrap()).is_some(), sealed, "{credential}, audit {signing}");
        }
    }
}
