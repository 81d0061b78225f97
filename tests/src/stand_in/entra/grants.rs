//! The grants of the three hops.

use serde_json::{Value, json};

use super::assertion::{self, Client};
use super::error::EntraError;
use super::{EXCHANGE_APP_ID, Form, tokens};
use crate::stand_in::directory::{Directory, Entry, GRAPH_APP_ID, Kind, VAULT, VAULT_APP_ID};
use crate::stand_in::{Cloud, World};

/// What a scope parameter asks for.
pub(crate) struct Scope {
    /// As it was written, less the OIDC scopes.
    pub(crate) resource: String,
    /// The permissions; empty for `/.default`.
    pub(crate) permissions: Vec<String>,
    pub(crate) openid: bool,
    pub(crate) offline: bool,
}

impl Scope {
    /// Parses `{resource}/{permission} ...` in any order, with the OIDC scopes between. Scopes without
    /// a resource are Graph's.
    pub(crate) fn parse(text: &str) -> Result<Self, EntraError> {
        let invalid = |scope: &str| {
            let text = format!(
                "The provided value for the input parameter 'scope' is not valid. The scope '{scope}' is not valid."
            );
            EntraError::new(400, "invalid_scope", 70_011, &text)
        };
        let mut parsed =
            Self { resource: String::new(), permissions: Vec::new(), openid: false, offline: false };
        let mut default = false;
        for scope in text.split_whitespace() {
            match scope {
                "openid" => parsed.openid = true,
                "offline_access" => parsed.offline = true,
                "profile" | "email" => {}
                _ => {
                    let (resource, permission) =
                        scope.rsplit_once('/').unwrap_or(("https://graph.microsoft.com", scope));
                    if resource.is_empty() || permission.is_empty() {
                        return Err(invalid(scope));
                    }
                    if !parsed.resource.is_empty() && parsed.resource != resource {
                        let text = "Provided scopes belong to more than one resource.";
                        return Err(EntraError::new(400, "invalid_request", 28_000, text));
                    }
                    parsed.resource = resource.to_owned();
                    if permission == ".default" {
                        default = true;
                    } else {
                        parsed.permissions.push(permission.to_owned());
                    }
                }
            }
        }
        if parsed.resource.is_empty() && !parsed.openid {
            return Err(invalid(text));
        }
        if default && !parsed.permissions.is_empty() {
            let text = ".default scope can't be combined with resource-specific scopes.";
            return Err(EntraError::new(400, "invalid_scope", 70_011, text));
        }
        Ok(parsed)
    }

    /// Whether it is the token exchange (clients differ in its case).
    fn is_exchange(&self) -> bool {
        self.permissions.is_empty()
            && (self.resource.eq_ignore_ascii_case("api://AzureADTokenExchange")
                || self.resource == EXCHANGE_APP_ID)
    }
}

/// The service principal of the resource that a scope names.
pub(crate) fn resource<'a>(
    cloud: &Cloud,
    directory: &'a Directory,
    name: &str,
) -> Result<&'a Entry, EntraError> {
    let bare = name.trim_start_matches("api://").trim_end_matches('/');
    let graph = [
        "https://graph.microsoft.com",
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
        cloud.info.graph_base.as_str(),
    ];
    let app_id = match bare {
        VAULT => VAULT_APP_ID,
        _ if graph.contains(&bare) => GRAPH_APP_ID,
        _ => bare,
    };
    directory.by_app_id(Kind::ServicePrincipal, app_id).ok_or_else(|| {
        let text = format!(
            "The resource principal named {name} was not found in the tenant named Contoso. This can happen if the \
             application has not been installed by the administrator of the tenant or consented to by any user in \
             the tenant. You might have sent your authentication request to the wrong tenant."
        );
        EntraError::new(400, "invalid_resource", 500_011, &text)
    })
}

/// `client_credentials`: hop 1, hop 2, an agent's app-only token, or an ordinary app.
pub(crate) fn client_credentials(cloud: &Cloud, form: &Form) -> Result<Value, EntraError> {
    let mut world = cloud.world();
    let client = assertion::authenticate(cloud, &mut world, form)?;
    let scope = Scope::parse(form.need("scope")?)?;
    if !scope.permissions.is_empty() {
        let text = format!(
            "The provided value for scope {} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI).",
            form.get("scope").unwrap_or_default()
        );
        return Err(EntraError::new(400, "invalid_scope", 1_002_012, &text));
    }
    let lifetime = world.behaviour.token_lifetime_s;
    let token = match &client {
        Client::App { app_id, principal_id, blueprint: true } if scope.is_exchange() => {
            let agent = fmi_path(&world, form, app_id)?;
            tokens::blueprint_token(cloud, app_id, principal_id, &agent, lifetime)
        }
        Client::App { app_id, blueprint: true, .. } => return Err(not_app_only(app_id, &scope.resource)),
        Client::App { app_id, principal_id, .. } => {
            let resource = resource(cloud, &world.directory, &scope.resource)?;
            let mut roles = world.directory.roles(principal_id, resource.id());
            roles.retain(|role| !world.behaviour.missing_permissions.contains(role));
            let audience = tokens::audience(resource.text("appId"));
            tokens::app_token(cloud, app_id, principal_id, None, audience, &roles, lifetime)
        }
        Client::Agent { id, blueprint_app_id } if scope.is_exchange() => {
            tokens::identity_token(cloud, id, blueprint_app_id, lifetime)
        }
        Client::Agent { id, blueprint_app_id } => {
            let resource = resource(cloud, &world.directory, &scope.resource)?;
            if resource.text("appId") != GRAPH_APP_ID {
                return Err(not_app_only(id, &scope.resource));
            }
            let roles = world.directory.roles(id, resource.id());
            let audience = tokens::audience(resource.text("appId"));
            tokens::app_token(cloud, id, id, Some(blueprint_app_id), audience, &roles, lifetime)
        }
    };
    Ok(json!({
        "token_type": "Bearer", "expires_in": lifetime - 1, "ext_expires_in": lifetime - 1, "access_token": token,
    }))
}

/// The agent identity that hop 1 is for. Guessed: that the service looks it up already here.
fn fmi_path(world: &World, form: &Form, blueprint: &str) -> Result<String, EntraError> {
    let path = form.need("fmi_path")?;
    let identity = world.directory.agent_identity(path);
    match identity
        .filter(|identity| identity.text("agentIdentityBlueprintId").eq_ignore_ascii_case(blueprint))
    {
        // The caller's spelling goes into the subject, as it does in the real service.
        Some(identity) => Ok(identity.id().to_owned()),
        None => Err(EntraError::request(
            90_023,
            &format!("Invalid request: 'fmi_path' names no agent identity of the blueprint '{blueprint}'."),
        )),
    }
}

fn not_app_only(client: &str, resource: &str) -> EntraError {
    let text = format!(
        "Agentic application '{client}' is not permitted to request app-only tokens for resource '{resource}'."
    );
    EntraError::new(400, "unauthorized_client", 82_001, &text)
}

/// `user_fic`: hop 3.
pub(crate) fn user_fic(cloud: &Cloud, form: &Form) -> Result<Value, EntraError> {
    let mut world = cloud.world();
    let Client::Agent { id, blueprint_app_id } = assertion::authenticate(cloud, &mut world, form)? else {
        return Err(EntraError::new(
            400,
            "unauthorized_client",
            700_030,
            "Only an agent identity may use 'user_fic'.",
        ));
    };
    let field = "user_federated_identity_credential";
    let identity = assertion::exchange_token(cloud, form.need(field)?, field)?;
    if identity["azp"] != id.as_str() || identity["sub"] != id.as_str() {
        let text =
            format!("The token in '{field}' was issued to another application than the client '{id}'.");
        return Err(EntraError::grant(700_213, &text));
    }
    let (user_id, username) = (form.get("user_id"), form.get("username"));
    let named = match (user_id, username) {
        (Some(name), None) | (None, Some(name)) => name,
        _ => {
            let text = "Exactly one of the parameters 'user_id' and 'username' must be given.";
            return Err(EntraError::request(900_144, text));
        }
    };
    if let Some(use_) = form.get("requested_token_use").filter(|value| *value != "on_behalf_of") {
        let text = format!("The value '{use_}' of 'requested_token_use' is not supported.");
        return Err(EntraError::request(90_023, &text));
    }
    let capable = claims_request(form)?;
    let scope = Scope::parse(form.need("scope")?)?;
    let directory = &world.directory;
    let user =
        directory.user(named).filter(|user| user_id.is_none() || user.id().eq_ignore_ascii_case(named));
    let Some(user) = user else {
        let text = format!(
            "The user account {named} does not exist in the {} directory. To sign into this application, the account \
             must be added to the directory.",
            cloud.info.tenant_id
        );
        return Err(EntraError::grant(50_034, &text));
    };
    // An agent identity speaks for its own agent user and for nobody else.
    if user.text("identityParentId") != id {
        let text = format!("The agent identity '{id}' is not the parent of the user '{named}'.");
        return Err(EntraError::grant(50_105, &text));
    }
    if user.body.get("accountEnabled") == Some(&Value::Bool(false)) {
        return Err(EntraError::grant(50_057, "The user account is disabled."));
    }
    let resource = match resource(cloud, directory, &scope.resource) {
        Err(_) if world.behaviour.any_resource => resource(cloud, directory, GRAPH_APP_ID)?,
        known => known?,
    };
    let granted = directory.scopes(&id, user.id(), resource.id());
    let missing = scope.permissions.iter().find(|asked| !granted.contains(asked));
    if granted.is_empty() || missing.is_some() {
        return Err(no_consent(&id, resource, missing));
    }
    let lifetime = world.behaviour.token_lifetime_s;
    let resource_name = scope.resource.clone();
    let access_token = tokens::user_token(
        cloud,
        &tokens::UserToken {
            client: &id,
            blueprint: Some(&blueprint_app_id),
            user,
            audience: tokens::audience(resource.text("appId")),
            scopes: &granted,
            capable,
            lifetime,
        },
    );
    let mut scopes: Vec<String> = granted.iter().map(|name| format!("{resource_name}/{name}")).collect();
    scopes.push(format!("{resource_name}/.default"));
    if scope.openid {
        scopes.extend(["openid".to_owned(), "profile".to_owned()]);
    }
    let mut body = json!({
        "token_type": "Bearer", "scope": scopes.join(" "), "expires_in": lifetime - 1,
        "ext_expires_in": lifetime - 1, "access_token": access_token,
    });
    if scope.openid {
        body["id_token"] = json!(tokens::id_token(cloud, &id, user, form.get("nonce")));
    }
    if form.get("client_info") == Some("1") {
        body["client_info"] = json!(tokens::client_info(cloud, user));
    }
    if scope.offline {
        let (client, user) = (id.clone(), user.id().to_owned());
        let refresh =
            super::delegated::Refresh { client, user, scope: form.need("scope")?.to_owned(), agent: true };
        body["refresh_token"] = json!(super::delegated::keep_refresh(&mut world, refresh));
    }
    Ok(body)
}

/// Whether the `claims` parameter announces `cp1`; it must be a JSON object.
fn claims_request(form: &Form) -> Result<bool, EntraError> {
    let Some(text) = form.get("claims") else { return Ok(false) };
    let claims: Value = serde_json::from_str(text).unwrap_or_default();
    if !claims.is_object() {
        return Err(EntraError::request(50_148, "The 'claims' parameter is not valid JSON."));
    }
    let values = claims["access_token"]["xms_cc"]["values"].as_array();
    Ok(values.is_some_and(|values| values.iter().any(|value| value == "cp1")))
}

pub(crate) fn no_consent(client: &str, resource: &Entry, missing: Option<&String>) -> EntraError {
    let what = missing.map_or_else(String::new, |scope| format!(" The scope '{scope}' was not granted."));
    let text = format!(
        "The user or administrator has not consented to use the application with ID '{client}' for '{}'. Send an \
         interactive authorization request for this user and resource.{what}",
        resource.text("displayName")
    );
    EntraError::grant(65_001, &text).suberror("consent_required")
}
