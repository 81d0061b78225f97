//! `/oauth2PermissionGrants`: delegated scopes.

use serde_json::json;

use super::applications::created;
use super::error::GraphError;
use super::permissions::Operation;
use super::{Context, Outcome, query};
use crate::stand_in::directory::{Entry, Kind};
use crate::stand_in::http::Answer;

pub(super) fn route(context: &mut Context<'_>, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            context.need(Operation::ReadGrants)?;
            let grants = context.world.directory.all(Kind::Grant);
            Ok(Answer::json(200, &query::list(context.base(), context.request, grants)?))
        }
        ("GET", [id]) => {
            context.need(Operation::ReadGrants)?;
            let grant =
                context.world.directory.get(Kind::Grant, id).ok_or_else(|| GraphError::not_found(id))?;
            Ok(Answer::json(200, &query::single(context.base(), context.request, grant)))
        }
        ("POST", []) => create(context),
        ("PATCH", [id]) => {
            context.need(Operation::WriteGrant)?;
            // Guessed: an empty scope is refused; revoking all is a DELETE.
            let scope = context.text("scope")?;
            let grant =
                context.world.directory.get_mut(Kind::Grant, id).ok_or_else(|| GraphError::not_found(id))?;
            grant.body.insert("scope".into(), json!(scope));
            Ok(Answer::empty(204))
        }
        ("DELETE", [id]) => {
            context.need(Operation::WriteGrant)?;
            if context.world.directory.delete(Kind::Grant, id) {
                Ok(Answer::empty(204))
            } else {
                Err(GraphError::not_found(id))
            }
        }
        _ => Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
}

fn create(context: &mut Context<'_>) -> Outcome {
    context.need(Operation::WriteGrant)?;
    let (client, resource, consent) =
        (context.text("clientId")?, context.text("resourceId")?, context.text("consentType")?);
    let scope = context.text("scope")?;
    let directory = &context.world.directory;
    for principal in [&client, &resource] {
        // Guessed: 404, also while it still replicates.
        if directory.get(Kind::ServicePrincipal, principal).is_none() {
            return Err(GraphError::not_found(principal));
        }
    }
    let principal = match consent.as_str() {
        "Principal" => {
            let user = context.text("principalId")?;
            if directory.get(Kind::User, &user).is_none() {
                return Err(GraphError::not_found(&user));
            }
            Some(user)
        }
        "AllPrincipals" if context.body.get("principalId").is_none_or(serde_json::Value::is_null) => None,
        "AllPrincipals" => {
            return Err(GraphError::bad_request(
                "principalId must be null when consentType is AllPrincipals.",
            ));
        }
        _ => return Err(GraphError::bad_request("Invalid value specified for property 'consentType'.")),
    };
    let same = |grant: &Entry| {
        grant.text("clientId") == client
            && grant.text("resourceId") == resource
            && grant.text("principalId") == principal.as_deref().unwrap_or_default()
    };
    if directory.written(Kind::Grant).any(same) {
        return Err(GraphError::new(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            "Permission entry already exists.",
        ));
    }
    let body = json!({
        "clientId": client, "consentType": consent, "principalId": principal, "resourceId": resource, "scope": scope,
    });
    created(context, Kind::Grant, body)
}
