//! Who may call: only an agent user's token, for this server's audience, with its scope.

use serde_json::{Value, json};

use super::catalog::Server;
use crate::stand_in::Cloud;
use crate::stand_in::directory::WORK_IQ_APP_ID;
use crate::stand_in::http::{Answer, Request};
use crate::stand_in::jose::seconds;

/// The user a call is made as.
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) upn: String,
    pub(crate) name: String,
}

/// Checks the bearer, or gives the refusal.
pub(crate) fn check(cloud: &Cloud, request: &Request, server: &Server) -> Result<User, Answer> {
    let unauthorized = |description: &str| {
        let body = json!({"error": "Unauthorized", "message": description});
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{description}\"");
        Answer::json(401, &body).with("WWW-Authenticate", challenge)
    };
    let token = request.bearer().ok_or_else(|| unauthorized("No bearer token was sent"))?;
    let claims = cloud.signer.verify(token).ok_or_else(|| unauthorized("The signature is invalid"))?;
    let now = chrono::Utc::now().timestamp();
    if seconds(claims.get("exp")).is_none_or(|expiry| now > expiry) {
        return Err(unauthorized("The token expired"));
    }
    let audience = claims["aud"].as_str().unwrap_or_default().trim_start_matches("api://");
    // V1: the shared audience and the server's scope; V2: the server's own audience and one scope for all.
    let scope = if audience == WORK_IQ_APP_ID {
        server.v1_scope
    } else if Some(audience) == server.v2_audience {
        "Tools.ListInvoke.All"
    } else {
        return Err(unauthorized("The audience is invalid"));
    };
    let facts = claims["xms_act_fct"].as_str().unwrap_or_default();
    if claims["idtyp"] != "user" || !facts.split_whitespace().any(|fact| fact == "11") {
        return Err(forbidden("Access denied: only an agent user's token is accepted."));
    }
    let scopes = claims["scp"].as_str().unwrap_or_default();
    if !scopes.split_whitespace().any(|held| held == scope) {
        return Err(forbidden(&format!("Access denied: Scope '{scope}' is not present in the request.")));
    }
    let world = cloud.world();
    let id = claims["oid"].as_str().unwrap_or_default();
    let user = world.directory.user(id).ok_or_else(|| unauthorized("The user no longer exists"))?;
    if world.behaviour.require_copilot_licence && !world.directory.licensed(user, "Microsoft_365_Copilot") {
        return Err(forbidden("Access denied: the user has no Microsoft 365 Copilot license."));
    }
    Ok(User {
        id: user.id().to_owned(),
        upn: user.text("userPrincipalName").to_owned(),
        name: user.text("displayName").to_owned(),
    })
}

fn forbidden(message: &str) -> Answer {
    let body: Value = json!({"error": "Forbidden", "message": message});
    Answer::json(403, &body)
}
