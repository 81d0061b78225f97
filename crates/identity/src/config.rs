use std::borrow::Cow;
use std::path::{Path, PathBuf};

use entrabot_keystore::KeystorePolicy;

use crate::{AgentId, AgentUserId, BlueprintAppId, Diagnose, ErrorClass, TenantId};

/// Every setting of entrabot, read once. The only reader of `ENTRABOT_*`.
#[derive(Debug)]
pub struct Config {
    _private: (),
}

/// A setting is malformed. Names the setting, never its value where it could be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct ConfigError {
    setting: String,
    reason: String,
}

impl Diagnose for ConfigError {
    fn error_type(&self) -> &'static str {
        "ConfigError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(format!("correct or remove {}", self.setting).into())
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}

impl Config {
    /// The process environment, then the `.env` file (`ENTRABOT_ENV_FILE`, else `~/.entrabot/.env`).
    ///
    /// # Errors
    /// Names the first malformed setting.
    pub fn from_env() -> Result<Self, ConfigError> {
        todo!("identity")
    }

    /// The same from given variables, for tests and embedders: no process environment, no home directory.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_variables<I, K, V>(_variables: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<String>,
        V: Into<String>,
    {
        todo!("identity")
    }

    /// `ENTRABOT_TENANT_ID`.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&TenantId> {
        todo!("identity")
    }
    /// `ENTRABOT_BLUEPRINT_APP_ID`.
    #[must_use]
    pub fn blueprint_app_id(&self) -> Option<&BlueprintAppId> {
        todo!("identity")
    }
    /// `ENTRABOT_AGENT_ID`.
    #[must_use]
    pub fn agent_id(&self) -> Option<&AgentId> {
        todo!("identity")
    }
    /// `ENTRABOT_AGENT_USER_ID`.
    #[must_use]
    pub fn agent_user_id(&self) -> Option<&AgentUserId> {
        todo!("identity")
    }
    /// `ENTRABOT_AUDIT_DIR`.
    #[must_use]
    pub fn audit_dir(&self) -> &Path {
        todo!("identity")
    }
    /// `ENTRABOT_DATA_DIR`.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        todo!("identity")
    }
    /// `ENTRABOT_LOG_DIR`.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        todo!("identity")
    }
    /// `ENTRABOT_A365_BASE`, no slash at the end.
    #[must_use]
    pub fn a365_base(&self) -> &str {
        todo!("identity")
    }
    /// Whether the operator set `ENTRABOT_A365_BASE` (then its origin joins the egress allowlist).
    #[must_use]
    pub fn a365_base_is_custom(&self) -> bool {
        todo!("identity")
    }
    /// `ENTRABOT_A365_TOOLING_MANIFEST`, `~` expanded.
    #[must_use]
    pub fn tooling_manifest(&self) -> Option<PathBuf> {
        todo!("identity")
    }
    /// `ENTRABOT_XPIA_WRAP_ENABLE`.
    #[must_use]
    pub fn xpia_wrap(&self) -> bool {
        todo!("identity")
    }
    /// The keyring settings; a malformed one is refused when the keyring is opened, not here.
    #[must_use]
    pub fn keystore_policy(&self) -> &KeystorePolicy {
        todo!("identity")
    }
}
