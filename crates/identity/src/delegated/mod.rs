//! A person's sign-in: authorization code with PKCE, device code, refresh.
//!
//! It is another type than the agent's tokens and stays one: nothing here makes an [`AccessToken`](crate::AccessToken),
//! so a person's token can never be sent in an agent's place.

mod error;
mod flows;
mod id_token;
mod listener;
mod stored;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use entrabot_keystore::{KeystoreError, KeystorePolicy};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

pub use error::DelegatedError;
use flows::Flows;
use id_token::Expected;
use listener::Loopback;
use stored::Stored;

use crate::graph::Bearer;
use crate::tokens::TokenEndpoint;
use crate::tokens::http::Http;
use crate::{ClientId, Config, Egress, Human, Resource, TenantId, TokenResponse};

/// Where the browser comes back to, unless it is told otherwise.
const PORT: u16 = 8400;
/// How long a person may take in the browser.
const BROWSER_WITHIN: Duration = Duration::from_secs(120);
/// What is asked for, unless it is told otherwise: who the person is.
const SCOPES: [&str; 1] = ["User.Read"];

/// A person's access token for Microsoft Graph. Never an agent's; redacted; not `Clone`.
pub struct DelegatedToken {
    text: Arc<Zeroizing<String>>,
    human: Human,
}

impl DelegatedToken {
    /// Whose it is.
    #[must_use]
    pub fn human(&self) -> &Human {
        &self.human
    }
    /// The token's text, for a request to Microsoft Graph on that person's behalf.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl Bearer for DelegatedToken {
    fn text_for(&self, _graph: &Resource) -> Option<&str> {
        // The scopes that are asked for are Graph's alone, and Graph is what asks.
        Some(self.expose())
    }
}

impl fmt::Debug for DelegatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegatedToken").field("human", &self.human).finish_non_exhaustive()
    }
}

/// What a person has to enter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceCodePrompt {
    /// An https page; printable.
    pub verification_uri: String,
    /// The code to enter there; printable.
    pub user_code: String,
    /// How long it is good for.
    pub expires_in: Duration,
    /// The wait between two polls.
    pub interval: Duration,
}

/// How the person is reached.
pub trait SignInPrompt: Send + Sync {
    /// Opens this address of the local machine in the person's browser; false when that cannot be done. May block.
    fn open_browser(&self, url: &str) -> bool;
    /// Shows where which code has to be entered.
    fn show_device_code(&self, prompt: &DeviceCodePrompt);
}

/// Which way a person signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInWay {
    /// The browser; the device code where no browser can be opened, or nobody comes back from it.
    #[default]
    BrowserElseDeviceCode,
    /// The browser alone.
    Browser,
    /// A code to be entered in a browser anywhere.
    DeviceCode,
}

/// The sign-in of a person through the public client of `ENTRABOT_CLIENT_ID`. Cheap to clone; clones share the token.
#[derive(Clone, Debug)]
pub struct Delegated {
    tenant: TenantId,
    client: ClientId,
    keystore: KeystorePolicy,
    flows: Arc<Flows>,
    scopes: Arc<[String]>,
    /// Whether the sign-in outlives this process: its refresh token goes into the keystore.
    lasts: bool,
    port: u16,
    browser_within: Duration,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// A token in time.
struct Kept {
    text: Arc<Zeroizing<String>>,
    human: Human,
    until: Instant,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("human", &self.human).finish_non_exhaustive()
    }
}

impl Delegated {
    /// # Errors
    /// [`DelegatedError::NotConfigured`] naming every missing setting.
    pub fn from_config(config: &Config, egress: &Egress) -> Result<Self, DelegatedError> {
        let (Some(tenant), Some(client)) = (config.tenant_id(), config.client_id()) else {
            let missing = [
                ("ENTRABOT_TENANT_ID", config.tenant_id().is_none()),
                ("ENTRABOT_CLIENT_ID", config.client_id().is_none()),
            ];
            let missing = missing.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect();
            return Err(DelegatedError::NotConfigured { missing });
        };
        Ok(Self::through(client, tenant, config, egress))
    }

    /// The same through another public client.
    pub(crate) fn through(client: &ClientId, tenant: &TenantId, config: &Config, egress: &Egress) -> Self {
        let endpoint = Arc::new(TokenEndpoint::new(Arc::new(Http::new(egress)), config.authority_base()));
        Self {
            flows: Arc::new(Flows::new(endpoint, tenant, client)),
            tenant: tenant.clone(),
            client: client.clone(),
            keystore: config.keystore_policy().clone(),
            scopes: SCOPES.map(str::to_owned).into(),
            lasts: true,
            port: PORT,
            browser_within: BROWSER_WITHIN,
            kept: Arc::default(),
        }
    }

    /// For one task of one process: no refresh token is asked for, and a sign-in that is kept for acts stays as it is.
    #[cfg(feature = "provisioning")]
    pub(crate) fn once(mut self) -> Self {
        self.lasts = false;
        self
    }

    /// Asks for these scopes of Microsoft Graph instead of `User.Read`.
    #[must_use]
    pub fn for_scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.kept = Arc::default();
        self
    }

    /// Listens for the browser on this port of localhost instead of 8400; `0` takes a free one.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Waits so long for the browser instead of 120 s.
    #[must_use]
    pub fn with_browser_timeout(mut self, within: Duration) -> Self {
        self.browser_within = within;
        self
    }

    /// A token without a prompt: the one in time, else a new one for the refresh token in the keystore.
    ///
    /// # Errors
    /// [`DelegatedError::InteractionRequired`] when nobody signed in here before; the keystore's or the token
    /// endpoint's refusal. See [`DelegatedError::needs_person`].
    pub async fn silent(&self) -> Result<DelegatedToken, DelegatedError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(DelegatedToken { text: Arc::clone(&kept.text), human: kept.human.clone() });
        }
        *kept = None;
        if !self.lasts {
            return Err(DelegatedError::InteractionRequired { reason: "this sign-in is for one task" });
        }
        let (client, tenant) = (self.client.clone(), self.tenant.clone());
        // Each time from the keystore: another process may have a newer one, or have signed out.
        let stored = self.with_keystore(move |policy| Stored::load(policy, &client, &tenant)).await?;
        let Some(stored) = stored else {
            return Err(DelegatedError::InteractionRequired { reason: "nobody has signed in here before" });
        };
        let response = self.flows.refresh(&stored.refresh_token, &self.asked()).await?;
        self.accept(response, None, Some(&stored.human), &mut kept).await
    }

    /// Asks the person. The keystore is judged first: nobody signs in for a token that has no safe place to be.
    ///
    /// # Errors
    /// See [`DelegatedError`].
    pub async fn sign_in(
        &self,
        way: SignInWay,
        prompt: Arc<dyn SignInPrompt>,
    ) -> Result<DelegatedToken, DelegatedError> {
        self.with_keystore(|policy| policy.open()?.check()).await?;
        match way {
            SignInWay::Browser => self.in_browser(&prompt).await,
            SignInWay::DeviceCode => self.by_device_code(&prompt).await,
            SignInWay::BrowserElseDeviceCode => match self.in_browser(&prompt).await {
                Err(
                    error @ (DelegatedError::Listener { .. }
                    | DelegatedError::NoBrowser
                    | DelegatedError::TimedOut { .. }),
                ) => {
                    tracing::info!(%error, "a device code instead of the browser");
                    self.by_device_code(&prompt).await
                }
                other => other,
            },
        }
    }

    /// Forgets the sign-in, here and in the keystore; whether there was one.
    ///
    /// # Errors
    /// The keystore's.
    pub async fn sign_out(&self) -> Result<bool, DelegatedError> {
        *self.kept.lock().await = None;
        self.with_keystore(Stored::forget).await
    }

    /// The scopes, with that for a refresh token where one is wanted.
    fn asked(&self) -> Vec<String> {
        let offline = self.lasts.then(|| "offline_access".to_owned());
        self.scopes.iter().cloned().chain(offline).collect()
    }

    async fn in_browser(&self, prompt: &Arc<dyn SignInPrompt>) -> Result<DelegatedToken, DelegatedError> {
        let loopback = Loopback::bind(self.port).await?;
        let authorization = self.flows.authorize(&self.asked(), loopback.port());
        let (opening, link) = (Arc::clone(prompt), format!("http://localhost:{}/", loopback.port()));
        if !crate::spawn_blocking(move || opening.open_browser(&link)).await.unwrap_or(false) {
            return Err(DelegatedError::NoBrowser);
        }
        let (callback, serving) =
            loopback.answer(&authorization.url, &authorization.state, self.browser_within).await?;
        let nonce = authorization.nonce.clone();
        let result = match self.flows.redeem(authorization, &callback.code, &self.asked()).await {
            Ok(response) => self.accept(response, Some(&nonce), None, &mut *self.kept.lock().await).await,
            Err(error) => Err(error),
        };
        callback.finish(result.is_ok());
        serving.end().await;
        result
    }

    async fn by_device_code(&self, prompt: &Arc<dyn SignInPrompt>) -> Result<DelegatedToken, DelegatedError> {
        let response = self.flows.device(&self.asked(), &**prompt).await?;
        self.accept(response, None, None, &mut *self.kept.lock().await).await
    }

    /// Checks whose the answer is, then keeps what came with it.
    async fn accept(
        &self,
        mut response: TokenResponse,
        nonce: Option<&str>,
        before: Option<&Human>,
        kept: &mut Option<Kept>,
    ) -> Result<DelegatedToken, DelegatedError> {
        let person = response.take_person();
        let expected = Expected { client: &self.client, tenant: &self.tenant, nonce };
        let human = match (&person.id_token, before) {
            (Some(token), _) => id_token::human_of(token, expected, SystemTime::now())?,
            // RFC 6749, section 6: what is left out has not changed.
            (None, Some(before)) => before.clone(),
            (None, None) => return Err(DelegatedError::Untrusted { reason: "there is no id token" }),
        };
        if before.is_some_and(|before| *before != human) {
            return Err(DelegatedError::Untrusted { reason: "it is for another person than before" });
        }
        match person.refresh_token {
            _ if !self.lasts => {}
            Some(token) => self.keep_refresh(token, &human, before.is_some()).await?,
            None if before.is_none() => {
                return Err(DelegatedError::Untrusted { reason: "there is no refresh token" });
            }
            None => {}
        }
        let lifetime = response.lifetime().unwrap_or_default();
        let text = Arc::new(response.into_token());
        let until = Instant::now() + lifetime.saturating_sub(Duration::from_secs(300).min(lifetime / 4));
        *kept = Some(Kept { text: Arc::clone(&text), human: human.clone(), until });
        Ok(DelegatedToken { text, human })
    }

    /// The newest refresh token takes the place of the one before.
    async fn keep_refresh(
        &self,
        token: Zeroizing<String>,
        human: &Human,
        is_refresh: bool,
    ) -> Result<(), DelegatedError> {
        if token.contains(['"', '\\']) {
            return Err(DelegatedError::Untrusted { reason: "the refresh token is malformed" });
        }
        let stored = Stored {
            client: self.client.clone(),
            tenant: self.tenant.clone(),
            human: human.clone(),
            refresh_token: token,
        };
        match self.with_keystore(move |policy| stored.save(policy)).await {
            // The one before goes on working, so a keyring that was locked in between costs nothing.
            Err(DelegatedError::Keystore(error))
                if is_refresh && !matches!(*error, KeystoreError::Insecure(_)) =>
            {
                tracing::warn!(%error, "the newer refresh token could not be stored");
                Ok(())
            }
            other => other,
        }
    }

    async fn with_keystore<T: Send + 'static>(
        &self,
        work: impl FnOnce(&KeystorePolicy) -> Result<T, KeystoreError> + Send + 'static,
    ) -> Result<T, DelegatedError> {
        let policy = self.keystore.clone();
        match crate::spawn_blocking(move || work(&policy)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(DelegatedError::InteractionRequired { reason: "the keystore's answer was lost" }),
        }
    }
}

impl DelegatedError {
    /// Whether a person who signs in would cure it.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        match self {
            Self::InteractionRequired { .. } => true,
            Self::Exchange(error) => matches!(
                error.code(),
                "invalid_grant" | "interaction_required" | "consent_required" | "login_required"
            ),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_may_change_threads_and_shows_no_secret() {
        fn sendable(_: impl Future + Send) {}
        let config = Config::from_variables([
            ("ENTRABOT_TENANT_ID", "contoso.example"),
            ("ENTRABOT_CLIENT_ID", "00000000-0000-4000-8000-000000000001"),
        ])
        .unwrap();
        let delegated = Delegated::from_config(&config, &Egress::from_config(&config).unwrap()).unwrap();
        let shared = delegated.clone();
        sendable(async move { shared.silent().await });
        let shared = delegated.clone();
        struct Nobody;
        impl SignInPrompt for Nobody {
            fn open_browser(&self, _: &str) -> bool {
                false
            }
            fn show_device_code(&self, _: &DeviceCodePrompt) {}
        }
        sendable(async move { shared.sign_in(SignInWay::default(), Arc::new(Nobody)).await });
        let token = DelegatedToken {
            text: Arc::new(Zeroizing::new("planted".into())),
            human: Human::new(
                crate::ObjectId::parse("00000000-0000-4000-8000-000000000002").unwrap(),
                TenantId::parse("t").unwrap(),
            ),
        };
        assert_eq!(token.expose(), "planted");
        assert!(!format!("{token:?} {delegated:?}").contains("planted"));
    }

    #[test]
    fn what_is_not_set_is_named() {
        let config = Config::from_variables([("ENTRABOT_TENANT_ID", "t")]).unwrap();
        let error = Delegated::from_config(&config, &Egress::from_config(&config).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "a person cannot sign in: not set: ENTRABOT_CLIENT_ID");
    }
}
