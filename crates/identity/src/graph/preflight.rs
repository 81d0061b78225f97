//! What can be checked with a token in hand before the first call depends on it.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entrabot_keystore::CertificateThumbprint;
use serde_json::Value;

use super::sponsors::SponsorsError;
use super::{Graph, text};
use crate::tokens::http::{Http, encoded};
use crate::{Config, Egress, Resource, TokenExchange, TokenSource};

/// Reads, as the agent, what the directory holds of it.
pub struct Preflight {
    graph: Graph,
    tokens: TokenExchange,
}

impl fmt::Debug for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preflight").field("graph", &self.graph).finish_non_exhaustive()
    }
}

/// The user who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedIn {
    /// To be compared with the configured one. Untrusted text.
    pub upn: Option<String>,
    /// How many licences they hold; `None` when the directory does not tell.
    pub licences: Option<usize>,
}

/// The certificate in use, as the blueprint holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateStatus {
    /// The blueprint holds it until then (RFC 3339; untrusted text).
    Held {
        /// `endDateTime`.
        until: Option<String>,
    },
    /// The blueprint does not hold it.
    NotHeld,
}

impl Preflight {
    /// Of the agent that `tokens` signs in.
    #[must_use]
    pub fn new(config: &Config, tokens: TokenExchange, egress: &Egress) -> Self {
        let graph = Graph::new(Arc::new(Http::new(egress)), config.graph_base(), Resource::graph(config));
        Self { graph, tokens }
    }

    /// The user who is signed in, as the directory knows them.
    ///
    /// # Errors
    /// See [`SponsorsError`]: no token, or Graph refused.
    pub async fn signed_in(&self) -> Result<SignedIn, SponsorsError> {
        let token = self.tokens.token(self.graph.resource()).await?;
        let path = "/v1.0/me?$select=userPrincipalName,assignedLicenses";
        let me = self.graph.get("read who is signed in", &token, path).await?;
        Ok(SignedIn {
            upn: text(&me, "userPrincipalName").map(str::to_owned),
            licences: me.get("assignedLicenses").and_then(Value::as_array).map(Vec::len),
        })
    }

    /// Whether the blueprint holds the certificate of this thumbprint. Asked with the agent's app-only token, which needs
    /// the app role that provisioning assigns.
    ///
    /// # Errors
    /// As [`Preflight::signed_in`].
    pub async fn certificate(
        &self,
        thumbprint: &CertificateThumbprint,
    ) -> Result<CertificateStatus, SponsorsError> {
        let token = self.tokens.app_only_token(self.graph.resource()).await?;
        let blueprint = encoded(self.tokens.identity().blueprint.as_str());
        let found = format!("/v1.0/applications?$filter=appId%20eq%20%27{blueprint}%27&$select=id");
        let found = self.graph.list("look for the blueprint", &token, &found).await?;
        let Some(id) = found.first().and_then(|app| text(app, "id")) else {
            return Ok(CertificateStatus::NotHeld);
        };
        // The certificates show for one object, selected by name, and nowhere else.
        let path = format!("/v1.0/applications/{}?$select=id,keyCredentials", encoded(id));
        let app = self.graph.get("read the blueprint's certificates", &token, &path).await?;
        let held = app.get("keyCredentials").and_then(Value::as_array).into_iter().flatten().find(|held| {
            let der = held.get("key").and_then(Value::as_str).and_then(|key| STANDARD.decode(key).ok());
            der.is_some_and(|der| CertificateThumbprint::of_der(&der) == *thumbprint)
        });
        Ok(match held {
            Some(held) => CertificateStatus::Held {
                until: held
                    .get("endDateTime")
                    .and_then(Value::as_str)
                    .map(|until| until.chars().take(40).collect()),
            },
            None => CertificateStatus::NotHeld,
        })
    }
}
