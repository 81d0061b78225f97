//! Requests to one vault: shown a token only after its challenge was judged, tried again as the vault's rules say.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::KeyVaultError;
use super::bearer::Bearer;
use super::challenge::Challenge;
use crate::federated::FederatedError;
use crate::tokens::http::{Answer, Http, HttpError, Method, Request};
use crate::tokens::resting::Resting;
use crate::tokens::{Budget, strict_json};
use crate::{BaseUrl, Config, Egress, TenantId, TokenError, VaultKey, VaultToken};

const VERSION: &str = "api-version=7.4";
const ONE_TRY: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 64 * 1024;
const PAUSES: [Duration; 3] =
    [Duration::from_millis(800), Duration::from_millis(1_600), Duration::from_millis(3_200)];

#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    key: VaultKey,
    authority: BaseUrl,
    tenant: Option<TenantId>,
    bearer: Bearer,
    /// What the vault wanted to be shown last.
    challenge: Mutex<Option<Challenge>>,
    resting: Resting<KeyVaultError>,
}

impl Client {
    pub(super) fn new(
        config: &Config,
        key: &VaultKey,
        token: VaultToken,
        egress: &Egress,
    ) -> Result<Self, FederatedError> {
        Ok(Self {
            http: Http::new(egress),
            key: key.clone(),
            authority: config.authority_base().clone(),
            tenant: config.tenant_id().cloned(),
            bearer: Bearer::from_config(config, token, egress)?,
            challenge: Mutex::default(),
            resting: Resting::default(),
        })
    }

    pub(super) fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// The vault's answer. `path` begins with a slash; a body makes it a POST.
    pub(super) async fn ask(
        &self,
        path: &str,
        body: Option<&Value>,
        budget: Budget,
    ) -> Result<Map<String, Value>, TokenError> {
        let mut token = match self.known() {
            Some(challenge) => Some(self.bearer.token(&challenge, budget).await?),
            None => None,
        };
        // The question without a token is answered, and then once more: a token may be over, or the vault may want claims.
        let mut challenges = 1 + u8::from(token.is_none());
        loop {
            let answer = self.tried(path, body, token.as_ref().map(|token| token.as_str()), budget).await?;
            if answer.status == 200 {
                let object = strict_json::object(&answer.body);
                return object.map_err(|_| self.error(Some(200), "malformed_answer").into());
            }
            if answer.status != 401 || challenges == 0 {
                return Err(self.refused(&answer).into());
            }
            challenges -= 1;
            let challenge = self.judged(&answer)?;
            token = Some(match &token {
                None => self.bearer.token(&challenge, budget).await?,
                Some(rejected) => self.bearer.another(&challenge, rejected, budget).await?,
            });
        }
    }

    fn known(&self) -> Option<Challenge> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judged(&self, answer: &Answer) -> Result<Challenge, KeyVaultError> {
        let text = answer.challenge.as_deref();
        let challenge = Challenge::judge(text, &self.key, &self.authority, self.tenant.as_ref())
            .map_err(|code| self.error(Some(401), code))?;
        let kept = Challenge { claims: None, ..challenge.clone() };
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(challenge)
    }

    async fn tried(
        &self,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
        budget: Budget,
    ) -> Result<Answer, KeyVaultError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let rested = self.resting.over(|| budget.left()).await;
            rested.map_err(|(left, error)| error.resting(Some(left)))?;
            let (error, wait) = match self.once(path, body, token, budget).await {
                Ok(answer) if matches!(answer.status, 408 | 429) || answer.status >= 500 => {
                    let error = self.refused(&answer);
                    if let Some(wait) = answer.retry_after {
                        self.resting.begin(wait, error.clone());
                    }
                    (error, answer.retry_after)
                }
                Ok(answer) => return Ok(answer),
                Err(error @ (HttpError::Tls(_) | HttpError::Setup(_) | HttpError::TooLarge)) => {
                    return Err(self.failed(error));
                }
                Err(error) => (self.failed(error), None),
            };
            let Some(pause) = pauses.next() else { return Err(error) };
            let pause = wait.unwrap_or(pause);
            if pause >= budget.left() {
                return Err(error);
            }
            tracing::debug!(code = error.code(), status = error.status(), ?pause, "key vault asked again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(
        &self,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
        budget: Budget,
    ) -> Result<Answer, HttpError> {
        let timeout = budget.left().min(ONE_TRY);
        if timeout.is_zero() {
            return Err(HttpError::TimedOut);
        }
        let bearer = token.map(|token| ("authorization", Zeroizing::new(format!("Bearer {token}"))));
        // Without a token the vault only says what it wants: it need not know yet what is to be signed.
        let body = body.map(|body| if token.is_some() { body.to_string() } else { String::new() });
        let request = Request {
            method: if body.is_some() { Method::Post } else { Method::Get },
            url: &format!("{}{path}?{VERSION}", self.key.vault()),
            headers: bearer.into_iter().collect(),
            body: body.map(|body| ("application/json", Zeroizing::new(body.into_bytes()))),
            timeout,
            max_body: MAX_BODY,
        };
        self.http.send(request).await
    }

    pub(super) fn error(&self, status: Option<u16>, code: &'static str) -> KeyVaultError {
        KeyVaultError::new(self.key.host(), status, code)
    }

    /// `{"error": {"code", "message", "innererror": {"code"}}}`, of which the message is not repeated.
    fn refused(&self, answer: &Answer) -> KeyVaultError {
        let object = strict_json::object(&answer.body).unwrap_or_default();
        let error = object.get("error");
        let inner = error.and_then(|error| error.get("innererror")).and_then(|inner| inner.get("code"));
        let outer = error.and_then(|error| error.get("code"));
        let code = [inner, outer].into_iter().flatten().filter_map(Value::as_str).find(|code| is_code(code));
        let code = code.map_or(Cow::Borrowed("refused"), |code| code.to_owned().into());
        KeyVaultError::new(self.key.host(), Some(answer.status), code).resting(answer.retry_after)
    }

    fn failed(&self, error: HttpError) -> KeyVaultError {
        let code = match error {
            HttpError::TimedOut => "timed_out",
            HttpError::TooLarge => "malformed_answer",
            HttpError::Tls(_) => "tls_failed",
            HttpError::NotConnected | HttpError::Interrupted | HttpError::Setup(_) => "connection_failed",
        };
        self.error(None, code)
    }
}

/// Azure's codes are words in capitals and small letters; anything else may be content.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
