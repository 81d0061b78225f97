//! Tokens: three hops to Entra, cached, one flight at a time, never shown.

mod assertion;
mod cache;
mod check;
mod claims;
mod egress;
mod error;
mod exchange;
pub(crate) mod http;
mod kept;
mod post;
mod reach;
mod resource;
mod response;
pub(crate) mod resting;
mod signer;
pub(crate) mod strict_json;
mod tls;
#[cfg(all(feature = "tpm2", unix))]
mod tpm;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

pub(crate) use assertion::Assertion;
#[cfg(feature = "federated")]
pub(crate) use assertion::{Unsigned, jws_name};
#[cfg(feature = "federated")]
pub(crate) use cache::{Minted, TokenCache, TokenText};
pub use check::{HopReport, HopSuccess};
pub use claims::{ShownClaim, fmi_subject};
pub use egress::Egress;
pub use error::{Hop, TokenError, TokenExchangeError};
#[cfg(any(feature = "federated", feature = "provisioning"))]
pub(crate) use exchange::ASSERTION_TYPE;
pub use exchange::{AgentIdentity, TokenExchange};
#[cfg(feature = "federated")]
pub(crate) use kept::Bound;
pub(crate) use post::{Budget, TokenEndpoint};
pub use reach::{ReachError, Reached, reach};
pub use resource::{ClaimsChallenge, Resource};
#[cfg(any(feature = "delegated", feature = "federated"))]
pub(crate) use response::is_code;
pub use response::{TokenResponse, parse_token_response};
pub use signer::{KeystoreSigner, SignerSource};
#[cfg(feature = "provisioning")]
pub(crate) use signer::{is_waiting_key, waiting_key};
pub use tls::TlsFault;
#[cfg(all(feature = "tpm2", unix))]
pub(crate) use tpm::MovingKey;

/// An access token for one resource. Opaque; redacted; not `Clone`.
pub struct AccessToken {
    text: Arc<Zeroizing<String>>,
    resource: Resource,
}

impl AccessToken {
    pub(crate) fn new(text: Arc<Zeroizing<String>>, resource: Resource) -> Self {
        Self { text, resource }
    }
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
