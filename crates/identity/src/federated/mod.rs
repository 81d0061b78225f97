//! The blueprint's proof where there is no key of its own: a token that the platform issues, sent as hop 1's assertion.
//!
//! Which one is the operator's explicit choice (`ENTRABOT_BLUEPRINT_CREDENTIAL`). There is no chain that takes the first
//! one that works, and no way from here to a keyring.

mod error;
mod managed_identity;
mod token_file;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

pub use error::FederatedError;
use managed_identity::ManagedIdentity;
use token_file::TokenFile;

use crate::tokens::{Assertion, Budget, strict_json};
use crate::{BlueprintCredential, Config};

/// A federated identity credential of the blueprint, by where its token comes from. Opens no keyring.
#[derive(Debug)]
pub struct FederatedCredential(Kind);

#[derive(Debug)]
enum Kind {
    File(TokenFile),
    Managed(Box<ManagedIdentity>),
}

impl FederatedCredential {
    /// What `ENTRABOT_BLUEPRINT_CREDENTIAL` chooses; `None` for the keystore. Touches nothing.
    ///
    /// # Errors
    /// [`FederatedError::NotConfigured`] naming every variable that is missing, [`FederatedError::Unsupported`] for a
    /// host whose identity endpoint we do not know.
    pub fn from_config(config: &Config) -> Result<Option<Self>, FederatedError> {
        Ok(match config.blueprint_credential() {
            BlueprintCredential::Keystore => None,
            BlueprintCredential::WorkloadIdentity => Some(Self(Kind::File(TokenFile::from_config(config)?))),
            BlueprintCredential::ManagedIdentity => {
                Some(Self(Kind::Managed(Box::new(ManagedIdentity::from_config(config)?))))
            }
        })
    }

    /// For people: where the token comes from.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::File(file) => format!("workload identity, token file {}", file.path().display()),
            Kind::Managed(identity) => format!("managed identity, {}", identity.host_name()),
        }
    }

    pub(crate) async fn assertion(&self, budget: Budget) -> Result<Assertion, FederatedError> {
        match &self.0 {
            Kind::File(file) => file.read().await,
            Kind::Managed(identity) => identity.token(budget).await,
        }
    }

    /// Entra refused the last one: the next is asked for anew.
    pub(crate) async fn forget(&self) {
        if let Kind::Managed(identity) = &self.0 {
            identity.forget().await;
        }
    }
}

/// Seconds since 1970 at which a JWT ends; `None` when the text is no JWT that says so.
fn end_of(token: &str) -> Option<u64> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next().filter(|part| !part.is_empty())?);
    if parts.next().is_some() {
        return None;
    }
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
    let mut claims = strict_json::object(&payload).ok()?;
    let end = claims.get("exp").and_then(Value::as_f64).filter(|end| *end > 0.0);
    claims.values_mut().for_each(strict_json::wipe);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; a float saturates"
    )]
    end.map(|end| end as u64)
}
