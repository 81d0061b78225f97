//! Results as MCP wants them.

use entrabot_audit::Recorded;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, MetaObject};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// The key of the audit ids in a result's `_meta`.
const AUDIT_KEY: &str = "entrabot/audit";

/// What a client gets, and what is said of it elsewhere.
pub(super) struct Answer {
    result: CallToolResult,
    /// The stable name of the error, of a failure.
    pub(super) error_type: Option<&'static str>,
}

impl From<Answer> for CallToolResponse {
    fn from(answer: Answer) -> Self {
        answer.result.into()
    }
}

/// A result: structured, and the same as text, with what stands beside it.
pub(super) fn success(
    reply: &impl Serialize,
    beside: Option<ContentBlock>,
    recorded: Option<Value>,
) -> Answer {
    match serde_json::to_value(reply) {
        Ok(value) => {
            let mut result = CallToolResult::structured(value).with_meta(meta(recorded));
            result.content.extend(beside);
            Answer { result, error_type: None }
        }
        Err(_) => failure(&Failure::internal("making the answer"), recorded),
    }
}

/// A failure: one text item and no structured content, which a client would check against the output schema and so
/// hide the error behind one of its own.
pub(super) fn failure(failure: &Failure, recorded: Option<Value>) -> Answer {
    let text = ContentBlock::text(failure.to_json().to_string());
    let result = CallToolResult::error(vec![text]).with_meta(meta(recorded));
    Answer { result, error_type: Some(failure.error_type()) }
}

/// The ids of a span.
pub(super) fn ids(recorded: Recorded) -> Value {
    json!({"call_id": recorded.call_id.to_string(), "event_id": recorded.event_id.to_string()})
}

fn meta(recorded: Option<Value>) -> Option<MetaObject> {
    recorded.map(|ids| MetaObject(Map::from_iter([(AUDIT_KEY.to_owned(), ids)])))
}
