//! The Provisioner app's own sign-in: client credentials with a certificate assertion. While the app itself is made, a
//! person's sign-in in its place.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use entrabot_keystore::{
    CertificateThumbprint, EntryName, KeystoreError, KeystorePolicy, PemSigner, SecretBytes,
    SignatureAlgorithm,
};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::certificate::{Certificate, PrivateKey};
use super::{ProvisioningError, run};
use crate::graph::{Bearer, GraphError};
use crate::tokens::{ASSERTION_TYPE, Assertion, Budget, TokenEndpoint};
use crate::{AccessToken, ClientId, Config, Hop, Resource, TenantId, TokenError};

pub(super) const SERVICE: &str = "entrabot-provisioner-cert";

/// Signs in at the first call, and again shortly before the token ends.
#[derive(Debug)]
pub(super) struct SignIn {
    tenant: TenantId,
    app: ClientId,
    policy: KeystorePolicy,
    algorithm: SignatureAlgorithm,
    endpoint: Arc<TokenEndpoint>,
    resource: Resource,
    kept: Mutex<Option<Kept>>,
    #[cfg(feature = "delegated")]
    person: Option<crate::DelegatedToken>,
}

struct Kept {
    text: Arc<Zeroizing<String>>,
    until: Instant,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(redacted)")
    }
}

impl SignIn {
    pub(super) fn new(
        config: &Config,
        tenant: &TenantId,
        app: &ClientId,
        endpoint: Arc<TokenEndpoint>,
        resource: Resource,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            app: app.clone(),
            policy: config.keystore_policy().clone(),
            algorithm: config.assertion_algorithm(),
            endpoint,
            resource,
            kept: Mutex::new(None),
            #[cfg(feature = "delegated")]
            person: None,
        }
    }

    /// A person asks instead, with a token of their own.
    #[cfg(feature = "delegated")]
    pub(super) fn by(self, person: crate::DelegatedToken) -> Self {
        Self { person: Some(person), ..self }
    }

    /// The app's own, when it has been made.
    #[cfg(feature = "delegated")]
    pub(super) fn of_app(&self, app: ClientId) -> Self {
        Self {
            tenant: self.tenant.clone(),
            app,
            policy: self.policy.clone(),
            algorithm: self.algorithm,
            endpoint: Arc::clone(&self.endpoint),
            resource: self.resource.clone(),
            kept: Mutex::new(None),
            person: None,
        }
    }

    #[cfg(feature = "delegated")]
    pub(super) fn person(&self) -> Option<&crate::DelegatedToken> {
        self.person.as_ref()
    }

    /// A refusal, with what would help whoever asked.
    pub(super) fn explained(&self, error: GraphError) -> ProvisioningError {
        #[cfg(feature = "delegated")]
        if self.person.is_some() {
            return error.of_person().into();
        }
        error.into()
    }

    pub(super) fn app(&self) -> &ClientId {
        &self.app
    }

    /// `entrabot-provisioner-cert`/`{tenant}`.
    pub(super) fn entry(&self) -> EntryName {
        EntryName::new(SERVICE, self.tenant.as_str()).expect("a tenant id is a valid entry name")
    }

    /// Reads the certificate and key, and nothing else: the keyring is judged before the first request.
    pub(super) async fn credential(&self) -> Result<(SecretBytes, CertificateThumbprint), ProvisioningError> {
        let (policy, entry) = (self.policy.clone(), self.entry());
        run::blocking(move || {
            let bundle = match policy.open()?.get(&entry) {
                Ok(bundle) => bundle,
                Err(KeystoreError::NoEntry) => {
                    return Err(ProvisioningError::NoProvisionerCertificate { entry: entry.to_string() });
                }
                Err(error) => return Err(error.into()),
            };
            let wrong = || ProvisioningError::WrongProvisionerCertificate { entry: entry.to_string() };
            let certificate = Certificate::from_pem(bundle.expose()).ok_or_else(wrong)?;
            let key = PrivateKey::from_pem(&bundle).map_err(|_| wrong())?;
            if !certificate.belongs_to(&key) {
                return Err(wrong());
            }
            let thumbprint = certificate.thumbprint();
            Ok((bundle, thumbprint))
        })
        .await
    }

    pub(super) async fn token(&self) -> Result<Box<dyn Bearer + '_>, ProvisioningError> {
        #[cfg(feature = "delegated")]
        if let Some(person) = &self.person {
            return Ok(Box::new(person));
        }
        Ok(Box::new(self.app_token().await?))
    }

    /// The app's own, which proves that it can sign in.
    pub(super) async fn app_token(&self) -> Result<AccessToken, ProvisioningError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(AccessToken::new(Arc::clone(&kept.text), self.resource.clone()));
        }
        let (bundle, thumbprint) = self.credential().await?;
        let (algorithm, audience, app) = (self.algorithm, self.endpoint.url(&self.tenant), self.app.clone());
        let assertion = run::blocking(move || {
            let signer = PemSigner::from_pkcs8_pem(&bundle, thumbprint).map_err(signing)?;
            Assertion::sign(&signer, algorithm, &audience, app.as_str(), SystemTime::now()).map_err(signing)
        })
        .await?;
        let form = [
            ("client_id", self.app.as_str()),
            ("scope", self.resource.scope()),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.expose()),
        ];
        let response = self
            .endpoint
            .post(Hop::Provisioner, &self.tenant, &form, Budget::start())
            .await
            .map_err(|error| ProvisioningError::SignIn(error.into()))?;
        let lifetime = response.lifetime().unwrap_or_default();
        let text = Arc::new(response.into_token());
        let until = Instant::now() + lifetime.saturating_sub(Duration::from_secs(300).min(lifetime / 4));
        *kept = Some(Kept { text: Arc::clone(&text), until });
        Ok(AccessToken::new(text, self.resource.clone()))
    }
}

fn signing(error: entrabot_keystore::SignError) -> ProvisioningError {
    ProvisioningError::SignIn(TokenError::from(error))
}
