//! Sign-in of a human through the public client: code with PKCE, device code, refresh. The human is
//! always the sponsor and always consents at once.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::EntraError;
use super::grants::{self, Scope};
use super::{Form, assertion, tokens};
use crate::stand_in::directory::Kind;
use crate::stand_in::http::Request;
use crate::stand_in::{Cloud, World};

/// "Microsoft Graph Command Line Tools".
const GRAPH_COMMAND_LINE_TOOLS: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";

/// An authorization code that waits to be redeemed.
#[derive(Debug)]
pub(crate) struct Code {
    client: String,
    redirect: String,
    challenge: String,
    nonce: Option<String>,
}

/// A device code and the polls it still answers with `authorization_pending`.
#[derive(Debug)]
pub(crate) struct Device {
    client: String,
    pending: u32,
    scope: String,
}

/// What a refresh token stands for.
#[derive(Debug, Clone)]
pub(crate) struct Refresh {
    pub(crate) client: String,
    pub(crate) user: String,
    pub(crate) scope: String,
    /// Redeemed by an agent identity, with T1 as its proof.
    pub(crate) agent: bool,
}

/// `authorize` in the browser: signs the human in without a page; gives the redirect.
pub(crate) fn authorize(cloud: &Cloud, request: &Request) -> Result<String, EntraError> {
    let need = |name: &str| {
        request.parameter(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            EntraError::request(
                900_144,
                &format!("The request must contain the following parameter: '{name}'."),
            )
        })
    };
    let client = public_client(cloud, &need("client_id")?)?;
    if need("response_type")? != "code" {
        return Err(EntraError::new(400, "unsupported_response_type", 700_054, "Only 'code' is enabled."));
    }
    let redirect = need("redirect_uri")?;
    let target = url::Url::parse(&redirect)
        .ok()
        .filter(|url| url.scheme() == "http" && matches!(url.host_str(), Some("localhost" | "127.0.0.1")));
    let Some(mut target) = target else {
        let text = format!("The redirect URI '{redirect}' specified in the request does not match.");
        return Err(EntraError::request(50_011, &text));
    };
    Scope::parse(&need("scope")?)?;
    if need("code_challenge_method")? != "S256" {
        return Err(EntraError::request(50_148, "The code_challenge_method must be S256."));
    }
    let code = Uuid::new_v4().simple().to_string();
    let kept =
        Code { client, redirect, challenge: need("code_challenge")?, nonce: request.parameter("nonce") };
    cloud.world().sts.codes.insert(code.clone(), kept);
    target.query_pairs_mut().append_pair("code", &code);
    if let Some(state) = request.parameter("state") {
        target.query_pairs_mut().append_pair("state", &state);
    }
    Ok(target.into())
}

/// Redeems a code once, for the client, redirect and verifier it was made for.
pub(crate) fn redeem_code(cloud: &Cloud, form: &Form) -> Result<Value, EntraError> {
    let client = public_client(cloud, form.need("client_id")?)?;
    let mut world = cloud.world();
    let Some(code) = world.sts.codes.remove(form.need("code")?) else {
        return Err(EntraError::grant(54_005, "OAuth2 Authorization code was already redeemed."));
    };
    let challenge =
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, form.need("code_verifier")?.as_bytes()));
    if code.challenge != challenge {
        let text =
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.";
        return Err(EntraError::grant(501_481, text));
    }
    if code.client != client || form.get("redirect_uri") != Some(code.redirect.as_str()) {
        return Err(EntraError::grant(
            500_112,
            "The reply address does not match the authorization request.",
        ));
    }
    human_tokens(cloud, &mut world, form, &client, form.need("scope")?, code.nonce.as_deref())
}

/// Starts a device code sign-in.
pub(crate) fn start_device(cloud: &Cloud, form: &Form) -> Result<Value, EntraError> {
    let client = public_client(cloud, form.need("client_id")?)?;
    let scope = form.need("scope")?.to_owned();
    Scope::parse(&scope)?;
    let code = Uuid::new_v4().simple().to_string();
    let mut world = cloud.world();
    let pending = world.behaviour.device_polls_pending;
    world.sts.devices.insert(code.clone(), Device { client, pending, scope });
    Ok(json!({
        "device_code": code, "user_code": code[..8].to_uppercase(), "expires_in": 900, "interval": 1,
        "verification_uri": format!("{}/device", cloud.info.authority_base),
        "message": "To sign in, open the page and enter the code.",
    }))
}

/// One poll of a device code.
pub(crate) fn poll_device(cloud: &Cloud, form: &Form) -> Result<Value, EntraError> {
    let client = public_client(cloud, form.need("client_id")?)?;
    let mut world = cloud.world();
    let code = form.need("device_code")?;
    let device = world.sts.devices.get_mut(code).filter(|device| device.client == client);
    let Some(device) = device else {
        return Err(EntraError::new(400, "expired_token", 70_020, "The provided device code has expired."));
    };
    if device.pending > 0 {
        device.pending -= 1;
        let text = "OAuth 2.0 device flow error. Authorization is pending. Continue polling.";
        return Err(EntraError::new(400, "authorization_pending", 70_016, text));
    }
    // A poll names no scope: what was asked for at the start counts.
    let asked = world.sts.devices.remove(code).map(|device| device.scope).unwrap_or_default();
    let scope = form.get("scope").map_or(asked, str::to_owned);
    human_tokens(cloud, &mut world, form, &client, &scope, None)
}

/// Redeems a refresh token for its own client; a new one comes back, the old one goes on working, as
/// with Entra.
pub(crate) fn refresh(cloud: &Cloud, form: &Form) -> Result<Value, EntraError> {
    let mut world = cloud.world();
    let client = form.need("client_id")?;
    let kept =
        world.sts.refresh.get(form.need("refresh_token")?).filter(|kept| kept.client == client).cloned();
    let Some(kept) = kept else {
        let text = "The refresh token is not valid or was issued to another client.";
        return Err(EntraError::grant(70_000, text).suberror("bad_token"));
    };
    if kept.agent {
        assertion::authenticate(cloud, &mut world, form)?;
    }
    let scope = form.get("scope").unwrap_or(&kept.scope).to_owned();
    user_tokens(cloud, &mut world, form, &kept, &scope, None)
}

/// Remembers a refresh token; gives its text.
pub(crate) fn keep_refresh(world: &mut World, refresh: Refresh) -> String {
    let token = format!("1.{}", Uuid::new_v4().simple());
    world.sts.refresh.insert(token.clone(), refresh);
    token
}

fn human_tokens(
    cloud: &Cloud,
    world: &mut World,
    form: &Form,
    client: &str,
    scope: &str,
    nonce: Option<&str>,
) -> Result<Value, EntraError> {
    let who = Refresh {
        client: client.to_owned(),
        user: cloud.info.sponsor_id.clone(),
        scope: scope.to_owned(),
        agent: false,
    };
    user_tokens(cloud, world, form, &who, scope, nonce)
}

fn user_tokens(
    cloud: &Cloud,
    world: &mut World,
    form: &Form,
    who: &Refresh,
    scope_text: &str,
    nonce: Option<&str>,
) -> Result<Value, EntraError> {
    let scope = Scope::parse(scope_text)?;
    let lifetime = world.behaviour.token_lifetime_s;
    let directory = &world.directory;
    let Some(user) = directory.get(Kind::User, &who.user) else {
        return Err(EntraError::grant(50_034, "The user account does not exist in the directory."));
    };
    let name = if scope.resource.is_empty() { "https://graph.microsoft.com" } else { &scope.resource };
    let resource = grants::resource(cloud, directory, name)?;
    let scopes = if who.agent {
        directory.scopes(&who.client, user.id(), resource.id())
    } else if scope.permissions.is_empty() {
        vec!["User.Read".to_owned()]
    } else {
        scope.permissions.clone()
    };
    let blueprint = directory
        .agent_identity(&who.client)
        .map(|identity| identity.text("agentIdentityBlueprintId").to_owned());
    let token = tokens::UserToken {
        client: &who.client,
        blueprint: blueprint.as_deref(),
        user,
        audience: tokens::audience(resource.text("appId")),
        scopes: &scopes,
        capable: false,
        lifetime,
    };
    let mut body = json!({
        "token_type": "Bearer", "scope": scope_text, "expires_in": lifetime - 1, "ext_expires_in": lifetime - 1,
        "access_token": tokens::user_token(cloud, &token),
    });
    if scope.openid {
        body["id_token"] = json!(tokens::id_token(cloud, &who.client, user, nonce));
    }
    if form.get("client_info") == Some("1") {
        body["client_info"] = json!(tokens::client_info(cloud, user));
    }
    if scope.offline {
        body["refresh_token"] = json!(keep_refresh(world, who.clone()));
    }
    Ok(body)
}

/// The client of this id, if it is a public one.
fn public_client(cloud: &Cloud, client_id: &str) -> Result<String, EntraError> {
    // Microsoft's own client is no app of this tenant's.
    if client_id == GRAPH_COMMAND_LINE_TOOLS {
        return Ok(client_id.to_owned());
    }
    let world = cloud.world();
    match world.directory.by_app_id(Kind::Application, client_id) {
        Some(app) if app.body.get("isFallbackPublicClient") == Some(&Value::Bool(true)) => {
            Ok(client_id.to_owned())
        }
        Some(_) => {
            let text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
            Err(EntraError::client(7_000_218, text))
        }
        None => {
            let text = format!("Application with identifier '{client_id}' was not found in the directory.");
            Err(EntraError::new(400, "unauthorized_client", 700_016, &text))
        }
    }
}
