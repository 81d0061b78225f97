use std::fmt;

use super::{ConfigError, cloud};

/// The base of a service: `https://host[:port][/path]`, no slash at the end, no user, query or fragment.
///
/// Parsed strictly rather than leniently: what is not plainly such a URL is refused, so that two readers of the
/// same text can never see two hosts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    text: String,
    host_end: usize,
    origin_end: usize,
}

const SCHEME: &str = "https://";

impl BaseUrl {
    pub(crate) fn parse(setting: &str, text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &'static str| Err(ConfigError::malformed(setting, reason));
        let text = text.strip_suffix('/').unwrap_or(text);
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return refuse("not an https URL");
        };
        if rest.contains('@') {
            return refuse("a URL with a user in it");
        }
        if rest.contains(['?', '#']) {
            return refuse("a URL with a query or fragment");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if !is_host(host) {
            return refuse("no host name in it");
        }
        let port_ok = port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if !port_ok {
            return refuse("a port that is no port");
        }
        let path_ok = path.split('/').skip(1).all(|segment| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        });
        if !path_ok {
            return refuse("a path with an empty, relative or encoded segment");
        }
        // The default port is the same origin as none; one spelling keeps comparisons honest.
        let authority = match port {
            Some("443") | None => host.to_ascii_lowercase(),
            Some(port) => format!("{}:{port}", host.to_ascii_lowercase()),
        };
        Ok(Self {
            host_end: SCHEME.len() + host.len(),
            origin_end: SCHEME.len() + authority.len(),
            text: format!("{SCHEME}{authority}{path}"),
        })
    }

    pub(super) fn built_in(text: &'static str) -> Self {
        Self::parse("", text).expect("the built-in bases are well-formed")
    }

    /// The whole, no slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// `https://host[:port]`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.text[..self.origin_end]
    }
    /// The host in lower case, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.text[SCHEME.len()..self.host_end]
    }
    /// What follows the origin: empty, or `/` and segments.
    pub(super) fn path(&self) -> &str {
        &self.text[self.origin_end..]
    }
    /// Whether it is on the usual port.
    pub(super) fn has_usual_port(&self) -> bool {
        self.host_end == self.origin_end
    }
    /// Whether the host is one of Microsoft's own, on the usual port.
    #[must_use]
    pub fn is_microsoft(&self) -> bool {
        self.has_usual_port() && cloud::is_microsoft(self.host())
    }
    /// Whether the host is `localhost` or a loopback address.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        self.host() == "localhost"
            || self.host() == "[::1]"
            || self.host().parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
    /// `host:port`, to connect to.
    #[cfg(feature = "tokens")]
    pub(crate) fn host_and_port(&self) -> String {
        let authority = &self.text[SCHEME.len()..self.origin_end];
        if self.host_end == self.origin_end { format!("{authority}:443") } else { authority.to_owned() }
    }
    /// The same with a plain path after it.
    pub(super) fn with_path(&self, path: &'static str) -> Self {
        Self { text: format!("{}{path}", self.text), ..self.clone() }
    }
    /// The original's default ends in a tenant segment (`/common`), which the hops add themselves.
    pub(super) fn without_tenant(mut self, tenant: Option<&str>) -> Self {
        if let Some(slash) = self.text[self.origin_end..].rfind('/') {
            let last = &self.text[self.origin_end + slash + 1..];
            if ["common", "organizations", "consumers"].contains(&last) || tenant == Some(last) {
                self.text.truncate(self.origin_end + slash);
            }
        }
        self
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_has_one_spelling() {
        let base = BaseUrl::parse("X", "https://LocalHost:8443/agents/servers/").unwrap();
        assert_eq!(base.as_str(), "https://localhost:8443/agents/servers");
        assert_eq!(base.origin(), "https://localhost:8443");
        assert_eq!(base.host(), "localhost");
        assert!(!base.is_microsoft());
        let base = BaseUrl::parse("X", "https://graph.microsoft.com:443").unwrap();
        assert_eq!(base.as_str(), "https://graph.microsoft.com");
        assert!(base.is_microsoft());
        assert!(!BaseUrl::parse("X", "https://graph.microsoft.com:8443").unwrap().is_microsoft());
        assert_eq!(BaseUrl::parse("X", "https://[::1]:8443").unwrap().host(), "[::1]");
    }

    #[test]
    fn what_is_not_plainly_an_https_base_is_refused() {
        for text in [
            "http://localhost",
            "HTTPS://localhost",
            "https://",
            "https:///x",
            "https://user@localhost",
            "https://good.example@evil.example",
            "https://localhost?x",
            "https://localhost#x",
            "https://localhost/a//b",
            "https://localhost/../b",
            "https://localhost/%2e%2e",
            "https://localhost\\@evil",
            "https://local host",
            "https://localhost:0",
            "https://localhost:65536",
            "https://localhost:+1",
            "https://localhost:",
            "https://a..b",
            "https://-a",
            "https://bücher.example",
            "https://[::1",
            "https://::1",
            "https://localhost//",
        ] {
            assert!(BaseUrl::parse("X", text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_originals_authority_loses_its_tenant_segment() {
        let base = |text| BaseUrl::parse("X", text).unwrap();
        assert_eq!(base("https://h.example/common").without_tenant(None).as_str(), "https://h.example");
        assert_eq!(base("https://h.example/t1").without_tenant(Some("t1")).as_str(), "https://h.example");
        assert_eq!(base("https://h.example/t2").without_tenant(Some("t1")).as_str(), "https://h.example/t2");
    }
}
