//! The claims of every token the service issues.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::EXCHANGE_APP_ID;
use crate::stand_in::Cloud;
use crate::stand_in::directory::{Entry, GRAPH_APP_ID, VAULT, VAULT_APP_ID};

/// Tokens begin to be valid this long before they are issued, so 3600 s last 3900 s on paper.
const BACKDATED: i64 = 300;

/// Issuer of v2 tokens: on our own base, so that discovery and tokens agree.
pub(crate) fn issuer_v2(cloud: &Cloud) -> String {
    format!("{}/{}/v2.0", cloud.info.authority_base, cloud.info.tenant_id)
}

/// Issuer of v1 tokens.
pub(crate) fn issuer_v1(cloud: &Cloud) -> String {
    format!("https://sts.windows.net/{}/", cloud.info.tenant_id)
}

/// `sub` of T1: the path from tenant and blueprint to the agent; GUIDs in their little-endian bytes.
pub(crate) fn fmi_subject(tenant: &str, blueprint: &str, agent: &str) -> String {
    let guid = |text: &str| {
        let bytes = Uuid::parse_str(text).map(|guid| guid.to_bytes_le()).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(bytes)
    };
    format!("/eid1/c/pub/t/{}/a/{}/{agent}", guid(tenant), guid(blueprint))
}

fn times(lifetime: i64) -> (i64, i64) {
    let now = chrono::Utc::now().timestamp();
    (now - BACKDATED, now + lifetime)
}

/// T1: the blueprint says that it acts as this agent.
pub(crate) fn blueprint_token(
    cloud: &Cloud,
    blueprint: &str,
    principal_id: &str,
    agent: &str,
    lifetime: i64,
) -> String {
    let (from, to) = times(lifetime);
    cloud.signer.sign(&json!({
        "aud": EXCHANGE_APP_ID, "iss": issuer_v2(cloud), "iat": from, "nbf": from, "exp": to,
        "azp": blueprint, "azpacr": "2", "idtyp": "app", "oid": principal_id,
        "sub": fmi_subject(&cloud.info.tenant_id, blueprint, agent),
        "tid": cloud.info.tenant_id, "uti": Uuid::new_v4().simple().to_string(), "ver": "2.0",
    }))
}

/// T2: the agent identity itself, for the exchange.
pub(crate) fn identity_token(cloud: &Cloud, agent: &str, blueprint: &str, lifetime: i64) -> String {
    let (from, to) = times(lifetime);
    cloud.signer.sign(&json!({
        "aud": EXCHANGE_APP_ID, "iss": issuer_v2(cloud), "iat": from, "nbf": from, "exp": to,
        "azp": agent, "azpacr": "2", "idtyp": "app", "oid": agent, "sub": agent,
        "xms_par_app_azp": blueprint, "xms_act_fct": "11", "xms_sub_fct": "11",
        "tid": cloud.info.tenant_id, "uti": Uuid::new_v4().simple().to_string(), "ver": "2.0",
    }))
}

/// An app-only token of an app or, with its blueprint, of an agent identity.
pub(crate) fn app_token(
    cloud: &Cloud,
    client: &str,
    principal_id: &str,
    blueprint: Option<&str>,
    audience: &str,
    roles: &[String],
    lifetime: i64,
) -> String {
    let (from, to) = times(lifetime);
    let mut claims = json!({
        "aud": audience, "iss": issuer_v1(cloud), "iat": from, "nbf": from, "exp": to,
        "appid": client, "appidacr": "2", "idtyp": "app", "oid": principal_id, "sub": principal_id,
        "roles": roles, "tid": cloud.info.tenant_id, "uti": Uuid::new_v4().simple().to_string(), "ver": "1.0",
    });
    if let Some(blueprint) = blueprint {
        claims["xms_par_app_azp"] = json!(blueprint);
        claims["xms_act_fct"] = json!("9 11");
        claims["xms_sub_fct"] = json!("9 11");
    }
    cloud.signer.sign(&claims)
}

/// Who a user token is for and through which client.
pub(crate) struct UserToken<'a> {
    pub(crate) client: &'a str,
    /// The blueprint when the client is an agent identity.
    pub(crate) blueprint: Option<&'a str>,
    pub(crate) user: &'a Entry,
    pub(crate) audience: &'a str,
    pub(crate) scopes: &'a [String],
    /// The client said that it can handle claims challenges (`cp1`).
    pub(crate) capable: bool,
    pub(crate) lifetime: i64,
}

/// An agent user's token (with a blueprint), or a human's.
pub(crate) fn user_token(cloud: &Cloud, token: &UserToken<'_>) -> String {
    let (from, to) = times(token.lifetime);
    let mut claims = json!({
        "aud": token.audience, "iss": issuer_v1(cloud), "iat": from, "nbf": from, "exp": to,
        "appid": token.client, "appidacr": if token.blueprint.is_some() { "2" } else { "0" }, "idtyp": "user",
        "oid": token.user.id(), "sub": subject(token.client, token.user.id()), "upn": token.user.text("userPrincipalName"),
        "name": token.user.text("displayName"), "scp": token.scopes.join(" "),
        "tid": cloud.info.tenant_id, "uti": Uuid::new_v4().simple().to_string(), "ver": "1.0",
    });
    if let Some(blueprint) = token.blueprint {
        claims["xms_act_fct"] = json!("9 11");
        claims["xms_sub_fct"] = json!("13");
        claims["xms_par_app_azp"] = json!(blueprint);
    }
    if token.capable {
        claims["xms_cc"] = json!(["cp1"]);
    }
    cloud.signer.sign(&claims)
}

/// An id token for the client.
pub(crate) fn id_token(cloud: &Cloud, client: &str, user: &Entry, nonce: Option<&str>) -> String {
    let (from, to) = times(3600);
    let mut claims = json!({
        "aud": client, "iss": issuer_v2(cloud), "iat": from, "nbf": from, "exp": to,
        "name": user.text("displayName"), "oid": user.id(), "preferred_username": user.text("userPrincipalName"),
        "sub": subject(client, user.id()), "tid": cloud.info.tenant_id, "ver": "2.0",
    });
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    cloud.signer.sign(&claims)
}

/// `client_info`: MSAL makes its account from it.
pub(crate) fn client_info(cloud: &Cloud, user: &Entry) -> String {
    let info: Value = json!({"uid": user.id(), "utid": cloud.info.tenant_id});
    URL_SAFE_NO_PAD.encode(info.to_string())
}

/// How a resource is named in the `aud` of its v1 tokens.
pub(crate) fn audience(resource_app_id: &str) -> &str {
    match resource_app_id {
        GRAPH_APP_ID => "https://graph.microsoft.com",
        VAULT_APP_ID => VAULT,
        other => other,
    }
}

/// Pairwise, as Entra's is: one value per client and user.
fn subject(client: &str, user: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{client}/{user}").as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}
