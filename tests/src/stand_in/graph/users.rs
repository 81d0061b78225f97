//! `/users`, `/me`, licences.

use serde_json::{Value, json};

use super::applications::created;
use super::error::GraphError;
use super::permissions::Operation;
use super::{Context, Outcome, query};
use crate::stand_in::directory::{Entry, Kind, odata};
use crate::stand_in::http::Answer;

pub(super) fn route(context: &mut Context<'_>, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            context.need(Operation::ReadUsers)?;
            let users = context.world.directory.all(Kind::User);
            Ok(Answer::json(200, &query::list(context.base(), context.request, users)?))
        }
        ("POST", []) => create(context),
        ("GET", [id]) => {
            // A user may look up others; an app needs a role.
            let delegated = ["User.ReadBasic.All", "User.Read.All"];
            let own = context.caller.user.as_deref() == Some(*id);
            if !own && !context.caller.scopes.iter().any(|scope| delegated.contains(&scope.as_str())) {
                context.need(Operation::ReadUsers)?;
            }
            let user = find(context, id)?;
            Ok(Answer::json(200, &query::single(context.base(), context.request, user)))
        }
        ("PATCH", [id]) => update(context, id),
        ("DELETE", [id]) => {
            let user = find(context, id)?;
            let (id, agent) = (user.id().to_owned(), user.is(odata::AGENT_USER));
            context.need(if agent { Operation::WriteAgentUser } else { Operation::WriteUser })?;
            context.world.directory.delete(Kind::User, &id);
            Ok(Answer::empty(204))
        }
        ("GET", [id, "licenseDetails"]) => {
            context.need(Operation::ReadUsers)?;
            let user = find(context, id)?;
            let held =
                user.body.get("assignedLicenses").and_then(Value::as_array).cloned().unwrap_or_default();
            let details: Vec<Value> = context
                .world
                .directory
                .skus
                .iter()
                .filter(|sku| held.iter().any(|licence| licence["skuId"].as_str() == Some(&sku.id)))
                .map(|sku| json!({"skuId": sku.id, "skuPartNumber": sku.part_number}))
                .collect();
            Ok(Answer::json(200, &json!({"value": details})))
        }
        ("POST", [id, "assignLicense"]) => assign_licence(context, id),
        _ => Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
}

/// `/me` of a user token.
pub(super) fn me(context: &Context<'_>) -> Outcome {
    let Some(user) = &context.caller.user else {
        let text = "/me request is only valid with delegated authentication flow.";
        return Err(GraphError::new(400, "BadRequest", text));
    };
    if !context.caller.scopes.iter().any(|scope| scope.starts_with("User.Read")) {
        return Err(GraphError::denied());
    }
    let user = find(context, user)?;
    Ok(Answer::json(200, &query::single(context.base(), context.request, user)))
}

/// The tenant's subscriptions.
pub(super) fn skus(context: &Context<'_>) -> Outcome {
    context.need(Operation::ReadSkus)?;
    let directory = &context.world.directory;
    let list: Vec<Value> = directory
        .skus
        .iter()
        .map(|sku| {
            let plans: Vec<Value> = sku
                .plans
                .iter()
                .map(|plan| json!({"servicePlanName": plan, "provisioningStatus": "Success", "appliesTo": "User"}))
                .collect();
            json!({
                "id": format!("{}_{}", context.cloud.info.tenant_id, sku.id), "skuId": sku.id,
                "skuPartNumber": sku.part_number, "capabilityStatus": "Enabled", "appliesTo": "User",
                "consumedUnits": directory.seats_taken(&sku.id), "servicePlans": plans,
                "prepaidUnits": {"enabled": sku.seats, "suspended": 0, "warning": 0, "lockedOut": 0},
            })
        })
        .collect();
    Ok(Answer::json(200, &json!({"value": list})))
}

fn find<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Entry, GraphError> {
    context.world.directory.user(id).ok_or_else(|| GraphError::not_found(id))
}

fn create(context: &mut Context<'_>) -> Outcome {
    if context.type_name().as_deref() != Some("agentUser") {
        // Humans are not made here; without the type Graph wants what a human needs.
        return Err(GraphError::bad_request("A password must be specified to create a new user."));
    }
    context.need(Operation::CreateAgentUser)?;
    context.need_odata_version()?;
    let (name, upn, nickname, parent) = (
        context.text("displayName")?,
        context.text("userPrincipalName")?,
        context.text("mailNickname")?,
        context.text("identityParentId")?,
    );
    if context.body.get("passwordProfile").is_some() {
        return Err(GraphError::bad_request("An agent user cannot have a passwordProfile."));
    }
    if context.body.get("accountEnabled").is_none() {
        return Err(GraphError::bad_request(
            "A value is required for property 'accountEnabled' of resource 'User'.",
        ));
    }
    let domain = context.cloud.info.agent_upn.split_once('@').map_or("", |(_, domain)| domain);
    if !upn
        .split_once('@')
        .is_some_and(|(local, given)| !local.is_empty() && given.eq_ignore_ascii_case(domain))
    {
        let text = "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization.";
        return Err(GraphError::bad_request(text));
    }
    let directory = &context.world.directory;
    if directory.agent_identity(&parent).is_none() {
        let text = format!("The agent identity '{parent}' of property 'identityParentId' does not exist.");
        return Err(GraphError::bad_request(text));
    }
    if directory.written(Kind::User).any(|user| user.text("userPrincipalName").eq_ignore_ascii_case(&upn)) {
        let text = "Another object with the same value for property userPrincipalName already exists.";
        return Err(GraphError::bad_request(text));
    }
    if directory.written(Kind::User).any(|user| user.text("identityParentId") == parent) {
        let text = "Another user is already linked to the same agent identity (identityParentId).";
        return Err(GraphError::bad_request(text));
    }
    let body = json!({
        "@odata.type": odata::AGENT_USER, "displayName": name, "userPrincipalName": upn, "mailNickname": nickname,
        "mail": upn, "identityParentId": parent, "accountEnabled": context.body["accountEnabled"],
        "usageLocation": context.body.get("usageLocation"), "assignedLicenses": [], "userType": "Member",
    });
    created(context, Kind::User, body)
}

fn update(context: &mut Context<'_>, id: &str) -> Outcome {
    let user = find(context, id)?;
    let (id, agent) = (user.id().to_owned(), user.is(odata::AGENT_USER));
    context.need(if agent { Operation::WriteAgentUser } else { Operation::WriteUser })?;
    let change = context.body.as_object().cloned().unwrap_or_default();
    if let Some(user) = context.world.directory.get_mut(Kind::User, &id) {
        for (name, value) in change {
            if !name.starts_with(['@', '_'])
                && !["id", "identityParentId", "assignedLicenses"].contains(&name.as_str())
            {
                user.body.insert(name, value);
            }
        }
    }
    Ok(Answer::empty(204))
}

fn assign_licence(context: &mut Context<'_>, id: &str) -> Outcome {
    context.need(Operation::AssignLicence)?;
    let user = find(context, id)?;
    let id = user.id().to_owned();
    let mut held = user.body.get("assignedLicenses").and_then(Value::as_array).cloned().unwrap_or_default();
    let (add, remove) = (context.body["addLicenses"].as_array(), context.body["removeLicenses"].as_array());
    let (Some(add), Some(remove)) = (add, remove) else {
        return Err(GraphError::bad_request("addLicenses and removeLicenses are required."));
    };
    if user.text("usageLocation").is_empty() && !add.is_empty() {
        return Err(GraphError::bad_request(
            "License assignment cannot be done for user with invalid usage location.",
        ));
    }
    for sku in remove {
        if !held.iter().any(|licence| licence["skuId"] == *sku) {
            return Err(GraphError::bad_request("User does not have a corresponding license."));
        }
        held.retain(|licence| licence["skuId"] != *sku);
    }
    for licence in add {
        let sku_id = licence["skuId"].as_str().unwrap_or_default();
        let directory = &context.world.directory;
        let Some(sku) = directory.skus.iter().find(|sku| sku.id == sku_id) else {
            let text = format!("License {sku_id} does not correspond to a valid company License.");
            return Err(GraphError::bad_request(text));
        };
        if held.iter().any(|licence| licence["skuId"].as_str() == Some(sku_id)) {
            continue;
        }
        if directory.seats_taken(sku_id) >= sku.seats {
            let text = format!("Subscription with SKU {sku_id} does not have any available licenses.");
            return Err(GraphError::bad_request(text));
        }
        held.push(json!({"skuId": sku_id, "disabledPlans": []}));
    }
    if let Some(user) = context.world.directory.get_mut(Kind::User, &id) {
        user.body.insert("assignedLicenses".into(), Value::Array(held));
    }
    let user = find(context, &id)?;
    Ok(Answer::json(200, &query::single(context.base(), context.request, user)))
}
