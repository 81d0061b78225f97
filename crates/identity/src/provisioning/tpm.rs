//! The blueprint's key in the TPM: a rotation whose new key is made in the chip and stays there.

use std::path::Path;
use std::sync::Arc;

use entrabot_keystore::{EntryName, SignError, SignatureAlgorithm, Signer, Tpm, TpmError, TpmKey};

use super::certificate::{self, Certificate};
use super::certificates::{delete, remove_file};
use super::directory::Blueprint;
use super::run::{Progress, Run, blocking};
use super::{
    Provisioner, ProvisioningError, ProvisioningLock, Rotated, StepKind, private_file, settings_file,
};
use crate::ActionGate;
use crate::config::tpm_key_file;
use crate::tokens::is_waiting_key;

impl Provisioner {
    /// As [`Provisioner::rotate_certificate`], with a new key in the TPM, whether the old one is there or in the keystore.
    /// The settings file then says `ENTRABOT_BLUEPRINT_CREDENTIAL=tpm`; the keystore's key is removed.
    ///
    /// The new key lies, wrapped by the chip, in the file of its certificate's thumbprint; so the settings file switches key
    /// and certificate at once. Cut off anywhere, the next rotation finishes this one.
    ///
    /// # Errors
    /// See [`ProvisioningError`]. The old key stays in use unless the new one was proven.
    pub async fn rotate_into_tpm(
        &self,
        tpm: &Tpm,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Rotated, ProvisioningError> {
        self.ready().await?;
        let settings = self.settings_to_switch()?;
        if self.configured.credential_is_fixed {
            return Err(ProvisioningError::refused(
                "ENTRABOT_BLUEPRINT_CREDENTIAL is set by the environment, so it could not be switched to tpm",
                "take it out of the environment",
            ));
        }
        let agent = self.configured_agent()?;
        let old = self.stored_key().await?;
        let blueprint = self.configured_blueprint().await?;
        let run = Run::new(gate, progress);

        run.tell(Progress::Started(StepKind::Key));
        let (key, certificate) = match self.begun_in_tpm(&run, &blueprint).await? {
            Some(begun) => begun,
            None => self.begin_in_tpm(&run, tpm, &blueprint).await?,
        };
        run.tell(Progress::Started(StepKind::Certificate));
        self.add_certificate(&run, "cert.add", &blueprint.id, &certificate).await?;
        let thumbprint = certificate.thumbprint();
        let signer: Arc<dyn Signer> = Arc::new(tpm.signer(key, thumbprint.clone()));
        let proof = self.prove(&run, &blueprint, &agent, signer, SignatureAlgorithm::Rs256).await?;
        proof.map_err(|error| ProvisioningError::SignIn(error.into()))?;
        let line = thumbprint.as_str().to_owned();
        let switch = blocking(move || {
            let lines =
                [("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", line.as_str()), (settings_file::CREDENTIAL, "tpm")];
            settings_file::put(&settings, &lines).map(|_| ())
        });
        run.act("cert.use", Some(&blueprint.id), switch).await?;
        let before = self.configured.tpm_certificate.as_ref();
        let of_ours = |held: &Certificate| {
            old.as_ref().is_some_and(|old| held.belongs_to(old))
                || before.is_some_and(|before| held.thumbprint() == *before)
        };
        let removed = self.remove_certificates(&run, &blueprint.id, of_ours, &thumbprint).await?;
        self.forget_old_keys(&run, &tpm_key_file(&self.data_dir, &thumbprint)).await?;
        run.tell(Progress::Done(StepKind::Certificate, true));
        Ok(Rotated { thumbprint, removed })
    }

    /// The key of a rotation that was cut off after its certificate reached the blueprint.
    async fn begun_in_tpm(
        &self,
        run: &Run<'_>,
        blueprint: &Blueprint,
    ) -> Result<Option<(TpmKey, Certificate)>, ProvisioningError> {
        let in_use = self.configured.tpm_certificate.as_ref();
        let in_use = in_use.map(|thumbprint| tpm_key_file(&self.data_dir, thumbprint));
        let mut begun = None;
        for file in self.tpm_key_files().await?.into_iter().filter(|file| Some(file) != in_use.as_ref()) {
            let of_file = |held: &&Certificate| {
                tpm_key_file(&self.data_dir, &held.thumbprint()) == file && !held.has_expired()
            };
            let held = blueprint.credentials.iter().filter_map(|held| held.certificate.as_ref());
            let certificate = held.clone().find(of_file);
            let place = file.clone();
            let key = blocking(move || Ok(std::fs::read_to_string(place).ok())).await?;
            match (certificate, key.and_then(|text| TpmKey::from_pem(&text).ok())) {
                (Some(certificate), Some(key)) if begun.is_none() => begun = Some((key, certificate.clone())),
                _ => run.act("cert.key.delete", None, remove_file(file)).await?,
            }
        }
        Ok(begun)
    }

    async fn begin_in_tpm(
        &self,
        run: &Run<'_>,
        tpm: &Tpm,
        blueprint: &Blueprint,
    ) -> Result<(TpmKey, Certificate), ProvisioningError> {
        let name = format!("entrabot {}", blueprint.app_id);
        let (tpm, data_dir) = (tpm.clone(), self.data_dir.clone());
        let refused = |error: TpmError| ProvisioningError::SignIn(SignError::from(error).into());
        let make = blocking(move || {
            let key = tpm.create_key().map_err(refused)?;
            let certificate = certificate::self_signed(&InChip { tpm: &tpm, key: &key }, &name)?;
            let file = tpm_key_file(&data_dir, &certificate.thumbprint());
            private_file::replace(&file, key.to_pem().as_bytes())
                .map_err(|error| ProvisioningError::file(&file, error))?;
            Ok((key, certificate))
        });
        run.act("cert.key.create", None, make).await
    }

    /// What signed before signs nothing any more: the keystore's keys, and the chip's other ones.
    async fn forget_old_keys(&self, run: &Run<'_>, new: &Path) -> Result<(), ProvisioningError> {
        let policy = self.policy.clone();
        let entries: Vec<EntryName> = blocking(move || {
            let usual = EntryName::blueprint_private_key();
            let all = policy.open()?.list(usual.service())?;
            Ok(all.into_iter().filter(|entry| *entry == usual || is_waiting_key(entry)).collect())
        })
        .await?;
        for entry in entries {
            let policy = self.policy.clone();
            run.act("cert.key.delete", None, blocking(move || delete(&policy, &entry))).await?;
        }
        for file in self.tpm_key_files().await?.into_iter().filter(|file| file != new) {
            run.act("cert.key.delete", None, remove_file(file)).await?;
        }
        Ok(())
    }
}

/// Lets the certificate library have the chip sign.
struct InChip<'a> {
    tpm: &'a Tpm,
    key: &'a TpmKey,
}

impl rcgen::PublicKeyData for InChip<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl rcgen::SigningKey for InChip<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.tpm.sign(self.key, SignatureAlgorithm::Rs256, message);
        signed.map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
