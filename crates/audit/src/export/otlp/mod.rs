//! OpenTelemetry logs, with the names of its conventions for agents and MCP where there are such. A call's records share
//! a trace id, which is the call's id.

mod json;
mod protobuf;

use uuid::Uuid;

use super::{Details, PRODUCT, VERSION};
use crate::StoredEvent;

/// Records in one request.
pub(super) const BATCH: usize = 512;
const SCOPE: &str = "entrabot.audit";
/// `INFO` and `WARN` of the severity numbers.
const INFO: (u32, &str) = (9, "INFO");
const WARN: (u32, &str) = (13, "WARN");

/// How a request is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtlpEncoding {
    /// `application/json`.
    Json,
    /// `application/x-protobuf`.
    Protobuf,
}

/// A batch under way.
#[derive(Debug)]
pub(super) struct OtlpLogs {
    /// Whom the records are about.
    resource: Vec<(String, String)>,
    records: Vec<LogRecord>,
}

impl Default for OtlpLogs {
    fn default() -> Self {
        Self::about(vec![("service.name".to_owned(), PRODUCT.to_owned())])
    }
}

impl OtlpLogs {
    /// A batch with these resource attributes, and our version.
    pub(super) fn about(mut resource: Vec<(String, String)>) -> Self {
        if resource.iter().all(|(key, _)| key != "service.version") {
            resource.push(("service.version".to_owned(), VERSION.to_owned()));
        }
        Self { resource, records: Vec::new() }
    }

    pub(super) fn push(&mut self, record: LogRecord) {
        self.records.push(record);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// What is in it as a request, and an empty batch after it.
    pub(super) fn take(&mut self, encoding: OtlpEncoding) -> Option<Vec<u8>> {
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return None;
        }
        Some(match encoding {
            OtlpEncoding::Json => json::request(&self.resource, &records).to_string().into_bytes(),
            OtlpEncoding::Protobuf => protobuf::request(&self.resource, &records),
        })
    }
}

/// A record as OpenTelemetry has it.
#[derive(Debug)]
pub(super) struct LogRecord {
    nanos: u64,
    severity: (u32, &'static str),
    event_name: &'static str,
    body: String,
    trace: Option<Uuid>,
    attributes: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    Number(i64),
}

impl LogRecord {
    pub(super) fn of(event: &StoredEvent, details: &Details) -> Self {
        let failed = event.outcome() == "failure";
        let text = |key, value: &str| (key, Value::Text(value.to_owned()));
        let mut attributes = vec![
            text("entrabot.audit.event_id", event.event_id()),
            text("entrabot.audit.action", event.action()),
            text("entrabot.audit.resource", event.resource()),
            text("entrabot.audit.outcome", event.outcome()),
            text("entrabot.audit.attribution_type", event.attribution_type()),
            text("entrabot.audit.source", event.source().unwrap_or("foreign")),
            text("gen_ai.agent.id", event.agent_id()),
        ];
        if details.is_work_iq {
            attributes.push(text("gen_ai.operation.name", "execute_tool"));
            attributes.push(text("gen_ai.tool.name", &details.operation));
            attributes.push(text("mcp.method.name", "tools/call"));
            attributes.push(text("entrabot.a365.server", &details.service));
        }
        if failed {
            // "_OTHER" is the convention's word where no name is known.
            attributes.push(text("error.type", details.error_type.as_deref().unwrap_or("_OTHER")));
        }
        for (key, value) in [
            ("entrabot.audit.via", event.via()),
            ("entrabot.audit.call_id", event.call_id()),
            ("entrabot.audit.prev", details.prev.as_deref()),
        ] {
            attributes.extend(value.map(|value| text(key, value)));
        }
        if let Some(seq) = event.seq().and_then(|seq| i64::try_from(seq).ok()) {
            attributes.push(("entrabot.audit.seq", Value::Number(seq)));
        }
        Self {
            nanos: nanos(event.time()),
            severity: if failed { WARN } else { INFO },
            event_name: "entrabot.audit.record",
            body: format!("{} {}", event.action(), event.outcome()),
            trace: event.call_id().and_then(|call| Uuid::try_parse(call).ok()),
            attributes,
        }
    }

    /// A signed checkpoint: kept elsewhere, it shows later whether the log was rewritten.
    pub(super) fn of_checkpoint(note: &str, size: u64, now: crate::Timestamp) -> Self {
        Self {
            nanos: nanos(Some(now)),
            severity: INFO,
            event_name: "entrabot.audit.checkpoint",
            body: note.to_owned(),
            trace: None,
            attributes: vec![("entrabot.audit.size", Value::Number(i64::try_from(size).unwrap_or(i64::MAX)))],
        }
    }
}

fn nanos(time: Option<crate::Timestamp>) -> u64 {
    time.and_then(|time| u64::try_from(time.as_micros()).ok()).map_or(0, |micros| micros.saturating_mul(1000))
}
