//! Whether a base can be reached, step by step: its name, a connection, TLS and an HTTP answer. No token is sent.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout_at;

use super::Egress;
use super::check::skew;
use super::http::{Http, HttpError, Method, Request};
use crate::{BaseUrl, Diagnose, ErrorClass};

/// A discovery document is some KiB.
const MAX_BODY: usize = 1 << 20;

/// A base that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// Any status will do: the right host answered over TLS.
    pub status: u16,
    /// From the first step to the answer.
    pub elapsed: Duration,
    /// The server's clock minus ours, in seconds, when it told its time.
    pub clock_skew_seconds: Option<i64>,
    /// Through `ENTRABOT_PROXY`.
    pub through_proxy: bool,
}

/// The step at which it ended.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{host}: {step}")]
pub struct ReachError {
    host: String,
    step: Step,
    through_proxy: bool,
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Step {
    #[error("the name cannot be resolved")]
    Name,
    #[error("the name was not resolved in time")]
    NameTimedOut,
    #[error("the connection is refused")]
    Refused,
    #[error("no connection can be made")]
    Connect,
    #[error("no connection in time")]
    ConnectTimedOut,
    #[error("{0}")]
    Tls(&'static str),
    #[error("connected, but no answer over TLS in time")]
    AnswerTimedOut,
    #[error("connected, but what answers breaks off")]
    Answer,
    #[error("{0}")]
    Setup(&'static str),
}

/// Looks at `{base}{path}` within a time. A proxy of the settings is what is resolved and connected to.
///
/// # Errors
/// The first step that failed, with its remedy.
pub async fn reach(
    base: &BaseUrl,
    path: &str,
    egress: &Egress,
    longest: Duration,
) -> Result<Reached, ReachError> {
    let started = Instant::now();
    let deadline = tokio::time::Instant::now() + longest;
    let proxy = egress.proxy().filter(|_| !base.is_this_machine());
    let failed = |step| ReachError { host: base.host().to_owned(), step, through_proxy: proxy.is_some() };
    let place = proxy.map_or_else(|| base.host_and_port(), proxy_place);

    let addresses: Vec<SocketAddr> = match timeout_at(deadline, lookup_host(place)).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => return Err(failed(Step::Name)),
        Err(_) => return Err(failed(Step::NameTimedOut)),
    };
    if addresses.is_empty() {
        return Err(failed(Step::Name));
    }
    match timeout_at(deadline, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(stream)) => drop(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err(failed(Step::Refused));
        }
        Ok(Err(_)) => return Err(failed(Step::Connect)),
        Err(_) => return Err(failed(Step::ConnectTimedOut)),
    }
    // The client that every other request goes through, with its roots and its proxy.
    let request = Request {
        method: Method::Get,
        url: &format!("{base}{path}"),
        headers: Vec::new(),
        body: None,
        timeout: deadline.saturating_duration_since(tokio::time::Instant::now()),
        max_body: MAX_BODY,
    };
    match Http::new(egress).send(request).await {
        Ok(answer) => Ok(Reached {
            status: answer.status,
            elapsed: started.elapsed(),
            clock_skew_seconds: answer.date.map(skew),
            through_proxy: proxy.is_some(),
        }),
        Err(error) => Err(failed(match error {
            HttpError::TimedOut => Step::AnswerTimedOut,
            HttpError::Tls(fault) => Step::Tls(fault),
            HttpError::Setup(fault) => Step::Setup(fault),
            HttpError::NotConnected | HttpError::Interrupted | HttpError::TooLarge => Step::Answer,
        })),
    }
}

/// `host:port` of a proxy's URL, which the settings have checked.
fn proxy_place(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (has_port, scheme) {
        (true, _) => place.to_owned(),
        (false, "https") => format!("{place}:443"),
        (false, _) => format!("{place}:80"),
    }
}

impl Diagnose for ReachError {
    fn error_type(&self) -> &'static str {
        "NetworkError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        let way = if self.through_proxy { "ENTRABOT_PROXY" } else { "the network, or set ENTRABOT_PROXY" };
        Some(match self.step {
            Step::Name | Step::NameTimedOut if self.through_proxy => "correct the host of ENTRABOT_PROXY".into(),
            Step::Name | Step::NameTimedOut => {
                "check this machine's DNS, and the base in the settings (entrabot config show)".into()
            }
            Step::Refused | Step::Connect | Step::ConnectTimedOut => {
                format!("a firewall may be in between: check {way}").into()
            }
            Step::Tls(_) => {
                "a proxy that opens TLS needs its CA in ENTRABOT_CA_BUNDLE; else the host is not the right one".into()
            }
            Step::AnswerTimedOut | Step::Answer => {
                format!("something in between holds or cuts the connection: check {way}").into()
            }
            Step::Setup(_) => "correct the setting that is named".into(),
        })
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_connected_to_at_its_own_port() {
        for (url, place) in [
            ("http://user:secret@proxy.example:3128", "proxy.example:3128"),
            ("https://proxy.example", "proxy.example:443"),
            ("http://[::1]/", "[::1]:80"),
            ("http://p@ss@proxy.example", "proxy.example:80"),
        ] {
            assert_eq!(proxy_place(url), place);
        }
    }
}
