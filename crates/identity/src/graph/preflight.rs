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

    /// The UPN of the user who is signed in, to be compared with the configured one. Untrusted text.
    ///
    /// # Errors
    /// See [`SponsorsError`]: no token, or Graph refused.
    pub async fn signed_in_upn(&self) -> Result<Option<String>, SponsorsError> {
        let token = self.tokens.token(self.graph.resource()).await?;
        let me =
            self.graph.get("read who is signed in", &token, "/v1.0/me?$select=userPrincipalName").await?;
        Ok(text(&me, "userPrincipalName").map(str::to_owned))
    }

    /// Whether the blueprint holds the certificate of this thumbprint. Asked with the agent's app-only token, which needs
    /// the app role that provisioning assigns.
    ///
    /// # Errors
    /// As [`Preflight::signed_in_upn`].
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
