//! One POST to the token endpoint, with what may be tried again tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::http::{self, Answer, Http, HttpError, Method, Request};
use super::resting::Resting;
use super::{Hop, TokenExchangeError, TokenResponse, parse_token_response};
use crate::{BaseUrl, TenantId};

/// All the tries of all the hops of one exchange.
const BUDGET: Duration = Duration::from_secs(30);
/// One try.
const ONE_TRY: Duration = Duration::from_secs(15);
/// Waits before the second, third and fourth try, when the answer does not say.
const PAUSES: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// A token response with its claims is a few KiB.
const MAX_BODY: usize = 256 * 1024;

/// The time and the request id that the hops of one exchange share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    deadline: Instant,
    id: uuid::Uuid,
}

impl Budget {
    pub(crate) fn start() -> Self {
        Self::within(BUDGET)
    }
    /// At most the usual one.
    pub(crate) fn within(longest: Duration) -> Self {
        Self { deadline: Instant::now() + longest.min(BUDGET), id: uuid::Uuid::new_v4() }
    }
    pub(crate) fn deadline(self) -> Instant {
        self.deadline
    }
    pub(crate) fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// `{authority}/{tenant}/oauth2/v2.0/token`.
#[derive(Debug)]
pub(crate) struct TokenEndpoint {
    http: Arc<Http>,
    authority: BaseUrl,
    host: Arc<str>,
    /// The service asked to be left alone until then.
    resting: Resting<TokenExchangeError>,
}

impl TokenEndpoint {
    pub(crate) fn new(http: Arc<Http>, authority: &BaseUrl) -> Self {
        Self {
            http,
            authority: authority.clone(),
            host: authority.host().into(),
            resting: Resting::default(),
        }
    }

    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// The URL, which is the audience of an assertion as well.
    pub(crate) fn url(&self, tenant: &TenantId) -> String {
        self.sibling(tenant, "token")
    }

    /// Another endpoint of the same authority: `authorize`, `devicecode`.
    pub(crate) fn sibling(&self, tenant: &TenantId, name: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/{name}", self.authority)
    }

    /// Sends the form. Loss of the connection, 5xx and a `Retry-After` are tried again within the budget; any other
    /// refusal is final.
    pub(crate) async fn post(
        &self,
        hop: Hop,
        tenant: &TenantId,
        fields: &[(&str, &str)],
        budget: Budget,
    ) -> Result<TokenResponse, TokenExchangeError> {
        self.post_timed(hop, tenant, fields, budget).await.0
    }

    /// The same with the status and the server's clock of the last answer.
    pub(crate) async fn post_timed(
        &self,
        hop: Hop,
        tenant: &TenantId,
        fields: &[(&str, &str)],
        budget: Budget,
    ) -> (Result<TokenResponse, TokenExchangeError>, Option<Seen>) {
        self.post_form(hop, &self.url(tenant), &http::form(fields), budget).await
    }

    /// The same with a form that is encoded already.
    pub(crate) async fn post_form(
        &self,
        hop: Hop,
        url: &str,
        form: &[u8],
        budget: Budget,
    ) -> (Result<TokenResponse, TokenExchangeError>, Option<Seen>) {
        let mut seen = None;
        let mut pauses = PAUSES.into_iter();
        loop {
            if let Err(error) = self.rest(hop, budget).await {
                return (Err(error), seen);
            }
            let (result, again) = match self.once(hop, url, form, budget).await {
                Ok(answer) => {
                    seen = Some(Seen { status: answer.status, date: answer.date });
                    let busy = answer.status == 429 && answer.retry_after.is_some();
                    (self.read(hop, &answer), busy || answer.status >= 500)
                }
                Err(error) => {
                    let again = matches!(error, HttpError::NotConnected | HttpError::Interrupted);
                    (Err(self.failed(hop, error)), again)
                }
            };
            let error = match result {
                Err(error) if again => error,
                result => return (result, seen),
            };
            let Some(pause) = pauses.next() else { return (Err(error), seen) };
            let pause = error.retry_after().unwrap_or(pause);
            if pause >= budget.left() {
                return (Err(error), seen);
            }
            tracing::debug!(%hop, code = error.code(), status = error.status(), ?pause, "token request tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One try, for what must not be sent twice or has rules of its own for trying again. The answer may be a refusal.
    #[cfg(feature = "delegated")]
    pub(crate) async fn post_once(
        &self,
        hop: Hop,
        url: &str,
        form: &[u8],
        budget: Budget,
    ) -> Result<Answer, TokenExchangeError> {
        self.once(hop, url, form, budget).await.map_err(|error| self.failed(hop, error))
    }

    async fn once(&self, hop: Hop, url: &str, form: &[u8], budget: Budget) -> Result<Answer, HttpError> {
        let timeout = budget.left().min(ONE_TRY);
        if timeout.is_zero() {
            return Err(HttpError::TimedOut);
        }
        let started = Instant::now();
        let plain = |text: &str| Zeroizing::new(text.to_owned());
        let answer = self
            .http
            .send(Request {
                method: Method::Post,
                url,
                headers: vec![
                    ("client-request-id", Zeroizing::new(budget.id.hyphenated().to_string())),
                    ("x-client-sku", plain("entrabot")),
                    ("x-client-ver", plain(env!("CARGO_PKG_VERSION"))),
                ],
                body: Some(("application/x-www-form-urlencoded", Zeroizing::new(form.to_vec()))),
                timeout,
                max_body: MAX_BODY,
            })
            .await;
        tracing::debug!(
            %hop,
            status = answer.as_ref().ok().map(|answer| answer.status),
            elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            request_id = %budget.id,
            "token request"
        );
        answer
    }

    pub(crate) fn read(&self, hop: Hop, answer: &Answer) -> Result<TokenResponse, TokenExchangeError> {
        let result = parse_token_response(hop, answer.status, answer.retry_after, &answer.body);
        result.map_err(|error| {
            let error = error.with(|facts| facts.host = Some(Arc::clone(&self.host)));
            if let Some(wait) = error.retry_after() {
                self.resting.begin(wait, error.clone());
            }
            error
        })
    }

    /// No request before the service's own `Retry-After` is over; an error when that is after the budget.
    async fn rest(&self, hop: Hop, budget: Budget) -> Result<(), TokenExchangeError> {
        self.resting.over(|| budget.left()).await.map_err(|(left, error)| {
            error.with(|facts| {
                facts.hop = hop;
                facts.retry_after = Some(left);
            })
        })
    }

    fn failed(&self, hop: Hop, error: HttpError) -> TokenExchangeError {
        let (code, detail) = match error {
            HttpError::TimedOut => ("timed_out", None),
            HttpError::Tls(detail) => ("tls_failed", Some(detail)),
            HttpError::NotConnected | HttpError::Interrupted => ("connection_failed", None),
            HttpError::TooLarge => ("non_json_response", None),
            HttpError::Setup(detail) => ("connection_failed", Some(detail)),
        };
        TokenExchangeError::new(hop, code).with(|facts| {
            facts.host = Some(Arc::clone(&self.host));
            facts.detail = detail;
        })
    }
}

/// What is worth knowing of an answer beside its content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) date: Option<std::time::SystemTime>,
}
