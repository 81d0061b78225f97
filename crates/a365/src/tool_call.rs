use entrabot_audit::{Auditable, Subject};

use crate::{Server, ServerName, ToolName};

/// One call of one tool on one configured server, with its arguments.
#[derive(Debug)]
pub struct ToolCall {
    _server: Server,
    server_name: ServerName,
    tool: ToolName,
    _arguments: serde_json::Map<String, serde_json::Value>,
}

impl Auditable for ToolCall {
    fn subject(&self) -> Subject {
        Subject::WorkIq { server: self.server_name.clone(), tool: self.tool.clone() }
    }
}
