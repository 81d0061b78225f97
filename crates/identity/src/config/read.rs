//! From raw variables to the typed [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use entrabot_keystore::{CertificateThumbprint, KeystorePolicy, SignatureAlgorithm};

use super::env_file::{self, Line};
use super::values::{self, AuditSigning, BlueprintCredential, ConfirmWrites, LogLevel, Mode, OutcomeSync};
use super::{BaseUrl, Cloud, Config, ConfigError, Origin, Otlp, names};
use crate::InvalidId;

/// The variables that concern us, with where each came from.
#[derive(Debug, Default)]
pub(super) struct Raw {
    values: BTreeMap<String, (Secretive, Origin)>,
    unknown: Vec<String>,
    foreign_proxy: bool,
}

/// A raw value; `Debug` keeps it to itself, since a mistyped setting may hold anything.
pub(super) struct Secretive(String);

impl Secretive {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl Raw {
    pub(super) fn from_process() -> Result<Self, ConfigError> {
        let mut raw = Self::default();
        for (name, value) in std::env::vars_os() {
            // A name that is not text is none of ours.
            let Some(name) = name.to_str() else { continue };
            match value.to_str() {
                Some(value) => raw.offer(name, value, &Origin::Environment),
                None if names::known(name).is_some() => {
                    return Err(ConfigError::malformed(name, "not UTF-8 text"));
                }
                None => {}
            }
        }
        Ok(raw)
    }

    pub(super) fn from_pairs<I, K, V>(pairs: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<String>,
        V: Into<String>,
    {
        let mut raw = Self::default();
        for (name, value) in pairs {
            raw.offer(&name.into(), &value.into(), &Origin::Environment);
        }
        raw
    }

    /// Takes a variable that is ours, unless it is there already.
    pub(super) fn offer(&mut self, name: &str, value: &str, origin: &Origin) {
        if names::known(name).is_some() || names::PLACES.contains(&name) {
            if !self.values.contains_key(name) {
                self.values.insert(name.to_owned(), (Secretive(value.trim().to_owned()), origin.clone()));
            }
        } else if name.starts_with("ENTRABOT_") {
            self.unknown.push(name.to_owned());
        } else if names::FOREIGN_PROXIES.contains(&name) && !value.is_empty() {
            self.foreign_proxy = true;
        }
    }

    /// The value; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// The value, empty or not.
    fn given(&self, name: &str) -> Option<&str> {
        debug_assert!(names::known(name).is_some() || names::PLACES.contains(&name), "{name} is not listed");
        self.values.get(name).map(|(value, _)| value.0.as_str())
    }

    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.get(name).and_then(|_| self.values.get(name)).map(|(_, origin)| origin)
    }

    fn parse<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(name).map(parse).transpose()
    }

    fn id<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidId>,
    ) -> Result<Option<T>, ConfigError> {
        self.parse(name, |text| parse(text).map_err(|error| ConfigError::malformed(name, error.to_string())))
    }

    pub(super) fn switch(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.parse(name, |text| values::switch(name, text))?.unwrap_or(default))
    }

    fn number(&self, name: &str) -> Result<(), ConfigError> {
        self.parse(name, |text| {
            text.parse::<u64>().map_err(|_| ConfigError::malformed(name, "not a whole number"))
        })
        .map(|_| ())
    }
}

impl Config {
    pub(super) fn read(mut raw: Raw, home_needed: bool) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let home = raw
            .get("HOME")
            .or(if cfg!(windows) { raw.get("USERPROFILE") } else { None })
            .map(PathBuf::from)
            .filter(|home| home.is_absolute());
        let env_file = match raw.get("ENTRABOT_ENV_FILE") {
            Some(named) => Some(expand(named, home.as_deref())),
            None => home.as_ref().map(|home| home.join(".entrabot").join(".env")),
        };
        let read_file = home_needed || raw.get("ENTRABOT_ENV_FILE").is_some();
        if let Some(path) = env_file.as_deref().filter(|_| read_file) {
            add_file(&mut raw, path, &mut warnings)?;
        }
        for name in &raw.unknown {
            warnings.push(match names::nearest(name) {
                Some(nearest) => format!("{name} is not a setting; is {nearest} meant?"),
                None => format!("{name} is not a setting"),
            });
        }
        if raw.foreign_proxy {
            warnings
                .push("the environment's proxy variables are ignored; ENTRABOT_PROXY sets a proxy".into());
        }

        let dirs = Directories::find(&raw, home.as_deref(), home_needed)?;
        let tenant_id = raw.id("ENTRABOT_TENANT_ID", crate::TenantId::parse)?;
        let cloud = raw.parse("ENTRABOT_CLOUD", Cloud::parse)?.unwrap_or_default();
        let (authority, graph, a365) = bases(&raw, cloud, tenant_id.as_ref().map(crate::TenantId::as_str))?;
        blob(&raw)?;
        for name in [
            "ENTRABOT_PLACEHOLDER_GRACE_SECONDS",
            "ENTRABOT_FILES_MAX_TEXT_BYTES",
            "ENTRABOT_FILES_MAX_PDF_BYTES",
        ] {
            raw.number(name)?;
        }
        for name in [
            "ENTRABOT_KEEP_MEMORY_LOCAL",
            "ENTRABOT_SKIP_PLACEHOLDER_CHECK",
            "ENTRABOT_SKIP_COMMITMENT_CHECK",
        ] {
            raw.switch(name, false)?;
        }
        let credential = BlueprintCredential::read(|name| raw.get(name), &authority)?;
        let is_tpm = credential == BlueprintCredential::Tpm;
        let upn = match raw.get("ENTRABOT_AGENT_UPN") {
            Some(_) => "ENTRABOT_AGENT_UPN",
            None => "ENTRABOT_AGENT_USER_UPN",
        };
        Ok(Self {
            blueprint_app_id: raw.id("ENTRABOT_BLUEPRINT_APP_ID", crate::BlueprintAppId::parse)?,
            blueprint_object_id: raw.id("ENTRABOT_BLUEPRINT_OBJECT_ID", crate::ObjectId::parse)?,
            thumbprint: raw.parse("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", thumbprint)?,
            credential,
            algorithm: raw
                .parse("ENTRABOT_ASSERTION_ALGORITHM", algorithm)?
                .unwrap_or_else(|| super::default_algorithm(is_tpm)),
            agent_id: raw.id("ENTRABOT_AGENT_ID", crate::AgentId::parse)?,
            agent_object_id: raw.id("ENTRABOT_AGENT_OBJECT_ID", crate::ObjectId::parse)?,
            agent_user_id: raw.id("ENTRABOT_AGENT_USER_ID", crate::AgentUserId::parse)?,
            agent_upn: raw.parse(upn, |text| values::opaque(upn, text))?,
            client_id: raw.id("ENTRABOT_CLIENT_ID", crate::ClientId::parse)?,
            provisioner_client_id: raw.id("ENTRABOT_PROVISIONER_CLIENT_ID", crate::ClientId::parse)?,
            mode: raw.parse("ENTRABOT_MODE", Mode::parse)?.unwrap_or_default(),
            delegated_fallback: raw.switch("ENTRABOT_ALLOW_DELEGATED_FALLBACK", false)?,
            skip_provisioning: raw.switch("ENTRABOT_SKIP_PROVISIONING", false)?,
            tenant_id,
            cloud,
            authority,
            graph,
            a365,
            ca_bundle: raw
                .get("ENTRABOT_CA_BUNDLE")
                .or(raw.get("SSL_CERT_FILE"))
                .map(|path| expand(path, home.as_deref())),
            proxy: raw.parse("ENTRABOT_PROXY", proxy)?,
            keystore_policy: KeystorePolicy::from_settings(
                raw.get("ENTRABOT_KEYRING_BACKEND").or(raw.get("PYTHON_KEYRING_BACKEND")),
                // Set but empty is a mistake to be refused by name, not "not set".
                raw.given("ENTRABOT_KEYRING_BACKEND_ALLOWLIST"),
            ),
            audit_dir: dirs.audit,
            audit_signing: raw.parse("ENTRABOT_AUDIT_SIGNING", AuditSigning::parse)?.unwrap_or_default(),
            outcome_sync: raw.parse("ENTRABOT_AUDIT_OUTCOME_SYNC", OutcomeSync::parse)?.unwrap_or_default(),
            data_dir: dirs.data,
            log_dir: dirs.log,
            log_level: raw.parse("ENTRABOT_LOG_LEVEL", LogLevel::parse)?.unwrap_or_default(),
            confirm_writes: raw.parse("ENTRABOT_CONFIRM_WRITES", ConfirmWrites::parse)?.unwrap_or_default(),
            http_bearer_file: raw.get("ENTRABOT_HTTP_BEARER_FILE").map(|path| expand(path, home.as_deref())),
            tooling_manifest: raw
                .get("ENTRABOT_A365_TOOLING_MANIFEST")
                .map(|path| expand(path, home.as_deref())),
            xpia_wrap: raw.switch("ENTRABOT_XPIA_WRAP_ENABLE", true)?,
            human_user_ids: plural(&raw, "ENTRABOT_HUMAN_USER_IDS", "ENTRABOT_HUMAN_USER_ID"),
            human_upns: plural(&raw, "ENTRABOT_HUMAN_UPNS", "ENTRABOT_HUMAN_UPN"),
            otlp: Otlp::read(&raw),
            raw,
            warnings,
            env_file,
            home,
        })
    }

    pub(super) fn raw(&self) -> &Raw {
        &self.raw
    }

    /// The operator's home directory, where there is one.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }
}

fn add_file(raw: &mut Raw, path: &Path, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let Some(text) = env_file::read(path)? else {
        if raw.get("ENTRABOT_ENV_FILE").is_some() {
            warnings.push(format!("{}: there is no such settings file", path.display()));
        }
        return Ok(());
    };
    let origin = Origin::File(path.to_owned());
    for (index, line) in text.lines().enumerate() {
        match env_file::parse_line(line) {
            Line::Nothing => {}
            Line::Setting(name, value) => raw.offer(name, &value, &origin),
            Line::Malformed => {
                warnings.push(format!("{}, line {}: not NAME=VALUE, skipped", path.display(), index + 1));
            }
        }
    }
    Ok(())
}

struct Directories {
    audit: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

impl Directories {
    fn find(raw: &Raw, home: Option<&Path>, home_needed: bool) -> Result<Self, ConfigError> {
        let windows = if cfg!(windows) {
            raw.get("LOCALAPPDATA")
                .map(PathBuf::from)
                .or_else(|| home.map(|home| home.join("AppData").join("Local")))
                .map(|local| local.join("entrabot"))
        } else {
            None
        };
        let default = windows.or_else(|| home.map(|home| home.join(".entrabot")));
        let one = |setting: &str, leaf: &str| match (raw.get(setting), &default) {
            (Some(path), _) => {
                let path = expand(path, home);
                if path.is_absolute() {
                    Ok(path)
                } else {
                    Err(ConfigError::malformed(setting, "not an absolute path"))
                }
            }
            (None, Some(default)) => Ok(default.join(leaf)),
            (None, None) if home_needed => {
                Err(ConfigError::malformed(setting, "not set, and there is no HOME to take the default from"))
            }
            // Given variables without a home: a place where nothing can be written, never the current directory.
            (None, None) => Ok(Path::new("/nonexistent/.entrabot").join(leaf)),
        };
        Ok(Self {
            audit: one("ENTRABOT_AUDIT_DIR", "audit")?,
            data: one("ENTRABOT_DATA_DIR", "data")?,
            log: one("ENTRABOT_LOG_DIR", "logs")?,
        })
    }
}

/// The three bases. A Graph or Work IQ base outside Microsoft's clouds needs an authority outside them too: no
/// token that Entra issued may ever go to a host that somebody made up.
fn bases(raw: &Raw, cloud: Cloud, tenant: Option<&str>) -> Result<(BaseUrl, BaseUrl, BaseUrl), ConfigError> {
    let base = |name: &str, default: &'static str| {
        Ok(raw.parse(name, |text| BaseUrl::parse(name, text))?.unwrap_or_else(|| BaseUrl::built_in(default)))
    };
    let authority = match (raw.get("ENTRABOT_AUTHORITY_BASE"), raw.get("ENTRABOT_AUTHORITY")) {
        (None, Some(alias)) => BaseUrl::parse("ENTRABOT_AUTHORITY", alias)?.without_tenant(tenant),
        _ => base("ENTRABOT_AUTHORITY_BASE", cloud.authority())?,
    };
    let graph = base("ENTRABOT_GRAPH_BASE", cloud.graph_audience())?;
    let a365 = base("ENTRABOT_A365_BASE", cloud.a365())?;
    if authority.is_microsoft() {
        for (name, base) in [("ENTRABOT_GRAPH_BASE", &graph), ("ENTRABOT_A365_BASE", &a365)] {
            if !base.is_microsoft() {
                return Err(ConfigError::malformed(
                    name,
                    "outside Microsoft's clouds while ENTRABOT_AUTHORITY_BASE is inside: \
                     a real token could be sent there",
                ));
            }
        }
    }
    Ok((authority, graph, a365))
}

fn blob(raw: &Raw) -> Result<(), ConfigError> {
    match (raw.get("ENTRABOT_BLOB_ENDPOINT"), raw.get("ENTRABOT_BLOB_CONTAINER")) {
        (Some(_), None) => {
            Err(ConfigError::missing_half("ENTRABOT_BLOB_CONTAINER", "ENTRABOT_BLOB_ENDPOINT"))
        }
        (None, Some(_)) => {
            Err(ConfigError::missing_half("ENTRABOT_BLOB_ENDPOINT", "ENTRABOT_BLOB_CONTAINER"))
        }
        (None, None) | (Some(_), Some(_)) => Ok(()),
    }
}

fn thumbprint(text: &str) -> Result<CertificateThumbprint, ConfigError> {
    CertificateThumbprint::parse(text)
        .map_err(|error| ConfigError::malformed("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", error.to_string()))
}

fn algorithm(text: &str) -> Result<SignatureAlgorithm, ConfigError> {
    match text {
        "PS256" => Ok(SignatureAlgorithm::Ps256),
        "RS256" => Ok(SignatureAlgorithm::Rs256),
        _ => Err(ConfigError::malformed("ENTRABOT_ASSERTION_ALGORITHM", "not one of PS256, RS256")),
    }
}

fn proxy(text: &str) -> Result<Secretive, ConfigError> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#\\\"<>".contains(&b);
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(plain) => Ok(Secretive(text.to_owned())),
        _ => Err(ConfigError::malformed("ENTRABOT_PROXY", "not an http or https URL")),
    }
}

fn plural(raw: &Raw, many: &str, one: &str) -> Vec<String> {
    raw.get(many).or(raw.get(one)).map(values::csv).unwrap_or_default()
}

/// `~` and `~/...` to the home directory.
fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(path),
    }
}
