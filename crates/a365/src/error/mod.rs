//! What goes wrong, by the names that scripts and MCP clients know.

mod call;
mod upstream;

use std::borrow::Cow;

use entrabot_audit::{AuditError, AuditOutcomeLost, Recorded};

pub use call::{CallError, CallFailure, Fate};
pub(crate) use upstream::UpstreamText;

use crate::endpoint::EndpointError;
use crate::{Diagnose, ErrorClass, Finding, Reply, ServerName, ToolName};

/// An argument that is refused before anything else happens. Names the argument, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument} {reason}")]
pub struct InvalidArgument {
    argument: &'static str,
    reason: Cow<'static, str>,
}

impl InvalidArgument {
    pub(crate) fn new(argument: &'static str, reason: &'static str) -> Self {
        Self { argument, reason: reason.into() }
    }
    pub(crate) fn too_long(argument: &'static str, most: usize) -> Self {
        Self { argument, reason: format!("is longer than {most} bytes").into() }
    }
    /// The argument's name.
    #[must_use]
    pub fn argument(&self) -> &str {
        self.argument
    }
}

impl Diagnose for InvalidArgument {
    fn error_type(&self) -> &'static str {
        "InvalidArgumentError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("correct the argument; nothing was sent and nothing was recorded".into())
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum A365Error {
    /// An argument is refused. Nothing was recorded or sent.
    #[error(transparent)]
    Argument(#[from] InvalidArgument),
    /// There is no tooling manifest.
    #[error("no tooling manifest found (searched: {})", .searched.join(", "))]
    ManifestNotFound {
        /// Where it was looked for, in order.
        searched: Vec<String>,
    },
    /// The tooling manifest is not valid.
    #[error("the tooling manifest {manifest} is not valid: {finding}")]
    ManifestInvalid {
        /// Which one.
        manifest: String,
        /// The first thing that is wrong.
        finding: Finding,
    },
    /// The manifest does not name the server. Nothing was recorded or sent.
    #[error("the Work IQ server {server} is not in the tooling manifest")]
    ServerNotConfigured {
        /// The server that was asked for.
        server: ServerName,
    },
    /// `ENTRABOT_A365_BASE` is no base.
    #[error("ENTRABOT_A365_BASE cannot be used")]
    Base(#[source] EndpointError),
    /// The HTTPS client cannot be set up.
    #[error("the HTTPS client cannot be set up: {reason}")]
    Setup {
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// The audit log took no record, so nothing was sent.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The call failed, and that is on record.
    #[error("{error}")]
    Call {
        /// Why.
        error: Box<CallError>,
        /// Where it is on record.
        recorded: Recorded,
    },
    /// The tool was called and answered, and its answer lacks what it must hold. The call is on record as a success.
    #[error("{server}.{tool} answered, but the answer holds no {missing}")]
    UnusableAnswer {
        /// The server.
        server: ServerName,
        /// The tool.
        tool: ToolName,
        /// What is missing.
        missing: &'static str,
        /// Where the call is on record.
        recorded: Recorded,
    },
    /// The call was made, but its outcome could not be written to the audit log.
    #[error("{}; {lost}", if .result.is_ok() { "the call succeeded" } else { "the call failed" })]
    OutcomeLost {
        /// What happened all the same.
        result: Box<Result<Reply, CallError>>,
        /// What went wrong with the record.
        lost: AuditOutcomeLost,
        /// The pending record, which stays as evidence.
        recorded: Recorded,
    },
}

impl A365Error {
    pub(crate) fn manifest_not_found(searched: Vec<String>) -> Self {
        Self::ManifestNotFound { searched }
    }
    pub(crate) fn manifest_invalid(manifest: &str, finding: Finding) -> Self {
        Self::ManifestInvalid { manifest: manifest.to_owned(), finding }
    }

    /// The ids under which the failed call is on record; `None` when it did not get so far.
    #[must_use]
    pub fn recorded(&self) -> Option<Recorded> {
        match self {
            Self::Call { recorded, .. }
            | Self::UnusableAnswer { recorded, .. }
            | Self::OutcomeLost { recorded, .. } => Some(*recorded),
            Self::Argument(_)
            | Self::ManifestNotFound { .. }
            | Self::ManifestInvalid { .. }
            | Self::ServerNotConfigured { .. }
            | Self::Base(_)
            | Self::Setup { .. }
            | Self::Audit(_) => None,
        }
    }

    /// The failure of the call itself, when it came so far.
    #[must_use]
    pub fn call_error(&self) -> Option<&CallError> {
        match self {
            Self::Call { error, .. } => Some(error),
            Self::OutcomeLost { result, .. } => result.as_ref().as_ref().err(),
            _ => None,
        }
    }
}

impl Diagnose for A365Error {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Argument(error) => error.error_type(),
            Self::ManifestNotFound { .. } => "A365ManifestNotFoundError",
            Self::ManifestInvalid { .. } => "A365ManifestInvalidError",
            Self::ServerNotConfigured { .. } => "A365ServerNotConfiguredError",
            Self::Base(_) => "ConfigError",
            Self::Setup { .. } => "A365SetupError",
            Self::Audit(error) => error.error_type(),
            Self::Call { error, .. } => error.error_type(),
            Self::UnusableAnswer { .. } => "A365McpCallError",
            Self::OutcomeLost { .. } => "AuditOutcomeLost",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Argument(error) => error.hint(),
            Self::ManifestNotFound { .. } => Some(
                "create ToolingManifest.json (`a365 develop add-mcp-servers mcp_WordServer`), and name it in \
                 ENTRABOT_A365_TOOLING_MANIFEST"
                    .into(),
            ),
            Self::ManifestInvalid { finding, .. } => Some(
                format!("{} (`entrabot manifest lint FILE` shows every finding)", finding.hint).into(),
            ),
            Self::ServerNotConfigured { server } => {
                Some(format!("add it with `a365 develop add-mcp-servers {server}`").into())
            }
            Self::Base(_) => Some("set ENTRABOT_A365_BASE to an https address, or remove it".into()),
            Self::Setup { .. } => Some("check ENTRABOT_CA_BUNDLE and ENTRABOT_PROXY".into()),
            Self::Audit(error) => error.hint(),
            Self::Call { error, .. } => error.hint(),
            Self::UnusableAnswer { .. } => {
                Some("Work IQ changed its answer; look for the document before calling again".into())
            }
            Self::OutcomeLost { .. } => Some(
                "do not call again before you know whether it happened; make room for the audit log and restart".into(),
            ),
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Argument(error) => error.class(),
            Self::ManifestNotFound { .. }
            | Self::ManifestInvalid { .. }
            | Self::ServerNotConfigured { .. } => ErrorClass::Configuration,
            Self::Base(_) | Self::Setup { .. } => ErrorClass::Configuration,
            Self::Audit(error) => error.class(),
            Self::Call { error, .. } => error.class(),
            Self::UnusableAnswer { .. } => ErrorClass::Failed,
            Self::OutcomeLost { .. } => ErrorClass::AuditUnavailable,
        }
    }
}
