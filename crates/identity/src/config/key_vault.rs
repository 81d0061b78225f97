use std::fmt;

use super::{BaseUrl, ConfigError, cloud};

/// One version of a key or certificate in Azure Key Vault or Managed HSM: its identifier,
/// `https://{vault}/keys/{name}/{version}` or `https://{vault}/certificates/{name}/{version}`.
///
/// The version is not left out: what signs for the blueprint changes when the operator says so. A certificate's key has
/// its name and version. Source: "About keys, secrets and certificates: object identifiers" in Microsoft's documentation.
#[derive(Clone, PartialEq, Eq)]
pub struct VaultKey {
    identifier: BaseUrl,
    is_certificate: bool,
}

impl VaultKey {
    pub(super) fn parse(setting: &'static str, text: &str, authority: &BaseUrl) -> Result<Self, ConfigError> {
        let refuse = |reason: &'static str| Err(ConfigError::malformed(setting, reason));
        let identifier = BaseUrl::parse(setting, text)?;
        let mut segments = identifier.path().split('/').skip(1);
        let is_certificate = match segments.next() {
            Some("keys") => false,
            Some("certificates") => true,
            _ => {
                return refuse(
                    "not https://VAULT/keys/NAME/VERSION or https://VAULT/certificates/NAME/VERSION",
                );
            }
        };
        let name_ok = segments.next().is_some_and(|name| {
            name.len() <= 127 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        let version_ok = segments
            .next()
            .is_some_and(|version| version.len() == 32 && version.bytes().all(|b| b.is_ascii_hexdigit()));
        if !name_ok || !version_ok || segments.next().is_some() {
            return refuse(
                "it must end in a name and a version of 32 hexadecimal digits: the version is pinned",
            );
        }
        if identifier.host().split_once('.').is_none() {
            return refuse("the vault's host has no domain");
        }
        let is_microsofts = identifier.has_usual_port() && cloud::is_vault(identifier.host());
        if authority.is_microsoft() && !is_microsofts {
            return refuse(
                "outside Microsoft's clouds while ENTRABOT_AUTHORITY_BASE is inside: a real token could be sent there",
            );
        }
        Ok(Self { identifier, is_certificate })
    }

    /// `https://{vault}`.
    #[must_use]
    pub fn vault(&self) -> &str {
        self.identifier.origin()
    }
    /// The vault's host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.identifier.host()
    }
    /// The service that a token for the vault is for: the host without the vault's own label. A vault that asks for a
    /// token of anything else is refused.
    #[must_use]
    pub fn service(&self) -> &str {
        self.host().split_once('.').map_or("", |(_, service)| service)
    }
    /// `{name}/{version}`.
    #[must_use]
    pub fn name_and_version(&self) -> &str {
        let path = &self.identifier.path()[1..];
        path.split_once('/').map_or("", |(_, rest)| rest)
    }
    /// Whether the vault holds its certificate too.
    #[must_use]
    pub fn is_certificate(&self) -> bool {
        self.is_certificate
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.identifier.as_str())
    }
}

impl fmt::Display for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.identifier.as_str())
    }
}

/// `ENTRABOT_KEY_VAULT_TOKEN`: who asks the vault. Explicit, never a fallback chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultToken {
    /// `workload-identity`: the app of `AZURE_CLIENT_ID`, proven by the token file that Kubernetes projects.
    WorkloadIdentity,
    /// `managed-identity`: the host's managed identity.
    ManagedIdentity,
}

impl VaultToken {
    pub(super) fn parse(setting: &'static str, text: &str) -> Result<Self, ConfigError> {
        match text {
            "workload-identity" => Ok(Self::WorkloadIdentity),
            "managed-identity" => Ok(Self::ManagedIdentity),
            _ => Err(ConfigError::malformed(setting, "not one of workload-identity, managed-identity")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "0123456789abcdef0123456789abcdef";

    fn parse(text: &str) -> Result<VaultKey, ConfigError> {
        VaultKey::parse("X", text, &BaseUrl::built_in("https://login.microsoftonline.com"))
    }

    #[test]
    fn an_identifier_names_vault_service_and_version() {
        let key = parse(&format!("https://Agents.vault.azure.net/certificates/entrabot/{VERSION}")).unwrap();
        assert_eq!((key.vault(), key.service()), ("https://agents.vault.azure.net", "vault.azure.net"));
        assert_eq!(key.name_and_version(), format!("entrabot/{VERSION}"));
        assert!(key.is_certificate());
        let key = parse(&format!("https://agents.managedhsm.azure.net/keys/a-1/{VERSION}/")).unwrap();
        assert_eq!((key.service(), key.is_certificate()), ("managedhsm.azure.net", false));
    }

    #[test]
    fn an_unpinned_version_and_a_host_that_is_no_vault_are_refused() {
        for text in [
            "https://agents.vault.azure.net/keys/entrabot".to_owned(),
            "https://agents.vault.azure.net/keys/entrabot/latest".to_owned(),
            format!("https://agents.vault.azure.net/secrets/entrabot/{VERSION}"),
            format!("https://agents.vault.azure.net/keys/entra_bot/{VERSION}"),
            format!("https://agents.vault.azure.net/keys/entrabot/{VERSION}/sign"),
            format!("http://agents.vault.azure.net/keys/entrabot/{VERSION}"),
            format!("https://vault.azure.net/keys/entrabot/{VERSION}"),
            format!("https://agents.vault.azure.net.example/keys/entrabot/{VERSION}"),
            format!("https://agents.example/keys/entrabot/{VERSION}"),
            format!("https://agents.vault.azure.net:8443/keys/entrabot/{VERSION}"),
            format!("https://a.b.vault.azure.net/keys/entrabot/{VERSION}"),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
        let elsewhere = BaseUrl::built_in("https://localhost:1");
        let text = format!("https://agents.vault.example/keys/entrabot/{VERSION}");
        assert!(
            VaultKey::parse("X", &text, &elsewhere).is_ok(),
            "where the whole cloud is the operator's own"
        );
        assert!(VaultKey::parse("X", &format!("https://localhost/keys/a/{VERSION}"), &elsewhere).is_err());
    }
}
