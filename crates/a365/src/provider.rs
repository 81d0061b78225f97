use std::sync::Arc;

use entrabot_audit::{AuditLog, Recorded};
use entrabot_identity::{Config, Egress, TokenSource};
use serde_json::{Map, Value};

use crate::{A365Error, Reply, ServerName, ToolCall, ToolDefinition, ToolName, Transport};

/// A result and the ids under which its call is on record.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered<T = Reply> {
    /// What the tool answered.
    pub reply: T,
    /// The audit ids, for the result's `_meta`.
    pub recorded: Recorded,
}

/// The audited door: `pending` → token → call → outcome. Cheap to clone; clones share connections and caches.
#[derive(Clone, Debug)]
pub struct WorkIqProvider {
    _audit: AuditLog,
    _tokens: Arc<dyn TokenSource>,
    _transport: Arc<Transport>,
}

impl WorkIqProvider {
    /// Touches no file and no network: the manifest is read at each call, so that a server starts without one.
    ///
    /// # Errors
    /// The operator's `ENTRABOT_A365_BASE` is no base, or the TLS client cannot be set up.
    pub fn new(
        _config: &Config,
        _audit: AuditLog,
        _tokens: Arc<dyn TokenSource>,
        _egress: &Egress,
    ) -> Result<Self, A365Error> {
        todo!("a365")
    }

    /// One audited call of exactly this server and tool.
    ///
    /// # Errors
    /// See [`A365Error`]; the span is closed whatever happens, also when the future is dropped.
    pub async fn call_tool(&self, _call: ToolCall) -> Result<Answered, A365Error> {
        todo!("a365")
    }

    /// One audited call of any configured server's tool. The arguments are checked against the schema that the
    /// server advertises before they leave.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn call(
        &self,
        _server: &ServerName,
        _tool: &ToolName,
        _arguments: Map<String, Value>,
    ) -> Result<Answered, A365Error> {
        todo!("a365")
    }

    /// What a configured server offers (`tools/list`), on record like any call.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn list_tools(&self, _server: &ServerName) -> Result<Answered<Vec<ToolDefinition>>, A365Error> {
        todo!("a365")
    }
}
