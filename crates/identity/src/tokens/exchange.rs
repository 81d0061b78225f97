//! The three hops: blueprint → agent identity → agent user.
//!
//! Hop 1: the blueprint, proven by a signed assertion, asks for T1 with `fmi_path` = the agent. Hop 2: the agent,
//! proven by T1, asks for T2. Hop 3: the agent, proven by T1, asks for its user's token with T2 as the user's
//! federated credential (`user_fic`). Hop 2 with a resource's scope instead gives the agent's app-only token.

use std::sync::Arc;

use entrabot_keystore::SignatureAlgorithm;
use zeroize::Zeroizing;

use super::assertion::AssertionCache;
use super::cache::{Minted, TokenCache, TokenText};
use super::http::Http;
use super::kept::Bound;
use super::{
    AccessToken, Assertion, Budget, ClaimsChallenge, Egress, Hop, Resource, SignerSource, TokenEndpoint,
    TokenError, TokenExchangeError, TokenFuture, TokenResponse, TokenSource,
};
#[cfg(feature = "federated")]
use crate::BlueprintCredential;
#[cfg(feature = "federated")]
use crate::federated::{FederatedCredential, KeyVault};
use crate::{AgentId, AgentUserId, BlueprintAppId, Config, TenantId};

/// RFC 7523, section 2.2.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// 10,000 tokens of 2 KiB take 31 MB with all that is kept beside them (a test measures it).
const CACHED: Bound = Bound { tokens: 10_000, bytes: 32 << 20 };

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

/// What hops 1 and 2 are about: the identity without its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AgentApp {
    tenant: TenantId,
    blueprint: BlueprintAppId,
    agent: AgentId,
}

/// What a token in the cache is: no two of these are ever the same token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    T1(Arc<AgentApp>),
    T2(Arc<AgentApp>),
    App(Arc<AgentApp>, Resource),
    User(Arc<AgentIdentity>, Resource),
    /// A redo for a claims challenge, under way; its token is kept under `User`.
    Challenged(Arc<AgentIdentity>, Resource, ClaimsChallenge),
}

/// The three hops to Entra, cached. Cheap to clone; clones and [`TokenExchange::for_identity`] share one cache and
/// one pool of connections.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    identity: Arc<AgentIdentity>,
    app: Arc<AgentApp>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Arc<TokenEndpoint>,
    exchange_scope: String,
    algorithm: SignatureAlgorithm,
    proof: Proof,
    assertions: AssertionCache,
    cache: TokenCache<Key>,
}

/// What hop 1 proves the blueprint with.
#[derive(Debug)]
enum Proof {
    /// An assertion signed with the blueprint's key.
    Key(Arc<dyn SignerSource>),
    /// A token that the platform issued.
    #[cfg(feature = "federated")]
    Federated(FederatedCredential),
    /// An assertion signed in a vault.
    #[cfg(feature = "federated")]
    Vault(Box<KeyVault>),
}

impl TokenExchange {
    /// The blueprint proves itself with its key.
    ///
    /// # Errors
    /// [`TokenError::AgentIdNotAvailable`] naming every missing setting.
    pub fn from_config(
        config: &Config,
        signer: Arc<dyn SignerSource>,
        egress: &Egress,
    ) -> Result<Self, TokenError> {
        Self::proven_by(config, Proof::Key(signer), egress)
    }

    /// The blueprint proves itself as `ENTRABOT_BLUEPRINT_CREDENTIAL` says. Touches neither keyring nor network.
    ///
    /// # Errors
    /// As [`TokenExchange::from_config`]; [`TokenError::Federated`] where the platform is not the one that was chosen, naming
    /// what is missing.
    #[cfg(feature = "federated")]
    pub fn as_configured(config: &Config, egress: &Egress) -> Result<Self, TokenError> {
        let proof = match config.blueprint_credential() {
            #[cfg(all(feature = "tpm2", unix))]
            BlueprintCredential::Tpm | BlueprintCredential::Keystore => {
                Proof::Key(Arc::new(super::MovingKey::from_config(config)?))
            }
            // Such a build refuses the setting when it is read.
            #[cfg(not(all(feature = "tpm2", unix)))]
            BlueprintCredential::Tpm => return Err(missing_settings(config)),
            #[cfg(not(all(feature = "tpm2", unix)))]
            BlueprintCredential::Keystore => {
                Proof::Key(Arc::new(super::KeystoreSigner::from_config(config)?))
            }
            BlueprintCredential::WorkloadIdentity => {
                Proof::Federated(FederatedCredential::workload_identity(config)?)
            }
            BlueprintCredential::ManagedIdentity => {
                Proof::Federated(FederatedCredential::managed_identity(config)?)
            }
            BlueprintCredential::KeyVault { key, token } => {
                Proof::Vault(Box::new(KeyVault::from_config(config, key, *token, egress)?))
            }
        };
        Self::proven_by(config, proof, egress)
    }

    /// For people: what proves the blueprint, where that is no key of this machine.
    #[cfg(feature = "federated")]
    #[must_use]
    pub fn keyless_proof(&self) -> Option<String> {
        match &self.shared.proof {
            Proof::Key(_) => None,
            Proof::Federated(credential) => Some(credential.describe()),
            Proof::Vault(vault) => Some(vault.describe()),
        }
    }

    fn proven_by(config: &Config, proof: Proof, egress: &Egress) -> Result<Self, TokenError> {
        let (Some(tenant), Some(blueprint), Some(agent), Some(user)) =
            (config.tenant_id(), config.blueprint_app_id(), config.agent_id(), config.agent_user_id())
        else {
            return Err(missing_settings(config));
        };
        let identity = AgentIdentity {
            tenant: tenant.clone(),
            blueprint: blueprint.clone(),
            agent: agent.clone(),
            user: user.clone(),
        };
        let shared = Shared {
            endpoint: Arc::new(TokenEndpoint::new(Arc::new(Http::new(egress)), config.authority_base())),
            exchange_scope: format!("{}/.default", config.cloud().exchange_audience()),
            algorithm: config.assertion_algorithm(),
            proof,
            assertions: AssertionCache::default(),
            cache: TokenCache::new(CACHED),
        };
        Ok(Self::of(identity, Arc::new(shared)))
    }

    fn of(identity: AgentIdentity, shared: Arc<Shared>) -> Self {
        let app = AgentApp {
            tenant: identity.tenant.clone(),
            blueprint: identity.blueprint.clone(),
            agent: identity.agent.clone(),
        };
        Self { identity: Arc::new(identity), app: Arc::new(app), shared }
    }

    /// The same for another agent, or another user of this one. The signer must be of that agent's blueprint.
    #[must_use]
    pub fn for_identity(&self, identity: AgentIdentity) -> Self {
        Self::of(identity, Arc::clone(&self.shared))
    }

    /// Who signs in.
    #[must_use]
    pub fn identity(&self) -> &AgentIdentity {
        &self.identity
    }

    /// The agent's own token, without its user (hops 1 and 2).
    pub fn app_only_token<'a>(&'a self, resource: &'a Resource) -> TokenFuture<'a> {
        Box::pin(async move {
            let key = Key::App(Arc::clone(&self.app), resource.clone());
            let (this, wanted) = (self.clone(), resource.clone());
            let text =
                self.shared.cache.get(&key, || async move { this.mint_app(&wanted, Budget::start()).await });
            Ok(AccessToken::new(text.await?, resource.clone()))
        })
    }

    async fn t1(&self, budget: Budget) -> Result<TokenText, TokenError> {
        let this = self.clone();
        let mint = || async move { this.hop1(budget).await.map(minted) };
        within(budget, Hop::Blueprint, self.shared.cache.get(&Key::T1(Arc::clone(&self.app)), mint)).await
    }

    async fn t2(&self, budget: Budget) -> Result<TokenText, TokenError> {
        let this = self.clone();
        let mint = || async move {
            let t1 = this.t1(budget).await?;
            this.after_t1(this.hop2(&t1, &this.shared.exchange_scope, budget).await)
        };
        within(budget, Hop::AgentIdentity, self.shared.cache.get(&Key::T2(Arc::clone(&self.app)), mint)).await
    }

    async fn mint_app(&self, resource: &Resource, budget: Budget) -> Result<Minted, TokenError> {
        let t1 = self.t1(budget).await?;
        self.after_t1(self.hop2(&t1, resource.scope(), budget).await)
    }

    async fn mint_user(
        &self,
        resource: &Resource,
        claims: Option<&ClaimsChallenge>,
        budget: Budget,
    ) -> Result<Minted, TokenError> {
        let t1 = self.t1(budget).await?;
        let t2 = self.t2(budget).await?;
        self.after_t1(self.hop3(&t1, &t2, resource, claims, budget).await)
    }

    /// When a hop after the first is refused, T1 or T2 may be the reason: the next call starts from the beginning.
    fn after_t1(&self, result: Result<TokenResponse, TokenExchangeError>) -> Result<Minted, TokenError> {
        match result {
            Ok(response) => Ok(minted(response)),
            Err(error) => {
                if error.status().is_some_and(|status| (400..500).contains(&status) && status != 429) {
                    self.shared.cache.forget(&Key::T1(Arc::clone(&self.app)));
                    self.shared.cache.forget(&Key::T2(Arc::clone(&self.app)));
                    self.shared.assertions.forget();
                }
                Err(error.into())
            }
        }
    }

    #[cfg_attr(
        not(feature = "federated"),
        expect(unused_variables, reason = "a signature is a matter of milliseconds")
    )]
    async fn assertion(&self, budget: Budget) -> Result<Arc<Assertion>, TokenError> {
        // Read or asked for each time: what is kept of it is the credential's own business.
        #[cfg(feature = "federated")]
        if let Proof::Federated(credential) = &self.shared.proof {
            return Ok(Arc::new(credential.assertion(budget).await?));
        }
        let audience = self.shared.endpoint.url(&self.app.tenant);
        let issuer = self.app.blueprint.as_str();
        if let Some(assertion) = self.shared.assertions.get(&audience, issuer) {
            return Ok(assertion);
        }
        let assertion = Arc::new(match &self.shared.proof {
            Proof::Key(signer) => self.signed_here(signer, &audience).await?,
            #[cfg(feature = "federated")]
            Proof::Vault(vault) => vault.sign(self.shared.algorithm, &audience, issuer, budget).await?,
            #[cfg(feature = "federated")]
            Proof::Federated(credential) => credential.assertion(budget).await?,
        });
        self.shared.assertions.keep(&audience, issuer, &assertion);
        Ok(assertion)
    }

    async fn signed_here(
        &self,
        signer: &Arc<dyn SignerSource>,
        audience: &str,
    ) -> Result<Assertion, TokenError> {
        let (signer, algorithm) = (Arc::clone(signer), self.shared.algorithm);
        let (issuer, audience) = (self.app.blueprint.clone(), audience.to_owned());
        // The keyring may take its time, and a signature is half a millisecond of work.
        let signed = crate::spawn_blocking(move || {
            let algorithm = signer.algorithm().unwrap_or(algorithm);
            let signer = signer.signer()?;
            let now = std::time::SystemTime::now();
            Ok(Assertion::sign(&*signer, algorithm, &audience, issuer.as_str(), now)?)
        });
        signed.await.map_err(|_| aborted())?
    }

    async fn hop1(&self, budget: Budget) -> Result<TokenResponse, TokenError> {
        let assertion = self.assertion(budget).await?;
        let error = match self.post_hop1(&assertion, budget).await {
            Ok(response) => return Ok(response),
            Err(TokenError::Exchange(error)) => error,
            Err(other) => return Err(other),
        };
        self.forget_assertion();
        if self.may_be_renewed(error.aadsts()) {
            let renewed = self.assertion(budget).await?;
            if self.is_another_proof(&renewed, &assertion) {
                return self.post_hop1(&renewed, budget).await;
            }
        }
        Err(error.into())
    }

    async fn post_hop1(&self, assertion: &Assertion, budget: Budget) -> Result<TokenResponse, TokenError> {
        let (form, endpoint) = (self.hop1_form(assertion), self.hop1_endpoint().await?);
        let posted = endpoint.post(Hop::Blueprint, &self.app.tenant, &form, budget).await;
        #[cfg(feature = "federated")]
        let posted = posted.map_err(|error| {
            let is_entra = Arc::ptr_eq(&endpoint, &self.shared.endpoint);
            if is_entra { error } else { error.of_cluster_proxy() }
        });
        Ok(posted?)
    }

    /// Entra's, unless the platform has one of its own for what it issued.
    pub(super) async fn hop1_endpoint(&self) -> Result<Arc<TokenEndpoint>, TokenError> {
        #[cfg(feature = "federated")]
        if let Proof::Federated(credential) = &self.shared.proof
            && let Some(endpoint) = credential.endpoint().await?
        {
            return Ok(endpoint);
        }
        Ok(Arc::clone(&self.shared.endpoint))
    }

    /// After a refusal the next one is made, or asked for, anew.
    fn forget_assertion(&self) {
        self.shared.assertions.forget();
        #[cfg(feature = "federated")]
        if let Proof::Federated(credential) = &self.shared.proof {
            credential.forget();
        }
    }

    /// Whether such a refusal may be of what another process renewed while ours was under way: the certificate
    /// (AADSTS700027: it is not the blueprint's) by a rotation, the token (AADSTS700024: outside of its time) by the platform.
    fn may_be_renewed(&self, aadsts: Option<u32>) -> bool {
        match self.shared.proof {
            Proof::Key(_) => aadsts == Some(700_027),
            #[cfg(feature = "federated")]
            Proof::Federated(_) => aadsts == Some(700_024),
            #[cfg(feature = "federated")]
            Proof::Vault(_) => false,
        }
    }

    /// Whether it proves the same blueprint by something else. A signature that is merely younger does not.
    fn is_another_proof(&self, renewed: &Assertion, refused: &Assertion) -> bool {
        match self.shared.proof {
            Proof::Key(_) => renewed.header() != refused.header(),
            #[cfg(feature = "federated")]
            Proof::Federated(_) | Proof::Vault(_) => renewed.expose() != refused.expose(),
        }
    }

    pub(super) fn hop1_form<'a>(&'a self, assertion: &'a Assertion) -> [(&'static str, &'a str); 6] {
        [
            ("client_id", self.app.blueprint.as_str()),
            ("scope", &self.shared.exchange_scope),
            ("fmi_path", self.app.agent.as_str()),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.expose()),
        ]
    }

    async fn hop2(&self, t1: &str, scope: &str, budget: Budget) -> Result<TokenResponse, TokenExchangeError> {
        let form = self.hop2_form(t1, scope);
        self.shared.endpoint.post(Hop::AgentIdentity, &self.app.tenant, &form, budget).await
    }

    pub(super) fn hop2_form<'a>(&'a self, t1: &'a str, scope: &'a str) -> [(&'static str, &'a str); 5] {
        [
            ("client_id", self.app.agent.as_str()),
            ("scope", scope),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", t1),
        ]
    }

    async fn hop3(
        &self,
        t1: &str,
        t2: &str,
        resource: &Resource,
        challenge: Option<&ClaimsChallenge>,
        budget: Budget,
    ) -> Result<TokenResponse, TokenExchangeError> {
        let claims = ClaimsChallenge::parameter(challenge);
        let form = self.hop3_form(t1, t2, resource, &claims);
        self.shared.endpoint.post(Hop::AgentUser, &self.app.tenant, &form, budget).await
    }

    pub(super) fn hop3_form<'a>(
        &'a self,
        t1: &'a str,
        t2: &'a str,
        resource: &'a Resource,
        claims: &'a str,
    ) -> [(&'static str, &'a str); 8] {
        [
            ("client_id", self.app.agent.as_str()),
            ("scope", resource.scope()),
            ("grant_type", "user_fic"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", t1),
            // The id, never the UPN as well: a UPN may change.
            ("user_id", self.identity.user.as_str()),
            ("user_federated_identity_credential", t2),
            ("claims", claims),
        ]
    }

    pub(super) fn endpoint(&self) -> &Arc<TokenEndpoint> {
        &self.shared.endpoint
    }
    pub(super) fn exchange_scope(&self) -> &str {
        &self.shared.exchange_scope
    }
    /// A new assertion, whatever is kept.
    pub(super) async fn new_assertion(&self, budget: Budget) -> Result<Arc<Assertion>, TokenError> {
        self.forget_assertion();
        self.assertion(budget).await
    }
}

impl TokenSource for TokenExchange {
    fn token<'a>(&'a self, resource: &'a Resource) -> TokenFuture<'a> {
        Box::pin(async move {
            let key = Key::User(Arc::clone(&self.identity), resource.clone());
            let text = self
                .shared
                .cache
                .get(&key, || {
                    let (this, wanted) = (self.clone(), resource.clone());
                    async move { this.mint_user(&wanted, None, Budget::start()).await }
                })
                .await?;
            Ok(AccessToken::new(text, resource.clone()))
        })
    }

    fn token_after_rejection<'a>(
        &'a self,
        resource: &'a Resource,
        rejected: &'a AccessToken,
        claims: Option<&'a ClaimsChallenge>,
    ) -> TokenFuture<'a> {
        Box::pin(async move {
            let Some(old) = rejected.expose_for(resource) else { return self.token(resource).await };
            let key = Key::User(Arc::clone(&self.identity), resource.clone());
            let flight = match claims {
                Some(claims) => Key::Challenged(Arc::clone(&self.identity), resource.clone(), claims.clone()),
                None => key.clone(),
            };
            let (this, wanted, challenge) = (self.clone(), resource.clone(), claims.cloned());
            let mint = || async move { this.mint_user(&wanted, challenge.as_ref(), Budget::start()).await };
            let text = self.shared.cache.get_other(&key, &flight, old, mint).await?;
            Ok(AccessToken::new(text, resource.clone()))
        })
    }
}

/// Waits for a flight no longer than the budget, though an earlier caller started it.
async fn within(
    budget: Budget,
    hop: Hop,
    token: impl Future<Output = Result<TokenText, TokenError>>,
) -> Result<TokenText, TokenError> {
    match tokio::time::timeout_at(budget.deadline().into(), token).await {
        Ok(result) => result,
        Err(_) => Err(TokenExchangeError::new(hop, "timed_out").into()),
    }
}

fn minted(response: TokenResponse) -> Minted {
    let lifetime = response.lifetime();
    let text: Zeroizing<String> = response.into_token();
    Minted { text: Arc::new(text), lifetime, fresh: None }
}

/// The work was lost with its runtime.
pub(super) fn aborted() -> TokenExchangeError {
    TokenExchangeError::new(Hop::Blueprint, "aborted")
}

/// Names every setting that signing in needs and that is not there.
pub(super) fn missing_settings(config: &Config) -> TokenError {
    let with_certificate = !config.needs_no_keystore();
    let missing: Vec<&str> = [
        ("ENTRABOT_TENANT_ID", config.tenant_id().is_none()),
        ("ENTRABOT_BLUEPRINT_APP_ID", config.blueprint_app_id().is_none()),
        (
            "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT",
            with_certificate && config.blueprint_cert_thumbprint().is_none(),
        ),
        ("ENTRABOT_AGENT_ID", config.agent_id().is_none()),
        ("ENTRABOT_AGENT_USER_ID", config.agent_user_id().is_none()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect();
    TokenError::AgentIdNotAvailable { reason: format!("not set: {}", missing.join(", ")) }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::ops::Range;
    use std::time::Duration;

    use super::*;

    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Fetches a token of this length for each of so many (user, resource) pairs; how much the process grew.
    async fn growth(cache: &TokenCache<Key>, pairs: Range<u32>, length: usize) -> usize {
        let before = resident();
        for pair in pairs {
            let guid = format!("00000000-0000-4000-8000-{pair:012x}");
            let identity = AgentIdentity {
                tenant: TenantId::parse("0f7a7d3e-0000-4000-8000-000000000001").unwrap(),
                blueprint: BlueprintAppId::parse("0f7a7d3e-0000-4000-8000-000000000002").unwrap(),
                agent: AgentId::parse("0f7a7d3e-0000-4000-8000-000000000003").unwrap(),
                user: AgentUserId::parse(&guid).unwrap(),
            };
            let resource = Resource::from_scope(&format!("api://{guid}/.default")).unwrap();
            let text = Arc::new(Zeroizing::new("t".repeat(length)));
            let lifetime = Some(Duration::from_secs(3600 + u64::from(pair)));
            let minted = Minted { text, lifetime, fresh: None };
            cache.get(&Key::User(Arc::new(identity), resource), || async { Ok(minted) }).await.unwrap();
        }
        resident().saturating_sub(before)
    }

    #[tokio::test]
    async fn ten_thousand_pairs_take_the_memory_that_is_stated_and_more_take_no_more() {
        const MB: usize = 1_000_000;
        let cache = TokenCache::new(CACHED);
        let first = growth(&cache, 0..10_000, 2048).await;
        assert_eq!(cache.len(), 10_000);
        println!("10,000 pairs: {first} bytes");
        assert!(first < 35 * MB, "{first}");
        // As many bytes twice again, in tokens four times as long: 61 MB if they were all kept.
        let second = growth(&cache, 10_000..15_000, 8192).await;
        println!("{} pairs afterwards: {second} bytes more", cache.len());
        // 34 MB of text and what is beside it. The allocator cannot put a long text where short ones were, so that the
        // process takes up to twice as much.
        assert!(first + second < 75 * MB, "{first} and {second}");
        assert!(cache.len() < 5_000, "{}", cache.len());
    }
}
