//! OTLP's JSON encoding: 64-bit numbers are strings, ids are hexadecimal.

use serde_json::{Value, json};

use super::{LogRecord, SCOPE, VERSION};

pub(super) fn request(resource: &[(String, String)], records: &[LogRecord]) -> Value {
    let resource: Vec<Value> =
        resource.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
    json!({"resourceLogs": [{
        "resource": {"attributes": resource},
        "scopeLogs": [{
            "scope": {"name": SCOPE, "version": VERSION},
            "logRecords": records.iter().map(record).collect::<Vec<_>>(),
        }],
    }]})
}

fn record(record: &LogRecord) -> Value {
    let nanos = record.nanos.to_string();
    let attributes: Vec<Value> = record
        .attributes
        .iter()
        .map(|(key, value)| match value {
            super::Value::Text(text) => json!({"key": key, "value": {"stringValue": text}}),
            super::Value::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
        })
        .collect();
    let mut value = json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": record.severity.0,
        "severityText": record.severity.1,
        "eventName": record.event_name,
        "body": {"stringValue": record.body},
        "attributes": attributes,
    });
    if let Some(trace) = record.trace {
        value["traceId"] = trace.simple().to_string().into();
    }
    value
}
