//! The values that are one of a few words.

use std::path::PathBuf;

use super::{BaseUrl, ConfigError, VaultKey, VaultToken};

/// `ENTRABOT_MODE`: whether signing in may end in a person's session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// `auto`: the agent when its settings are complete, else a person.
    #[default]
    Auto,
    /// `delegated`: a person.
    Delegated,
    /// `agent_user`: the agent only.
    AgentUser,
}

impl Mode {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "delegated" => Ok(Self::Delegated),
            "agent_user" => Ok(Self::AgentUser),
            "bot" => Err(ConfigError::removed_mode()),
            _ => Err(ConfigError::malformed("ENTRABOT_MODE", "not one of auto, delegated, agent_user")),
        }
    }
    /// As the setting spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Delegated => "delegated",
            Self::AgentUser => "agent_user",
        }
    }
}

/// `ENTRABOT_BLUEPRINT_CREDENTIAL`: what hop 1 proves itself with. Explicit, never a fallback chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlueprintCredential {
    /// `keystore`: the private key in the OS keyring.
    #[default]
    Keystore,
    /// `workload-identity`: the token file that Kubernetes projects.
    WorkloadIdentity,
    /// `managed-identity`: the host's identity endpoint.
    ManagedIdentity,
    /// `tpm`: a key in this machine's TPM.
    Tpm,
    /// `key-vault`: a key that never leaves Azure Key Vault or Managed HSM.
    KeyVault {
        /// `ENTRABOT_KEY_VAULT_KEY`.
        key: VaultKey,
        /// `ENTRABOT_KEY_VAULT_TOKEN`.
        token: VaultToken,
    },
}

impl BlueprintCredential {
    /// `setting` gives a setting's text by its name.
    pub(super) fn read<'a>(
        setting: impl Fn(&'static str) -> Option<&'a str>,
        authority: &BaseUrl,
    ) -> Result<Self, ConfigError> {
        const NAME: &str = "ENTRABOT_BLUEPRINT_CREDENTIAL";
        let needed = |name: &'static str| {
            setting(name).ok_or_else(|| {
                ConfigError::malformed(name, "not set, while ENTRABOT_BLUEPRINT_CREDENTIAL is key-vault")
            })
        };
        match setting(NAME) {
            None | Some("keystore") => Ok(Self::Keystore),
            Some("workload-identity") => Ok(Self::WorkloadIdentity),
            Some("managed-identity") => Ok(Self::ManagedIdentity),
            Some("tpm") if cfg!(all(feature = "tpm2", unix)) => Ok(Self::Tpm),
            Some("tpm") => Err(ConfigError::malformed(
                NAME,
                "this build has no TPM support: build entrabot-server with the feature tpm2",
            )),
            Some("key-vault") => {
                let (key, token) = ("ENTRABOT_KEY_VAULT_KEY", "ENTRABOT_KEY_VAULT_TOKEN");
                Ok(Self::KeyVault {
                    key: VaultKey::parse(key, needed(key)?, authority)?,
                    token: VaultToken::parse(token, needed(token)?)?,
                })
            }
            Some(_) => Err(ConfigError::malformed(
                NAME,
                "not one of keystore, tpm, workload-identity, managed-identity, key-vault",
            )),
        }
    }
}

/// `ENTRABOT_AUDIT_SIGNING`: where the key that signs the audit's checkpoints lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditSigning {
    /// `keystore`: `entrabot`/`audit-signing-key`.
    #[default]
    Keystore,
    /// `file:PATH`: a mounted secret.
    File(PathBuf),
    /// `off`: the chain only.
    Off,
}

impl AuditSigning {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "keystore" => Ok(Self::Keystore),
            "off" => Ok(Self::Off),
            _ => match text.strip_prefix("file:").filter(|path| path.starts_with('/') || cfg!(windows)) {
                Some(path) if !path.is_empty() => Ok(Self::File(path.into())),
                _ => Err(ConfigError::malformed(
                    "ENTRABOT_AUDIT_SIGNING",
                    "not one of keystore, off, file:PATH (an absolute path)",
                )),
            },
        }
    }
}

/// `ENTRABOT_AUDIT_OUTCOME_SYNC`: when an outcome is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutcomeSync {
    /// `background`: soon after it was written.
    #[default]
    Background,
    /// `strict`: before the caller has it.
    Strict,
}

impl OutcomeSync {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "background" => Ok(Self::Background),
            "strict" => Ok(Self::Strict),
            _ => Err(ConfigError::malformed("ENTRABOT_AUDIT_OUTCOME_SYNC", "not one of background, strict")),
        }
    }
}

/// `ENTRABOT_CONFIRM_WRITES`: whether a person is asked before a tool changes something in Microsoft 365.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfirmWrites {
    /// `never`: the client's own approval of tool calls is all there is.
    #[default]
    Never,
    /// `ask`: where the client can put a question to a person.
    Ask,
    /// `always`: and where it cannot, the write is refused.
    Always,
}

impl ConfirmWrites {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "never" => Ok(Self::Never),
            "ask" => Ok(Self::Ask),
            "always" => Ok(Self::Always),
            _ => Err(ConfigError::malformed("ENTRABOT_CONFIRM_WRITES", "not one of never, ask, always")),
        }
    }
}

/// `ENTRABOT_LOG_LEVEL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LogLevel {
    /// `ERROR` or `CRITICAL`.
    Error,
    /// `WARNING` or `WARN`.
    Warning,
    /// `INFO`.
    #[default]
    Info,
    /// `DEBUG`.
    Debug,
    /// `TRACE`.
    Trace,
}

impl LogLevel {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text.to_ascii_uppercase().as_str() {
            "ERROR" | "CRITICAL" => Ok(Self::Error),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "INFO" => Ok(Self::Info),
            "DEBUG" => Ok(Self::Debug),
            "TRACE" => Ok(Self::Trace),
            _ => Err(ConfigError::malformed(
                "ENTRABOT_LOG_LEVEL",
                "not one of CRITICAL, ERROR, WARNING, INFO, DEBUG, TRACE",
            )),
        }
    }
    /// In the lower case that filters understand: `error`, `warn`, `info`, `debug`, `trace`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A switch: `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`, in any case.
pub(super) fn switch(name: &str, text: &str) -> Result<bool, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(ConfigError::malformed(name, "neither true nor false")),
    }
}

/// Opaque text without control characters (a UPN, an address).
pub(super) fn opaque(name: &str, text: &str) -> Result<String, ConfigError> {
    if text.chars().any(char::is_control) {
        return Err(ConfigError::malformed(name, "holds a control character"));
    }
    if text.len() > 1024 {
        return Err(ConfigError::malformed(name, "longer than 1024 bytes"));
    }
    Ok(text.to_owned())
}

/// Comma-separated, blanks dropped.
pub(super) fn csv(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
