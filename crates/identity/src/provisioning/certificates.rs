//! The certificates of our blueprint: looking at them, and changing ours for a new one.

use std::sync::Arc;

use entrabot_keystore::{
    CertificateThumbprint, EntryName, KeystoreError, KeystorePolicy, SignatureAlgorithm,
};
use serde_json::Value;
use uuid::Uuid;

use super::certificate::{Certificate, PrivateKey};
use super::credentials::{signer_of, store_and_read_back};
use super::directory::Blueprint;
use super::run::{Progress, Run, blocking};
use super::{Provisioner, ProvisioningError, ProvisioningLock, StepKind, settings_file};
use crate::ActionGate;
use crate::tokens::{is_waiting_key, waiting_key};

/// A certificate that the blueprint holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldCertificate {
    /// Graph's id of the entry.
    pub key_id: String,
    /// SHA-256, base64url; `None` for an entry that is no certificate we can read.
    pub thumbprint: Option<CertificateThumbprint>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// Whether it is of the key in our keystore, or in our TPM.
    pub ours: bool,
    /// Whether it is over.
    pub expired: bool,
}

/// What a rotation came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// The new certificate's thumbprint, now in the settings.
    pub thumbprint: CertificateThumbprint,
    /// How many certificates of ours were removed.
    pub removed: usize,
}

impl Provisioner {
    pub(super) async fn configured_blueprint(&self) -> Result<Blueprint, ProvisioningError> {
        let Some(app_id) = &self.configured.blueprint else {
            return Err(ProvisioningError::NotConfigured { missing: "ENTRABOT_BLUEPRINT_APP_ID".into() });
        };
        let absent = || ProvisioningError::NotFound { what: format!("the blueprint {app_id}") };
        let id = self.blueprint_of_app(app_id.as_str()).await?.ok_or_else(absent)?;
        self.blueprint(&id).await?.ok_or_else(absent)
    }

    /// The certificates that our blueprint holds. Changes nothing.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn certificates(&self) -> Result<Vec<HeldCertificate>, ProvisioningError> {
        self.sign_in.credential().await?;
        let key = self.stored_key().await?;
        let blueprint = self.configured_blueprint().await?;
        let shown = blueprint.credentials.into_iter().map(|held| {
            let certificate = held.certificate.as_ref();
            HeldCertificate {
                thumbprint: certificate.map(Certificate::thumbprint),
                not_before: certificate.map(Certificate::not_before),
                not_after: certificate.map(Certificate::not_after),
                ours: certificate.is_some_and(|held| match &self.configured.tpm_certificate {
                    Some(thumbprint) => held.thumbprint() == *thumbprint,
                    None => key.as_ref().is_some_and(|key| held.belongs_to(key)),
                }),
                expired: certificate.is_some_and(Certificate::has_expired),
                key_id: held.key_id,
            }
        });
        Ok(shown.collect())
    }

    /// A new key and certificate in place of ours: added, proven by a sign-in, put into use, and only then the old ones
    /// removed. Certificates of other keys stay.
    ///
    /// The new key lies in the keystore under the name of its own thumbprint, where signing looks first; so the one line
    /// of the settings file that names the thumbprint switches key and certificate at once, and at every moment the
    /// thumbprint in the settings has its key. Cut off anywhere, the next rotation finishes this one.
    ///
    /// # Errors
    /// See [`ProvisioningError`]. The old key stays in use unless the new one was proven.
    pub async fn rotate_certificate(
        &self,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Rotated, ProvisioningError> {
        self.ready().await?;
        let settings = self.settings_to_switch()?;
        let Some(old) = self.stored_key().await? else {
            return Err(ProvisioningError::NotFound { what: "our key, to be rotated,".into() });
        };
        let agent = self.configured_agent()?;
        let blueprint = self.configured_blueprint().await?;
        let run = Run::new(gate, progress);

        run.tell(Progress::Started(StepKind::Key));
        let (key, certificate) = match self.begun(&run, &blueprint).await? {
            Some(begun) => begun,
            None => self.begin(&run, &blueprint).await?,
        };
        run.tell(Progress::Started(StepKind::Certificate));
        self.add_certificate(&run, "cert.add", &blueprint.id, &certificate).await?;
        if let Err(error) = self
            .prove(&run, &blueprint, &agent, signer_of(&key, &certificate)?, SignatureAlgorithm::Ps256)
            .await?
        {
            return Err(ProvisioningError::SignIn(error.into()));
        }
        let thumbprint = certificate.thumbprint();
        let new_line = thumbprint.as_str().to_owned();
        let switch = blocking(move || {
            settings_file::put(&settings, &[("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", &new_line)]).map(|_| ())
        });
        run.act("cert.use", Some(&blueprint.id), switch).await?;
        // While the old key is still there to tell which certificates were its own.
        let of_ours = |held: &Certificate| held.belongs_to(&old) || held.belongs_to(&key);
        let removed = self.remove_certificates(&run, &blueprint.id, of_ours, &thumbprint).await?;
        let (policy, pem) = (self.policy.clone(), key.to_pem()?);
        let waiting = waiting_key(&thumbprint);
        let settle = blocking(move || {
            store_and_read_back(&policy, &EntryName::blueprint_private_key(), &pem)?;
            delete(&policy, &waiting)
        });
        run.act("cert.key.settle", None, settle).await?;
        run.tell(Progress::Done(StepKind::Certificate, true));
        Ok(Rotated { thumbprint, removed })
    }

    /// The file whose one line switches certificate and key.
    pub(super) fn settings_to_switch(&self) -> Result<std::path::PathBuf, ProvisioningError> {
        self.settings_file.clone().filter(|_| !self.configured.thumbprint_is_fixed).ok_or_else(|| {
            ProvisioningError::refused(
                "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT is not set by the settings file, so it could not be switched",
                "take it out of the environment and put it into the settings file",
            )
        })
    }

    /// All keys that the chip wrapped for this data directory.
    pub(super) async fn tpm_key_files(&self) -> Result<Vec<std::path::PathBuf>, ProvisioningError> {
        let directory = self.data_dir.join("tpm-keys");
        let failed = |directory: &std::path::Path, error| ProvisioningError::file(directory, error);
        blocking(move || match std::fs::read_dir(&directory) {
            Ok(entries) => {
                let paths: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
                paths.map_err(|error| failed(&directory, error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&directory, error)),
        })
        .await
    }

    /// The identity that a new certificate is proven for.
    pub(super) fn configured_agent(&self) -> Result<Uuid, ProvisioningError> {
        let agent = self.configured.agent.as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
        agent.ok_or_else(|| ProvisioningError::NotConfigured { missing: "ENTRABOT_AGENT_ID".into() })
    }

    /// The key of a rotation that was cut off after its certificate reached the blueprint. One that was cut off before
    /// is forgotten: its certificate is lost, and nobody ever used its key.
    async fn begun(
        &self,
        run: &Run<'_>,
        blueprint: &Blueprint,
    ) -> Result<Option<(PrivateKey, Certificate)>, ProvisioningError> {
        let policy = self.policy.clone();
        let waiting: Vec<EntryName> = blocking(move || {
            let all = policy.open()?.list(EntryName::blueprint_private_key().service())?;
            Ok(all.into_iter().filter(is_waiting_key).collect())
        })
        .await?;
        let mut begun = None;
        for entry in waiting {
            let (policy, name) = (self.policy.clone(), entry.clone());
            let key = blocking(move || PrivateKey::from_pem(&policy.open()?.get(&name)?)).await?;
            let held = blueprint.credentials.iter().filter_map(|held| held.certificate.as_ref());
            let of_this =
                |held: &&Certificate| held.belongs_to(&key) && entry == waiting_key(&held.thumbprint());
            match held.filter(of_this).find(|held| !held.has_expired()).cloned() {
                Some(certificate) if begun.is_none() => begun = Some((key, certificate)),
                _ => {
                    let policy = self.policy.clone();
                    run.act("cert.key.delete", None, blocking(move || delete(&policy, &entry))).await?;
                }
            }
        }
        Ok(begun)
    }

    async fn begin(
        &self,
        run: &Run<'_>,
        blueprint: &Blueprint,
    ) -> Result<(PrivateKey, Certificate), ProvisioningError> {
        let key = blocking(PrivateKey::generate).await?;
        let certificate = key.self_signed(&format!("entrabot {}", blueprint.app_id))?;
        let (policy, pem) = (self.policy.clone(), key.to_pem()?);
        let entry = waiting_key(&certificate.thumbprint());
        let put = blocking(move || store_and_read_back(&policy, &entry, &pem));
        run.act("cert.key.create", None, put).await?;
        Ok((key, certificate))
    }

    /// Removes those that `goes` says, but never this one.
    pub(super) async fn remove_certificates(
        &self,
        run: &Run<'_>,
        blueprint: &Uuid,
        goes: impl Fn(&Certificate) -> bool,
        but: &CertificateThumbprint,
    ) -> Result<usize, ProvisioningError> {
        let Some(present) = self.blueprint(blueprint).await? else { return Ok(0) };
        let goes = |held: &Certificate| held.thumbprint() != *but && goes(held);
        let all = present.credentials.len();
        let kept: Vec<Value> = present
            .credentials
            .into_iter()
            .filter(|held| !held.certificate.as_ref().is_some_and(goes))
            .map(|held| Value::Object(held.kept))
            .collect();
        let removed = all - kept.len();
        if removed > 0 {
            run.act("cert.remove", Some(blueprint), self.write_certificates(run, blueprint, kept)).await?;
        }
        Ok(removed)
    }
}

pub(super) fn delete(policy: &KeystorePolicy, entry: &EntryName) -> Result<(), ProvisioningError> {
    match policy.open()?.delete(entry) {
        Ok(()) | Err(KeystoreError::NoEntry) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a key that the TPM wrapped.
pub(super) async fn remove_file(file: std::path::PathBuf) -> Result<(), ProvisioningError> {
    blocking(move || std::fs::remove_file(&file).map_err(|error| ProvisioningError::file(&file, error))).await
}
