//! OpenTelemetry logs in the JSON encoding of OTLP, with the names of its conventions for agents and MCP where there are
//! such. A call's records share a trace id, which is the call's id.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Details, PRODUCT, VERSION};
use crate::StoredEvent;

/// Records in one request.
const BATCH: usize = 512;
/// `INFO` and `WARN` of the severity numbers.
const INFO: (u32, &str) = (9, "INFO");
const WARN: (u32, &str) = (13, "WARN");

/// A batch under way.
#[derive(Debug, Default)]
pub(super) struct OtlpLogs {
    records: Vec<Value>,
}

impl OtlpLogs {
    /// A request once it is full.
    pub(super) fn push(&mut self, event: &StoredEvent, details: &Details) -> Option<Value> {
        self.records.push(record(event, details));
        if self.records.len() < BATCH { None } else { self.take() }
    }

    /// What is left.
    pub(super) fn take(&mut self) -> Option<Value> {
        if self.records.is_empty() {
            return None;
        }
        let resource = [("service.name", PRODUCT), ("service.version", VERSION)];
        Some(json!({"resourceLogs": [{
            "resource": {"attributes": resource.map(|(key, value)| attribute(key, value))},
            "scopeLogs": [{
                "scope": {"name": "entrabot.audit", "version": VERSION},
                "logRecords": std::mem::take(&mut self.records),
            }],
        }]}))
    }
}

fn record(event: &StoredEvent, details: &Details) -> Value {
    let (number, text) = if event.outcome() == "failure" { WARN } else { INFO };
    // 64-bit numbers are strings in this encoding.
    let nanos = event.time().map_or(0, |time| i128::from(time.as_micros()) * 1000).max(0).to_string();
    let mut attributes = vec![
        attribute("entrabot.audit.event_id", event.event_id()),
        attribute("entrabot.audit.action", event.action()),
        attribute("entrabot.audit.resource", event.resource()),
        attribute("entrabot.audit.outcome", event.outcome()),
        attribute("entrabot.audit.attribution_type", event.attribution_type()),
        attribute("entrabot.audit.source", event.source().unwrap_or("foreign")),
        attribute("gen_ai.agent.id", event.agent_id()),
    ];
    if details.is_work_iq {
        attributes.push(attribute("gen_ai.operation.name", "execute_tool"));
        attributes.push(attribute("gen_ai.tool.name", &details.operation));
        attributes.push(attribute("mcp.method.name", "tools/call"));
        attributes.push(attribute("entrabot.a365.server", &details.service));
    }
    if event.outcome() == "failure" {
        // "_OTHER" is the convention's word where no name is known.
        attributes.push(attribute("error.type", details.error_type.as_deref().unwrap_or("_OTHER")));
    }
    for (key, value) in [
        ("entrabot.audit.via", event.via()),
        ("entrabot.audit.call_id", event.call_id()),
        ("entrabot.audit.prev", details.prev.as_deref()),
    ] {
        attributes.extend(value.map(|value| attribute(key, value)));
    }
    if let Some(seq) = event.seq() {
        attributes.push(json!({"key": "entrabot.audit.seq", "value": {"intValue": seq.to_string()}}));
    }
    let mut record = json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": number,
        "severityText": text,
        "eventName": "entrabot.audit.record",
        "body": {"stringValue": format!("{} {}", event.action(), event.outcome())},
        "attributes": attributes,
    });
    if let Some(call) = event.call_id().and_then(|call| Uuid::try_parse(call).ok()) {
        record["traceId"] = call.simple().to_string().into();
    }
    record
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}
