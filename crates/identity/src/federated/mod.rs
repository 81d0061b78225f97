//! The blueprint's proof where this machine has no key: a token that the platform issues, sent as hop 1's assertion, or a
//! key in a vault.
//!
//! Which one is the operator's explicit choice (`ENTRABOT_BLUEPRINT_CREDENTIAL`). There is no chain that takes the first
//! one that works, and no way from here to a keyring.

mod error;
mod identity_binding;
mod key_vault;
mod managed_identity;
mod token_file;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

pub use error::FederatedError;
use identity_binding::IdentityBinding;
pub(crate) use key_vault::KeyVault;
pub use key_vault::KeyVaultError;
use managed_identity::ManagedIdentity;
use token_file::TokenFile;

use crate::tokens::{Assertion, Budget, TokenEndpoint, strict_json};
use crate::{ClientId, Config, TokenError};

/// A federated identity credential of the blueprint, by where its token comes from. Opens no keyring.
#[derive(Debug)]
pub(crate) enum FederatedCredential {
    File {
        file: TokenFile,
        /// Where the token goes instead of to Entra.
        binding: Option<IdentityBinding>,
    },
    Managed {
        identity: ManagedIdentity,
        /// The token exchange's audience.
        resource: &'static str,
    },
}

impl FederatedCredential {
    /// Touches nothing.
    pub(crate) fn workload_identity(config: &Config) -> Result<Self, FederatedError> {
        let binding = IdentityBinding::from_config(config)?;
        Ok(Self::File { file: TokenFile::from_config(config)?, binding })
    }

    /// Touches nothing.
    pub(crate) fn managed_identity(config: &Config) -> Result<Self, FederatedError> {
        let resource = config.cloud().exchange_audience();
        Ok(Self::Managed { identity: ManagedIdentity::from_config(config)?, resource })
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::File { file, binding } => {
                let through =
                    binding.as_ref().map(|binding| format!(", through the proxy {}", binding.host()));
                let through = through.unwrap_or_default();
                format!("workload identity, token file {}{through}", file.path().display())
            }
            Self::Managed { identity, .. } => format!("managed identity, {}", identity.host_name()),
        }
    }

    pub(crate) async fn assertion(&self, budget: Budget) -> Result<Assertion, TokenError> {
        match self {
            Self::File { file, .. } => Ok(file.read().await?),
            Self::Managed { identity, resource } => {
                let token = identity.token(resource, budget).await?;
                Ok(Assertion::issued((*token).clone()))
            }
        }
    }

    /// Where the assertion goes, if not to Entra itself.
    pub(crate) async fn endpoint(&self) -> Result<Option<Arc<TokenEndpoint>>, FederatedError> {
        match self {
            Self::File { binding: Some(binding), .. } => Ok(Some(binding.endpoint().await?)),
            Self::File { .. } | Self::Managed { .. } => Ok(None),
        }
    }

    /// Entra refused the last one: the next is asked for anew.
    pub(crate) fn forget(&self) {
        if let Self::Managed { identity, resource } = self {
            identity.forget(resource);
        }
    }
}

/// `AZURE_CLIENT_ID`.
fn client_id(config: &Config) -> Result<Option<ClientId>, FederatedError> {
    let malformed = |_| FederatedError::Malformed { name: "AZURE_CLIENT_ID", reason: "it is no GUID" };
    config.host_variable("AZURE_CLIENT_ID").map(ClientId::parse).transpose().map_err(malformed)
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
