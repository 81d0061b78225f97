//! A key in Azure Key Vault or Managed HSM that signs hop 1's assertion. It never leaves the vault, and this machine has
//! none; the token that the vault is shown comes from the platform.
//!
//! Sources: "Key Vault REST API: Sign" and "Get Certificate", "Authentication, requests and responses" (the challenge) in
//! Microsoft's documentation.

mod bearer;
mod challenge;
mod client;
mod error;

use std::sync::OnceLock;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entrabot_keystore::{CertificateThumbprint, SignError, SignatureAlgorithm};
use serde_json::{Map, Value, json};

use client::Client;
pub use error::KeyVaultError;

use super::FederatedError;
use crate::tokens::{Assertion, Budget, Unsigned, jws_name};
use crate::{Config, Egress, TokenError, VaultKey, VaultToken};

/// Of RSA-8192.
const LONGEST_SIGNATURE: usize = 1024;

/// The vault, the one version of a key in it, and the certificate that Entra knows it by.
#[derive(Debug)]
pub(crate) struct KeyVault {
    client: Client,
    key: VaultKey,
    configured: Option<CertificateThumbprint>,
    /// What the vault said. A version's certificate does not change.
    certificate: OnceLock<CertificateThumbprint>,
}

impl KeyVault {
    /// Touches nothing.
    pub(crate) fn from_config(
        config: &Config,
        key: &VaultKey,
        token: VaultToken,
        egress: &Egress,
    ) -> Result<Self, FederatedError> {
        let configured = config.current_thumbprint();
        if configured.is_none() && !key.is_certificate() {
            return Err(FederatedError::NotConfigured {
                missing: vec!["ENTRABOT_BLUEPRINT_CERT_THUMBPRINT"],
            });
        }
        let client = Client::new(config, key, token, egress)?;
        Ok(Self { client, key: key.clone(), configured, certificate: OnceLock::new() })
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "key vault {}, key {}, asked as {}",
            self.key.host(),
            self.key.name_and_version(),
            self.client.bearer().describe()
        )
    }

    /// A new assertion, signed by the vault.
    pub(crate) async fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        audience: &str,
        issuer: &str,
        budget: Budget,
    ) -> Result<Assertion, TokenError> {
        let certificate = self.certificate(budget).await?;
        let unsigned = Unsigned::new(certificate, algorithm, audience, issuer, SystemTime::now())?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, unsigned.input());
        let body = json!({"alg": jws_name(algorithm)?, "value": URL_SAFE_NO_PAD.encode(digest)});
        let path = format!("/keys/{}/sign", self.key.name_and_version());
        let answer = self.client.ask(&path, Some(&body), budget).await?;
        let signature = self.signature(&answer).map_err(|code| self.client.error(Some(200), code))?;
        if signature.is_empty() || signature.len() > LONGEST_SIGNATURE {
            return Err(SignError::Failed.into());
        }
        Ok(unsigned.signed(&signature))
    }

    /// The signature, if the key that was asked for made it.
    fn signature(&self, answer: &Map<String, Value>) -> Result<Vec<u8>, &'static str> {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).ok_or("malformed_answer");
        let asked = format!("{}/keys/{}", self.key.vault(), self.key.name_and_version());
        if !text("kid")?.eq_ignore_ascii_case(&asked) {
            return Err("other_key");
        }
        URL_SAFE_NO_PAD.decode(text("value")?.trim_end_matches('=')).map_err(|_| "malformed_answer")
    }

    /// The thumbprint of the certificate: where the vault holds that too it is read once, and must be the configured one.
    async fn certificate(&self, budget: Budget) -> Result<&CertificateThumbprint, TokenError> {
        if let (false, Some(configured)) = (self.key.is_certificate(), &self.configured) {
            return Ok(configured);
        }
        if let Some(known) = self.certificate.get() {
            return Ok(known);
        }
        let path = format!("/certificates/{}", self.key.name_and_version());
        let answer = self.client.ask(&path, None, budget).await?;
        let der = answer.get("cer").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        let der = der.ok_or_else(|| self.client.error(Some(200), "malformed_answer"))?;
        let found = CertificateThumbprint::of_der(&der);
        if self.configured.as_ref().is_some_and(|configured| *configured != found) {
            return Err(self.client.error(Some(200), "other_certificate").found(found.as_str()).into());
        }
        Ok(self.certificate.get_or_init(|| found))
    }
}
