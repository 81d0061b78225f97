use std::fmt;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The manifest is refused.
    Error,
    /// The manifest works, but something in it is ignored or doubtful.
    Warning,
}

/// One thing that `entrabot manifest lint` has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: e.g. `mcpServers[2].url`; empty for the file as a whole.
    pub field: String,
    /// What is wrong. Nothing of the file's text but checked names.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Finding {
    pub(super) fn error(
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Error, field: field.into(), message: message.into(), hint: hint.into() }
    }
    pub(super) fn warning(
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, field: field.into(), message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{} {}", self.field, self.message)
        }
    }
}
