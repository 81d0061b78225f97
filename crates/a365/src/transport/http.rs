//! The HTTPS client. The only module that names `reqwest`, and a child of the transport, so that nothing else can
//! reach it: no redirects, no proxy but ours, no compression, a deadline on every wait.

use std::error::Error;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entrabot_identity::{AccessToken, Egress, TlsFault};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::failure::{Again, Failure};
use crate::error::CallFailure;
use crate::{A365Error, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that nobody uses is kept. The pool looks that often, so some live twice as long.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// For the head of an answer, and between two of its bytes.
const IDLE: Duration = Duration::from_secs(15);

/// A pooled client.
pub(super) struct HttpClient {
    client: reqwest::Client,
}

/// The headers of the MCP revisions.
#[derive(Default)]
pub(super) struct ProtocolHeaders {
    pub(super) revision: Option<&'static str>,
    pub(super) session: Option<String>,
    pub(super) method: Option<&'static str>,
    pub(super) name: Option<String>,
}

/// The head of an answer, and its body still on the way.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The media type without parameters, in lower case; `None` where it is missing or no plain word.
    pub(super) media_type: Option<String>,
    /// Compressed, although that was not asked for.
    pub(super) encoded: bool,
    pub(super) length: Option<u64>,
    pub(super) retry_after: Option<Duration>,
    pub(super) challenge: Option<String>,
    pub(super) session: Option<String>,
    /// The host that a redirect points to.
    pub(super) location: Option<String>,
    response: reqwest::Response,
}

impl HttpClient {
    pub(super) fn new(egress: &Egress) -> Result<Self, A365Error> {
        let setup = |reason: &'static str| A365Error::Setup { reason: reason.into() };
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .https_only(true)
            .http1_only()
            .tcp_nodelay(true)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .user_agent(concat!("entrabot/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = egress.additional_roots_pem() {
            let roots = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|_| setup("ENTRABOT_CA_BUNDLE holds no usable certificate"))?;
            builder = builder.tls_certs_merge(roots);
        }
        if let Some(url) = egress.proxy() {
            let proxy = reqwest::Proxy::all(url)
                .map_err(|_| setup("ENTRABOT_PROXY is no usable URL"))?
                .no_proxy(reqwest::NoProxy::from_string("localhost,127.0.0.0/8,::1"));
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|_| setup("the system's trusted roots cannot be read"))?;
        Ok(Self { client })
    }

    /// Sends one request and gives the head of its answer. The one place where a bearer is attached: to a request
    /// to an endpoint of the token's own resource.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        token: &AccessToken,
        protocol: &ProtocolHeaders,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let Some(bearer) = token.expose_for(endpoint.resource()) else {
            return Err(Failure::before_sending(CallFailure::Protocol {
                rule: "the token is for another resource".into(),
            }));
        };
        let headers = headers(bearer, protocol).ok_or_else(|| {
            Failure::before_sending(CallFailure::Protocol { rule: "a header value is not printable".into() })
        })?;
        let request = self.client.post(endpoint.url().clone()).headers(headers).body(body);
        let until = deadline.min(Instant::now() + IDLE);
        match timeout_at(until, request.send()).await {
            Ok(Ok(response)) => Ok(Answer::read(response)),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Failure::after_sending(CallFailure::Timeout {
                waiting_for: "the answer",
                seconds: IDLE.as_secs(),
            })),
        }
    }
}

impl Answer {
    fn read(response: reqwest::Response) -> Self {
        let headers = response.headers();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let encoded = headers.get_all(header::CONTENT_ENCODING).iter().any(|value| value != "identity");
        Self {
            status: response.status().as_u16(),
            media_type: text(header::CONTENT_TYPE).and_then(media_type),
            encoded,
            length: response.content_length(),
            retry_after: text(header::RETRY_AFTER).and_then(retry_after),
            challenge: text(header::WWW_AUTHENTICATE).map(str::to_owned),
            session: text(HeaderName::from_static("mcp-session-id"))
                .filter(|id| (1..=512).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
                .map(str::to_owned),
            location: text(header::LOCATION).and_then(|to| host_of(to, response.url())),
            response,
        }
    }

    /// The next bytes of the body, within the deadline and not longer than 15 s after the last ones.
    pub(super) async fn chunk(
        &mut self,
        deadline: Instant,
        total: Duration,
    ) -> Result<Option<Bytes>, Failure> {
        let until = deadline.min(Instant::now() + IDLE);
        match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) if until == deadline => Err(Failure::after_sending(CallFailure::Timeout {
                waiting_for: "the end of the answer",
                seconds: total.as_secs(),
            })),
            Err(_) => Err(Failure::after_sending(CallFailure::Timeout {
                waiting_for: "the next byte of the answer",
                seconds: IDLE.as_secs(),
            })),
        }
    }
}

fn headers(bearer: &str, protocol: &ProtocolHeaders) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(10);
    let mut authorization = HeaderValue::from_str(&format!("Bearer {bearer}")).ok()?;
    authorization.set_sensitive(true);
    map.insert(header::AUTHORIZATION, authorization);
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    map.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    map.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(revision) = protocol.revision {
        map.insert(HeaderName::from_static("mcp-protocol-version"), HeaderValue::from_static(revision));
    }
    if let Some(session) = &protocol.session {
        map.insert(HeaderName::from_static("mcp-session-id"), HeaderValue::from_str(session).ok()?);
    }
    if let Some(method) = protocol.method {
        map.insert(HeaderName::from_static("mcp-method"), HeaderValue::from_static(method));
    }
    if let Some(name) = &protocol.name {
        map.insert(HeaderName::from_static("mcp-name"), HeaderValue::from_str(name).ok()?);
    }
    Some(map)
}

/// `type/subtype` in lower case, where it is plain enough to be shown.
fn media_type(text: &str) -> Option<String> {
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'+' | b'.' | b'_');
    (essence.contains('/') && essence.len() <= 64 && essence.bytes().all(plain)).then_some(essence)
}

/// `Retry-After` in either form (RFC 9110, section 10.2.3); a date in the past means now.
fn retry_after(text: &str) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    Some(httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
}

fn host_of(location: &str, base: &url::Url) -> Option<String> {
    let host = base.join(location).ok()?.host_str()?.to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'[' | b']');
    (host.len() <= 253 && host.bytes().all(plain)).then_some(host)
}

fn classify(error: &reqwest::Error) -> Failure {
    if let Some(fault) = TlsFault::find(error) {
        return Failure::before_sending(CallFailure::Tls { reason: fault.as_str().into() });
    }
    if error.is_connect() {
        let reason = if error.is_timeout() {
            "no connection within 5 s"
        } else if has_message(error, "dns error") {
            "the name could not be resolved"
        } else {
            "the connection was refused or broken"
        };
        let failure = CallFailure::Connect { reason: reason.into() };
        return Failure { again: Again::Safe { after: None }, ..Failure::before_sending(failure) };
    }
    if error.is_builder() {
        return Failure::before_sending(CallFailure::Protocol {
            rule: "the request could not be written".into(),
        });
    }
    if has_message(error, "message head is too large") {
        return Failure::after_sending(CallFailure::TooLarge {
            what: "the answer's head is",
            limit: 64 * 1024,
        });
    }
    Failure { again: Again::IfRead { after: None }, ..Failure::after_sending(CallFailure::Disconnected) }
}

fn has_message(error: &reqwest::Error, words: &str) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.to_string().contains(words) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nothing_else() {
        assert_eq!(retry_after("1"), Some(Duration::from_secs(1)));
        assert_eq!(retry_after("3600"), Some(Duration::from_secs(3600)));
        assert!(retry_after("99999999999999999999").is_some_and(|wait| wait.as_secs() > 3600));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        for garbage in ["", "-1", "soon", "1.5", "1 s"] {
            assert_eq!(retry_after(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn only_plain_media_types_and_hosts_are_shown() {
        assert_eq!(media_type("Application/JSON; charset=utf-8").as_deref(), Some("application/json"));
        assert_eq!(media_type("text/html\u{7}<script>"), None);
        let base = url::Url::parse("https://a.example/x").unwrap();
        assert_eq!(host_of("https://evil.example/?token=1", &base).as_deref(), Some("evil.example"));
        assert_eq!(host_of("/y", &base).as_deref(), Some("a.example"));
    }
}
