use std::fmt;
use std::sync::Arc;

use entrabot_identity::{Action, Attribution, AttributionType, Human, Unattributed};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::line::{Body, MAX_ACTION, MAX_OUTCOME, MAX_RESOURCE, Metadata, Record, Said};
use crate::{AuditError, ServerName, Timestamp, ToolName};

/// The id of one line of the log: a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub(crate) Uuid);

/// What joins a pending line with its outcome: a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(crate) Uuid);

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

impl Source {
    /// As it stands in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Tool => "tool",
            Self::Cli => "cli",
            Self::Provisioning => "provisioning",
            Self::System => "system",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Transport, Self::Tool, Self::Cli, Self::Provisioning, Self::System]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
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

impl Outcome {
    /// As it stands in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
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

impl Subject {
    /// The `action` of its records.
    #[must_use]
    pub fn action(&self) -> String {
        match self {
            Self::WorkIq { server, tool } => format!("a365.{server}.{tool}"),
        }
    }

    /// Why it cannot be done: nobody can be said to act.
    pub(crate) fn unattributed(&self, reason: Unattributed) -> AuditError {
        AuditError::unattributed(self.action(), self.action(), reason)
    }

    pub(crate) fn body(&self, who: &Attribution, call: CallId) -> Body {
        let Self::WorkIq { server, tool } = self;
        let action = self.action();
        Body {
            call,
            source: Source::Transport.as_str(),
            via: who.via().as_str().into(),
            attribution: who.kind().as_str().into(),
            agent: who.agent_id().to_owned(),
            resource: action.clone(),
            action,
            metadata: Metadata::of(&[("server", server.as_str()), ("tool", tool.as_str())]),
        }
    }
}

/// The body of an act of identity's own.
pub(crate) fn body_of_action(action: &Action, who: &Attribution, call: CallId) -> Body {
    Body {
        call,
        source: Source::Provisioning.as_str(),
        via: who.via().as_str().into(),
        attribution: who.kind().as_str().into(),
        agent: who.agent_id().to_owned(),
        action: action.name().to_owned(),
        resource: action.subject().unwrap_or(action.name()).to_owned(),
        metadata: Metadata::empty(),
    }
}

/// A single record that stands for itself: a self-asserted one through one of the two doors that take free text, or
/// one of the product's own.
#[derive(Clone, Debug)]
pub struct LogEntry {
    source: Source,
    action: Arc<str>,
    resource: Arc<str>,
    outcome: Arc<str>,
    attribution: AttributionType,
    /// `None` when it nests too deeply.
    metadata: Option<Metadata>,
}

impl LogEntry {
    /// From `entrabot audit append` (`src` cli). Bounds are checked by [`crate::AuditLog::log_event`].
    #[must_use]
    pub fn cli(action: &str, resource: &str, outcome: &str, attribution: AttributionType) -> Self {
        Self::new(Source::Cli, action, resource, outcome, attribution)
    }
    /// From the `audit_log` tool (`src` tool).
    #[must_use]
    pub fn tool(action: &str, resource: &str, outcome: &str, attribution: AttributionType) -> Self {
        Self::new(Source::Tool, action, resource, outcome, attribution)
    }
    /// A sign-in that failed (`src` system): action `identity.sign_in`, with the stable name of the error.
    #[must_use]
    pub fn sign_in_failed(error_type: &'static str) -> Self {
        let entry = Self::new(
            Source::System,
            "identity.sign_in",
            "identity.session",
            "failure",
            AttributionType::None,
        );
        Self { metadata: Some(Metadata::of(&[("error_type", error_type)])), ..entry }
    }
    /// A person takes the place of an agent whose sign-in failed (`src` system): action `identity.delegated_fallback`,
    /// of the agent; the resource is the person's object id, and the metadata says why.
    #[must_use]
    pub fn delegated_fallback(human: &Human, error_type: &'static str) -> Self {
        let entry = Self::new(
            Source::System,
            "identity.delegated_fallback",
            human.object_id().as_str(),
            "success",
            AttributionType::Agent,
        );
        let metadata = [("from", "agent_user"), ("to", "delegated"), ("error_type", error_type)];
        Self { metadata: Some(Metadata::of(&metadata)), ..entry }
    }
    /// The same for a person instead of the agent.
    #[must_use]
    pub fn for_person(mut self) -> Self {
        self.attribution = AttributionType::DelegatedHuman;
        self
    }
    /// Metadata: a JSON object's members.
    #[must_use]
    pub fn with_metadata(mut self, object: Map<String, Value>) -> Self {
        if self.source != Source::System {
            self.metadata = Metadata::of_object(&object);
        }
        self
    }

    fn new(
        source: Source,
        action: &str,
        resource: &str,
        outcome: &str,
        attribution: AttributionType,
    ) -> Self {
        Self {
            source,
            action: action.into(),
            resource: resource.into(),
            outcome: outcome.into(),
            attribution,
            metadata: Some(Metadata::empty()),
        }
    }

    pub(crate) fn attribution(&self) -> AttributionType {
        self.attribution
    }
    /// What an error may say of it: never its text, which may come from a tool's arguments.
    pub(crate) fn shown(&self) -> (String, String) {
        match self.source {
            Source::System => (self.action.to_string(), self.resource.to_string()),
            Source::Cli => (escaped(&self.action), escaped(&self.resource)),
            _ => ("an event of the audit_log tool".to_owned(), "audit_log".to_owned()),
        }
    }

    /// Checks every bound before anything else happens.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        let bound = |part, text: &str, limit| match text.len() {
            0 => Err(AuditError::InvalidEntry { part, reason: "it is empty" }),
            size if size > limit => Err(AuditError::TooLarge { part, size, limit }),
            _ => Ok(()),
        };
        bound("action", &self.action, MAX_ACTION)?;
        bound("resource", &self.resource, MAX_RESOURCE)?;
        bound("outcome", &self.outcome, MAX_OUTCOME)?;
        if !self.outcome.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
            return Err(AuditError::InvalidEntry {
                part: "outcome",
                reason: "only letters, digits, `_`, `-` and `.`",
            });
        }
        Ok(())
    }

    pub(crate) fn record(
        &self,
        who: &Attribution,
        call: CallId,
        reading: Timestamp,
    ) -> Result<Record, AuditError> {
        let said = Said {
            call,
            source: self.source.as_str(),
            via: who.via().as_str(),
            attribution: who.kind().as_str(),
            agent: who.agent_id(),
            action: &self.action,
            resource: &self.resource,
            metadata: self
                .metadata
                .as_ref()
                .ok_or(AuditError::InvalidEntry { part: "metadata", reason: "it nests too deeply" })?,
        };
        Record::saying(&said, &self.outcome, reading)
    }
}

fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    crate::json::push_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}
