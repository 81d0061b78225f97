//! Where a token may go. An [`Endpoint`] exists only for an address that passed the allowlist.

use std::borrow::Cow;

use entrabot_identity::{Config, Resource};
use url::Url;

use crate::{Diagnose, ErrorClass, catalog};

/// Work IQ's own host in the public cloud.
const WORK_IQ_HOST: &str = "agent365.svc.cloud.microsoft";
/// Work IQ's generic server, which has a host, one path and an audience of its own.
const GENERIC_HOST: &str = "workiq.svc.cloud.microsoft";
const GENERIC_PATH: &str = "/mcp";
const MAX_URL_BYTES: usize = 2048;
const MAX_SEGMENT_BYTES: usize = 128;

/// The origins a token may go to: Work IQ's own host, and the operator's base (`ENTRABOT_A365_BASE`, or the one of
/// `ENTRABOT_CLOUD`). A manifest never adds to it.
#[derive(Clone, Debug)]
pub struct EgressAllowlist {
    operator: Option<OperatorBase>,
}

#[derive(Clone, Debug)]
struct OperatorBase {
    base: Url,
    /// Set by the operator, and not just the built-in default.
    custom: bool,
}

/// A Work IQ server's address and the resource its tokens are for. Only [`EgressAllowlist`] can make one, and a
/// bearer is attached only to a request to an endpoint of the token's own resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    resource: Resource,
}

/// An address that no token may be sent to. Says why; the address itself is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EndpointError {
    reason: &'static str,
}

impl EndpointError {
    const fn new(reason: &'static str) -> Self {
        Self { reason }
    }
}

impl Diagnose for EndpointError {
    fn error_type(&self) -> &'static str {
        "A365ManifestInvalidError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(
            "use https://agent365.svc.cloud.microsoft/agents/servers/NAME, leave `url` out, or set ENTRABOT_A365_BASE \
             for a cloud of your own"
                .into(),
        )
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}

impl EgressAllowlist {
    /// Work IQ's own host alone.
    #[must_use]
    pub fn microsoft() -> Self {
        Self { operator: None }
    }

    /// Work IQ's own host and the base of the settings.
    ///
    /// # Errors
    /// The base is no plain https address.
    pub fn from_config(config: &Config) -> Result<Self, EndpointError> {
        let text = config.a365_base().trim_end_matches('/');
        check_characters(text)?;
        let base = Url::parse(text).map_err(|_| EndpointError::new("the base is not a URL"))?;
        if base.scheme() != "https"
            || !base.has_host()
            || !base.username().is_empty()
            || base.password().is_some()
        {
            return Err(EndpointError::new("the base is not an https address without a user name"));
        }
        Ok(Self { operator: Some(OperatorBase { base, custom: config.a365_base_is_custom() }) })
    }

    /// The endpoint at a URL that a manifest gave.
    ///
    /// On Work IQ's own host the whole form is fixed: `https`, that host spelled out, no port but 443,
    /// `/agents/servers/NAME` or `/agents/tenants/TENANT/servers/NAME`. The generic server is
    /// `https://workiq.svc.cloud.microsoft/mcp`, for tokens of its own audience alone. On the operator's base, its
    /// origin is fixed.
    ///
    /// # Errors
    /// [`EndpointError`] names the rule that is broken. No name is looked up and nothing is sent.
    pub fn endpoint(&self, url: &str, resource: Resource) -> Result<Endpoint, EndpointError> {
        check_characters(url)?;
        let (authority, path) = split(url)?;
        check_path(path)?;
        let parsed = Url::parse(url).map_err(|_| EndpointError::new("is not a URL"))?;
        // Two readers, one verdict: what the URL parser would connect to must be what was checked here.
        if parsed.path() != path || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(EndpointError::new("has a path that can be read in two ways"));
        }
        if self.operator.as_ref().is_some_and(|operator| operator.covers(&parsed)) {
            return Ok(Endpoint { url: parsed, resource });
        }
        if is_generic(authority, path, &resource) && parsed.host_str() == Some(GENERIC_HOST) {
            return Ok(Endpoint { url: parsed, resource });
        }
        check_work_iq_authority(authority)?;
        check_work_iq_path(path)?;
        if parsed.host_str() != Some(WORK_IQ_HOST) || parsed.port().is_some() {
            return Err(EndpointError::new("names a host that is not on the allowlist"));
        }
        Ok(Endpoint { url: parsed, resource })
    }

    /// The endpoint of a server for which a manifest gives no URL: `{base}/{name}`.
    ///
    /// # Errors
    /// The name cannot be a path segment.
    pub fn default_endpoint(&self, server: &str, resource: Resource) -> Result<Endpoint, EndpointError> {
        let url = match &self.operator {
            Some(operator) => format!("{}/{server}", operator.base.as_str().trim_end_matches('/')),
            None => format!("https://{WORK_IQ_HOST}/agents/servers/{server}"),
        };
        self.endpoint(&url, resource)
    }

    /// Whether the operator chose the base: then a manifest found in the current directory may use it too.
    pub(crate) fn has_custom_base(&self) -> bool {
        self.operator.as_ref().is_some_and(|operator| operator.custom)
    }
}

impl OperatorBase {
    fn covers(&self, url: &Url) -> bool {
        url.scheme() == "https"
            && url.host() == self.base.host()
            && url.port_or_known_default() == self.base.port_or_known_default()
    }
}

impl Endpoint {
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
    /// The host, with its port where it is not 443: for messages.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
    /// What its tokens are for.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
    /// Whether it is of the form that names the tenant.
    #[must_use]
    pub fn names_tenant(&self) -> bool {
        self.url.path().contains("/tenants/")
    }
}

fn check_characters(url: &str) -> Result<(), EndpointError> {
    if url.len() > MAX_URL_BYTES {
        return Err(EndpointError::new("is longer than 2048 bytes"));
    }
    for byte in url.bytes() {
        match byte {
            b'\\' => return Err(EndpointError::new("holds a backslash")),
            b'%' => return Err(EndpointError::new("holds a percent-encoded character")),
            b'?' => return Err(EndpointError::new("has a query")),
            b'#' => return Err(EndpointError::new("has a fragment")),
            b'@' => return Err(EndpointError::new("holds a user name")),
            0x21..=0x7e => {}
            0x80.. => return Err(EndpointError::new("holds characters outside ASCII")),
            _ => return Err(EndpointError::new("holds a space or control character")),
        }
    }
    Ok(())
}

/// Authority and path, by the letters alone.
fn split(url: &str) -> Result<(&str, &str), EndpointError> {
    let rest = match url.get(..8) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https://") => &url[8..],
        _ if url.contains("://") => return Err(EndpointError::new("is not https")),
        _ => return Err(EndpointError::new("is not an absolute https URL")),
    };
    match rest.find('/') {
        Some(0) => Err(EndpointError::new("has no host")),
        Some(at) => Ok(rest.split_at(at)),
        None => Err(EndpointError::new("has no path")),
    }
}

fn check_path(path: &str) -> Result<(), EndpointError> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let mut segments = trimmed.split('/');
    // The path begins with a slash, so the first segment is empty.
    segments.next();
    for segment in segments {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if segment.is_empty() || segment.len() > MAX_SEGMENT_BYTES {
            return Err(EndpointError::new("has an empty or overlong path segment"));
        }
        if segment.bytes().all(|b| b == b'.') || !segment.bytes().all(plain) {
            return Err(EndpointError::new("has a path segment that is no plain name"));
        }
    }
    Ok(())
}

fn is_generic(authority: &str, path: &str, resource: &Resource) -> bool {
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let scope = resource.scope();
    let audience = scope.strip_prefix("api://").unwrap_or(scope).split('/').next().unwrap_or_default();
    host.eq_ignore_ascii_case(GENERIC_HOST)
        && path.strip_suffix('/').unwrap_or(path) == GENERIC_PATH
        && audience.eq_ignore_ascii_case(catalog::GENERIC_AUDIENCE)
}

fn check_work_iq_authority(authority: &str) -> Result<(), EndpointError> {
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    if host.eq_ignore_ascii_case(WORK_IQ_HOST) {
        return Ok(());
    }
    if host.contains(':') || host.starts_with('[') {
        return Err(EndpointError::new("has a port or is an IP address"));
    }
    Err(EndpointError::new("names a host that is not on the allowlist"))
}

/// `/agents/(tenants/TENANT/)?servers/NAME/?`
fn check_work_iq_path(path: &str) -> Result<(), EndpointError> {
    const WRONG: EndpointError =
        EndpointError::new("is not /agents/servers/NAME or /agents/tenants/TENANT/servers/NAME");
    let rest = path.strip_prefix("/agents/").ok_or(WRONG)?;
    let rest = match rest.strip_prefix("tenants/") {
        Some(rest) => {
            let (tenant, rest) = rest.split_once('/').ok_or(WRONG)?;
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
            if tenant.len() != 36 || !tenant.bytes().all(hex) {
                return Err(EndpointError::new("names a tenant that is no lower-case GUID"));
            }
            rest
        }
        None => rest,
    };
    let name = rest.strip_prefix("servers/").ok_or(WRONG)?;
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(WRONG);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource() -> Resource {
        Resource::from_scope("ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default").unwrap()
    }

    fn operator(base: &str) -> EgressAllowlist {
        EgressAllowlist { operator: Some(OperatorBase { base: Url::parse(base).unwrap(), custom: true }) }
    }

    #[test]
    fn the_three_forms_of_work_iq_are_accepted() {
        let allowlist = EgressAllowlist::microsoft();
        for url in [
            "https://agent365.svc.cloud.microsoft/agents/servers/mcp_WordServer",
            "https://agent365.svc.cloud.microsoft/agents/servers/mcp_WordServer/",
            "https://agent365.svc.cloud.microsoft:443/agents/servers/mcp_WordServer",
            "HTTPS://Agent365.svc.cloud.microsoft/agents/servers/mcp_WordServer",
            "https://agent365.svc.cloud.microsoft/agents/tenants/0f6e5d4c-1111-2222-3333-444455556666/servers/mcp_X",
        ] {
            assert!(allowlist.endpoint(url, resource()).is_ok(), "{url}");
        }
        let endpoint = allowlist.default_endpoint("mcp_WordServer", resource()).unwrap();
        assert_eq!(
            endpoint.url().as_str(),
            "https://agent365.svc.cloud.microsoft/agents/servers/mcp_WordServer"
        );
    }

    /// Case 40 of docs/hostile-cases.md, in full; the same list goes through the binary in a manifest.
    #[test]
    fn no_trick_sends_a_token_elsewhere() {
        let listed: Vec<String> = serde_json::from_str(include_str!("../tests/refused_urls.json")).unwrap();
        assert!(listed.len() > 60);
        let good = format!("https://{WORK_IQ_HOST}/agents/servers/");
        let overlong =
            [String::new(), format!("{good}{}", "x".repeat(129)), format!("{good}{}", "x/".repeat(2000))];
        for url in listed.into_iter().chain(overlong) {
            assert!(EgressAllowlist::microsoft().endpoint(&url, resource()).is_err(), "{url:?}");
        }
    }

    #[test]
    fn the_generic_server_gets_tokens_of_its_own_audience_alone() {
        let allowlist = EgressAllowlist::microsoft();
        let own = || Resource::from_scope("fdcc1f02-fc51-4226-8753-f668596af7f7/.default").unwrap();
        assert!(allowlist.endpoint("https://workiq.svc.cloud.microsoft/mcp", own()).is_ok());
        assert!(allowlist.endpoint("https://workiq.svc.cloud.microsoft/mcp", resource()).is_err());
        for url in [
            "https://workiq.svc.cloud.microsoft/agents/servers/x",
            "https://workiq.svc.cloud.microsoft/mcp/x",
            "https://workiq.svc.cloud.microsoft:8443/mcp",
            "https://workiq.svc.cloud.microsoft.evil.example/mcp",
            "https://agent365.svc.cloud.microsoft/mcp",
        ] {
            assert!(allowlist.endpoint(url, own()).is_err(), "{url}");
        }
    }

    #[test]
    fn the_operators_base_covers_its_origin_and_no_other() {
        let allowlist = operator("https://localhost:8443/agents/servers");
        let endpoint = allowlist.default_endpoint("mcp_WordServer", resource()).unwrap();
        assert_eq!(endpoint.url().as_str(), "https://localhost:8443/agents/servers/mcp_WordServer");
        assert_eq!(endpoint.host(), "localhost:8443");
        assert!(allowlist.endpoint("https://localhost:8443/x/y", resource()).is_ok());
        for url in [
            "http://localhost:8443/x",
            "https://localhost/x",
            "https://localhost:8444/x",
            "https://127.0.0.1:8443/x",
            "https://u@localhost:8443/x",
            "https://localhost:8443/x?q",
            "https://localhost:8443/../x",
            "https://localhost:8443//x",
            "https://localhost.:8443/x",
            "https://localhost:8443.evil.example/x",
        ] {
            assert!(allowlist.endpoint(url, resource()).is_err(), "{url}");
        }
        // Microsoft's own stays reachable beside it.
        assert!(
            allowlist
                .endpoint("https://agent365.svc.cloud.microsoft/agents/servers/mcp_X", resource())
                .is_ok()
        );
    }

    #[test]
    fn a_refused_address_is_not_repeated() {
        let error =
            EgressAllowlist::microsoft().endpoint("https://PLANTED.example/x", resource()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("PLANTED"));
    }

    proptest! {
        #[test]
        fn whatever_passes_goes_to_the_allowed_host(url in "(https?://)?[a-z0-9.@:/\\\\%#?\\[\\]-]{0,60}(agent365\\.svc\\.cloud\\.microsoft)?[a-z.:@/]{0,12}(/agents/servers/x)?") {
            if let Ok(endpoint) = EgressAllowlist::microsoft().endpoint(&url, resource()) {
                prop_assert_eq!(endpoint.url().scheme(), "https");
                prop_assert_eq!(endpoint.url().host_str(), Some(WORK_IQ_HOST));
                prop_assert_eq!(endpoint.url().port_or_known_default(), Some(443));
                prop_assert!(endpoint.url().path().starts_with("/agents/"));
            }
        }
    }
}
