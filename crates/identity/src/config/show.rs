//! The settings as `config show` prints them: each with where it came from, redacted where it must be.

use std::fmt;
use std::path::PathBuf;

use entrabot_keystore::SignatureAlgorithm;

use super::Config;
use super::names::{self, Show};

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The process environment.
    Environment,
    /// The settings file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownSetting {
    /// `ENTRABOT_...`
    pub name: &'static str,
    /// What is in effect, redacted; `None` when it is unset and has no default.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// Every setting that there is, in effect, for people to read.
    #[must_use]
    pub fn settings(&self) -> Vec<ShownSetting> {
        names::KNOWN
            .iter()
            .map(|known| match (self.raw().get(known.name), self.raw().origin(known.name)) {
                (Some(value), Some(origin)) => ShownSetting {
                    name: known.name,
                    value: Some(redact(known.show, value)),
                    origin: origin.clone(),
                },
                _ => ShownSetting {
                    name: known.name,
                    value: self.default_of(known.name),
                    origin: Origin::Default,
                },
            })
            .collect()
    }

    /// Where the value of `name` came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        match names::known(name).and_then(|known| self.raw().origin(known.name)) {
            Some(origin) => origin.clone(),
            None => Origin::Default,
        }
    }

    fn default_of(&self, name: &str) -> Option<String> {
        let path = |path: &std::path::Path| Some(path.display().to_string());
        match name {
            "ENTRABOT_BLUEPRINT_CREDENTIAL" | "ENTRABOT_AUDIT_SIGNING" => Some("keystore".into()),
            "ENTRABOT_ASSERTION_ALGORITHM" if self.algorithm == SignatureAlgorithm::Rs256 => {
                Some("RS256".into())
            }
            "ENTRABOT_ASSERTION_ALGORITHM" => Some("PS256".into()),
            "ENTRABOT_TPM_DEVICE" => path(self.tpm_device()),
            "ENTRABOT_MODE" => Some(self.mode.as_str().into()),
            "ENTRABOT_CLOUD" => Some(self.cloud.as_str().into()),
            "ENTRABOT_AUTHORITY_BASE" => Some(self.authority.as_str().into()),
            "ENTRABOT_GRAPH_BASE" => Some(self.graph.as_str().into()),
            "ENTRABOT_A365_BASE" => Some(self.a365.as_str().into()),
            "ENTRABOT_AUDIT_DIR" => path(&self.audit_dir),
            "ENTRABOT_DATA_DIR" => path(&self.data_dir),
            "ENTRABOT_LOG_DIR" => path(&self.log_dir),
            "ENTRABOT_ENV_FILE" => self.env_file.as_deref().and_then(path),
            "ENTRABOT_AUDIT_OUTCOME_SYNC" => Some("background".into()),
            "ENTRABOT_LOG_LEVEL" => Some("INFO".into()),
            "ENTRABOT_XPIA_WRAP_ENABLE" => Some("true".into()),
            "ENTRABOT_ALLOW_DELEGATED_FALLBACK"
            | "ENTRABOT_SKIP_PROVISIONING"
            | "ENTRABOT_KEEP_MEMORY_LOCAL"
            | "ENTRABOT_SKIP_PLACEHOLDER_CHECK"
            | "ENTRABOT_SKIP_COMMITMENT_CHECK" => Some("false".into()),
            "ENTRABOT_PLACEHOLDER_GRACE_SECONDS" => Some("300".into()),
            "ENTRABOT_FILES_MAX_TEXT_BYTES" => Some("200000".into()),
            "ENTRABOT_FILES_MAX_PDF_BYTES" => Some("52428800".into()),
            _ => None,
        }
    }
}

/// The value as it may be shown; one of an unknown setting not at all.
#[cfg(feature = "provisioning")]
pub(crate) fn shown(name: &str, value: &str) -> Option<String> {
    names::known(name).map(|known| redact(known.show, value))
}

fn redact(show: Show, value: &str) -> String {
    match show {
        Show::Value => value.to_owned(),
        Show::Presence => "(set)".into(),
        Show::UrlWithoutUser => {
            // A query can carry a secret as well (a shared access signature).
            let value = value.split(['?', '#']).next().unwrap_or_default();
            match (value.split_once("://"), value.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, host))) => format!("{scheme}://****@{host}"),
                (None, Some((_, host))) => format!("****@{host}"),
                (_, None) => value.to_owned(),
            }
        }
    }
}
