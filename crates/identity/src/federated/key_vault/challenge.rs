//! What a vault wants to be shown: the `WWW-Authenticate` of its 401.
//!
//! Whoever answers in the vault's place may ask for a token of any service, and would then hold it. So nothing but a token
//! for the vault's own service, of our own tenant's authority, is ever fetched for a vault.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::{BaseUrl, TenantId, VaultKey};

/// A challenge as it was written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written<'a> {
    authorization: Option<&'a str>,
    /// Of Key Vault.
    resource: Option<&'a str>,
    /// Of Managed HSM: the same with `/.default`.
    scope: Option<&'a str>,
    claims: Option<&'a str>,
}

/// What a vault wants, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The vault's tenant.
    pub(super) tenant: TenantId,
    /// `https://{service}`: what the token is for.
    pub(super) resource: String,
    /// A claims challenge (JSON) that the token must answer.
    pub(super) claims: Option<String>,
}

impl Challenge {
    /// # Errors
    /// A code: `no_challenge`, `spoofed_challenge`, `other_tenant`.
    pub(super) fn judge(
        text: Option<&str>,
        key: &VaultKey,
        authority: &BaseUrl,
        own: Option<&TenantId>,
    ) -> Result<Self, &'static str> {
        let written = text.and_then(read).ok_or("no_challenge")?;
        let resource = written.resource.or(written.scope.map(|scope| scope.trim_end_matches("/.default")));
        let resource = resource.ok_or("no_challenge")?.trim_end_matches('/');
        // The vault's host is its own label before the service's name, and that is all a token may be for.
        let is_own = resource.strip_prefix("https://").is_some_and(|service| service == key.service());
        if !is_own {
            return Err("spoofed_challenge");
        }
        let tenant = tenant_of(written.authorization.ok_or("no_challenge")?, authority)?;
        // A tenant that is named by its domain cannot be compared with the challenge's id.
        let is_id = |tenant: &TenantId| uuid::Uuid::try_parse(tenant.as_str()).is_ok();
        if own.filter(|own| is_id(own)).is_some_and(|own| !own.as_str().eq_ignore_ascii_case(tenant.as_str()))
        {
            return Err("other_tenant");
        }
        let claims = written.claims.and_then(decoded);
        Ok(Self { tenant, resource: resource.to_owned(), claims })
    }
}

/// The tenant of `{authority}/{tenant}`. The address itself is never asked: the token comes from our own authority.
fn tenant_of(authorization: &str, authority: &BaseUrl) -> Result<TenantId, &'static str> {
    let rest = authorization.strip_prefix("https://").ok_or("spoofed_challenge")?;
    let (host, path) = rest.split_once('/').ok_or("spoofed_challenge")?;
    let own = authority.origin().trim_start_matches("https://");
    // Microsoft's authorities have several names.
    let is_known = host == own || (authority.is_microsoft() && crate::config::is_microsoft_host(host));
    if !is_known {
        return Err("spoofed_challenge");
    }
    TenantId::parse(path.split('/').next().unwrap_or_default()).map_err(|_| "spoofed_challenge")
}

/// `Bearer name="value", ...` (RFC 9110, section 11.6.1), of which only quoted values are met.
fn read(text: &str) -> Option<Written<'_>> {
    let (scheme, mut rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut written = Written::default();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return Some(written);
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        let place = match name {
            "authorization" | "authorization_uri" => &mut written.authorization,
            "resource" => &mut written.resource,
            "scope" => &mut written.scope,
            "claims" => &mut written.claims,
            _ => continue,
        };
        // Said twice, it could be read in two ways.
        if place.replace(value).is_some() {
            return None;
        }
    }
}

fn decoded(claims: &str) -> Option<String> {
    let bytes =
        URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).or_else(|_| STANDARD.decode(claims)).ok()?;
    let object = crate::tokens::strict_json::object(&bytes).ok()?;
    Some(serde_json::Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlueprintCredential, Config};

    const TENANT: &str = "00000000-0000-4000-8000-000000000001";
    const OTHER: &str = "00000000-0000-4000-8000-000000000002";

    fn judge(text: &str) -> Result<Challenge, &'static str> {
        let config = Config::from_variables([
            ("ENTRABOT_TENANT_ID", TENANT),
            ("ENTRABOT_BLUEPRINT_CREDENTIAL", "key-vault"),
            (
                "ENTRABOT_KEY_VAULT_KEY",
                "https://agents.vault.azure.net/keys/entrabot/0123456789abcdef0123456789abcdef",
            ),
            ("ENTRABOT_KEY_VAULT_TOKEN", "managed-identity"),
        ])
        .unwrap();
        let BlueprintCredential::KeyVault { key, .. } = config.blueprint_credential() else { panic!() };
        Challenge::judge(Some(text), key, config.authority_base(), config.tenant_id())
    }

    fn of(authorization: &str, resource: &str) -> String {
        format!("Bearer authorization=\"{authorization}\", resource=\"{resource}\"")
    }

    #[test]
    fn a_vaults_own_challenge_is_understood_in_each_of_its_forms() {
        let expected = Challenge {
            tenant: TenantId::parse(TENANT).unwrap(),
            resource: "https://vault.azure.net".into(),
            claims: None,
        };
        for text in [
            of(&format!("https://login.microsoftonline.com/{TENANT}"), "https://vault.azure.net"),
            of(&format!("https://login.windows.net/{TENANT}"), "https://vault.azure.net/"),
            format!(
                "bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", scope=\"https://vault.azure.net/.default\""
            ),
        ] {
            assert_eq!(judge(&text).as_ref(), Ok(&expected), "{text}");
        }
        let claims = URL_SAFE_NO_PAD.encode(r#"{"access_token":{"nbf":{"essential":true}}}"#);
        let text = format!(
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/{TENANT}/oauth2/authorize\", \
             error=\"insufficient_claims\", claims=\"{claims}\", resource=\"https://vault.azure.net\""
        );
        assert!(judge(&text).unwrap().claims.unwrap().contains("essential"));
    }

    #[test]
    fn a_token_of_another_service_or_authority_is_never_asked_for() {
        let login = format!("https://login.microsoftonline.com/{TENANT}");
        for resource in [
            "https://graph.microsoft.com",
            "https://management.azure.com",
            "https://azure.net",
            "https://net",
            "https://agents.vault.azure.net",
            "https://evil.vault.azure.net",
            "https://vault.azure.net.evil.example",
            "https://vault.azure.net@evil.example",
            "http://vault.azure.net",
            "vault.azure.net",
            "",
        ] {
            assert_eq!(judge(&of(&login, resource)), Err("spoofed_challenge"), "{resource}");
        }
        for authority in [
            format!("https://evil.example/{TENANT}"),
            format!("http://login.microsoftonline.com/{TENANT}"),
            format!("https://login.microsoftonline.com@evil.example/{TENANT}"),
            "https://login.microsoftonline.com".to_owned(),
            "https://login.microsoftonline.com/".to_owned(),
        ] {
            let text = of(&authority, "https://vault.azure.net");
            assert_eq!(judge(&text), Err("spoofed_challenge"), "{authority}");
        }
        let other = of(&format!("https://login.microsoftonline.com/{OTHER}"), "https://vault.azure.net");
        assert_eq!(judge(&other), Err("other_tenant"));
        for text in [
            "",
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer resource",
            "Bearer resource=\"https://vault.azure.net\"",
        ] {
            assert_eq!(judge(text), Err("no_challenge"), "{text}");
        }
        let twice =
            format!("{}, resource=\"https://graph.microsoft.com\"", of(&login, "https://vault.azure.net"));
        assert_eq!(judge(&twice), Err("no_challenge"));
    }
}
