use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use entrabot_keystore::{KeystoreError, Signer};
use zeroize::Zeroizing;

use crate::{AgentId, AgentUserId, BlueprintAppId, Config, ConfigError, Diagnose, ErrorClass, TenantId};

/// What a token is for: the scope that is asked for. A token knows its resource, and goes nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource(String);

impl Resource {
    /// From a scope such as `https://graph.microsoft.com/.default` or `{audience}/{scope}`.
    ///
    /// # Errors
    /// When it is empty, too long or not printable ASCII without spaces.
    pub fn from_scope(_scope: &str) -> Result<Self, crate::InvalidId> {
        todo!("identity")
    }
    /// Microsoft Graph in the configured cloud.
    #[must_use]
    pub fn graph(_config: &Config) -> Self {
        todo!("identity")
    }
    /// The scope.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.0
    }
}

/// An access token for one resource. Opaque; redacted; not `Clone`.
pub struct AccessToken {
    text: Arc<Zeroizing<String>>,
    resource: Resource,
}

impl AccessToken {
    /// The resource it was issued for.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
    /// The token's text, only for a request to its own resource; `None` for any other.
    #[must_use]
    pub fn expose_for(&self, resource: &Resource) -> Option<&str> {
        (*resource == self.resource).then(|| self.text.as_str())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("resource", &self.resource).finish_non_exhaustive()
    }
}

/// A CAE claims challenge, as it came in `WWW-Authenticate` (decoded JSON text).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimsChallenge(String);

impl ClaimsChallenge {
    /// # Errors
    /// When it is not a JSON object of at most 8 KiB.
    pub fn parse(_json: &str) -> Result<Self, crate::InvalidId> {
        todo!("identity")
    }
}

/// The future of a [`TokenSource`].
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<AccessToken, TokenError>> + Send + 'a>>;

/// Where tokens come from. An [`AccessToken`] can be made only by this crate, so another implementation can only
/// delegate, delay or refuse.
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A token for `resource`: cached, or minted through the hops; single flight.
    fn token<'a>(&'a self, resource: &'a Resource) -> TokenFuture<'a>;

    /// After a 401: a token that is not the rejected one, minted with the challenge when there was one.
    fn token_after_rejection<'a>(
        &'a self,
        resource: &'a Resource,
        rejected: &'a AccessToken,
        claims: Option<&'a ClaimsChallenge>,
    ) -> TokenFuture<'a>;
}

/// One of the three hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// `hop1:blueprint`
    Blueprint,
    /// `hop2:agent_identity`
    AgentIdentity,
    /// `hop3:agent_user`
    AgentUser,
}

/// A hop was refused, or its answer was no token response.
#[derive(Debug, thiserror::Error)]
#[error("token exchange refused")]
pub struct TokenExchangeError {
    _private: (),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A hop failed.
    #[error(transparent)]
    Exchange(#[from] TokenExchangeError),
    /// The keystore refused.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// Settings that the exchange needs are missing, or the key is not in the keystore (`AgentIDNotAvailable`).
    #[error("agent identity not available: {reason}")]
    AgentIdNotAvailable {
        /// What is missing.
        reason: String,
    },
}

impl Diagnose for TokenError {
    fn error_type(&self) -> &'static str {
        todo!("identity")
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        todo!("identity")
    }
    fn class(&self) -> ErrorClass {
        todo!("identity")
    }
}

/// The ids of the agent that signs in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentIdentity {
    /// The tenant.
    pub tenant: TenantId,
    /// The blueprint.
    pub blueprint: BlueprintAppId,
    /// The agent identity.
    pub agent: AgentId,
    /// The agent's user.
    pub user: AgentUserId,
}

/// How requests leave: trusted roots and proxy.
#[derive(Clone, Debug)]
pub struct Egress {
    _private: (),
}

impl Egress {
    /// Reads the CA bundle (`ENTRABOT_CA_BUNDLE`, else `SSL_CERT_FILE`) and the proxy of the settings.
    ///
    /// # Errors
    /// The bundle cannot be read or holds no certificate.
    pub fn from_config(_config: &Config) -> Result<Self, ConfigError> {
        todo!("identity")
    }
    /// PEM roots trusted in addition to the system's.
    #[must_use]
    pub fn additional_roots_pem(&self) -> Option<&[u8]> {
        todo!("identity")
    }
    /// `ENTRABOT_PROXY`.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        todo!("identity")
    }
}

/// Gives the signer for hop 1 when a new assertion is due; the key is held no longer than one signature.
pub trait SignerSource: Send + Sync + fmt::Debug {
    /// Blocks (keyring, at most 2.5 s).
    ///
    /// # Errors
    /// See [`TokenError`].
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError>;
}

/// The blueprint key in the keystore with the thumbprint of the settings.
#[derive(Debug)]
pub struct KeystoreSigner {
    _private: (),
}

impl KeystoreSigner {
    /// # Errors
    /// [`TokenError::AgentIdNotAvailable`] when the thumbprint is not set.
    pub fn from_config(_config: &Config) -> Result<Self, TokenError> {
        todo!("identity")
    }
}

impl SignerSource for KeystoreSigner {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        todo!("identity")
    }
}

/// The three hops to Entra: blueprint → agent identity → agent user.
#[derive(Debug)]
pub struct TokenExchange {
    _private: (),
}

impl TokenExchange {
    /// # Errors
    /// [`TokenError::AgentIdNotAvailable`] naming every missing setting.
    pub fn from_config(
        _config: &Config,
        _signer: Arc<dyn SignerSource>,
        _egress: &Egress,
    ) -> Result<Self, TokenError> {
        todo!("identity")
    }
}

impl TokenSource for TokenExchange {
    fn token<'a>(&'a self, _resource: &'a Resource) -> TokenFuture<'a> {
        todo!("identity")
    }
    fn token_after_rejection<'a>(
        &'a self,
        _resource: &'a Resource,
        _rejected: &'a AccessToken,
        _claims: Option<&'a ClaimsChallenge>,
    ) -> TokenFuture<'a> {
        todo!("identity")
    }
}
