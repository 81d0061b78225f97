//! Entra's part: OIDC discovery, keys, the token endpoint and the sign-in endpoints.

mod assertion;
mod delegated;
mod error;
mod grants;
pub(crate) mod tokens;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Cloud;
use super::http::{Answer, Request};
use error::EntraError;

/// Audience of T1 and T2: the token exchange itself.
pub(crate) const EXCHANGE_APP_ID: &str = "fb60f99c-7a34-4190-8149-302f77469936";

/// What the token service remembers.
#[derive(Debug, Default)]
pub(crate) struct StsState {
    /// `jti` of each client assertion seen, with the assertion's own text.
    assertions: HashMap<String, String>,
    codes: HashMap<String, delegated::Code>,
    devices: HashMap<String, delegated::Device>,
    refresh: HashMap<String, delegated::Refresh>,
    /// Federated identity credentials of apps.
    pub(crate) federated: Vec<super::metadata::Federated>,
}

/// The form of a token request, each field once.
pub(crate) struct Form(HashMap<String, String>);

impl Form {
    fn parse(request: &Request) -> Result<Self, EntraError> {
        let fields = request.form().ok_or_else(|| {
            EntraError::request(
                900_144,
                "The request body must contain the following parameter: 'grant_type'.",
            )
        })?;
        let mut form = HashMap::new();
        for (name, value) in fields {
            // Entra takes x-client-* telemetry and unknown fields; a field twice is refused. Guessed: the code.
            if form.insert(name.clone(), value).is_some() {
                return Err(EntraError::request(
                    900_144,
                    &format!("The parameter '{name}' was given more than once."),
                ));
            }
        }
        Ok(Self(form))
    }

    /// A field; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A field that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, EntraError> {
        self.get(name).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            EntraError::request(900_144, &text)
        })
    }
}

/// Which hop of the exchange a form is: 1 has `fmi_path`, 2 a T1 as assertion, 3 is `user_fic`.
pub(crate) fn hop_of(form: &[(String, String)]) -> Option<u8> {
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match field("grant_type")? {
        "user_fic" => Some(3),
        "client_credentials" if field("fmi_path").is_some() => Some(1),
        "client_credentials" => {
            let claims = super::jose::Jws::parse(field("client_assertion")?)?.claims;
            (claims["aud"] == EXCHANGE_APP_ID).then_some(2)
        }
        _ => None,
    }
}

/// Answers a request to the authority.
pub(crate) fn answer(cloud: &Cloud, request: &Request) -> Answer {
    let segments: Vec<&str> = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", [_, "v2.0", ".well-known", "openid-configuration"]) => {
            Answer::json(200, &discovery(cloud, true))
        }
        ("GET", [_, ".well-known", "openid-configuration"]) => Answer::json(200, &discovery(cloud, false)),
        ("GET", [_, "discovery", "v2.0", "keys"] | [_, "discovery", "keys"]) => {
            Answer::json(200, &cloud.signer.jwks(&tokens::issuer_v2(cloud)))
        }
        ("GET", ["common", "discovery", "instance"]) => Answer::json(200, &instance_discovery(cloud)),
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => {
            finish(cloud, request, token(cloud, request, tenant))
        }
        ("POST", [tenant, "oauth2", "v2.0", "devicecode"]) => {
            let result = tenant_known(cloud, tenant)
                .and_then(|()| delegated::start_device(cloud, &Form::parse(request)?));
            finish(cloud, request, result)
        }
        ("GET", [tenant, "oauth2", "v2.0", "authorize"]) => {
            match tenant_known(cloud, tenant).and_then(|()| delegated::authorize(cloud, request)) {
                Ok(location) => Answer::empty(302).with("Location", location),
                Err(error) => error.answer(request),
            }
        }
        (_, [_, "oauth2", "v2.0", "token" | "devicecode"]) => Answer::empty(405).with("Allow", "POST"),
        _ => Answer::empty(404),
    }
}

fn finish(_: &Cloud, request: &Request, result: Result<Value, EntraError>) -> Answer {
    let answer = match result {
        Ok(body) => Answer::json(200, &body),
        Err(error) => error.answer(request),
    };
    let answer = answer.with("Cache-Control", "no-store, no-cache").with("Pragma", "no-cache");
    match request.header("client-request-id") {
        Some(id) => answer.with("client-request-id", id),
        None => answer,
    }
}

/// The token endpoint.
fn token(cloud: &Cloud, request: &Request, tenant: &str) -> Result<Value, EntraError> {
    tenant_known(cloud, tenant)?;
    let form = Form::parse(request)?;
    match form.need("grant_type")? {
        "client_credentials" => grants::client_credentials(cloud, &form),
        "user_fic" => grants::user_fic(cloud, &form),
        "authorization_code" => delegated::redeem_code(cloud, &form),
        "refresh_token" => delegated::refresh(cloud, &form),
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            delegated::poll_device(cloud, &form)
        }
        _ => Err(EntraError::new(
            400,
            "unsupported_grant_type",
            70_003,
            "The app requested an unsupported grant type.",
        )),
    }
}

fn tenant_known(cloud: &Cloud, tenant: &str) -> Result<(), EntraError> {
    let known = tenant.eq_ignore_ascii_case(&cloud.info.tenant_id)
        || cloud
            .info
            .agent_upn
            .split_once('@')
            .is_some_and(|(_, domain)| tenant.eq_ignore_ascii_case(domain));
    if known {
        return Ok(());
    }
    let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
    Err(EntraError::request(90_002, &text))
}

fn discovery(cloud: &Cloud, v2: bool) -> Value {
    let base = format!("{}/{}", cloud.info.authority_base, cloud.info.tenant_id);
    json!({
        "issuer": if v2 { tokens::issuer_v2(cloud) } else { tokens::issuer_v1(cloud) },
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver"],
        "tenant_region_scope": "NA",
        "cloud_instance_name": "localhost",
        "msgraph_host": "graph.microsoft.com",
    })
}

fn instance_discovery(cloud: &Cloud) -> Value {
    let host = cloud.info.authority_base.trim_start_matches("https://");
    json!({
        "tenant_discovery_endpoint":
            format!("{}/{}/v2.0/.well-known/openid-configuration", cloud.info.authority_base, cloud.info.tenant_id),
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    })
}
