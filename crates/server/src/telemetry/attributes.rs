//! What may be said of an operation. A closed set, each with a value from a closed set, a validated name or random bytes:
//! there is no way for an argument, an answer, an address or an error's text to get in.
//!
//! Source: OpenTelemetry's semantic conventions for MCP and for generative AI.

use std::borrow::Cow;

use entrabot_a365::{Recorded, ServerName, ToolName};

use super::message::{Message, Value};

/// The MCP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Method {
    ToolsCall,
    ToolsList,
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ToolsCall => "tools/call",
            Self::ToolsList => "tools/list",
        }
    }
}

/// A tool that is there: one of ours, or one that a configured server offers. Never what a client made up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ToolLabel(Cow<'static, str>);

impl ToolLabel {
    pub(crate) fn ours(name: &'static str) -> Self {
        Self(name.into())
    }
    pub(crate) fn of_server(name: &ToolName) -> Self {
        Self(name.as_str().to_owned().into())
    }
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What operations are told apart by in metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Dimensions {
    pub(super) method: Method,
    pub(super) tool: Option<ToolLabel>,
    /// The Work IQ server, of a call to one.
    pub(super) server: Option<ServerName>,
    /// A stable name of an error.
    pub(super) error_type: Option<&'static str>,
    pub(super) protocol_version: Option<&'static str>,
}

impl Dimensions {
    pub(super) fn attributes(&self) -> Vec<Message> {
        let mut attributes = vec![text("mcp.method.name", self.method.as_str())];
        if let Some(tool) = &self.tool {
            attributes.push(text("gen_ai.tool.name", tool.as_str().to_owned()));
        }
        if self.method == Method::ToolsCall {
            attributes.push(text("gen_ai.operation.name", "execute_tool"));
        }
        if let Some(server) = &self.server {
            attributes.push(text("entrabot.a365.server", server.to_string()));
        }
        attributes.extend(self.error_type.map(|error| text("error.type", error)));
        attributes.extend(self.protocol_version.map(|version| text("mcp.protocol.version", version)));
        attributes
    }
}

/// Where the call is in the audit, so that one can be found from the other.
pub(super) fn audit_ids(recorded: Recorded) -> [Message; 2] {
    [
        text("entrabot.audit.call_id", recorded.call_id.to_string()),
        text("entrabot.audit.event_id", recorded.event_id.to_string()),
    ]
}

/// A `KeyValue`.
pub(super) fn text(key: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Message {
    let value = Message::new().with((1, "stringValue"), Value::Text(value.into()));
    Message::new().with((1, "key"), Value::Text(key.into())).with((2, "value"), Value::Message(value))
}
