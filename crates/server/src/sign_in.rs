//! The sign-in of the agent, or of a person where acts are a person's: beside the MCP handshake, once. Afterwards every
//! token for a call goes through here, so that the session always says what is true.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use entrabot_identity::{
    AccessToken, ClaimsChallenge, Config, Egress, Hop, Resource, Session, SessionState, TokenError,
    TokenExchange, TokenFuture, TokenSource,
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::failure::Failure;
use crate::person::{Ask, Person};

/// How the agent proves itself, and whether it has.
pub(crate) struct SignIn {
    config: Arc<Config>,
    session: Arc<Session>,
    egress: Egress,
    exchange: OnceLock<TokenExchange>,
    person: Person,
    /// Held by the sign-in that is under way.
    under_way: Arc<AsyncMutex<()>>,
    last_failure: Mutex<Option<Failure>>,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("session", &self.session).finish_non_exhaustive()
    }
}

impl SignIn {
    pub(crate) fn new(config: Arc<Config>, session: Arc<Session>, egress: Egress, person: Person) -> Self {
        Self {
            config,
            session,
            egress,
            exchange: OnceLock::new(),
            person,
            under_way: Arc::default(),
            last_failure: Mutex::new(None),
        }
    }

    /// The hops of the settings. Made anew until the settings' parts are all there: cheap, touches no key.
    pub(crate) fn exchange(&self) -> Result<&TokenExchange, TokenError> {
        if let Some(exchange) = self.exchange.get() {
            return Ok(exchange);
        }
        let exchange = TokenExchange::as_configured(&self.config, &self.egress)?;
        Ok(self.exchange.get_or_init(|| exchange))
    }

    /// A person's side of it.
    pub(crate) fn person(&self) -> &Person {
        &self.person
    }

    /// Starts the first sign-in, if the settings name who. Whoever asks afterwards waits for it.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.config.skip_provisioning() && !self.person.acts() {
            return tracing::info!("no sign-in at start: the settings say so");
        }
        let Ok(under_way) = Arc::clone(&self.under_way).try_lock_owned() else { return };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // Its failure is logged and kept there.
            drop(this.sign_in(under_way, Ask::IfNeeded).await);
        });
    }

    /// Waits for a sign-in that is under way, whatever becomes of it; not for a person who was asked.
    pub(crate) async fn settled(&self) {
        tokio::select! {
            free = self.under_way.lock() => drop(free),
            () = self.person.until_asked() => {}
        }
    }

    /// Before an act: where acts are a person's, somebody has to be signed in.
    ///
    /// # Errors
    /// `AuthRefreshRequiredError`, or what else keeps a person from being signed in.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        self.settled().await;
        if self.person.acts() { self.person.sign_in(Ask::Never, None).await } else { Ok(()) }
    }

    /// Signs in unless the agent, or the person whose acts these are, is signed in. Asks nobody.
    ///
    /// # Errors
    /// The hop that refused, or the keyring.
    pub(crate) async fn ensure(&self) -> Result<(), Failure> {
        let Ok(under_way) = Arc::clone(&self.under_way).try_lock_owned() else {
            // Somebody else's attempt answers for this one too.
            self.settled().await;
            if self.person.is_asked() && self.person.acts() {
                return self.person.sign_in(Ask::Never, None).await;
            }
            return self.last_failure().map_or(Ok(()), Err);
        };
        if self.session.state() == SessionState::AgentUser {
            return Ok(());
        }
        self.sign_in(under_way, Ask::Never).await
    }

    /// Why the last attempt failed; `None` when it succeeded or there was none.
    pub(crate) fn last_failure(&self) -> Option<Failure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn sign_in(&self, under_way: OwnedMutexGuard<()>, ask: Ask) -> Result<(), Failure> {
        let result = if self.person.acts() {
            self.person.sign_in(ask, None).await
        } else {
            let graph = Resource::graph(&self.config);
            match self.token(&graph).await.map(drop).map_err(Failure::from) {
                Err(failure) if self.config.allows_delegated_fallback() => {
                    tracing::warn!("ENTRABOT_ALLOW_DELEGATED_FALLBACK lets a person take the agent's place");
                    self.person.sign_in(ask, Some(&failure)).await
                }
                other => other,
            }
        };
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = result.as_ref().err().cloned();
        drop(under_way);
        result
    }

    /// The agent is signed in as long as it can have tokens. One resource's refusal at the last hop (no consent, say)
    /// says nothing of the others, unless it is the resource that the sign-in itself is for.
    fn ends_the_session(&self, resource: &Resource, error: &TokenError) -> bool {
        match error {
            TokenError::Exchange(error) if error.hop() == Hop::AgentUser => {
                *resource == Resource::graph(&self.config)
            }
            _ => true,
        }
    }

    /// Lets the session say what the exchange found.
    fn note(&self, resource: &Resource, result: &Result<AccessToken, TokenError>) {
        let failure = match result {
            Ok(_) => match self.config.agent_user_id() {
                Some(user) if self.session.state() != SessionState::AgentUser => {
                    let entered = self.session.agent_signed_in(user.clone());
                    if entered.is_ok() {
                        tracing::info!("the agent is signed in");
                    }
                    entered.err().map(Failure::from)
                }
                _ => None,
            },
            Err(error) => {
                if self.ends_the_session(resource, error)
                    && let Err(error) = self.session.refresh_failed()
                {
                    tracing::warn!(%error, "the session could not be cleared");
                }
                Some(Failure::of(error))
            }
        };
        if let Some(failure) = &failure {
            tracing::warn!(
                error = failure.message(),
                error_type = failure.error_type(),
                hint = failure.hint(),
                scope = resource.scope(),
                "no token for the agent"
            );
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl TokenSource for SignIn {
    fn token<'a>(&'a self, resource: &'a Resource) -> TokenFuture<'a> {
        Box::pin(async move {
            if self.person.acts() {
                return Err(TokenError::ActingForPerson);
            }
            let result = match self.exchange() {
                Ok(exchange) => exchange.token(resource).await,
                Err(error) => Err(error),
            };
            self.note(resource, &result);
            result
        })
    }

    fn token_after_rejection<'a>(
        &'a self,
        resource: &'a Resource,
        rejected: &'a AccessToken,
        claims: Option<&'a ClaimsChallenge>,
    ) -> TokenFuture<'a> {
        Box::pin(async move {
            if self.person.acts() {
                return Err(TokenError::ActingForPerson);
            }
            let result = match self.exchange() {
                Ok(exchange) => exchange.token_after_rejection(resource, rejected, claims).await,
                Err(error) => Err(error),
            };
            self.note(resource, &result);
            result
        })
    }
}
