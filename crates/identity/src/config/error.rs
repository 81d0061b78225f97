use std::borrow::Cow;

use crate::{Diagnose, ErrorClass};

/// A setting is malformed. Names the setting, never its value where that could be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct ConfigError {
    setting: String,
    reason: Cow<'static, str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Malformed,
    RemovedMode,
    BackendMisconfigured,
    File,
}

impl ConfigError {
    pub(crate) fn malformed(setting: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { setting: setting.to_owned(), reason: reason.into(), kind: Kind::Malformed }
    }
    pub(super) fn removed_mode() -> Self {
        Self {
            setting: "ENTRABOT_MODE".into(),
            reason: "the mode `bot` was removed; `agent_user` takes its place".into(),
            kind: Kind::RemovedMode,
        }
    }
    pub(super) fn missing_half(missing: &'static str, present: &'static str) -> Self {
        Self {
            setting: missing.into(),
            reason: format!("not set, while {present} is: both or neither").into(),
            kind: Kind::BackendMisconfigured,
        }
    }
    pub(crate) fn file(setting: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { setting: setting.to_owned(), reason: reason.into(), kind: Kind::File }
    }
    /// What is wrong with it.
    #[cfg(feature = "provisioning")]
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
    /// The setting (or the file) at fault.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

impl Diagnose for ConfigError {
    fn error_type(&self) -> &'static str {
        match self.kind {
            Kind::Malformed | Kind::File => "ConfigError",
            Kind::RemovedMode => "RemovedModeError",
            Kind::BackendMisconfigured => "BackendMisconfiguredError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self.kind {
            Kind::Malformed => format!("correct or remove {}", self.setting).into(),
            Kind::RemovedMode => "set ENTRABOT_MODE=agent_user, or remove it".into(),
            Kind::BackendMisconfigured => {
                "set both ENTRABOT_BLOB_ENDPOINT and ENTRABOT_BLOB_CONTAINER, or neither".into()
            }
            Kind::File => {
                format!("check the file that {} names, its owner and its mode", self.setting).into()
            }
        })
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}
