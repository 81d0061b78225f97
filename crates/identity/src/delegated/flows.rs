//! The three grants, written and driven by the `oauth2` crate over our own HTTP client.
//!
//! No token and no text of an answer passes through that crate, whose errors keep whole bodies: our own parser reads
//! each answer, keeps what was granted, and gives the crate an answer of ours that says only "granted" or the error's
//! code. That is all it needs to go on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oauth2::basic::BasicClient;
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, CsrfToken, DeviceAuthorizationUrl, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    Scope, StandardDeviceAuthorizationResponse, TokenUrl,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{DelegatedError, DeviceCodePrompt, SignInPrompt};
use crate::tokens::http::Answer;
use crate::tokens::{Budget, TokenEndpoint, strict_json};
use crate::{ClientId, Hop, TenantId, TokenExchangeError, TokenResponse};

/// What makes Entra give an id token and a refresh token, in the order that msal asks for them.
const OPENID: [&str; 2] = ["openid", "profile"];
/// Longest that a device code is waited for, whatever the service says.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Waits between two polls, in seconds.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=60;

/// Boxed: the crate's own futures borrow in ways that hide from callers that they may change threads.
type Flow<'a> = Pin<Box<dyn Future<Output = Result<TokenResponse, DelegatedError>> + Send + 'a>>;

/// One request of the crate's, on its way.
type ToEndpoint = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send>>;

type Oauth = BasicClient<EndpointSet, EndpointSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The app's side of the grants.
pub(super) struct Flows {
    oauth: Oauth,
    endpoint: Arc<TokenEndpoint>,
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A sign-in in the browser that waits for its answer.
pub(super) struct Authorization {
    pub(super) url: String,
    pub(super) state: Zeroizing<String>,
    pub(super) nonce: String,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
}

impl Flows {
    pub(super) fn new(endpoint: Arc<TokenEndpoint>, tenant: &TenantId, client: &ClientId) -> Self {
        const SOUND: &str = "a base, a tenant and a fixed path are a URL";
        let oauth = BasicClient::new(oauth2::ClientId::new(client.as_str().to_owned()))
            .set_auth_uri(AuthUrl::new(endpoint.sibling(tenant, "authorize")).expect(SOUND))
            .set_device_authorization_url(
                DeviceAuthorizationUrl::new(endpoint.sibling(tenant, "devicecode")).expect(SOUND),
            )
            .set_token_uri(TokenUrl::new(endpoint.url(tenant)).expect(SOUND));
        Self { oauth, endpoint }
    }

    /// RFC 6749, section 4.1.1, with PKCE (RFC 7636) and a nonce.
    pub(super) fn authorize(&self, scopes: &[String], port: u16) -> Authorization {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let nonce = CsrfToken::new_random_len(32).into_secret();
        let redirect = RedirectUrl::new(format!("http://localhost:{port}")).expect("a port makes a URL");
        let (url, state) = self
            .oauth
            .authorize_url(CsrfToken::new_random)
            .add_scopes(asked(scopes))
            .set_pkce_challenge(challenge)
            .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect))
            .add_extra_param("nonce", nonce.as_str())
            .url();
        Authorization {
            url: url.into(),
            state: Zeroizing::new(state.into_secret()),
            nonce,
            verifier,
            redirect,
        }
    }

    /// RFC 6749, section 4.1.3. Sent once: a code that is redeemed twice may cost what it was redeemed for.
    pub(super) fn redeem<'a>(
        &'a self,
        authorization: Authorization,
        code: &'a str,
        scopes: &'a [String],
    ) -> Flow<'a> {
        Box::pin(async move {
            let granted = Arc::new(Granted::default());
            let door = self.door(&granted, Tries::One);
            let request = self
                .oauth
                .exchange_code(AuthorizationCode::new(code.to_owned()))
                .set_pkce_verifier(authorization.verifier)
                .set_redirect_uri(std::borrow::Cow::Owned(authorization.redirect))
                .add_extra_param("scope", scope_text(scopes));
            // What the crate makes of the answer is ours, and says less than `granted`.
            drop(request.request_async(&door).await);
            granted.take()
        })
    }

    /// RFC 6749, section 6.
    pub(super) fn refresh<'a>(&'a self, refresh_token: &'a str, scopes: &'a [String]) -> Flow<'a> {
        Box::pin(async move {
            let granted = Arc::new(Granted::default());
            let door = self.door(&granted, Tries::Usual);
            let token = RefreshToken::new(refresh_token.to_owned());
            let request = self.oauth.exchange_refresh_token(&token).add_scopes(asked(scopes));
            drop(request.request_async(&door).await);
            granted.take()
        })
    }

    /// RFC 8628: asks for a code, shows it, and polls until it was entered.
    pub(super) fn device<'a>(&'a self, scopes: &'a [String], prompt: &'a dyn SignInPrompt) -> Flow<'a> {
        Box::pin(async move {
            let door = DeviceDoor { endpoint: Arc::clone(&self.endpoint), started: Arc::default() };
            let details = self.begin_device(scopes, &door).await;
            let shown = door.started.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (Some(shown), Some(details)) = (shown.transpose()?, details) else {
                return Err(aborted().into());
            };
            prompt.show_device_code(&shown);
            let granted = Arc::new(Granted::default());
            let door = self.door(&granted, Tries::Polling);
            let within = shown.expires_in;
            let polling = self.poll(&details, &door, within);
            // The crate counts by the wall clock, which may be set back.
            if tokio::time::timeout(within + Duration::from_secs(60), polling).await.is_err() {
                return Err(DelegatedError::TimedOut { within });
            }
            match granted.take() {
                Err(DelegatedError::Exchange(error)) => Err(match error.code() {
                    "authorization_pending" | "slow_down" | "expired_token" | "code_expired" => {
                        DelegatedError::TimedOut { within }
                    }
                    "authorization_declined" | "access_denied" => DelegatedError::Cancelled,
                    _ => error.into(),
                }),
                other => other,
            }
        })
    }

    /// Not `async` itself: the compiler cannot follow the crate's future through another one.
    fn poll<'a>(
        &'a self,
        details: &'a StandardDeviceAuthorizationResponse,
        door: &'a Door,
        within: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let polling = self.oauth.exchange_device_access_token(details);
        let polling = polling.request_async(door, tokio::time::sleep, Some(within));
        // What the crate makes of the answers says less than what `door` kept.
        Box::pin(async move { drop(polling.await) })
    }

    fn begin_device<'a>(
        &'a self,
        scopes: &[String],
        door: &'a DeviceDoor,
    ) -> Pin<Box<dyn Future<Output = Option<StandardDeviceAuthorizationResponse>> + Send + 'a>> {
        let request = self.oauth.exchange_device_code().add_scopes(asked(scopes)).request_async(door);
        Box::pin(async move { request.await.ok() })
    }

    fn door(&self, granted: &Arc<Granted>, tries: Tries) -> Door {
        Door { endpoint: Arc::clone(&self.endpoint), granted: Arc::clone(granted), tries }
    }
}

/// The crate's way to the token endpoint.
struct Door {
    endpoint: Arc<TokenEndpoint>,
    granted: Arc<Granted>,
    tries: Tries,
}

impl AsyncHttpClient<'_> for Door {
    type Error = NoAnswer;
    type Future = ToEndpoint;

    fn call(&self, request: HttpRequest) -> ToEndpoint {
        let (endpoint, granted, tries) = (Arc::clone(&self.endpoint), Arc::clone(&self.granted), self.tries);
        Box::pin(async move {
            let (url, form) = split(request);
            let result = match tries {
                Tries::Usual => endpoint.post_form(Hop::Person, &url, &form, Budget::start()).await.0,
                Tries::One | Tries::Polling => {
                    let answer = endpoint.post_once(Hop::Person, &url, &form, Budget::start()).await;
                    answer.and_then(|answer| endpoint.read(Hop::Person, &answer))
                }
            };
            let seen = match &result {
                Ok(_) => Ok(answer_of(200, &json!({"access_token": "-", "token_type": "bearer"}))),
                // Polling goes on, more slowly, when the answer is lost or the service is busy.
                Err(error) if tries == Tries::Polling && may_pass(error) => Err(NoAnswer),
                Err(error) => Ok(answer_of(400, &json!({"error": error.code()}))),
            };
            granted.keep(result);
            seen
        })
    }
}

/// The crate's way to the endpoint that gives device codes.
struct DeviceDoor {
    endpoint: Arc<TokenEndpoint>,
    started: Arc<Mutex<Option<Result<DeviceCodePrompt, TokenExchangeError>>>>,
}

impl AsyncHttpClient<'_> for DeviceDoor {
    type Error = NoAnswer;
    type Future = ToEndpoint;

    fn call(&self, request: HttpRequest) -> ToEndpoint {
        let (endpoint, started) = (Arc::clone(&self.endpoint), Arc::clone(&self.started));
        Box::pin(async move {
            let (url, form) = split(request);
            let answer = endpoint.post_once(Hop::Person, &url, &form, Budget::start()).await;
            let read = answer.and_then(|answer| read_device(&endpoint, &answer));
            let seen = match &read {
                Ok((prompt, device_code)) => Ok(answer_of(
                    200,
                    &json!({
                        "device_code": device_code.as_str(), "user_code": prompt.user_code,
                        "verification_uri": prompt.verification_uri,
                        "expires_in": prompt.expires_in.as_secs(), "interval": prompt.interval.as_secs(),
                    }),
                )),
                Err(_) => Err(NoAnswer),
            };
            let prompt = read.map(|(prompt, _)| prompt);
            *started.lock().unwrap_or_else(PoisonError::into_inner) = Some(prompt);
            seen
        })
    }
}

/// RFC 8628, section 3.2: what is shown is plain and bounded, and leads to an https page.
fn read_device(
    endpoint: &TokenEndpoint,
    answer: &Answer,
) -> Result<(DeviceCodePrompt, Zeroizing<String>), TokenExchangeError> {
    if answer.status != 200 {
        // An error has the form that the token endpoint's have.
        return match endpoint.read(Hop::Person, answer) {
            Err(error) => Err(error),
            Ok(_) => Err(TokenExchangeError::new(Hop::Person, "unexpected_status")),
        };
    }
    let malformed = || TokenExchangeError::new(Hop::Person, "malformed_device_code");
    let mut object = strict_json::object(&answer.body).map_err(|_| malformed())?;
    let mut take = |name: &str| match object.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => Ok(Zeroizing::new(text)),
        _ => Err(malformed()),
    };
    let (device_code, user_code) = (take("device_code")?, take("user_code")?);
    let verification_uri = take("verification_uri")?;
    let plain = |text: &str, longest| {
        !text.is_empty() && text.len() <= longest && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if !plain(&device_code, 8 * 1024)
        || !plain(&user_code, 64)
        || !plain(&verification_uri, 512)
        || !verification_uri.starts_with("https://")
    {
        return Err(malformed());
    }
    let seconds = |name: &str| object.get(name).and_then(Value::as_u64);
    let expires_in = Duration::from_secs(seconds("expires_in").ok_or_else(malformed)?).min(LONGEST);
    let interval = seconds("interval").unwrap_or(5).clamp(*INTERVALS.start(), *INTERVALS.end());
    let prompt = DeviceCodePrompt {
        verification_uri: verification_uri.to_string(),
        user_code: user_code.to_string(),
        expires_in,
        interval: Duration::from_secs(interval),
    };
    Ok((prompt, device_code))
}

/// How often a request may be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tries {
    /// Once.
    One,
    /// As every token request.
    Usual,
    /// Again and again, at the pace of RFC 8628.
    Polling,
}

/// Whether the same poll may well succeed later.
fn may_pass(error: &TokenExchangeError) -> bool {
    matches!(error.code(), "connection_failed" | "timed_out" | "temporarily_unavailable" | "server_error")
        || error.status().is_some_and(|status| status == 429 || status >= 500)
}

/// What came of the last request.
#[derive(Default)]
struct Granted(Mutex<Option<Result<TokenResponse, TokenExchangeError>>>);

impl Granted {
    fn keep(&self, result: Result<TokenResponse, TokenExchangeError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
    fn take(&self) -> Result<TokenResponse, DelegatedError> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(last.unwrap_or(Err(aborted()))?)
    }
}

/// There was no answer to look at. The reason is kept beside the crate.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

fn aborted() -> TokenExchangeError {
    TokenExchangeError::new(Hop::Person, "aborted")
}

fn split(request: HttpRequest) -> (String, Zeroizing<Vec<u8>>) {
    let (head, form) = request.into_parts();
    (head.uri.to_string(), Zeroizing::new(form))
}

fn answer_of(status: u16, body: &Value) -> HttpResponse {
    let mut answer = HttpResponse::new(body.to_string().into_bytes());
    *answer.status_mut() = oauth2::http::StatusCode::from_u16(status).expect("200 and 400 are statuses");
    answer
}

fn asked(scopes: &[String]) -> impl Iterator<Item = Scope> {
    scopes.iter().map(String::as_str).chain(OPENID).map(|scope| Scope::new(scope.to_owned()))
}

fn scope_text(scopes: &[String]) -> String {
    asked(scopes).map(|scope| scope.to_string()).collect::<Vec<_>>().join(" ")
}
