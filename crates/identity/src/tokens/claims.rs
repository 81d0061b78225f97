//! What a token says of itself, for people to look at. Nothing is ever decided by it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::strict_json;
use crate::{AgentId, BlueprintAppId, TenantId};

/// A claim that matters, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownClaim {
    /// E.g. `idtyp`.
    pub name: &'static str,
    /// At most 200 printable characters.
    pub value: String,
}

/// Ids, audiences and facets; no names, addresses or mail.
const SHOWN: &[&str] = &[
    "aud",
    "iss",
    "sub",
    "idtyp",
    "oid",
    "tid",
    "appid",
    "azp",
    "appidacr",
    "azpacr",
    "scp",
    "roles",
    "xms_act_fct",
    "xms_sub_fct",
    "xms_par_app_azp",
    "xms_cc",
    "ver",
];

/// The claims of a JWT that are worth showing; empty when the token is none that we can read.
pub(super) fn shown(token: &str) -> Vec<ShownClaim> {
    let Some(claims) = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()) else {
        return Vec::new();
    };
    let Ok(mut claims) = strict_json::object(&claims) else { return Vec::new() };
    let found = SHOWN
        .iter()
        .filter_map(|name| Some(ShownClaim { name, value: printable(claims.get(*name)?)? }))
        .collect();
    claims.values_mut().for_each(strict_json::wipe);
    found
}

fn printable(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Object(_) => return None,
    };
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

/// Whether the blank- or comma-separated list of a facet claim has `facet`.
pub(super) fn has_facet(claims: &[ShownClaim], name: &str, facet: &str) -> bool {
    claims
        .iter()
        .filter(|claim| claim.name == name)
        .any(|claim| claim.value.split([' ', ',']).any(|found| found == facet))
}

/// The `sub` that Entra gives T1: `/eid1/c/pub/t/{tenant}/a/{blueprint}/{agent}`, tenant and blueprint as base64url
/// of the GUID in its little-endian form. `None` when the tenant is not written as a GUID.
#[must_use]
pub fn fmi_subject(tenant: &TenantId, blueprint: &BlueprintAppId, agent: &AgentId) -> Option<String> {
    let encode = |guid: &str| Some(URL_SAFE_NO_PAD.encode(uuid::Uuid::try_parse(guid).ok()?.to_bytes_le()));
    Some(format!("/eid1/c/pub/t/{}/a/{}/{agent}", encode(tenant.as_str())?, encode(blueprint.as_str())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_t1_is_spelt_in_little_endian_guids() {
        let subject = fmi_subject(
            &TenantId::parse("00112233-4455-6677-8899-aabbccddeeff").unwrap(),
            &BlueprintAppId::parse("72f988bf-86f1-41af-91ab-2d7cd011db47").unwrap(),
            &AgentId::parse("0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11").unwrap(),
        );
        // 33221100 5544 7766 8899 aabbccddeeff and bf88f972 f186 af41 91ab 2d7cd011db47.
        assert_eq!(
            subject.unwrap(),
            "/eid1/c/pub/t/MyIRAFVEd2aImaq7zN3u_w/a/v4j5cvGGr0GRqy180BHbRw/0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11"
        );
        let domain = TenantId::parse("contoso.example").unwrap();
        let blueprint = BlueprintAppId::parse("72f988bf-86f1-41af-91ab-2d7cd011db47").unwrap();
        let agent = AgentId::parse("0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11").unwrap();
        assert_eq!(fmi_subject(&domain, &blueprint, &agent), None);
    }

    #[test]
    fn only_claims_that_matter_are_shown_and_an_opaque_token_shows_none() {
        let claims = r#"{"aud":"a\u0007b","upn":"agent@contoso.example","xms_act_fct":"3 11","roles":["x","y"],"exp":1}"#;
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        let shown = shown(&token);
        let names: Vec<_> = shown.iter().map(|claim| (claim.name, claim.value.as_str())).collect();
        assert_eq!(names, [("aud", "ab"), ("roles", "x y"), ("xms_act_fct", "3 11")]);
        assert!(has_facet(&shown, "xms_act_fct", "11"));
        assert!(!has_facet(&shown, "xms_act_fct", "1"));
        assert!(super::shown("opaque").is_empty());
        assert!(super::shown("a.!!.c").is_empty());
    }
}
