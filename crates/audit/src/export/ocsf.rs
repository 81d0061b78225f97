//! OCSF 1.6.0: every record is an event of the class API Activity.

use serde_json::{Value, json};

use super::{Details, PRODUCT, VERSION};
use crate::StoredEvent;

const SCHEMA: &str = "1.6.0";
const CATEGORY: u32 = 6;
const CLASS: u32 = 6003;
/// What a tool does cannot be known from its name: "other", with the name.
const OTHER: u32 = 99;

pub(super) fn event(event: &StoredEvent, details: &Details) -> Value {
    let (status_id, severity_id, severity) = match event.outcome() {
        "success" => (1, 1, "Informational"),
        "failure" => (2, 2, "Low"),
        _ => (OTHER, 1, "Informational"),
    };
    let status = match status_id {
        1 => "Success",
        2 => "Failure",
        _ => event.outcome(),
    };
    let mut mapped = json!({
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "activity_id": OTHER,
        "activity_name": details.operation,
        "type_uid": CLASS * 100 + OTHER,
        "type_name": "API Activity: Other",
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "time": event.time().map_or(0, |time| time.as_micros().div_euclid(1000)),
        "actor": actor(event),
        "api": {
            "operation": details.operation,
            "service": {"name": details.service},
        },
        "src_endpoint": {"svc_name": PRODUCT},
        "resources": [{"name": event.resource()}],
        "metadata": {
            "version": SCHEMA,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": VERSION},
            "uid": event.event_id(),
            "log_name": "audit",
            "log_provider": event.source().unwrap_or("foreign"),
            "original_time": event.timestamp(),
        },
        // What makes the record checkable against the log.
        "unmapped": {
            "attribution_type": event.attribution_type(),
            "via": event.via(),
            "prev": details.prev,
        },
    });
    if let Some(call) = event.call_id() {
        mapped["api"]["request"] = json!({"uid": call});
        mapped["metadata"]["correlation_uid"] = call.into();
    }
    if let Some(seq) = event.seq() {
        mapped["metadata"]["sequence"] = seq.into();
    }
    if let Some(error_type) = &details.error_type {
        mapped["status_code"] = error_type.as_str().into();
    }
    mapped
}

/// The agent is a service account of its own; a person's token makes the person the actor.
fn actor(event: &StoredEvent) -> Value {
    let (type_id, name) = match event.attribution_type() {
        "agent" => (4, "Service"),
        "delegated-human" => (1, "User"),
        _ => (0, "Unknown"),
    };
    json!({"app_name": PRODUCT, "user": {"uid": event.agent_id(), "type_id": type_id, "type": name}})
}
