use std::sync::Arc;

use entrabot_audit::{AuditLog, Recorded};
use entrabot_identity::TokenSource;

use crate::{A365Error, Reply, ToolCall, Transport};

/// A reply and the ids under which its call is on record.
#[derive(Debug)]
pub struct Answered {
    /// What the tool answered.
    pub reply: Reply,
    /// The audit ids.
    pub recorded: Recorded,
}

/// The audited door: `pending` → token → call → outcome.
#[derive(Debug)]
pub struct WorkIqProvider {
    _audit: AuditLog,
    _tokens: Arc<dyn TokenSource>,
    _transport: Transport,
}

impl WorkIqProvider {
    /// # Errors
    /// See [`A365Error`]; the span is closed whatever happens, also when the future is dropped.
    pub async fn call_tool(&self, _call: ToolCall) -> Result<Answered, A365Error> {
        todo!("a365")
    }
}
