//! The `audit_log` tool: one self-asserted record (`src` tool).

use entrabot_audit::LogEntry;
use entrabot_identity::AttributionType;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::arguments::{Arguments, refused};
use crate::failure::Failure;

/// Result of `audit_log`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AuditLogged {
    /// The record's id.
    pub(super) event_id: String,
    /// Always true: the record was on disk before this answer was given.
    pub(super) durable: bool,
}

/// # Errors
/// The metadata is not the text of a JSON object.
pub(super) fn entry(arguments: &Arguments) -> Result<LogEntry, Failure> {
    let metadata = match serde_json::from_str(arguments.get("metadata")) {
        Ok(Value::Object(members)) => members,
        _ => return Err(refused("metadata", "must be the text of a JSON object")),
    };
    let outcome = arguments.get("outcome");
    if outcome.is_empty()
        || !outcome.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    {
        return Err(refused("outcome", "must be one word of letters, digits, `_`, `-` and `.`"));
    }
    let (action, resource) = (arguments.get("action"), arguments.get("resource"));
    Ok(LogEntry::tool(action, resource, outcome, AttributionType::Agent).with_metadata(metadata))
}
