use std::fmt;

use entrabot_audit::{Auditable, Subject};
use serde_json::{Map, Value};

use crate::catalog::{self, Effect};
use crate::{Server, ServerName, ToolName};

/// The name under which `tools/list` is on record.
pub(crate) const LIST: &str = "tools.list";

/// One call of one tool on one configured server, with its arguments.
///
/// The record names the server and the tool, and nothing of the arguments; the transport sends exactly what is in
/// here, to the endpoint that came with the server.
pub struct ToolCall {
    server: Server,
    tool: ToolName,
    request: Request,
}

/// What is asked.
pub(crate) enum Request {
    /// `tools/call`.
    Call {
        arguments: Map<String, Value>,
        effect: Effect,
        /// Check the arguments against the advertised schema before they leave.
        checked: bool,
    },
    /// `tools/list`.
    List,
}

impl ToolCall {
    /// A call of `tool` on `server`.
    #[must_use]
    pub fn new(server: &Server, tool: ToolName, arguments: Map<String, Value>) -> Self {
        let effect = catalog::effect(tool.as_str());
        Self { server: server.clone(), tool, request: Request::Call { arguments, effect, checked: false } }
    }

    /// The same, whose arguments are checked against the schema that the server advertises before they leave.
    #[must_use]
    pub fn checked(self) -> Self {
        match self.request {
            Request::Call { arguments, effect, .. } => {
                Self { request: Request::Call { arguments, effect, checked: true }, ..self }
            }
            Request::List => self,
        }
    }

    /// What `server` offers.
    #[must_use]
    pub fn list(server: &Server) -> Self {
        let tool = ToolName::parse(LIST).expect("letters and a dot are a tool name");
        Self { server: server.clone(), tool, request: Request::List }
    }

    /// The server it goes to.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
    /// The tool; `tools.list` for a listing.
    #[must_use]
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }
    pub(crate) fn effect(&self) -> Effect {
        match self.request {
            Request::Call { effect, .. } => effect,
            Request::List => Effect::Read,
        }
    }
    pub(crate) fn server_name(&self) -> &ServerName {
        self.server.name()
    }
}

impl Auditable for ToolCall {
    fn subject(&self) -> Subject {
        Subject::WorkIq { server: self.server.name().clone(), tool: self.tool.clone() }
    }
}

/// Arguments are content.
impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("server", &self.server.name())
            .field("tool", &self.tool)
            .finish_non_exhaustive()
    }
}
