use std::borrow::Cow;
use std::time::Duration;

use crate::{Diagnose, ErrorClass};

/// The vault did not sign. Holds nothing of an answer but a status and a code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the key vault {host} did not sign: {code}{}", super::super::error::Status(*status))]
pub struct KeyVaultError {
    host: String,
    status: Option<u16>,
    code: Cow<'static, str>,
    retry_after: Option<Duration>,
    found: Option<String>,
}

impl KeyVaultError {
    pub(super) fn new(host: &str, status: Option<u16>, code: impl Into<Cow<'static, str>>) -> Self {
        Self { host: host.to_owned(), status, code: code.into(), retry_after: None, found: None }
    }
    pub(super) fn resting(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }
    pub(super) fn found(mut self, thumbprint: &str) -> Self {
        self.found = Some(thumbprint.to_owned());
        self
    }
    /// The vault's host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The vault's own inner code (`ForbiddenByFirewall`, `KeyDisabled`, ...), else its code; or one of ours:
    /// `connection_failed`, `tls_failed`, `timed_out`, `malformed_answer`, `no_challenge`, `spoofed_challenge`,
    /// `other_tenant`, `other_key`, `other_certificate`, `refused`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
    /// The status, when there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }
    /// How long the vault asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn remedy(&self) -> Cow<'static, str> {
        match (&*self.code, self.status) {
            ("ForbiddenByFirewall", _) => {
                "the vault's firewall keeps this host out: add its network to the vault, or use a private endpoint"
            }
            ("KeyDisabled", _) => {
                "enable that version of the key, or name another one in ENTRABOT_KEY_VAULT_KEY and give the blueprint \
                 its certificate"
            }
            ("KeyNotFound" | "CertificateNotFound", _) | (_, Some(404)) => {
                "the vault has no such version: correct ENTRABOT_KEY_VAULT_KEY"
            }
            ("spoofed_challenge", _) => {
                "what answers for the vault wants a token that is not the vault's; nothing was sent to it: look at the name \
                 in ENTRABOT_KEY_VAULT_KEY, at DNS and at ENTRABOT_PROXY"
            }
            ("other_tenant", _) => "the vault belongs to another tenant than ENTRABOT_TENANT_ID",
            ("other_key", _) => "another key answered than the one that was asked for: nothing was signed in with it",
            ("other_certificate", _) => {
                return match &self.found {
                    Some(found) => format!(
                        "the vault's certificate is {found}: correct ENTRABOT_BLUEPRINT_CERT_THUMBPRINT or \
                         ENTRABOT_KEY_VAULT_KEY"
                    )
                    .into(),
                    None => "correct ENTRABOT_BLUEPRINT_CERT_THUMBPRINT".into(),
                };
            }
            ("connection_failed" | "timed_out", _) => {
                "check that the vault can be reached from here (network, DNS, ENTRABOT_PROXY, the vault's firewall)"
            }
            ("tls_failed", _) => "the vault's certificate is not trusted; name its authority in ENTRABOT_CA_BUNDLE",
            (_, Some(403)) => {
                "give the identity that asks the role Key Vault Crypto User on the key, and Key Vault Reader where \
                 ENTRABOT_KEY_VAULT_KEY names a certificate; a new role takes some minutes"
            }
            (_, Some(401)) => "the vault does not accept the token: check ENTRABOT_KEY_VAULT_TOKEN and the tenant",
            (_, Some(429)) => "the vault is throttled: other users of it sign too much",
            ("BadParameter" | "KeyOperationForbidden", _) => {
                "the key must be of RSA and allowed to sign, with the algorithm of ENTRABOT_ASSERTION_ALGORITHM"
            }
            _ => "try again; if it stays, look at the vault's own log",
        }
        .into()
    }
}

impl Diagnose for KeyVaultError {
    fn error_type(&self) -> &'static str {
        "KeyVaultError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self.retry_after {
            Some(wait) => format!("wait {} s; {}", wait.as_secs(), self.remedy()).into(),
            None => self.remedy(),
        })
    }
    fn class(&self) -> ErrorClass {
        if self.code == "timed_out" { ErrorClass::Unavailable } else { ErrorClass::NotSignedIn }
    }
}
