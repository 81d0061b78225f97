//! A blueprint's credentials: the key in the keystore, its certificate on the blueprint, and the proof that the two sign in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use entrabot_keystore::{EntryName, KeystorePolicy, PemSigner, SecretBytes, SignatureAlgorithm, Signer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::certificate::{Certificate, PrivateKey};
use super::directory::{Blueprint, Credential};
use super::run::{Progress, Run, blocking};
use super::{Provisioner, ProvisioningError};
use crate::graph::Operation;
use crate::tokens::http::Method;
use crate::tokens::{ASSERTION_TYPE, Assertion, Budget};
use crate::{Hop, TokenExchangeError};

/// How long the token endpoint may take to know a new certificate.
const PROOF_WITHIN: Duration = Duration::from_secs(120);
/// Entra does not know this certificate (yet).
const UNKNOWN_CERTIFICATE: u32 = 700_027;

impl Provisioner {
    /// Adds a certificate to those that the blueprint holds. The list is replaced as a whole, so the others are sent
    /// along by their ids.
    pub(super) async fn add_certificate(
        &self,
        run: &Run<'_>,
        action: &'static str,
        blueprint: &Uuid,
        certificate: &Certificate,
    ) -> Result<(), ProvisioningError> {
        let thumbprint = certificate.thumbprint();
        let holds = |credentials: &[Credential]| {
            credentials
                .iter()
                .any(|held| held.certificate.as_ref().is_some_and(|held| held.thumbprint() == thumbprint))
        };
        let change = async {
            // Read last thing before it is written: what was added meanwhile must not be lost.
            let present = self.blueprint(blueprint).await?.ok_or(NOT_SHOWN)?;
            if holds(&present.credentials) {
                return Ok(());
            }
            let mut list: Vec<Value> =
                present.credentials.into_iter().map(|held| Value::Object(held.kept)).collect();
            list.push(certificate.as_credential("CN=entrabot"));
            self.write_certificates(run, blueprint, list).await
        };
        let result = run.act(action, Some(blueprint), change).await;
        match result {
            Err(ProvisioningError::Graph(error)) if error.may_have_happened() => {
                let present = self.blueprint(blueprint).await?.ok_or(NOT_SHOWN)?;
                if holds(&present.credentials) { Ok(()) } else { Err(error.into()) }
            }
            other => other,
        }?;
        let shown =
            || async { Ok(self.blueprint(blueprint).await?.filter(|shown| holds(&shown.credentials))) };
        run.until_visible("the new certificate", shown).await.map(|_| ())
    }

    pub(super) async fn write_certificates(
        &self,
        run: &Run<'_>,
        blueprint: &Uuid,
        list: Vec<Value>,
    ) -> Result<(), ProvisioningError> {
        let (path, body) = (format!("/v1.0/applications/{blueprint}"), json!({ "keyCredentials": list }));
        let ask = || self.change(Operation::WriteCredentials, Method::Patch, &path, Some(&body));
        run.until_known("the blueprint, to change its certificates", ask).await.map(|_| ())
    }

    /// Whether hop 1 works with this signer; waits while Entra does not know the certificate.
    pub(super) async fn prove(
        &self,
        run: &Run<'_>,
        blueprint: &Blueprint,
        identity: &Uuid,
        signer: Arc<dyn Signer>,
        algorithm: SignatureAlgorithm,
    ) -> Result<Result<(), TokenExchangeError>, ProvisioningError> {
        let (app_id, agent) = (blueprint.app_id.to_string(), identity.to_string());
        let audience = self.endpoint.url(&self.tenant);
        let started = std::time::Instant::now();
        let mut pause = Duration::from_millis(500);
        loop {
            let (signer, audience, issuer) = (Arc::clone(&signer), audience.clone(), app_id.clone());
            let assertion = blocking(move || {
                Assertion::sign(&*signer, algorithm, &audience, &issuer, SystemTime::now())
                    .map_err(|error| ProvisioningError::SignIn(error.into()))
            })
            .await?;
            let form = [
                ("client_id", app_id.as_str()),
                ("scope", self.exchange_scope.as_str()),
                ("fmi_path", agent.as_str()),
                ("grant_type", "client_credentials"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.expose()),
            ];
            let error = match self.endpoint.post(Hop::Blueprint, &self.tenant, &form, Budget::start()).await {
                Ok(_) => return Ok(Ok(())),
                Err(error) => error,
            };
            let patient =
                error.aadsts() == Some(UNKNOWN_CERTIFICATE) && started.elapsed() + pause < PROOF_WITHIN;
            if !patient {
                return Ok(Err(error));
            }
            run.tell(Progress::Waiting("Entra's token endpoint to know the new certificate"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

/// A signer for a key that was just made.
pub(super) fn signer_of(
    key: &PrivateKey,
    certificate: &Certificate,
) -> Result<Arc<dyn Signer>, ProvisioningError> {
    let signer = PemSigner::from_pkcs8_pem(&key.to_pem()?, certificate.thumbprint());
    Ok(Arc::new(signer.map_err(|_| ProvisioningError::crypto("use the new key"))?))
}

const NOT_SHOWN: ProvisioningError =
    ProvisioningError::NotYetVisible { what: "the blueprint", waited: Duration::ZERO };

/// Puts the key in and reads it back on a new connection: what a provider says it stored is not yet stored.
pub(super) fn store_and_read_back(
    policy: &KeystorePolicy,
    entry: &EntryName,
    pem: &SecretBytes,
) -> Result<(), ProvisioningError> {
    policy.open()?.put(entry, pem)?;
    let back = policy.open()?.get(entry)?;
    if back.expose() == pem.expose() {
        Ok(())
    } else {
        Err(ProvisioningError::refused(
            "the keystore gave back another key than the one that was put in",
            "run `entrabot keystore probe`",
        ))
    }
}
