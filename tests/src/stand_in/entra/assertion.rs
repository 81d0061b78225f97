//! Who the client is: a certificate assertion of an app, or T1 of an agent identity.

use serde_json::Value;

use super::error::EntraError;
use super::{EXCHANGE_APP_ID, Form, tokens};
use crate::stand_in::directory::{Directory, Entry, Kind, odata};
use crate::stand_in::jose::{Jws, decode, seconds};
use crate::stand_in::pki::{thumbprint_sha1, thumbprint_sha256};
use crate::stand_in::{Cloud, World};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Clock skew that is forgiven, in seconds.
const SKEW: i64 = 300;

/// A client that proved itself.
pub(crate) enum Client {
    /// An app with a certificate.
    App {
        app_id: String,
        /// Object id of its service principal.
        principal_id: String,
        blueprint: bool,
    },
    /// An agent identity, by T1 of its blueprint.
    Agent { id: String, blueprint_app_id: String },
}

/// Authenticates the client of a form.
pub(crate) fn authenticate(cloud: &Cloud, world: &mut World, form: &Form) -> Result<Client, EntraError> {
    let client_id = form.need("client_id")?;
    let Some(assertion) = form.get("client_assertion") else {
        let text =
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(EntraError::client(7_000_218, text));
    };
    if form.get("client_assertion_type") != Some(JWT_BEARER) {
        let text = format!("The 'client_assertion_type' must be '{JWT_BEARER}'.");
        return Err(EntraError::request(900_144, &text));
    }
    let jws = Jws::parse(assertion)
        .ok_or_else(|| EntraError::request(50_027, "JWT token is invalid or malformed."))?;
    if let Some(app) = world.directory.by_app_id(Kind::Application, client_id).cloned() {
        if jws.claims["iss"].as_str().is_some_and(|issuer| issuer.contains("://")) {
            federated_assertion(cloud, world, &app, assertion)?;
        } else {
            certificate_assertion(cloud, world, &app, assertion, &jws)?;
        }
        let principal = world.directory.by_app_id(Kind::ServicePrincipal, client_id);
        let Some(principal) = principal else {
            let text = format!(
                "The client application {client_id} is missing service principal in the tenant {}.",
                cloud.info.tenant_id
            );
            return Err(EntraError::new(401, "invalid_client", 7_000_229, &text));
        };
        return Ok(Client::App {
            app_id: app.text("appId").to_owned(),
            principal_id: principal.id().to_owned(),
            blueprint: app.is(odata::BLUEPRINT),
        });
    }
    if let Some(identity) = world.directory.agent_identity(client_id) {
        let (id, blueprint_app_id) =
            (identity.id().to_owned(), identity.text("agentIdentityBlueprintId").to_owned());
        let claims = exchange_token(cloud, assertion, "client_assertion")?;
        parent_assertion(cloud, &world.directory, &claims, &id, &blueprint_app_id)?;
        return Ok(Client::Agent { id, blueprint_app_id });
    }
    let text = format!(
        "Application with identifier '{client_id}' was not found in the directory '{}'. This can happen if the \
         application has not been installed by the administrator of the tenant or consented to by any user in the \
         tenant. You may have sent your authentication request to the wrong tenant.",
        cloud.info.tenant_id
    );
    Err(EntraError::new(400, "unauthorized_client", 700_016, &text))
}

/// Checks an assertion against the app's registered certificates, then its claims, then its `jti`.
fn certificate_assertion(
    cloud: &Cloud,
    world: &mut World,
    app: &Entry,
    text: &str,
    jws: &Jws,
) -> Result<(), EntraError> {
    let algorithm = jws.header["alg"].as_str().unwrap_or_default();
    if !matches!(algorithm, "PS256" | "RS256") {
        return Err(EntraError::client(700_027, "The algorithm of the client assertion is not supported."));
    }
    let registered = registered_certificates(app);
    let named = named_certificate(jws, &registered).ok_or_else(|| {
        let thumbprint = ["x5t#S256", "x5t"].iter().find_map(|name| jws.header[*name].as_str()).unwrap_or("none");
        EntraError::client(
            700_027,
            &format!(
                "The certificate with identifier used to sign the client assertion is not registered on \
                 application. [Reason - The key was not found., Thumbprint of key used by client: '{thumbprint}', \
                 Please visit the Azure Portal to update the certificate of the application {}].",
                app.text("appId")
            ),
        )
    })?;
    if !jws.signed_by(algorithm, &named) {
        let text = "Client assertion failed signature validation. [Reason - The provided signature value did not \
                    match the expected signature value.]";
        return Err(EntraError::client(700_027, text));
    }
    let claims = &jws.claims;
    let now = chrono::Utc::now().timestamp();
    let expiry = seconds(claims.get("exp"))
        .ok_or_else(|| EntraError::client(700_024, "Client assertion has no expiry ('exp')."))?;
    let not_before = seconds(claims.get("nbf")).or_else(|| seconds(claims.get("iat"))).unwrap_or(now);
    if now > expiry + SKEW || now < not_before - SKEW {
        let text = format!(
            "Client assertion is not within its valid time range. Current time: {now}, assertion valid from \
             {not_before}, expiry time of assertion {expiry}."
        );
        return Err(EntraError::client(700_024, &text));
    }
    // Documented: at most ten minutes are advised, 24 hours refused.
    if expiry - not_before > 24 * 3600 {
        return Err(EntraError::client(700_024, "Client assertion is valid for longer than one day."));
    }
    if !audience_is_ours(cloud, claims["aud"].as_str().unwrap_or_default()) {
        return Err(EntraError::client(
            700_023,
            "Client assertion audience claim does not match Realm issuer. Review the documentation at \
             https://learn.microsoft.com/entra/identity-platform/certificate-credentials.",
        ));
    }
    let app_id = app.text("appId");
    let is_client =
        |name: &str| claims[name].as_str().is_some_and(|value| value.eq_ignore_ascii_case(app_id));
    if !is_client("iss") || !is_client("sub") {
        let text = "Client assertion application identifier doesn't match 'client_id' parameter.";
        return Err(EntraError::client(700_021, text));
    }
    remember(world, app_id, claims, text)
}

/// Checks a token of a platform against the app's federated identity credentials. Issuer, audience and subject are
/// compared case by case, letter by letter.
fn federated_assertion(cloud: &Cloud, world: &World, app: &Entry, text: &str) -> Result<(), EntraError> {
    let no_match = |number, what: &str| {
        let text = format!("No matching federated identity record found for presented assertion {what}.");
        Err(EntraError::client(number, &text))
    };
    // All platforms here sign with one key.
    let Some(claims) = cloud.signer.verify(text) else {
        return Err(EntraError::client(700_027, "The assertion failed signature validation."));
    };
    let now = chrono::Utc::now().timestamp();
    if seconds(claims.get("exp")).is_none_or(|expiry| now > expiry) {
        return Err(EntraError::client(700_024, "Client assertion is not within its valid time range."));
    }
    let of_app = world.sts.federated.iter().filter(|known| known.app_id == app.text("appId"));
    let of_issuer: Vec<_> = of_app.filter(|known| claims["iss"] == known.issuer.as_str()).collect();
    if of_issuer.is_empty() {
        return no_match(700_211, "issuer");
    }
    if claims["aud"] != "api://AzureADTokenExchange" {
        return no_match(700_212, "audience");
    }
    if !of_issuer.iter().any(|known| claims["sub"] == known.subject.as_str()) {
        return no_match(700_213, "subject");
    }
    Ok(())
}

/// A `jti` belongs to one assertion. The same assertion may come again while it lives (clients do
/// reuse it), unless the behaviour says once. Guessed: the number and the text.
fn remember(world: &mut World, app_id: &str, claims: &Value, text: &str) -> Result<(), EntraError> {
    let jti = claims["jti"].as_str().filter(|jti| !jti.is_empty());
    let jti = jti
        .ok_or_else(|| EntraError::client(50_027, "JWT token is invalid or malformed: 'jti' is missing."))?;
    let once = world.behaviour.assertion_once;
    match world.sts.assertions.insert(format!("{app_id}/{jti}"), text.to_owned()) {
        Some(earlier) if once || earlier != text => Err(EntraError::client(
            50_027,
            "JWT token is invalid: the 'jti' of the client assertion was already used.",
        )),
        _ => Ok(()),
    }
}

/// The registered certificate that the header names: by `x5t#S256` or `x5t`, padded or not, else by `x5c`.
fn named_certificate(jws: &Jws, registered: &[Vec<u8>]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let same = |name: &str, of: fn(&[u8]) -> String| {
        let wanted = jws.header[name].as_str()?.trim_end_matches('=').to_owned();
        decode(&wanted)?;
        registered.iter().find(|der| of(der) == wanted).cloned()
    };
    if jws.header.get("x5t#S256").is_some() {
        return same("x5t#S256", thumbprint_sha256);
    }
    if jws.header.get("x5t").is_some() {
        return same("x5t", thumbprint_sha1);
    }
    // MSAL breaks the lines of an x5c entry.
    let first: String = jws.header["x5c"][0].as_str()?.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(first).ok()?;
    registered.iter().find(|known| **known == der).cloned()
}

/// The certificates of an app that the token service knows by now.
fn registered_certificates(app: &Entry) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let now = chrono::Utc::now().timestamp_millis();
    let keys = app.body.get("keyCredentials").and_then(Value::as_array);
    keys.into_iter()
        .flatten()
        .filter(|key| key["_effectiveAt"].as_i64().is_none_or(|at| at <= now))
        .filter_map(|key| base64::engine::general_purpose::STANDARD.decode(key["key"].as_str()?).ok())
        .collect()
}

/// The token URL of this tenant, or the other audiences that Entra takes.
fn audience_is_ours(cloud: &Cloud, audience: &str) -> bool {
    let base = format!("{}/{}", cloud.info.authority_base, cloud.info.tenant_id);
    [format!("{base}/oauth2/v2.0/token"), format!("{base}/oauth2/token"), format!("{base}/v2.0"), base]
        .iter()
        .any(|ours| ours.eq_ignore_ascii_case(audience))
}

/// T1 or T2: a token of our own for the exchange, in its time.
pub(crate) fn exchange_token(cloud: &Cloud, token: &str, field: &str) -> Result<Value, EntraError> {
    let claims = cloud.signer.verify(token).ok_or_else(|| {
        EntraError::client(700_027, &format!("The token in '{field}' failed signature validation."))
    })?;
    let now = chrono::Utc::now().timestamp();
    if seconds(claims.get("exp")).is_none_or(|expiry| now > expiry) {
        let text = format!("The token in '{field}' is not within its valid time range.");
        return Err(EntraError::client(700_024, &text));
    }
    if claims["aud"] != EXCHANGE_APP_ID {
        let text = format!(
            "No matching federated identity record found for presented assertion audience '{}' in '{field}'.",
            claims["aud"].as_str().unwrap_or_default()
        );
        return Err(EntraError::client(700_212, &text));
    }
    if claims["iss"] != tokens::issuer_v2(cloud) || claims["tid"] != cloud.info.tenant_id {
        let text = format!(
            "No matching federated identity record found for presented assertion issuer in '{field}'."
        );
        return Err(EntraError::client(700_211, &text));
    }
    Ok(claims)
}

/// T1 must be of the agent's own blueprint and say its path to this agent.
fn parent_assertion(
    cloud: &Cloud,
    directory: &Directory,
    claims: &Value,
    agent: &str,
    blueprint: &str,
) -> Result<(), EntraError> {
    let expected = tokens::fmi_subject(&cloud.info.tenant_id, blueprint, agent);
    if claims["sub"] != expected || directory.by_app_id(Kind::Application, blueprint).is_none() {
        let text = format!(
            "No matching federated identity record found for presented assertion subject '{}'.",
            claims["sub"].as_str().unwrap_or_default()
        );
        return Err(EntraError::client(700_213, &text));
    }
    Ok(())
}
