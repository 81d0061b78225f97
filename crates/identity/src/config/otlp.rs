//! Where OpenTelemetry data goes: the standard's own variables, read as strictly as ours.
//!
//! Source: the OpenTelemetry specification, "OTLP exporter configuration" and "SDK environment variables".

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::read::Raw;
use super::values;
use super::{BaseUrl, ConfigError, Origin};

const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ENTRIES: usize = 64;
/// Headers that the encoding or the transport sets.
const OUR_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpSignal {
    /// `/v1/traces`.
    Traces,
    /// `/v1/metrics`.
    Metrics,
    /// `/v1/logs`.
    Logs,
}

/// How a request is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtlpProtocol {
    /// `http/protobuf`.
    #[default]
    HttpProtobuf,
    /// `http/json`.
    HttpJson,
}

/// The address that takes one signal: `https`, or `http` to this machine. No token of the agent is ever sent there.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpEndpoint {
    url: BaseUrl,
    plain: bool,
}

/// Where one signal goes, and how.
#[derive(Clone)]
pub struct OtlpTarget {
    endpoint: OtlpEndpoint,
    protocol: OtlpProtocol,
    headers: Vec<(String, Zeroizing<String>)>,
    timeout: Duration,
}

/// The `OTEL_*` settings. Empty unless the operator named an endpoint.
#[derive(Clone, Debug, Default)]
pub struct Otlp {
    traces: Option<OtlpTarget>,
    metrics: Option<OtlpTarget>,
    logs: Option<OtlpTarget>,
    resource: Vec<(String, String)>,
    span_delay: Option<Duration>,
    metric_interval: Option<Duration>,
}

impl OtlpEndpoint {
    /// `https://...` to anywhere, `http://...` to `localhost`, `127.0.0.0/8` or `[::1]`; `setting` is for the error.
    ///
    /// # Errors
    /// Anything else, and whatever is not plainly a URL without user, query and fragment.
    pub fn parse(setting: &str, text: &str) -> Result<Self, ConfigError> {
        let Some(rest) = text.strip_prefix("http://") else {
            return Ok(Self { url: BaseUrl::parse(setting, text)?, plain: false });
        };
        // One parser for every address, but without a port `http` means another one than `https`.
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if has_port { "" } else { ":80" };
        let url = BaseUrl::parse(setting, &format!("https://{authority}{port}{path}"))?;
        if authority.ends_with(":443") {
            return Err(ConfigError::malformed(setting, "http at the port of https"));
        }
        if !url.is_this_machine() {
            return Err(ConfigError::malformed(setting, "http to another machine; use https"));
        }
        Ok(Self { url, plain: true })
    }

    /// The base's endpoint for a signal.
    fn of(&self, signal: OtlpSignal) -> Self {
        let path = match signal {
            OtlpSignal::Traces => "/v1/traces",
            OtlpSignal::Metrics => "/v1/metrics",
            OtlpSignal::Logs => "/v1/logs",
        };
        Self { url: self.url.with_path(path), plain: self.plain }
    }

    /// The host, for people. The path may be what a vendor tells its customers by, so it is not shown.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// Whether it is `http`, to this machine.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn url(&self) -> String {
        let rest = &self.url.as_str()["https".len()..];
        format!("{}{rest}", if self.plain { "http" } else { "https" })
    }
}

impl fmt::Debug for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OtlpEndpoint").field(&self.host()).finish()
    }
}

impl OtlpTarget {
    /// An address of the caller's own, with the protocol and the default deadline, and without headers.
    #[must_use]
    pub fn new(endpoint: OtlpEndpoint, protocol: OtlpProtocol) -> Self {
        Self { endpoint, protocol, headers: Vec::new(), timeout: TIMEOUT }
    }

    /// The same target at another address: its headers are secrets of the old one, so they are left behind.
    #[must_use]
    pub fn at(&self, endpoint: OtlpEndpoint) -> Self {
        Self { endpoint, protocol: self.protocol, headers: Vec::new(), timeout: self.timeout }
    }

    /// The same target with these headers, `key=value,key=value`, percent-encoded; `from` is for the error.
    ///
    /// # Errors
    /// They are no such headers.
    pub fn with_headers(mut self, from: &str, text: &str) -> Result<Self, ConfigError> {
        self.headers = headers(from, text)?;
        Ok(self)
    }

    /// Where to.
    #[must_use]
    pub fn endpoint(&self) -> &OtlpEndpoint {
        &self.endpoint
    }
    /// How it is encoded.
    #[must_use]
    pub fn protocol(&self) -> OtlpProtocol {
        self.protocol
    }
    /// The longest that one request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
    /// Secrets: an API key is usually among them.
    #[cfg(feature = "otlp")]
    pub(crate) fn headers(&self) -> &[(String, Zeroizing<String>)] {
        &self.headers
    }
}

impl fmt::Debug for OtlpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpTarget")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

impl Otlp {
    pub(super) fn read(raw: &Raw) -> Result<Self, ConfigError> {
        let base = raw.get(ENDPOINT[0]).map(|text| OtlpEndpoint::parse(ENDPOINT[0], text)).transpose()?;
        let target = |signal, index| target(raw, signal, index, base.as_ref());
        let disabled = raw.switch("OTEL_SDK_DISABLED", false)?;
        let exports = |name| exporter(raw, name).map(|exports| exports && !disabled);
        let (traces, metrics) = (exports("OTEL_TRACES_EXPORTER")?, exports("OTEL_METRICS_EXPORTER")?);
        Ok(Self {
            traces: target(OtlpSignal::Traces, 1)?.filter(|_| traces),
            metrics: target(OtlpSignal::Metrics, 2)?.filter(|_| metrics),
            logs: target(OtlpSignal::Logs, 3)?,
            resource: resource(raw)?,
            span_delay: milliseconds(raw, "OTEL_BSP_SCHEDULE_DELAY")?,
            metric_interval: milliseconds(raw, "OTEL_METRIC_EXPORT_INTERVAL")?,
        })
    }

    /// Where a signal goes; `None`: nowhere. `OTEL_SDK_DISABLED` and `OTEL_*_EXPORTER=none` switch traces and metrics off;
    /// logs are the audit's export, which somebody asks for by name.
    #[must_use]
    pub fn target(&self, signal: OtlpSignal) -> Option<&OtlpTarget> {
        match signal {
            OtlpSignal::Traces => self.traces.as_ref(),
            OtlpSignal::Metrics => self.metrics.as_ref(),
            OtlpSignal::Logs => self.logs.as_ref(),
        }
    }

    /// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, which wins; `service.name` is always among them.
    #[must_use]
    pub fn resource(&self) -> &[(String, String)] {
        &self.resource
    }

    /// `OTEL_BSP_SCHEDULE_DELAY`: how long spans may wait for others.
    #[must_use]
    pub fn span_delay(&self) -> Option<Duration> {
        self.span_delay
    }

    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    #[must_use]
    pub fn metric_interval(&self) -> Option<Duration> {
        self.metric_interval
    }
}

/// For all signals, then for each.
const ENDPOINT: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
];
const HEADERS: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
];
const PROTOCOL: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
];
const REQUEST_TIMEOUT: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
];

fn target(
    raw: &Raw,
    signal: OtlpSignal,
    index: usize,
    base: Option<&OtlpEndpoint>,
) -> Result<Option<OtlpTarget>, ConfigError> {
    let endpoint = match (raw.get(ENDPOINT[index]), base) {
        // A signal's own endpoint is used as it stands.
        (Some(text), _) => OtlpEndpoint::parse(ENDPOINT[index], text)?,
        (None, Some(base)) => base.of(signal),
        (None, None) => return Ok(None),
    };
    let of = |names: [&'static str; 4]| {
        [names[index], names[0]].into_iter().find_map(|name| raw.get(name).map(|text| (name, text)))
    };
    Ok(Some(OtlpTarget {
        endpoint,
        protocol: of(PROTOCOL).map(|(name, text)| protocol(name, text)).transpose()?.unwrap_or_default(),
        headers: match of(HEADERS) {
            Some((name, _)) if matches!(raw.origin(name), Some(Origin::File(_))) => {
                return Err(ConfigError::malformed(
                    name,
                    "in the settings file, where a secret would lie in clear text: set it in the environment alone",
                ));
            }
            Some((name, text)) => headers(name, text)?,
            None => Vec::new(),
        },
        timeout: match of(REQUEST_TIMEOUT) {
            Some((name, _)) => milliseconds(raw, name)?.unwrap_or(TIMEOUT).min(LONGEST_TIMEOUT),
            None => TIMEOUT,
        },
    }))
}

fn protocol(name: &str, text: &str) -> Result<OtlpProtocol, ConfigError> {
    match text {
        "http/protobuf" => Ok(OtlpProtocol::HttpProtobuf),
        "http/json" => Ok(OtlpProtocol::HttpJson),
        _ => {
            Err(ConfigError::malformed(name, "not one of http/protobuf, http/json (grpc is not spoken here)"))
        }
    }
}

/// `key=value,key=value`, the values percent-encoded.
fn headers(name: &str, text: &str) -> Result<Vec<(String, Zeroizing<String>)>, ConfigError> {
    let refuse = |reason: &'static str| ConfigError::malformed(name, reason);
    let mut headers = Vec::new();
    for (key, value) in pairs(text).ok_or_else(|| refuse("not key=value,key=value"))? {
        let key = key.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if !key.bytes().all(token) {
            return Err(refuse("a header's name that is none"));
        }
        if OUR_HEADERS.contains(&key.as_str()) {
            return Err(refuse("a header that entrabot sets itself"));
        }
        let value =
            Zeroizing::new(decoded(value).ok_or_else(|| refuse("a value that is not percent-encoded text"))?);
        if !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(refuse("a value that is not printable ASCII"));
        }
        headers.push((key, value));
    }
    Ok(headers)
}

fn resource(raw: &Raw) -> Result<Vec<(String, String)>, ConfigError> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let refuse = |reason: &'static str| ConfigError::malformed(NAME, reason);
    let mut resource: Vec<(String, String)> = Vec::new();
    if let Some(text) = raw.get(NAME) {
        for (key, value) in pairs(text).ok_or_else(|| refuse("not key=value,key=value"))? {
            let value = decoded(value).ok_or_else(|| refuse("a value that is not percent-encoded text"))?;
            resource.retain(|(known, _)| known != key);
            resource.push((key.to_owned(), values::opaque(NAME, &value)?));
        }
    }
    if let Some(name) = raw.get("OTEL_SERVICE_NAME") {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".into(), values::opaque("OTEL_SERVICE_NAME", name)?));
    }
    if !resource.iter().any(|(key, _)| key == "service.name") {
        resource.push(("service.name".into(), "entrabot".into()));
    }
    Ok(resource)
}

/// `otlp` unless it is `none`.
fn exporter(raw: &Raw, name: &str) -> Result<bool, ConfigError> {
    match raw.get(name) {
        None | Some("otlp") => Ok(true),
        Some("none") => Ok(false),
        Some(_) => Err(ConfigError::malformed(name, "not one of otlp, none")),
    }
}

fn milliseconds(raw: &Raw, name: &str) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = raw.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(number @ 1..=86_400_000) => Ok(Some(Duration::from_millis(number))),
        _ => Err(ConfigError::malformed(name, "not a number of milliseconds, at most a day")),
    }
}

fn pairs(text: &str) -> Option<Vec<(&str, &str)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pairs: Option<Vec<_>> = parts
        .map(|part| {
            part.split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .filter(|(key, _)| !key.is_empty())
        })
        .collect();
    pairs.filter(|pairs| pairs.len() <= MAX_ENTRIES)
}

/// Percent-encoding undone; `None` where it is broken or not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn otlp<const N: usize>(variables: [(&str, &str); N]) -> Otlp {
        let config = Config::from_variables(variables).unwrap();
        config.otlp().expect("settings").clone()
    }

    fn url(otlp: &Otlp, signal: OtlpSignal) -> Option<String> {
        let endpoint = otlp.target(signal)?.endpoint();
        let rest = &endpoint.url.as_str()["https".len()..];
        Some(format!("{}{rest}", if endpoint.plain { "http" } else { "https" }))
    }

    #[test]
    fn nothing_is_sent_anywhere_unless_an_endpoint_is_named() {
        let otlp = otlp([("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=b")]);
        for signal in [OtlpSignal::Traces, OtlpSignal::Metrics, OtlpSignal::Logs] {
            assert!(otlp.target(signal).is_none());
        }
    }

    #[test]
    fn a_signals_path_is_added_to_the_base_and_its_own_endpoint_stands_as_it_is() {
        let otlp = otlp([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/base/"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:9090/api/v1/otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ]);
        assert_eq!(
            url(&otlp, OtlpSignal::Traces).as_deref(),
            Some("https://collector.example/base/v1/traces")
        );
        assert_eq!(url(&otlp, OtlpSignal::Logs).as_deref(), Some("https://collector.example/base/v1/logs"));
        assert_eq!(url(&otlp, OtlpSignal::Metrics).as_deref(), Some("http://127.0.0.1:9090/api/v1/otlp"));
        let target = |signal| otlp.target(signal).unwrap();
        assert_eq!(target(OtlpSignal::Traces).protocol(), OtlpProtocol::HttpJson);
        assert_eq!(target(OtlpSignal::Metrics).protocol(), OtlpProtocol::HttpProtobuf);
        assert_eq!(target(OtlpSignal::Logs).timeout(), Duration::from_millis(500));
    }

    #[test]
    fn plain_http_goes_to_this_machine_and_nowhere_else() {
        for good in ["https://a.example", "http://localhost:4318", "http://127.9.9.9", "http://[::1]:4318/x"]
        {
            assert!(OtlpEndpoint::parse("X", good).is_ok(), "{good}");
        }
        assert_eq!(
            OtlpEndpoint::parse("X", "http://localhost/p").unwrap().url.as_str(),
            "https://localhost:80/p"
        );
        for bad in [
            "http://collector:4318",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "http://evil.example/localhost",
            "https://key@a.example",
            "https://a.example?key=1",
            "grpc://localhost:4317",
            "localhost:4318",
            "http://",
            "http://localhost:",
            "http://localhost:443",
            "http://[::1",
        ] {
            assert!(OtlpEndpoint::parse("X", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_stops_nothing_else() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "planted-secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "host=planted-secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=planted-secret%0d%0ax"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_SDK_DISABLED", "perhaps"),
        ] {
            let with = [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://a.example"), (name, value)];
            let config = Config::from_variables(with).unwrap_or_else(|error| panic!("{error}"));
            let Err(error) = config.otlp() else {
                // What concerns one signal alone is read with that signal.
                assert_eq!(name, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
                continue;
            };
            assert_eq!(error.setting(), name);
            assert!(!error.to_string().contains("planted-secret"), "{error}");
        }
    }

    #[test]
    fn headers_are_not_taken_from_a_file() {
        let with = |origin: &Origin| {
            let mut raw = Raw::default();
            raw.offer("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a.example", origin);
            raw.offer("OTEL_EXPORTER_OTLP_HEADERS", "authorization=planted-secret", origin);
            let base = OtlpEndpoint::parse("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a.example").unwrap();
            target(&raw, OtlpSignal::Traces, 1, Some(&base))
        };
        let error = with(&Origin::File("/home/a/.entrabot/.env".into())).unwrap_err();
        assert_eq!(error.setting(), "OTEL_EXPORTER_OTLP_HEADERS");
        assert!(!error.to_string().contains("planted-secret"), "{error}");
        assert!(with(&Origin::Environment).unwrap().is_some());
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let config = Config::from_variables([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a.example/planted-path"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20planted-secret, x-key = planted-secret"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-logs=planted-secret"),
        ])
        .unwrap();
        let otlp = config.otlp().unwrap();
        let traces = otlp.target(OtlpSignal::Traces).unwrap();
        assert_eq!(traces.headers[0].0, "authorization");
        assert_eq!(traces.headers[0].1.as_str(), "Bearer planted-secret");
        assert_eq!(traces.headers[1].1.as_str(), "planted-secret");
        assert_eq!(otlp.target(OtlpSignal::Logs).unwrap().headers.len(), 1);
        let elsewhere = traces.at(OtlpEndpoint::parse("X", "https://b.example").unwrap());
        assert!(elsewhere.headers.is_empty());
        let shown = format!("{config:?} {otlp:?} {:?}", config.settings());
        assert!(!shown.contains("planted-secret"), "{shown}");
        assert!(!format!("{otlp:?}").contains("planted-path"));
    }

    #[test]
    fn the_resource_has_a_name_and_the_operators_attributes() {
        assert_eq!(otlp([]).resource(), [("service.name".to_owned(), "entrabot".to_owned())]);
        let resource = otlp([
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=lost,deployment.environment.name=b%2Cc"),
            ("OTEL_SERVICE_NAME", "agent"),
        ]);
        assert_eq!(
            resource.resource(),
            [("deployment.environment.name", "b,c"), ("service.name", "agent")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_switch_turns_traces_and_metrics_off() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a.example");
        let disabled = otlp([base, ("OTEL_SDK_DISABLED", "true")]);
        assert!(
            disabled.target(OtlpSignal::Traces).is_none() && disabled.target(OtlpSignal::Metrics).is_none()
        );
        assert!(disabled.target(OtlpSignal::Logs).is_some());
        let none = otlp([base, ("OTEL_TRACES_EXPORTER", "none")]);
        assert!(none.target(OtlpSignal::Traces).is_none() && none.target(OtlpSignal::Metrics).is_some());
    }
}
