//! Microsoft Graph, as far as provisioning and sponsors need it.
//!
//! Known, from captures or Microsoft's pages: the paths and bodies; `OData-Version: 4.0` where a body says its own type; that
//! a blueprint's principal is not made by itself; `keyCredentials` replaced as a whole, `key` shown for one selected object
//! alone; no filter on `agentIdentityBlueprintId`; sponsors demanded; one user for an identity; 403 without a word of what is
//! missing, and always for clients with a broad directory role; new objects and certificates seen late; lists in pages of
//! 100. What was guessed says so where it is: the word is "Guessed".

mod applications;
mod error;
mod grants;
pub(crate) mod permissions;
mod principals;
mod query;
mod users;

use std::time::Duration;

use serde_json::{Value, json};

use super::directory::{GRAPH_APP_ID, odata};
use super::http::{Answer, Request};
use super::jose::seconds;
use super::{Cloud, World};
use error::GraphError;
use permissions::Operation;

/// A request that was understood: who asks, the path's parts, and the directory.
pub(crate) struct Context<'a> {
    cloud: &'a Cloud,
    world: &'a mut World,
    request: &'a Request,
    caller: Caller,
    /// The cast in the path (`microsoft.graph.agentIdentity`), without the namespace.
    cast: Option<String>,
    body: Value,
}

/// What the bearer allows.
struct Caller {
    roles: Vec<String>,
    scopes: Vec<String>,
    user: Option<String>,
}

type Outcome = Result<Answer, GraphError>;

/// Answers a request to Graph.
pub(crate) fn answer(cloud: &Cloud, request: &Request) -> Answer {
    match route(cloud, request) {
        Ok(answer) => answer.with("OData-Version", "4.0"),
        Err(error) => error.answer(request),
    }
}

fn route(cloud: &Cloud, request: &Request) -> Outcome {
    let caller = caller(cloud, request)?;
    let (parts, cast) = parts(&request.path);
    let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if parts.is_empty() || !matches!(parts.remove(0), "v1.0" | "beta") {
        return Err(GraphError::bad_request("Resource not found for the segment."));
    }
    let body = if request.body.is_empty() {
        json!({})
    } else {
        let body = request.json().filter(Value::is_object);
        body.ok_or_else(|| GraphError::new(400, "BadRequest", "Unable to read JSON request payload."))?
    };
    let mut world = cloud.world();
    let mut context = Context { cloud, world: &mut world, request, caller, cast, body };
    let method = request.method.as_str();
    match parts.as_slice() {
        ["applications", rest @ ..] => applications::route(&mut context, method, rest),
        ["servicePrincipals", rest @ ..] => principals::route(&mut context, method, rest),
        ["users", rest @ ..] => users::route(&mut context, method, rest),
        ["me"] if method == "GET" => users::me(&context),
        ["oauth2PermissionGrants", rest @ ..] => grants::route(&mut context, method, rest),
        ["subscribedSkus"] if method == "GET" => users::skus(&context),
        ["organization"] if method == "GET" => organization(&context),
        ["directory", "deletedItems", rest @ ..] => deleted_items(&mut context, method, rest),
        [first, ..] => Err(GraphError::bad_request(format!("Resource not found for the segment '{first}'."))),
        [] => Err(GraphError::bad_request("Resource not found for the segment.")),
    }
}

impl Context<'_> {
    /// Refuses unless one of the operation's roles is held.
    fn need(&self, operation: Operation) -> Result<(), GraphError> {
        let broad = ["Directory.ReadWrite.All", "Directory.AccessAsUser.All"];
        let held = |name: &str| self.caller.roles.iter().chain(&self.caller.scopes).any(|role| role == name);
        if operation.concerns_agents() && broad.iter().any(|name| held(name)) {
            return Err(GraphError::denied());
        }
        // Guessed: a real token keeps its roles until it ends. Here roles count as they are now, not as they were when the token was made: a test can take one away.
        let missing = &self.world.behaviour.missing_permissions;
        let allowed =
            operation.roles().iter().any(|name| held(name) && !missing.iter().any(|gone| gone == name));
        if allowed { Ok(()) } else { Err(GraphError::denied()) }
    }

    /// A body that says its own type is read only as OData 4.0.
    fn need_odata_version(&self) -> Result<(), GraphError> {
        if self.body.get("@odata.type").is_some() && self.request.header("OData-Version") != Some("4.0") {
            return Err(GraphError::bad_request(
                "The header 'OData-Version: 4.0' is required for this entity type.",
            ));
        }
        Ok(())
    }

    /// A non-empty string member of the body.
    fn text(&self, name: &str) -> Result<String, GraphError> {
        let value = self.body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(str::to_owned).ok_or_else(|| {
            GraphError::bad_request(format!("A value is required for property '{name}' of the resource."))
        })
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.world.behaviour.replication_delay_ms)
    }

    fn base(&self) -> &str {
        &self.cloud.info.graph_base
    }

    /// Ids of the users that `sponsors@odata.bind` names; at least one, and all must exist.
    fn sponsors(&self) -> Result<Vec<String>, GraphError> {
        let links =
            self.body.get("sponsors@odata.bind").and_then(Value::as_array).cloned().unwrap_or_default();
        if links.is_empty() {
            return Err(GraphError::bad_request(
                "No sponsor specified. Please provide at least one sponsor.",
            ));
        }
        links.iter().map(|link| self.linked_user(link.as_str().unwrap_or_default())).collect()
    }

    /// The user that a reference URL names; the host in it does not matter.
    fn linked_user(&self, link: &str) -> Result<String, GraphError> {
        let id =
            link.rsplit_once("/users/").or_else(|| link.rsplit_once("/directoryObjects/")).map(|(_, id)| id);
        let id = id.map(|id| id.trim_end_matches('/').to_owned()).unwrap_or_default();
        self.world.directory.user(&id).map(|user| user.id().to_owned()).ok_or_else(|| {
            GraphError::bad_request(format!("One or more of the referenced sponsors '{id}' does not exist."))
        })
    }

    /// The short name of the type the request is about: the cast of the path, else the body's `@odata.type`.
    fn type_name(&self) -> Option<String> {
        let typed = self.body.get("@odata.type").and_then(Value::as_str);
        self.cast.clone().or_else(|| {
            typed.map(|name| name.trim_start_matches('#').trim_start_matches("microsoft.graph.").to_owned())
        })
    }
}

/// The path's segments, casts taken out: `applications(appId='x')` becomes `applications`, `appId=x`.
fn parts(path: &str) -> (Vec<String>, Option<String>) {
    let mut cast = None;
    let mut parts = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        // Percent-decoding of a path segment: nothing here holds a plus.
        let decoded = url::form_urlencoded::parse(format!("x={}", segment.replace('+', "%2B")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default();
        if let Some(name) = decoded.strip_prefix("microsoft.graph.") {
            cast = Some(name.to_owned());
        } else if let Some((name, key)) = decoded.split_once("(appId='") {
            parts.push(name.to_owned());
            parts.push(format!("appId={}", key.trim_end_matches("')")));
        } else {
            parts.push(decoded);
        }
    }
    (parts, cast)
}

/// The bearer, checked: ours, in its time, for Graph.
fn caller(cloud: &Cloud, request: &Request) -> Result<Caller, GraphError> {
    let invalid = |text: &str| GraphError::new(401, "InvalidAuthenticationToken", text);
    let token = request.bearer().ok_or_else(|| invalid("Access token is empty."))?;
    let claims = cloud
        .signer
        .verify(token)
        .ok_or_else(|| invalid("Access token validation failure. Invalid signature."))?;
    let now = chrono::Utc::now().timestamp();
    if seconds(claims.get("exp")).is_none_or(|expiry| now > expiry) {
        return Err(invalid("Lifetime validation failed, the token is expired."));
    }
    let audience = claims["aud"].as_str().unwrap_or_default();
    if audience != "https://graph.microsoft.com" && audience != GRAPH_APP_ID {
        return Err(invalid("Access token validation failure. Invalid audience."));
    }
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Ok(Caller {
        roles: strings(&claims["roles"]),
        scopes: claims["scp"].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        user: (claims["idtyp"] == "user").then(|| claims["oid"].as_str().unwrap_or_default().to_owned()),
    })
}

fn organization(context: &Context<'_>) -> Outcome {
    context.need(Operation::ReadOrganization)?;
    let domain = context.cloud.info.agent_upn.split_once('@').map_or("", |(_, domain)| domain);
    let body = json!({"value": [{
        "id": context.cloud.info.tenant_id, "displayName": "Contoso",
        "verifiedDomains": [{"name": domain, "isDefault": true, "isInitial": true, "type": "Managed"}],
    }]});
    Ok(Answer::json(200, &body))
}

/// Soft-deleted objects: list, read, restore is not needed, purge. Guessed: that agent identities lie among them too, and
/// that the list needs no cast to a type.
fn deleted_items(context: &mut Context<'_>, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            context.need(Operation::ReadApplications)?;
            let body = query::list(context.base(), context.request, context.world.directory.all_deleted())?;
            Ok(Answer::json(200, &body))
        }
        ("GET", [id]) => {
            context.need(Operation::ReadApplications)?;
            let entry = context.world.directory.deleted(id).ok_or_else(|| GraphError::not_found(id))?;
            Ok(Answer::json(200, &query::single(context.base(), context.request, entry)))
        }
        ("DELETE", [id]) => {
            let entry = context.world.directory.deleted(id).ok_or_else(|| GraphError::not_found(id))?;
            context.need(match entry.text("@odata.type") {
                odata::BLUEPRINT => Operation::DeleteBlueprint,
                odata::AGENT_IDENTITY => Operation::DeleteIdentity,
                odata::AGENT_USER => Operation::WriteAgentUser,
                _ => Operation::WriteApplication,
            })?;
            context.world.directory.purge(id);
            Ok(Answer::empty(204))
        }
        _ => Err(GraphError::new(405, "Request_BadRequest", "Specified HTTP method is not allowed.")),
    }
}
