use std::fmt;

use entrabot_audit::{Auditable, Subject};
use serde_json::{Map, Value};

use crate::catalog::{self, Effect};
use crate::observer::TraceParent;
use crate::progress::ProgressSink;
use crate::{Server, ServerName, ToolName};

/// The name under which `tools/list` is on record.
const LIST: &str = "tools.list";
/// The same where its definitions become the pinned ones, whatever was pinned before.
const TRUST: &str = "tools.trust";

/// One call of one tool on one configured server, with its arguments.
///
/// The record names the server and the tool, and nothing of the arguments; the transport sends exactly what is in
/// here, to the endpoint that came with the server.
pub struct ToolCall {
    server: Server,
    tool: ToolName,
    request: Request,
    progress: Option<ProgressSink>,
    trace: Option<TraceParent>,
}

/// What is asked.
pub(crate) enum Request {
    /// `tools/call`.
    Call { arguments: Map<String, Value>, effect: Effect, check: Check },
    /// `tools/list`.
    List(Purpose),
}

/// What the server's definition of the tool must be before the arguments leave. Pins are checked in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Whatever it is.
    Nothing,
    /// One whose schema the arguments fit.
    Schema,
    /// Exactly the one with this digest, and the arguments fit it.
    Definition { sha256: String },
}

/// What becomes of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is shown.
    Show,
    /// Its tools are offered to a client: each is pinned, or held to its pin.
    Offer,
    /// The operator takes it for true: each tool is pinned anew.
    Trust,
}

impl ToolCall {
    /// A call of `tool` on `server`.
    #[must_use]
    pub fn new(server: &Server, tool: ToolName, arguments: Map<String, Value>) -> Self {
        let effect = catalog::effect(tool.as_str());
        let request = Request::Call { arguments, effect, check: Check::Nothing };
        Self { server: server.clone(), tool, request, progress: None, trace: None }
    }

    /// The same, whose arguments are checked against the schema that the server advertises before they leave.
    #[must_use]
    pub fn checked(self) -> Self {
        self.with_check(Check::Schema)
    }

    /// The same, held to the definition with this digest.
    pub(crate) fn held_to(self, sha256: String) -> Self {
        self.with_check(Check::Definition { sha256 })
    }

    fn with_check(mut self, wanted: Check) -> Self {
        if let Request::Call { check, .. } = &mut self.request {
            *check = wanted;
        }
        self
    }

    /// The same, of whose progress `sink` hears.
    #[must_use]
    pub fn reporting_to(mut self, sink: ProgressSink) -> Self {
        self.progress = Some(sink);
        self
    }

    /// The same as a part of this trace, of which the server is told.
    #[must_use]
    pub fn traced(mut self, trace: TraceParent) -> Self {
        self.trace = Some(trace);
        self
    }

    /// What `server` offers.
    #[must_use]
    pub fn list(server: &Server) -> Self {
        Self::listing(server, LIST, Purpose::Show)
    }

    pub(crate) fn offer(server: &Server) -> Self {
        Self::listing(server, LIST, Purpose::Offer)
    }

    pub(crate) fn trust(server: &Server) -> Self {
        Self::listing(server, TRUST, Purpose::Trust)
    }

    fn listing(server: &Server, name: &str, purpose: Purpose) -> Self {
        let tool = ToolName::parse(name).expect("letters and a dot are a tool name");
        Self { server: server.clone(), tool, request: Request::List(purpose), progress: None, trace: None }
    }

    /// The server it goes to.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
    /// The tool; `tools.list` or `tools.trust` for a listing.
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
            Request::List(_) => Effect::Read,
        }
    }
    pub(crate) fn progress(&self) -> Option<&ProgressSink> {
        self.progress.as_ref()
    }
    pub(crate) fn trace(&self) -> Option<TraceParent> {
        self.trace
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
