//! A managed identity: the host's endpoint issues a token for `api://AzureADTokenExchange`, which is the blueprint's
//! federated credential, or for the vault that holds its key.
//!
//! Sources: "Managed identities for Azure resources" (IMDS, App Service) and "Azure Arc-enabled servers: managed
//! identity" in Microsoft's documentation; the order of detection is MSAL's. No proxy, no redirect.

mod arc;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use zeroize::Zeroizing;

use super::FederatedError;
use crate::tokens::http::{Answer, Http, HttpError, Method, Request, encoded};
use crate::tokens::{Bound, Budget, Minted, TokenCache, TokenText, is_code, strict_json};
use crate::{ClientId, Config, TokenError};

const ONE_TRY: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 64 * 1024;
/// Some resources' tokens: the exchange's, a vault's.
const CACHED: Bound = Bound { tokens: 8, bytes: 1 << 20 };
/// Where the address of IMDS is not set otherwise: link-local, so it never leaves the host.
const IMDS: &str = "http://169.254.169.254";
const ARC: &str = "http://localhost:40342/metadata/identity/oauth2/token";

/// The identity endpoint of this host, and the tokens that it gave.
///
/// An endpoint that is being updated (410) may take more than a minute, and no call waits that long: it is asked by a task
/// of its own, which goes on when the callers have left, and whose token the next caller finds.
#[derive(Clone, Debug)]
pub(crate) struct ManagedIdentity {
    endpoint: Arc<Endpoint>,
    cache: TokenCache<Arc<str>>,
}

#[derive(Debug)]
struct Endpoint {
    http: Http,
    host: Host,
    /// User-assigned; the system-assigned one where this is not set.
    client_id: Option<ClientId>,
    pace: Pace,
    /// What the task under way was told last.
    refused: Mutex<Option<FederatedError>>,
}

/// How long is waited, for what.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// A caller: about two further tries.
    in_call: Duration,
    /// Before the further tries.
    pauses: [Duration; 5],
    /// The same after 410: the endpoint is being updated, and asks for at least 70 s.
    gone: [Duration; 5],
}

const PACE: Pace = Pace {
    in_call: Duration::from_secs(10),
    pauses: [
        Duration::from_millis(200),
        Duration::from_millis(1_600),
        Duration::from_millis(3_200),
        Duration::from_millis(6_400),
        Duration::from_millis(12_800),
    ],
    gone: [
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(20),
        Duration::from_secs(40),
    ],
};
/// A longer `Retry-After` ends the task; the next caller asks anew.
const PATIENCE: Duration = Duration::from_secs(120);

enum Host {
    Imds { base: String },
    AppService { endpoint: String, header: Zeroizing<String> },
    Arc { endpoint: String, tokens: PathBuf },
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Host {
    /// By what the host sets, in MSAL's order.
    fn detect(config: &Config) -> Result<Self, FederatedError> {
        let of = |name: &str| config.host_variable(name);
        let unsupported = |host| Err(FederatedError::Unsupported { host });
        match (of("IDENTITY_ENDPOINT"), of("IDENTITY_HEADER"), of("MSI_ENDPOINT")) {
            (Some(_), Some(_), _) if of("IDENTITY_SERVER_THUMBPRINT").is_some() => {
                unsupported("Service Fabric")
            }
            (Some(endpoint), Some(header), _) => Ok(Self::AppService {
                endpoint: address("IDENTITY_ENDPOINT", endpoint)?,
                header: Zeroizing::new(header.to_owned()),
            }),
            (_, _, Some(_)) if of("MSI_SECRET").is_some() => unsupported("Azure Machine Learning"),
            (Some(endpoint), None, _) if of("IMDS_ENDPOINT").is_some() => Ok(Self::Arc {
                endpoint: loopback("IDENTITY_ENDPOINT", endpoint)?,
                tokens: arc::TOKENS.into(),
            }),
            _ if arc::is_installed() => Ok(Self::Arc { endpoint: ARC.into(), tokens: arc::TOKENS.into() }),
            (_, _, Some(_)) => unsupported("Azure Cloud Shell"),
            _ => Ok(Self::Imds {
                base: match of("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
                    Some(base) => {
                        address("AZURE_POD_IDENTITY_AUTHORITY_HOST", base)?.trim_end_matches('/').to_owned()
                    }
                    None => IMDS.into(),
                },
            }),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Imds { .. } => "IMDS",
            Self::AppService { .. } => "App Service",
            Self::Arc { .. } => "Azure Arc",
        }
    }
}

/// An address that the platform set.
fn address(name: &'static str, text: &str) -> Result<String, FederatedError> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#@\\\"<>".contains(&b);
    match rest {
        Some(rest) if !rest.is_empty() && rest.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err(FederatedError::Malformed { name, reason: "it is no http address" }),
    }
}

fn loopback(name: &'static str, text: &str) -> Result<String, FederatedError> {
    let address = address(name, text)?;
    let host = address.split('/').nth(2).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        return Ok(address);
    }
    Err(FederatedError::Malformed { name, reason: "the Azure Arc agent listens on this host alone" })
}

impl ManagedIdentity {
    pub(super) fn from_config(config: &Config) -> Result<Self, FederatedError> {
        let endpoint = Endpoint {
            http: Http::of_this_host(),
            host: Host::detect(config)?,
            client_id: super::client_id(config)?,
            pace: PACE,
            refused: Mutex::default(),
        };
        Ok(Self { endpoint: Arc::new(endpoint), cache: TokenCache::new(CACHED) })
    }

    pub(super) fn host_name(&self) -> &'static str {
        self.endpoint.host.name()
    }

    /// The next one is asked for anew.
    pub(super) fn forget(&self, resource: &str) {
        self.cache.forget(&resource.into());
    }

    /// A token for a resource (without `/.default`). From half of its life on a newer one is fetched beside using it; the
    /// host keeps them too.
    pub(super) async fn token(&self, resource: &str, budget: Budget) -> Result<TokenText, TokenError> {
        let key: Arc<str> = resource.into();
        let asking = self.cache.get(&key, || {
            let (endpoint, resource) = (Arc::clone(&self.endpoint), Arc::clone(&key));
            async move { Ok(endpoint.ask(&resource).await?) }
        });
        match tokio::time::timeout(budget.left().min(self.endpoint.pace.in_call), asking).await {
            Ok(result) => result,
            Err(_) => {
                Err(self.endpoint.refused().unwrap_or_else(|| self.endpoint.error(None, "timed_out")).into())
            }
        }
    }
}

impl Endpoint {
    fn refused(&self) -> Option<FederatedError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, refused: Option<FederatedError>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    async fn ask(&self, resource: &str) -> Result<Minted, FederatedError> {
        let end = Instant::now() + PATIENCE;
        self.note(None);
        let mut tries = 0;
        loop {
            let (error, wait, status) = match self.once(resource).await {
                Ok(answer) if answer.status == 200 => return self.read(&answer),
                Ok(answer) => (self.refusal(&answer), answer.retry_after, Some(answer.status)),
                Err(Asked::Http(error)) => (self.failed(error), None, None),
                Err(Asked::Refused(error)) => return Err(error),
            };
            // 400, 401 and 403 say the same again.
            let again = status.is_none_or(|status| matches!(status, 404 | 408 | 410 | 429) || status >= 500);
            let pauses = if status == Some(410) { self.pace.gone } else { self.pace.pauses };
            let Some(pause) = pauses.get(tries).filter(|_| again) else { return Err(error) };
            let pause = wait.unwrap_or(*pause);
            if Instant::now() + pause >= end {
                return Err(error);
            }
            tries += 1;
            tracing::debug!(host = self.host.name(), status, ?pause, "identity endpoint asked again");
            self.note(Some(error));
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, resource: &str) -> Result<Answer, Asked> {
        let plain = |text: &str| Zeroizing::new(text.to_owned());
        let (url, headers) = match &self.host {
            Host::Imds { base } => {
                let url = format!("{base}/metadata/identity/oauth2/token?api-version=2018-02-01");
                (url, vec![("metadata", plain("true"))])
            }
            Host::AppService { endpoint, header } => {
                (format!("{endpoint}?api-version=2019-08-01"), vec![("x-identity-header", header.clone())])
            }
            Host::Arc { endpoint, .. } => {
                (format!("{endpoint}?api-version=2020-06-01"), vec![("metadata", plain("true"))])
            }
        };
        let answer = self.get(&url, headers.clone(), resource).await?;
        let Host::Arc { tokens, .. } = &self.host else { return Ok(answer) };
        if answer.status != 401 {
            return Ok(answer);
        }
        // The agent proves that the caller may read its files: the one it names, if it is one of its own.
        let key = arc::key(answer.challenge.as_deref(), tokens.clone()).await;
        let key = key.map_err(|code| Asked::Refused(self.error(Some(401), code)))?;
        let mut headers = headers;
        headers.push(("authorization", key));
        self.get(&url, headers, resource).await
    }

    async fn get(
        &self,
        url: &str,
        headers: Vec<(&'static str, Zeroizing<String>)>,
        resource: &str,
    ) -> Result<Answer, Asked> {
        let mut url = format!("{url}&resource={}", encoded(resource));
        if let Some(id) = &self.client_id {
            url.push_str(&format!("&client_id={id}"));
        }
        let request = Request {
            method: Method::Get,
            url: &url,
            headers,
            body: None,
            timeout: ONE_TRY,
            max_body: MAX_BODY,
        };
        self.http.send(request).await.map_err(Asked::Http)
    }

    fn read(&self, answer: &Answer) -> Result<Minted, FederatedError> {
        let malformed = || self.error(Some(200), "malformed_answer");
        let mut object = strict_json::object(&answer.body).map_err(|_| malformed())?;
        let token = match object.get_mut("access_token").map(Value::take) {
            Some(Value::String(token)) => Zeroizing::new(token),
            _ => return Err(malformed()),
        };
        if token.is_empty() || token.len() > MAX_BODY || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed());
        }
        // An agent that does not know the parameter answers for the system's identity.
        if let (Host::Arc { .. }, Some(asked)) = (&self.host, &self.client_id) {
            let echoed = object.get("client_id").and_then(Value::as_str);
            if !echoed.is_some_and(|echoed| echoed.eq_ignore_ascii_case(asked.as_str())) {
                return Err(self.error(Some(200), "other_identity"));
            }
        }
        // Numbers come as text; App Service tells only when it ends.
        let seconds = |name: &str| match object.get(name) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let lifetime =
            seconds("expires_in").or_else(|| seconds("expires_on").map(|end| end.saturating_sub(now)));
        let lifetime = Duration::from_secs(lifetime.ok_or_else(malformed)?.min(24 * 60 * 60));
        let fresh = (lifetime >= Duration::from_secs(7_200)).then(|| lifetime / 2);
        Ok(Minted { text: Arc::new(token), lifetime: Some(lifetime), fresh })
    }

    fn refusal(&self, answer: &Answer) -> FederatedError {
        let object = strict_json::object(&answer.body).unwrap_or_default();
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let description =
            if text("error_description").is_empty() { text("message") } else { text("error_description") };
        let code: Cow<'static, str> = if description.contains("Identity not found") {
            "identity_not_found".into()
        } else if answer.status == 403 && String::from_utf8_lossy(&answer.body).contains("unreachable") {
            "not_the_endpoint".into()
        } else if is_code(text("error")) {
            text("error").to_owned().into()
        } else {
            "refused".into()
        };
        self.error(Some(answer.status), code)
    }

    fn failed(&self, error: HttpError) -> FederatedError {
        let code = match error {
            HttpError::TimedOut => "timed_out",
            HttpError::TooLarge => "malformed_answer",
            HttpError::NotConnected | HttpError::Interrupted | HttpError::Tls(_) | HttpError::Setup(_) => {
                "connection_failed"
            }
        };
        self.error(None, code)
    }

    fn error(&self, status: Option<u16>, code: impl Into<Cow<'static, str>>) -> FederatedError {
        FederatedError::Endpoint { host: self.host.name(), status, code: code.into() }
    }
}

/// Why there is no answer to look at.
enum Asked {
    Http(HttpError),
    /// Not to be asked again.
    Refused(FederatedError),
}

#[cfg(test)]
mod tests;
