//! The certificates of our blueprint: looking at them, and changing ours for a new one.

use std::sync::Arc;

use entrabot_keystore::{CertificateThumbprint, EntryName};
use serde_json::Value;
use uuid::Uuid;

use super::certificate::{Certificate, PrivateKey};
use super::directory::Blueprint;
use super::run::{Progress, Run, blocking};
use super::{Provisioner, ProvisioningError, ProvisioningLock, StepKind, apply, settings_file};
use crate::ActionGate;

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
    /// Whether it is of the key in our keystore.
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

/// While a rotation is under way, the new key is here: `entrabot` / `blueprint-private-key.next`.
fn next_key() -> EntryName {
    EntryName::new("entrabot", "blueprint-private-key.next").expect("the name is valid")
}

impl Provisioner {
    async fn configured_blueprint(&self) -> Result<Blueprint, ProvisioningError> {
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
                ours: certificate.zip(key.as_ref()).is_some_and(|(held, key)| held.belongs_to(key)),
                expired: certificate.is_some_and(Certificate::has_expired),
                key_id: held.key_id,
            }
        });
        Ok(shown.collect())
    }

    /// A new key and certificate in place of ours: added, proven by a sign-in, put into use, and only then the old ones
    /// removed. Certificates of other keys stay.
    ///
    /// The new key waits under another name in the keystore until it is proven, so that at every moment the key in use is
    /// one that the blueprint holds. Cut off anywhere, the next rotation goes on with the same new key.
    ///
    /// # Errors
    /// See [`ProvisioningError`]. The old key stays in use unless the new one was proven.
    pub async fn rotate_certificate(
        &self,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Rotated, ProvisioningError> {
        self.sign_in.credential().await?;
        let Some(old) = self.stored_key().await? else {
            return Err(ProvisioningError::NotFound { what: "our key, to be rotated,".into() });
        };
        let Some(agent) = self.configured.agent.as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok())
        else {
            return Err(ProvisioningError::NotConfigured { missing: "ENTRABOT_AGENT_ID".into() });
        };
        let blueprint = self.configured_blueprint().await?;
        let run = Run::new(gate, progress);

        run.tell(Progress::Started(StepKind::Key));
        let new = self.new_key(&run).await?;
        run.tell(Progress::Started(StepKind::Certificate));
        let held = blueprint.credentials.iter().filter_map(|held| held.certificate.as_ref());
        let certificate = match held.filter(|held| held.belongs_to(&new) && !held.has_expired()).next_back() {
            Some(certificate) => certificate.clone(),
            None => {
                let certificate = new.self_signed(&format!("entrabot {}", blueprint.app_id))?;
                self.add_certificate(&run, "cert.add", &blueprint.id, &certificate).await?;
                certificate
            }
        };
        if let Err(error) = self.prove(&run, &blueprint, &agent, &new, &certificate).await? {
            return Err(ProvisioningError::SignIn(error.into()));
        }
        self.put_into_use(&run, &new, &certificate).await?;
        let removed = self.remove_certificates_of(&run, &blueprint.id, &old, &new, &certificate).await?;
        run.tell(Progress::Done(StepKind::Certificate, true));
        Ok(Rotated { thumbprint: certificate.thumbprint(), removed })
    }

    /// The key of a rotation that was cut off, else a new one.
    async fn new_key(&self, run: &Run<'_>) -> Result<PrivateKey, ProvisioningError> {
        let policy = self.policy.clone();
        let waiting = blocking(move || match policy.open()?.get(&next_key()) {
            Ok(pem) => PrivateKey::from_pem(&pem).map(Some),
            Err(entrabot_keystore::KeystoreError::NoEntry) => Ok(None),
            Err(error) => Err(error.into()),
        });
        if let Some(key) = waiting.await? {
            return Ok(key);
        }
        let key = blocking(PrivateKey::generate).await?;
        let (policy, pem) = (self.policy.clone(), key.to_pem()?);
        let put = blocking(move || Ok(policy.open()?.put(&next_key(), &pem)?));
        run.act("cert.key.create", None, put).await?;
        Ok(key)
    }

    async fn put_into_use(
        &self,
        run: &Run<'_>,
        key: &PrivateKey,
        certificate: &Certificate,
    ) -> Result<(), ProvisioningError> {
        let (policy, pem) = (self.policy.clone(), key.to_pem()?);
        let thumbprint = certificate.thumbprint().as_str().to_owned();
        let path = self.settings_file.clone();
        let switch = blocking(move || {
            apply::store_and_read_back(&policy, &pem)?;
            if let Some(path) = path {
                settings_file::put(&path, &[("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", &thumbprint)])?;
            }
            forget_next(&policy)
        });
        run.act("cert.key.use", None, switch).await
    }

    async fn remove_certificates_of(
        &self,
        run: &Run<'_>,
        blueprint: &Uuid,
        old: &PrivateKey,
        new: &PrivateKey,
        certificate: &Certificate,
    ) -> Result<usize, ProvisioningError> {
        let Some(present) = self.blueprint(blueprint).await? else { return Ok(0) };
        let thumbprint = certificate.thumbprint();
        let goes = |held: &Certificate| {
            held.thumbprint() != thumbprint && (held.belongs_to(old) || held.belongs_to(new))
        };
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

fn forget_next(policy: &entrabot_keystore::KeystorePolicy) -> Result<(), ProvisioningError> {
    match policy.open()?.delete(&next_key()) {
        Ok(()) | Err(entrabot_keystore::KeystoreError::NoEntry) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
