//! Results as MCP wants them.

use entrabot_audit::Recorded;
use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// The key of the audit ids in a result's `_meta`.
const AUDIT_KEY: &str = "entrabot/audit";

/// A result: structured, and the same as text, with what stands beside it.
pub(super) fn success(
    reply: &impl Serialize,
    beside: Option<ContentBlock>,
    recorded: Option<Value>,
) -> CallToolResult {
    match serde_json::to_value(reply) {
        Ok(value) => {
            let mut result = CallToolResult::structured(value).with_meta(meta(recorded));
            result.content.extend(beside);
            result
        }
        Err(_) => failure(&Failure::internal("making the answer"), recorded),
    }
}

/// A failure: one text item and no structured content, which a client would check against the output schema and so
/// hide the error behind one of its own.
pub(super) fn failure(failure: &Failure, recorded: Option<Value>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(failure.to_json().to_string())]).with_meta(meta(recorded))
}

/// The ids of a span.
pub(super) fn ids(recorded: Recorded) -> Value {
    json!({"call_id": recorded.call_id.to_string(), "event_id": recorded.event_id.to_string()})
}

fn meta(recorded: Option<Value>) -> Option<MetaObject> {
    recorded.map(|ids| MetaObject(Map::from_iter([(AUDIT_KEY.to_owned(), ids)])))
}
