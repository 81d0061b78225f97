use std::path::PathBuf;

use entrabot_keystore::{CertificateThumbprint, SignError, SignatureAlgorithm, Signer, Tpm, TpmKey};

use super::exchange::missing_settings;
use super::{KeystoreSigner, SignerSource, TokenError};
use crate::config::{is_tpm_in, thumbprint_in, tpm_key_file};
use crate::{BlueprintCredential, Config};

/// The blueprint's key, in the keystore or in the TPM: `entrabot cert rotate --tpm` moves it while servers run.
#[derive(Debug)]
pub(crate) struct MovingKey {
    keystore: KeystoreSigner,
    tpm: TpmSource,
    was_tpm: bool,
    settings: Option<PathBuf>,
    /// In the keystore and in the TPM.
    algorithms: [Option<SignatureAlgorithm>; 2],
}

impl MovingKey {
    /// # Errors
    /// [`TokenError::AgentIdNotAvailable`] when the thumbprint is not set; it names every missing setting.
    pub(crate) fn from_config(config: &Config) -> Result<Self, TokenError> {
        Ok(Self {
            keystore: KeystoreSigner::from_config(config)?,
            tpm: TpmSource::from_config(config)?,
            was_tpm: *config.blueprint_credential() == BlueprintCredential::Tpm,
            settings: config.credential_file().map(ToOwned::to_owned),
            algorithms: [false, true].map(|is_tpm| config.algorithm_of_place(is_tpm)),
        })
    }

    fn is_tpm(&self) -> bool {
        self.settings.as_deref().and_then(is_tpm_in).unwrap_or(self.was_tpm)
    }
}

impl SignerSource for MovingKey {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        if self.is_tpm() { self.tpm.signer() } else { self.keystore.signer() }
    }

    fn algorithm(&self) -> Option<SignatureAlgorithm> {
        self.algorithms[usize::from(self.is_tpm())]
    }
}

/// The blueprint's key in the TPM: of the certificate that the settings name, in the file that has its name.
#[derive(Debug)]
struct TpmSource {
    tpm: Tpm,
    data_dir: PathBuf,
    thumbprint: CertificateThumbprint,
    /// The settings file that names the thumbprint. A rotation changes it, and a running server must follow.
    settings: Option<PathBuf>,
}

impl TpmSource {
    /// # Errors
    /// [`TokenError::AgentIdNotAvailable`] when the thumbprint is not set; it names every missing setting.
    fn from_config(config: &Config) -> Result<Self, TokenError> {
        match config.blueprint_cert_thumbprint() {
            Some(thumbprint) => Ok(Self {
                tpm: Tpm::at(config.tpm_device()),
                data_dir: config.data_dir().to_owned(),
                thumbprint: thumbprint.clone(),
                settings: config.thumbprint_file().map(ToOwned::to_owned),
            }),
            None => Err(missing_settings(config)),
        }
    }
}

impl SignerSource for TpmSource {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let now = self.settings.as_deref().and_then(thumbprint_in);
        let thumbprint = now.unwrap_or_else(|| self.thumbprint.clone());
        let file = tpm_key_file(&self.data_dir, &thumbprint);
        let text = std::fs::read_to_string(&file).map_err(|error| TokenError::AgentIdNotAvailable {
            reason: format!("the TPM's key file {} cannot be read: {}", file.display(), error.kind()),
        })?;
        let key = TpmKey::from_pem(&text).map_err(SignError::from)?;
        Ok(Box::new(self.tpm.signer(key, thumbprint)))
    }
}
