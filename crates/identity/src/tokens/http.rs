//! The HTTP client. The only module that names `reqwest`: no redirects, no proxy but ours, bounded answers, a
//! deadline on every request.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::{Egress, TlsFault};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that nobody uses is kept. The pool looks that often, so some live twice as long.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// This host answers at once, or has no such endpoint.
#[cfg(any(feature = "federated", feature = "otlp"))]
const CONNECT_TIMEOUT_HERE: Duration = Duration::from_secs(2);

/// The verbs we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    #[cfg(feature = "provisioning")]
    Patch,
    #[cfg(feature = "provisioning")]
    Delete,
}

/// One request. Headers are marked sensitive; the body is wiped when it has been sent.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(&'a str, Zeroizing<String>)>,
    pub(crate) body: Option<(&'static str, Zeroizing<Vec<u8>>)>,
    pub(crate) timeout: Duration,
    /// An answer with a longer body is [`HttpError::TooLarge`].
    pub(crate) max_body: usize,
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// `WWW-Authenticate`.
    #[cfg(feature = "federated")]
    pub(crate) challenge: Option<String>,
    /// The server's clock.
    pub(crate) date: Option<SystemTime>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer. Carries nothing from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    TimedOut,
    /// The server's certificate, or the TLS handshake, with what to do.
    Tls(&'static str),
    /// No connection was made: nothing was sent.
    NotConnected,
    /// The connection broke after it was made: the request may have arrived.
    Interrupted,
    TooLarge,
    /// The client could not be set up, or the request not be written.
    Setup(&'static str),
}

/// A pooled client, built at its first request.
pub(crate) struct Http {
    way: Way,
    client: OnceLock<Result<reqwest::Client, HttpError>>,
}

/// Where a client's requests may go.
#[derive(Debug)]
enum Way {
    /// Out, over TLS, as the settings say.
    Out(Egress),
    /// To an endpoint of this host, which speaks plain HTTP. Never through a proxy.
    #[cfg(any(feature = "federated", feature = "otlp"))]
    ThisHost,
    /// To a server that stands in for the one of the URL.
    #[cfg(feature = "federated")]
    InItsStead(Stead),
}

/// A server that answers in the place of the URL's: reached at its own address, proven by its own roots alone, under the
/// URL's name.
#[cfg(feature = "federated")]
#[derive(Clone, Debug)]
pub(crate) struct Stead {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) host_header: String,
    pub(crate) roots_pem: Vec<u8>,
}

/// Leads every name to one address.
#[cfg(feature = "federated")]
struct To(String);

#[cfg(feature = "federated")]
impl reqwest::dns::Resolve for To {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let address = self.0.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host(address).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(egress: &Egress) -> Self {
        Self { way: Way::Out(egress.clone()), client: OnceLock::new() }
    }

    /// For an endpoint of the machine that we run on, and nothing else.
    #[cfg(any(feature = "federated", feature = "otlp"))]
    pub(crate) fn of_this_host() -> Self {
        Self { way: Way::ThisHost, client: OnceLock::new() }
    }

    /// To a server in the place of the URL's. Through no proxy of ours.
    #[cfg(feature = "federated")]
    pub(crate) fn in_its_stead(stead: Stead) -> Self {
        Self { way: Way::InItsStead(stead), client: OnceLock::new() }
    }

    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Answer, HttpError> {
        let client = match self.client.get_or_init(|| build(&self.way)) {
            Ok(client) => client,
            Err(error) => return Err(*error),
        };
        let max_body = request.max_body;
        let timeout = request.timeout;
        let built = client
            .request(
                match request.method {
                    Method::Get => reqwest::Method::GET,
                    Method::Post => reqwest::Method::POST,
                    #[cfg(feature = "provisioning")]
                    Method::Patch => reqwest::Method::PATCH,
                    #[cfg(feature = "provisioning")]
                    Method::Delete => reqwest::Method::DELETE,
                },
                request.url,
            )
            .headers(headers(&request)?);
        #[cfg(feature = "federated")]
        let built = match &self.way {
            Way::InItsStead(stead) => built.header(header::HOST, stead.host_header.as_str()),
            _ => built,
        };
        let built = match request.body {
            Some((_, bytes)) => built.body(Bytes::from_owner(Wiped(bytes))),
            None => built,
        };
        // One deadline for connecting, sending and every byte of the answer: a slow drip ends too.
        match tokio::time::timeout(timeout, receive(built, max_body)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::TimedOut),
        }
    }
}

/// Lets `Bytes` own a buffer that wipes itself.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn build(way: &Way) -> Result<reqwest::Client, HttpError> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("entrabot/", env!("CARGO_PKG_VERSION")));
    let builder = match way {
        Way::Out(egress) => out(builder, egress)?,
        // Without roots: it needs none, and a small image may have none.
        #[cfg(any(feature = "federated", feature = "otlp"))]
        Way::ThisHost => builder
            .connect_timeout(CONNECT_TIMEOUT_HERE)
            .tls_certs_only(std::iter::empty::<reqwest::Certificate>()),
        #[cfg(feature = "federated")]
        Way::InItsStead(stead) => {
            let no_roots = HttpError::Setup("the certificate of the proxy's authority cannot be read");
            let roots = reqwest::Certificate::from_pem_bundle(&stead.roots_pem).map_err(|_| no_roots)?;
            if roots.is_empty() {
                return Err(no_roots);
            }
            let to = std::sync::Arc::new(To(stead.address.clone()));
            builder.https_only(true).connect_timeout(CONNECT_TIMEOUT).tls_certs_only(roots).dns_resolver(to)
        }
    };
    builder.build().map_err(|_| {
        HttpError::Setup(
            "the system's trusted roots cannot be read; install ca-certificates or set ENTRABOT_CA_BUNDLE",
        )
    })
}

fn out(builder: reqwest::ClientBuilder, egress: &Egress) -> Result<reqwest::ClientBuilder, HttpError> {
    let mut builder = builder.https_only(true).connect_timeout(CONNECT_TIMEOUT);
    if let Some(pem) = egress.additional_roots_pem() {
        let roots = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|_| HttpError::Setup("ENTRABOT_CA_BUNDLE holds no usable certificate"))?;
        builder = builder.tls_certs_merge(roots);
    }
    if let Some(url) = egress.proxy() {
        let proxy = reqwest::Proxy::all(url)
            .map_err(|_| HttpError::Setup("ENTRABOT_PROXY is no usable URL"))?
            .no_proxy(reqwest::NoProxy::from_string("localhost,127.0.0.0/8,::1,169.254.169.254"));
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}

fn headers(request: &Request<'_>) -> Result<HeaderMap, HttpError> {
    let mut map = HeaderMap::with_capacity(request.headers.len() + 2);
    map.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some((content_type, _)) = &request.body {
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in &request.headers {
        let mut value =
            HeaderValue::from_str(value).map_err(|_| HttpError::Setup("a header value is not printable"))?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| HttpError::Setup("a header's name is none"))?;
        map.insert(name, value);
    }
    Ok(map)
}

async fn receive(request: reqwest::RequestBuilder, max_body: usize) -> Result<Answer, HttpError> {
    let mut response = request.send().await.map_err(|error| classify(&error))?;
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(text).and_then(retry_after);
    #[cfg(feature = "federated")]
    let challenge = response.headers().get(header::WWW_AUTHENTICATE).and_then(text).map(str::to_owned);
    let date = response
        .headers()
        .get(header::DATE)
        .and_then(text)
        .and_then(|text| httpdate::parse_http_date(text).ok());
    let mut body = Zeroizing::new(Vec::with_capacity(8 * 1024));
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > max_body {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after,
        #[cfg(feature = "federated")]
        challenge,
        date,
        body,
    })
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

/// `Retry-After` in either form (RFC 9110, section 10.2.3), at most a day.
fn retry_after(text: &str) -> Option<Duration> {
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        // A date in the past means "now".
        httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(Duration::from_secs(24 * 60 * 60)))
}

fn classify(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        return HttpError::TimedOut;
    }
    if let Some(fault) = TlsFault::find(error) {
        return HttpError::Tls(fault.as_str());
    }
    if error.is_connect() {
        HttpError::NotConnected
    } else if error.is_builder() {
        HttpError::Setup("the request could not be written")
    } else {
        HttpError::Interrupted
    }
}

/// `application/x-www-form-urlencoded`, in a buffer that is wiped and never grows (growing would leave copies).
pub(crate) fn form(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let most: usize = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(most));
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        percent_encode(name, &mut out);
        out.push(b'=');
        percent_encode(value, &mut out);
    }
    out
}

/// Everything but the unreserved characters of RFC 3986.
fn percent_encode(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// One path segment or query value of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = Vec::with_capacity(3 * text.len());
    percent_encode(text, &mut out);
    String::from_utf8(out).expect("percent encoding is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_understood_in_both_forms() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("99999999999999999999999"), Some(Duration::from_secs(86400)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let wait = retry_after(&soon).unwrap();
        assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
        for text in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(text), None, "{text}");
        }
    }

    #[test]
    fn a_form_is_encoded_without_growing() {
        let body = form(&[("scope", "api://x/.default"), ("a", "é &=+")]);
        assert_eq!(body.as_slice(), b"scope=api%3A%2F%2Fx%2F.default&a=%C3%A9%20%26%3D%2B");
    }
}
