//! `/applications`: ordinary apps and agent identity blueprints.

use serde_json::{Value, json};
use uuid::Uuid;

use super::error::GraphError;
use super::permissions::Operation;
use super::{Context, Outcome, query};
use crate::stand_in::directory::{Entry, Kind, odata};
use crate::stand_in::fixture::now;
use crate::stand_in::http::Answer;
use crate::stand_in::pki::thumbprint_sha1_hex;

pub(super) fn route(context: &mut Context<'_>, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            context.need(Operation::ReadApplications)?;
            let blueprints_only = context.cast.as_deref() == Some("agentIdentityBlueprint");
            let all = context.world.directory.all(Kind::Application);
            let wanted = all.filter(|entry| !blueprints_only || entry.is(odata::BLUEPRINT));
            Ok(Answer::json(200, &query::list(context.base(), context.request, wanted)?))
        }
        ("POST", []) => create(context),
        ("GET", [id]) => {
            context.need(Operation::ReadApplications)?;
            let entry = find(context, id)?;
            Ok(Answer::json(200, &query::single(context.base(), context.request, entry)))
        }
        ("PATCH", [id]) => update(context, id),
        ("DELETE", [id]) => {
            let entry = find(context, id)?;
            let blueprint = entry.is(odata::BLUEPRINT);
            let id = entry.id().to_owned();
            context.need(if blueprint { Operation::DeleteBlueprint } else { Operation::WriteApplication })?;
            context.world.directory.delete(Kind::Application, &id);
            Ok(Answer::empty(204))
        }
        (_, [id, "sponsors", more @ ..]) => {
            let id = find(context, id)?.id().to_owned();
            super::principals::sponsors(context, method, Kind::Application, &id, more)
        }
        _ => Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
}

fn find<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Entry, GraphError> {
    let directory = &context.world.directory;
    let found = match id.strip_prefix("appId=") {
        Some(app_id) => directory.by_app_id(Kind::Application, app_id),
        None => directory.get(Kind::Application, id),
    };
    found.ok_or_else(|| GraphError::not_found(id))
}

fn create(context: &mut Context<'_>) -> Outcome {
    context.need_odata_version()?;
    let blueprint = context.type_name().as_deref() == Some("agentIdentityBlueprint");
    context.need(if blueprint { Operation::CreateBlueprint } else { Operation::WriteApplication })?;
    let name = context.text("displayName")?;
    let mut body = json!({
        "@odata.type": if blueprint { odata::BLUEPRINT } else { "#microsoft.graph.application" },
        "appId": Uuid::new_v4().to_string(), "displayName": name, "createdDateTime": now(),
        "signInAudience": "AzureADMyOrg", "keyCredentials": [],
    });
    if blueprint {
        body["_sponsors"] = json!(context.sponsors()?);
    }
    if let Some(keys) = context.body.get("keyCredentials").cloned() {
        body["keyCredentials"] = merged_keys(context, &[], &keys)?;
    }
    for member in
        ["description", "tags", "isFallbackPublicClient", "identifierUris", "requiredResourceAccess"]
    {
        if let Some(value) = context.body.get(member) {
            body[member] = value.clone();
        }
    }
    created(context, Kind::Application, body)
}

/// Adds the object and shows it as the answer to its creation does.
pub(super) fn created(context: &mut Context<'_>, kind: Kind, mut body: Value) -> Outcome {
    body["id"] = json!(Uuid::new_v4().to_string());
    let delay = context.delay();
    context.world.directory.add(kind, body.clone(), delay);
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| !name.starts_with('_'));
        members.insert("@odata.context".into(), json!(format!("{}/v1.0/$metadata", context.base())));
    }
    for key in body.get_mut("keyCredentials").and_then(Value::as_array_mut).into_iter().flatten() {
        key["key"] = Value::Null;
    }
    Ok(Answer::json(201, &body))
}

fn update(context: &mut Context<'_>, id: &str) -> Outcome {
    let entry = find(context, id)?.clone();
    let blueprint = entry.is(odata::BLUEPRINT);
    let change = context.body.clone();
    let members = change.as_object().cloned().unwrap_or_default();
    if members.contains_key("keyCredentials") {
        context.need(if blueprint {
            Operation::WriteBlueprintCredentials
        } else {
            Operation::WriteApplication
        })?;
    }
    if members.keys().any(|name| name != "keyCredentials" && !name.starts_with('@')) {
        context.need(if blueprint { Operation::WriteBlueprint } else { Operation::WriteApplication })?;
    }
    let mut body = entry.body.clone();
    for (name, value) in members {
        if name.starts_with('@') || name.starts_with('_') {
            continue;
        }
        if ["id", "appId", "createdDateTime"].contains(&name.as_str()) {
            return Err(GraphError::bad_request(format!(
                "Property '{name}' is read-only and cannot be set."
            )));
        }
        if name == "keyCredentials" {
            let present =
                entry.body.get("keyCredentials").and_then(Value::as_array).cloned().unwrap_or_default();
            body.insert(name, merged_keys(context, &present, &value)?);
        } else {
            body.insert(name, value);
        }
    }
    // Guessed: a change of an object that shows already is seen by Graph's own reads at once.
    if let Some(entry) = context.world.directory.get_mut(Kind::Application, entry.id()) {
        entry.body = body;
    }
    Ok(Answer::empty(204))
}

/// The new list replaces the old one as a whole; an entry without `key` keeps the key of the old entry
/// with its `keyId`.
fn merged_keys(context: &Context<'_>, present: &[Value], wanted: &Value) -> Result<Value, GraphError> {
    use base64::Engine as _;
    use x509_parser::prelude::FromDer as _;
    let list =
        wanted.as_array().ok_or_else(|| GraphError::bad_request("'keyCredentials' must be a collection."))?;
    let mut merged: Vec<Value> = Vec::new();
    for key in list {
        let id = key["keyId"].as_str();
        if key["key"].is_null() {
            let kept = present.iter().find(|old| id.is_some() && old["keyId"].as_str() == id);
            let kept = kept.ok_or_else(|| {
                GraphError::bad_request("Key credential has no 'key' and no known 'keyId'.")
            })?;
            merged.push(kept.clone());
            continue;
        }
        let text = key["key"].as_str().unwrap_or_default();
        let der = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
        let Ok((rest, certificate)) = x509_parser::prelude::X509Certificate::from_der(&der) else {
            return Err(GraphError::new(
                400,
                "KeyCredentialsInvalidCertificate",
                "Key credential is not a certificate.",
            ));
        };
        if !rest.is_empty() || key["type"] != "AsymmetricX509Cert" || key["usage"] != "Verify" {
            let text =
                "New key credential must have type AsymmetricX509Cert, usage Verify and one DER certificate.";
            return Err(GraphError::new(400, "KeyCredentialsInvalidType", text));
        }
        let validity = certificate.validity();
        for (member, time, late) in
            [("startDateTime", validity.not_before, false), ("endDateTime", validity.not_after, true)]
        {
            let given = key[member].as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
            let outside = given.is_some_and(|given| {
                let (given, limit) = (given.timestamp(), time.timestamp());
                if late { given > limit } else { given < limit }
            });
            if outside || (key[member].is_string() && given.is_none()) {
                let text = format!("Key credential {member} is outside the certificate's validity.");
                return Err(GraphError::new(400, "KeyCredentialsInvalidEndDate", text));
            }
        }
        if validity.not_after.timestamp() < chrono::Utc::now().timestamp() {
            return Err(GraphError::new(
                400,
                "KeyCredentialsInvalidEndDate",
                "Key credential end date is invalid.",
            ));
        }
        // Guessed: Entra tells certificates apart by thumbprint, so the same one again is the same entry.
        if let Some(same) = present.iter().find(|old| old["key"] == key["key"]) {
            merged.push(same.clone());
            continue;
        }
        let mut fresh = key.clone();
        fresh["keyId"] = json!(id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned));
        fresh["customKeyIdentifier"] = json!(thumbprint_sha1_hex(&der));
        let delay = i64::try_from(context.world.behaviour.certificate_delay_ms).unwrap_or(i64::MAX / 2);
        fresh["_effectiveAt"] = json!(chrono::Utc::now().timestamp_millis().saturating_add(delay));
        merged.push(fresh);
    }
    let mut ids: Vec<&str> = merged.iter().filter_map(|key| key["keyId"].as_str()).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(GraphError::bad_request("Key credentials must have unique 'keyId' values."));
    }
    Ok(Value::Array(merged))
}
