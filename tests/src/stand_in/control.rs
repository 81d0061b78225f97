//! `POST /_control` on the authority listener: faults, behaviour and state for other processes.
//!
//! The body is one JSON object; every member is optional and they apply in this order:
//! `clear` (bool: ends all faults), `faults` (array of [`Fault`]), `behaviour` (members of
//! [`super::Behaviour`] to change), `tls` (a name of [`super::TlsFault`]), `clear_requests` (bool).
//! The answer holds the state after it, with the requests when `requests` is true.

use serde_json::{Value, json};

use super::Cloud;
use super::faults::Fault;
use super::http::{Answer, Request};
use super::pki::TlsFault;

/// Where it is.
pub(crate) const PATH: &str = "/_control";

/// Applies the change and answers the state.
pub(crate) fn answer(cloud: &Cloud, request: &Request) -> Answer {
    let body = if request.body.is_empty() { Some(json!({})) } else { request.json() };
    match body.as_ref().and_then(Value::as_object).ok_or_else(|| "the body must be a JSON object".to_owned())
    {
        Ok(_) => match apply(cloud, &body.unwrap_or_default()) {
            Ok(state) => Answer::json(200, &state),
            Err(problem) => Answer::json(400, &json!({"error": problem})),
        },
        Err(problem) => Answer::json(400, &json!({"error": problem})),
    }
}

fn apply(cloud: &Cloud, body: &Value) -> Result<Value, String> {
    let known = ["clear", "faults", "behaviour", "tls", "clear_requests", "requests"];
    for name in body.as_object().into_iter().flat_map(|members| members.keys()) {
        if !known.contains(&name.as_str()) {
            return Err(format!("unknown member {name}"));
        }
    }
    let faults: Vec<Fault> = match body.get("faults") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list.clone()).map_err(|error| error.to_string())?,
    };
    if let Some(name) = body["tls"].as_str() {
        let fault = TlsFault::by_name(name).ok_or_else(|| format!("unknown tls fault {name}"))?;
        cloud.present(&super::Role::ALL, fault).map_err(|error| error.to_string())?;
    }
    if body["clear_requests"] == true {
        cloud.records.clear();
    }
    let mut world = cloud.world();
    if let Some(change) = body["behaviour"].as_object() {
        let mut behaviour = serde_json::to_value(&world.behaviour).map_err(|error| error.to_string())?;
        for (name, value) in change {
            behaviour[name] = value.clone();
        }
        world.behaviour = serde_json::from_value(behaviour).map_err(|error| error.to_string())?;
    }
    if body["clear"] == true {
        world.faults.clear();
    }
    world.faults.extend(faults);
    let mut state = json!({
        "info": cloud.info,
        "documents_dir": cloud.dir.join("documents"),
        "manifest_v2": cloud.dir.join(super::fixture::MANIFEST_V2),
        "behaviour": world.behaviour,
        "faults": world.faults,
        "directory": world.directory.summary(),
        "documents": world.documents.summary(),
        "files": world.documents.seeded(),
        "hostile_cases": crate::cases::names(),
    });
    if body["requests"] == true {
        state["requests"] = json!(cloud.records.all());
    }
    Ok(state)
}
