//! Who signed in, as the id token says.
//!
//! It comes from the token endpoint over TLS, in answer to our own request, which OpenID Connect Core 1.0 (section
//! 3.1.3.7, point 6) takes in place of its signature. Audience, issuer, time, nonce and tenant are checked.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::DelegatedError;
use crate::tokens::strict_json;
use crate::{ClientId, Human, ObjectId, TenantId};

/// How far the clocks may differ.
const LEEWAY: u64 = 300;

/// What an id token must say to be of this sign-in.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) client: &'a ClientId,
    pub(super) tenant: &'a TenantId,
    /// `None` where the flow has none (device code, refresh).
    pub(super) nonce: Option<&'a str>,
}

/// # Errors
/// [`DelegatedError::Untrusted`], saying which check failed and nothing of the token.
pub(super) fn human_of(
    token: &str,
    expected: Expected<'_>,
    now: SystemTime,
) -> Result<Human, DelegatedError> {
    let refuse = |reason| DelegatedError::Untrusted { reason };
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|payload| strict_json::object(&payload).ok());
    let mut claims = claims.ok_or(refuse("the id token cannot be read"))?;
    let human = check(&claims, expected, now);
    claims.values_mut().for_each(strict_json::wipe);
    human
}

fn check(
    claims: &Map<String, Value>,
    expected: Expected<'_>,
    now: SystemTime,
) -> Result<Human, DelegatedError> {
    let refuse = |reason| DelegatedError::Untrusted { reason };
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if !text("aud").is_some_and(|audience| audience.eq_ignore_ascii_case(expected.client.as_str())) {
        return Err(refuse("the id token is for another app"));
    }
    if let Some(nonce) = expected.nonce
        && text("nonce") != Some(nonce)
    {
        return Err(refuse("the id token's nonce is not the one that was sent"));
    }
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let end = claims.get("exp").and_then(Value::as_u64);
    if end.is_none_or(|end| end.saturating_add(LEEWAY) <= now) {
        return Err(refuse("the id token has ended (or this machine's clock is wrong)"));
    }
    let tenant = text("tid").and_then(|tid| TenantId::parse(tid).ok());
    let tenant = tenant.ok_or(refuse("the id token names no tenant"))?;
    // A tenant that is set by its domain cannot be compared; Entra issues for the one that was asked.
    let asked = expected.tenant.as_str();
    if uuid::Uuid::try_parse(asked).is_ok() && !asked.eq_ignore_ascii_case(tenant.as_str()) {
        return Err(refuse("the id token is of another tenant"));
    }
    if !text("iss").is_some_and(|issuer| issuer.ends_with(&format!("/{tenant}/v2.0"))) {
        return Err(refuse("the id token is from another issuer"));
    }
    let object_id = text("oid").and_then(|oid| ObjectId::parse(oid).ok());
    Ok(Human::new(object_id.ok_or(refuse("the id token names no person"))?, tenant))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CLIENT: &str = "00000000-0000-4000-8000-000000000001";
    const TENANT: &str = "00000000-0000-4000-8000-000000000002";
    const PERSON: &str = "00000000-0000-4000-8000-000000000003";

    fn token(change: impl FnOnce(&mut Value)) -> String {
        let mut claims = serde_json::json!({
            "aud": CLIENT, "iss": format!("https://login.example/{TENANT}/v2.0"), "tid": TENANT, "oid": PERSON,
            "exp": 1_000, "nonce": "n",
        });
        change(&mut claims);
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn read(token: &str) -> Result<Human, DelegatedError> {
        let (client, tenant) = (ClientId::parse(CLIENT).unwrap(), TenantId::parse(TENANT).unwrap());
        let expected = Expected { client: &client, tenant: &tenant, nonce: Some("n") };
        human_of(token, expected, UNIX_EPOCH + Duration::from_secs(1_200))
    }

    #[test]
    fn an_id_token_of_this_sign_in_names_the_person() {
        assert_eq!(read(&token(|_| {})).unwrap().object_id().as_str(), PERSON);
    }

    #[test]
    fn an_id_token_of_anything_else_is_refused_and_not_shown() {
        let wrong: [(&str, Value); 8] = [
            ("aud", "00000000-0000-4000-8000-00000000000f".into()),
            ("aud", serde_json::json!([CLIENT])),
            ("nonce", "planted".into()),
            ("exp", 800.into()),
            ("exp", Value::Null),
            ("tid", "00000000-0000-4000-8000-00000000000f".into()),
            ("iss", "https://planted.example/other/v2.0".into()),
            ("oid", "planted".into()),
        ];
        for (name, value) in wrong {
            let error = read(&token(|claims| claims[name] = value.clone())).unwrap_err();
            assert!(matches!(error, DelegatedError::Untrusted { .. }), "{name}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("planted"), "{error:?}");
        }
        for text in ["", "a", "a.b.c", "e30.e30.x", "e30.W10.x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
