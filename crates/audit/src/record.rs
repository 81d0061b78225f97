use std::fmt;

use entrabot_identity::AttributionType;

use crate::{ServerName, ToolName};

/// The id of one line of the log: a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId(uuid::Uuid);

/// What joins a pending line with its outcome: a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(uuid::Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The `src` of a record: which part of the product wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// `transport`: written by the audited door itself.
    Transport,
    /// `tool`: asserted by a model through the `audit_log` tool.
    Tool,
    /// `cli`: asserted by whoever ran `entrabot audit append`.
    Cli,
    /// `provisioning`
    Provisioning,
    /// `system`
    System,
}

/// The `outcome` of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// `pending`
    Pending,
    /// `success`
    Success,
    /// `failure`
    Failure,
}

/// What a span is about. Closed: there is no variant that takes free text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A Work IQ tool call: action and resource are `a365.{server}.{tool}`, the metadata is exactly `{server, tool}`.
    WorkIq {
        /// The server.
        server: ServerName,
        /// The tool.
        tool: ToolName,
    },
}

/// A self-asserted record through one of the two doors that take free text.
#[derive(Clone, Debug)]
pub struct LogEntry {
    _private: (),
}

impl LogEntry {
    /// From `entrabot audit append` (`src` cli). Bounds are checked by [`crate::AuditLog::log_event`].
    #[must_use]
    pub fn cli(_action: &str, _resource: &str, _outcome: &str, _attribution: AttributionType) -> Self {
        todo!("audit")
    }
    /// From the `audit_log` tool (`src` tool).
    #[must_use]
    pub fn tool(_action: &str, _resource: &str, _outcome: &str, _attribution: AttributionType) -> Self {
        todo!("audit")
    }
    /// Metadata: a JSON object's text.
    #[must_use]
    pub fn with_metadata(self, _object: serde_json::Map<String, serde_json::Value>) -> Self {
        todo!("audit")
    }
}
