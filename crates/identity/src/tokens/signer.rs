use std::fmt;
use std::path::PathBuf;

use entrabot_keystore::{
    CertificateThumbprint, EntryName, KeystoreError, KeystorePolicy, PemSigner, SignatureAlgorithm, Signer,
};

use super::TokenError;
use super::exchange::missing_settings;
use crate::Config;
use crate::config::thumbprint_in;

/// Gives the signer for hop 1 when a new assertion is due; the key is held no longer than one signature.
pub trait SignerSource: Send + Sync + fmt::Debug {
    /// Blocks (keyring, at most 2.5 s).
    ///
    /// # Errors
    /// See [`TokenError`].
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError>;

    /// The algorithm of the key of now, where that decides it and not the settings that were read at the start.
    fn algorithm(&self) -> Option<SignatureAlgorithm> {
        None
    }
}

/// The blueprint key in the keystore with the thumbprint of the settings.
#[derive(Debug)]
pub struct KeystoreSigner {
    policy: KeystorePolicy,
    thumbprint: CertificateThumbprint,
    /// The settings file that names the thumbprint. A rotation changes it, and a running server must follow.
    settings: Option<PathBuf>,
}

impl KeystoreSigner {
    /// # Errors
    /// [`TokenError::AgentIdNotAvailable`] when the thumbprint is not set; it names every missing setting.
    pub fn from_config(config: &Config) -> Result<Self, TokenError> {
        match config.blueprint_cert_thumbprint() {
            Some(thumbprint) => Ok(Self {
                policy: config.keystore_policy().clone(),
                thumbprint: thumbprint.clone(),
                settings: config.thumbprint_file().map(ToOwned::to_owned),
            }),
            None => Err(missing_settings(config)),
        }
    }
}

impl SignerSource for KeystoreSigner {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let now = self.settings.as_deref().and_then(thumbprint_in);
        let thumbprint = now.unwrap_or_else(|| self.thumbprint.clone());
        let keystore = self.policy.open()?;
        // A rotation that is under way, or was cut off, has the key of a new certificate under that one's name.
        let key = match keystore.get(&waiting_key(&thumbprint)) {
            Err(KeystoreError::NoEntry) => keystore.get(&EntryName::blueprint_private_key()),
            other => other,
        };
        let key = match key {
            Ok(key) => key,
            // Only this, after a passed guard, means that there is no key.
            Err(KeystoreError::NoEntry) => {
                return Err(TokenError::AgentIdNotAvailable {
                    reason: format!(
                        "private key not found in the keystore ({})",
                        EntryName::blueprint_private_key()
                    ),
                });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Box::new(PemSigner::from_pkcs8_pem(&key, thumbprint)?))
    }
}

const WAITING: &str = "blueprint-private-key.";

/// `entrabot`/`blueprint-private-key.{thumbprint}`: a key that waits to take the usual name, as long as a rotation takes.
pub(crate) fn waiting_key(thumbprint: &CertificateThumbprint) -> EntryName {
    EntryName::new("entrabot", format!("{WAITING}{}", thumbprint.as_str()))
        .expect("a thumbprint is plain ASCII")
}

/// Whether an entry of the service is such a key.
#[cfg(feature = "provisioning")]
pub(crate) fn is_waiting_key(entry: &EntryName) -> bool {
    entry.username().starts_with(WAITING)
}
