//! The token that a vault is shown: of a managed identity, or of the app behind a workload identity.

use std::sync::Arc;

use super::challenge::Challenge;
use crate::federated::identity_binding::IdentityBinding;
use crate::federated::managed_identity::ManagedIdentity;
use crate::federated::token_file::TokenFile;
use crate::federated::{FederatedError, client_id};
use crate::tokens::http::Http;
use crate::tokens::{ASSERTION_TYPE, Bound, Budget, Minted, TokenCache, TokenEndpoint, TokenText};
use crate::{ClientId, Config, Egress, Hop, TenantId, TokenError, VaultToken};

const CACHED: Bound = Bound { tokens: 4, bytes: 1 << 20 };

/// Who asks the vault. Opens no keyring.
#[derive(Debug)]
pub(super) enum Bearer {
    Managed(ManagedIdentity),
    Workload(Workload),
}

/// An app that a service account's token stands for.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    asking: Arc<Asking>,
    cache: TokenCache<Wanted>,
}

#[derive(Debug)]
struct Asking {
    file: TokenFile,
    client: ClientId,
    endpoint: TokenEndpoint,
    binding: Option<IdentityBinding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    tenant: TenantId,
    resource: String,
    claims: Option<String>,
}

impl Bearer {
    pub(super) fn from_config(
        config: &Config,
        token: VaultToken,
        egress: &Egress,
    ) -> Result<Self, FederatedError> {
        Ok(match token {
            VaultToken::ManagedIdentity => Self::Managed(ManagedIdentity::from_config(config)?),
            VaultToken::WorkloadIdentity => {
                let file = TokenFile::from_config(config);
                let client = client_id(config)?;
                let (file, client) = match (file, client) {
                    (Ok(file), Some(client)) => (file, client),
                    (Err(FederatedError::NotConfigured { mut missing }), client) => {
                        missing.extend(client.is_none().then_some("AZURE_CLIENT_ID"));
                        return Err(FederatedError::NotConfigured { missing });
                    }
                    (Err(error), _) => return Err(error),
                    (Ok(_), None) => {
                        return Err(FederatedError::NotConfigured { missing: vec!["AZURE_CLIENT_ID"] });
                    }
                };
                let endpoint = TokenEndpoint::new(Arc::new(Http::new(egress)), config.authority_base());
                Self::Workload(Workload {
                    asking: Arc::new(Asking {
                        file,
                        client,
                        endpoint,
                        binding: IdentityBinding::from_config(config)?,
                    }),
                    cache: TokenCache::new(CACHED),
                })
            }
        })
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Managed(identity) => format!("managed identity, {}", identity.host_name()),
            Self::Workload(workload) => format!("workload identity {}", workload.asking.client),
        }
    }

    pub(super) async fn token(&self, challenge: &Challenge, budget: Budget) -> Result<TokenText, TokenError> {
        match self {
            Self::Managed(identity) => identity.token(&challenge.resource, budget).await,
            Self::Workload(workload) => workload.token(challenge, None, budget).await,
        }
    }

    /// After a 401: another one, that answers the challenge. A managed identity's host knows no claims.
    pub(super) async fn another(
        &self,
        challenge: &Challenge,
        rejected: &str,
        budget: Budget,
    ) -> Result<TokenText, TokenError> {
        match self {
            Self::Managed(identity) => {
                identity.forget(&challenge.resource);
                identity.token(&challenge.resource, budget).await
            }
            Self::Workload(workload) => workload.token(challenge, Some(rejected), budget).await,
        }
    }
}

impl Workload {
    async fn token(
        &self,
        challenge: &Challenge,
        rejected: Option<&str>,
        budget: Budget,
    ) -> Result<TokenText, TokenError> {
        let wanted = Wanted {
            tenant: challenge.tenant.clone(),
            resource: challenge.resource.clone(),
            claims: challenge.claims.clone(),
        };
        let usual = Wanted { claims: None, ..wanted.clone() };
        let mint = || {
            let (asking, wanted) = (Arc::clone(&self.asking), wanted.clone());
            async move { asking.ask(&wanted, budget).await }
        };
        match rejected {
            Some(rejected) => self.cache.get_other(&usual, &wanted, rejected, mint).await,
            None => self.cache.get(&usual, mint).await,
        }
    }
}

impl Asking {
    async fn ask(&self, wanted: &Wanted, budget: Budget) -> Result<Minted, TokenError> {
        let assertion = self.file.read().await?;
        let scope = format!("{}/.default", wanted.resource);
        let mut form = vec![
            ("client_id", self.client.as_str()),
            ("scope", scope.as_str()),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.expose()),
        ];
        form.extend(wanted.claims.as_deref().map(|claims| ("claims", claims)));
        let response = match &self.binding {
            Some(binding) => {
                binding.endpoint().await?.post(Hop::KeyVault, &wanted.tenant, &form, budget).await?
            }
            None => self.endpoint.post(Hop::KeyVault, &wanted.tenant, &form, budget).await?,
        };
        let lifetime = response.lifetime();
        Ok(Minted { text: Arc::new(response.into_token()), lifetime, fresh: None })
    }
}
