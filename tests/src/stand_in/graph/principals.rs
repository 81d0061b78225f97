//! `/servicePrincipals`: principals of apps, blueprint principals, agent identities, their sponsors and
//! application roles.

use serde_json::{Value, json};

use super::applications::created;
use super::error::GraphError;
use super::permissions::Operation;
use super::{Context, Outcome, query};
use crate::stand_in::directory::{Entry, FIRST_PARTY, Kind, odata};
use crate::stand_in::fixture::{now, principal};
use crate::stand_in::http::Answer;

pub(super) fn route(context: &mut Context<'_>, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            context.need(Operation::ReadApplications)?;
            let cast = context.cast.as_deref().map(|name| format!("#microsoft.graph.{name}"));
            let all = context.world.directory.all(Kind::ServicePrincipal);
            let wanted = all.filter(|entry| cast.as_deref().is_none_or(|cast| entry.is(cast)));
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
            let identity = entry.is(odata::AGENT_IDENTITY);
            let id = entry.id().to_owned();
            context.need(if identity { Operation::DeleteIdentity } else { Operation::WriteApplication })?;
            // The agent users of an identity stay behind; its grants and roles go with it.
            context.world.directory.delete(Kind::ServicePrincipal, &id);
            Ok(Answer::empty(204))
        }
        (_, [id, "sponsors", more @ ..]) => {
            let id = find(context, id)?.id().to_owned();
            sponsors(context, method, Kind::ServicePrincipal, &id, more)
        }
        (_, [id, "appRoleAssignments", more @ ..]) => {
            let id = find(context, id)?.id().to_owned();
            role_assignments(context, method, &id, more)
        }
        ("GET", [id, "oauth2PermissionGrants"]) => {
            context.need(Operation::ReadGrants)?;
            let id = find(context, id)?.id().to_owned();
            let grants =
                context.world.directory.all(Kind::Grant).filter(|grant| grant.text("clientId") == id);
            Ok(Answer::json(200, &query::list(context.base(), context.request, grants)?))
        }
        _ => Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
}

fn find<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Entry, GraphError> {
    let directory = &context.world.directory;
    let found = match id.strip_prefix("appId=") {
        Some(app_id) => directory.by_app_id(Kind::ServicePrincipal, app_id),
        None => directory.get(Kind::ServicePrincipal, id),
    };
    found.ok_or_else(|| GraphError::not_found(id))
}

fn create(context: &mut Context<'_>) -> Outcome {
    context.need_odata_version()?;
    match context.type_name().as_deref() {
        Some("agentIdentity") => create_identity(context),
        Some("agentIdentityBlueprintPrincipal") => create_principal(context, true),
        None | Some("servicePrincipal") => create_principal(context, false),
        Some(other) => Err(GraphError::bad_request(format!("Type '{other}' cannot be created here."))),
    }
}

/// A principal of an app of this tenant or of Microsoft's.
fn create_principal(context: &mut Context<'_>, blueprint: bool) -> Outcome {
    context.need(if blueprint { Operation::CreateBlueprintPrincipal } else { Operation::CreatePrincipal })?;
    let app_id = context.text("appId")?;
    let directory = &context.world.directory;
    if directory
        .written(Kind::ServicePrincipal)
        .any(|entry| entry.text("appId").eq_ignore_ascii_case(&app_id))
    {
        return Err(GraphError::new(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            format!(
                "The service principal cannot be created, updated, or restored because the service principal name {app_id} is already in use."
            ),
        ));
    }
    let app = directory.by_app_id(Kind::Application, &app_id);
    let known = FIRST_PARTY.iter().find(|(known, _)| known.eq_ignore_ascii_case(&app_id));
    let name = match (app, known, blueprint) {
        (Some(app), _, true) if app.is(odata::BLUEPRINT) => app.text("displayName").to_owned(),
        (Some(app), _, false) if !app.is(odata::BLUEPRINT) => app.text("displayName").to_owned(),
        (None, Some((_, name)), false) => (*name).to_owned(),
        // Also the answer while the app still replicates.
        _ => {
            let text = format!(
                "When using this permission, the backing application of the service principal being created must in the local tenant: '{app_id}' does not reference a valid application object."
            );
            return Err(GraphError::new(400, "NoBackingApplicationObject", text));
        }
    };
    let mut body = principal(&app_id, &name);
    if blueprint {
        body["@odata.type"] = json!(odata::BLUEPRINT_PRINCIPAL);
    }
    created(context, Kind::ServicePrincipal, body)
}

fn create_identity(context: &mut Context<'_>) -> Outcome {
    context.need(Operation::CreateIdentity)?;
    let name = context.text("displayName")?;
    let blueprint = context.text("agentIdentityBlueprintId")?;
    let sponsors = context.sponsors()?;
    let directory = &context.world.directory;
    let app = directory.by_app_id(Kind::Application, &blueprint).filter(|app| app.is(odata::BLUEPRINT));
    // Guessed: the code and the words.
    if app.is_none() || directory.by_app_id(Kind::ServicePrincipal, &blueprint).is_none() {
        let text = format!(
            "Agent identity blueprint '{blueprint}' does not exist or has no principal in the tenant."
        );
        return Err(GraphError::bad_request(text));
    }
    // No appId: the real answer has none, the id is both.
    let body = json!({
        "@odata.type": odata::AGENT_IDENTITY, "displayName": name, "agentIdentityBlueprintId": blueprint,
        "servicePrincipalType": "ServiceIdentity", "accountEnabled": true, "createdDateTime": now(),
        "createdByAppId": context.cloud.info.provisioner_client_id, "_sponsors": sponsors,
    });
    created(context, Kind::ServicePrincipal, body)
}

fn update(context: &mut Context<'_>, id: &str) -> Outcome {
    let entry = find(context, id)?;
    let (id, identity) = (entry.id().to_owned(), entry.is(odata::AGENT_IDENTITY));
    context.need(if identity { Operation::WriteIdentity } else { Operation::WriteApplication })?;
    let change = context.body.as_object().cloned().unwrap_or_default();
    if let Some(entry) = context.world.directory.get_mut(Kind::ServicePrincipal, &id) {
        for (name, value) in change {
            if !name.starts_with(['@', '_'])
                && !["id", "appId", "agentIdentityBlueprintId"].contains(&name.as_str())
            {
                entry.body.insert(name, value);
            }
        }
    }
    Ok(Answer::empty(204))
}

/// `/sponsors`, `/sponsors/$ref`, `/sponsors/{id}/$ref` of an identity or a blueprint.
pub(super) fn sponsors(
    context: &mut Context<'_>,
    method: &str,
    kind: Kind,
    id: &str,
    rest: &[&str],
) -> Outcome {
    let entry = context.world.directory.get(kind, id).ok_or_else(|| GraphError::not_found(id))?;
    let mut present = entry.list("_sponsors");
    match (method, rest) {
        ("GET", [] | ["$ref"]) => {
            context.need(Operation::ReadSponsors)?;
            let directory = &context.world.directory;
            let users = present.iter().filter_map(|sponsor| directory.get(Kind::User, sponsor));
            return Ok(Answer::json(200, &query::list(context.base(), context.request, users)?));
        }
        ("POST", ["$ref"]) => {
            context.need(Operation::WriteSponsors)?;
            let link = context.text("@odata.id")?;
            let user = context.linked_user(&link)?;
            if present.contains(&user) {
                let text = "One or more added object references already exist for the following modified properties: 'sponsors'.";
                return Err(GraphError::bad_request(text));
            }
            present.push(user);
        }
        ("DELETE", [user, "$ref"]) => {
            context.need(Operation::WriteSponsors)?;
            if !present.iter().any(|sponsor| sponsor == user) {
                return Err(GraphError::not_found(user));
            }
            if present.len() == 1 {
                // Guessed from "No sponsor specified" on creation.
                return Err(GraphError::bad_request("The last sponsor cannot be removed."));
            }
            present.retain(|sponsor| sponsor != user);
        }
        _ => return Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
    if let Some(entry) = context.world.directory.get_mut(kind, id) {
        entry.body.insert("_sponsors".into(), json!(present));
    }
    Ok(Answer::empty(204))
}

fn role_assignments(context: &mut Context<'_>, method: &str, id: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            context.need(Operation::ReadApplications)?;
            let all = context.world.directory.all(Kind::RoleAssignment);
            let ours = all.filter(|entry| entry.text("principalId") == id);
            Ok(Answer::json(200, &query::list(context.base(), context.request, ours)?))
        }
        ("POST", []) => {
            context.need(Operation::AssignRole)?;
            let (principal, resource, role) =
                (context.text("principalId")?, context.text("resourceId")?, context.text("appRoleId")?);
            if principal != id {
                return Err(GraphError::bad_request(
                    "The principalId does not match the service principal of the path.",
                ));
            }
            let directory = &context.world.directory;
            let target = directory
                .get(Kind::ServicePrincipal, &resource)
                .ok_or_else(|| GraphError::not_found(&resource))?;
            let roles = target.body.get("appRoles").and_then(Value::as_array).cloned().unwrap_or_default();
            if !roles.iter().any(|known| known["id"].as_str() == Some(&role)) {
                let text = format!("Permission being assigned was not found on application '{resource}'.");
                return Err(GraphError::bad_request(text));
            }
            let same = |entry: &Entry| {
                entry.text("principalId") == id
                    && entry.text("resourceId") == resource
                    && entry.text("appRoleId") == role
            };
            if directory.written(Kind::RoleAssignment).any(same) {
                let text = "Permission being assigned already exists on the object.";
                return Err(GraphError::new(409, "Request_BadRequest", text));
            }
            let body = json!({
                "principalId": id, "principalType": "ServicePrincipal", "resourceId": resource,
                "resourceDisplayName": target.text("displayName"), "appRoleId": role, "createdDateTime": now(),
            });
            created(context, Kind::RoleAssignment, body)
        }
        ("DELETE", [assignment]) => {
            context.need(Operation::AssignRole)?;
            if context.world.directory.delete(Kind::RoleAssignment, assignment) {
                Ok(Answer::empty(204))
            } else {
                Err(GraphError::not_found(assignment))
            }
        }
        _ => Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
}
