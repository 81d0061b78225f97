use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use entrabot_keystore::{KeystoreError, SignError};

use crate::{Diagnose, ErrorClass};

/// A request to the token endpoint: one of the three hops, an app's own sign-in, or a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// `hop1:blueprint`
    Blueprint,
    /// `hop2:agent_identity`
    AgentIdentity,
    /// `hop3:agent_user`
    AgentUser,
    /// `provisioner`: the app that makes agents signs in with its certificate.
    Provisioner,
    /// `delegated`: a person signs in, or their sign-in is refreshed.
    Person,
    /// `key-vault`: the app of a workload identity asks for the token that a vault is shown.
    KeyVault,
}

impl Hop {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blueprint => "hop1:blueprint",
            Self::AgentIdentity => "hop2:agent_identity",
            Self::AgentUser => "hop3:agent_user",
            Self::Provisioner => "provisioner",
            Self::Person => "delegated",
            Self::KeyVault => "key-vault",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A hop was refused, or its answer was no token response.
///
/// Holds what is safe to log: codes, numbers and trace ids; never a token, an assertion, the description or the body.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "token exchange failed at {}{}: {}{}{}",
    .0.hop, At(.0.host.as_deref()), .0.code, Aadsts(.0.aadsts), Status(.0.status)
)]
pub struct TokenExchangeError(Box<Facts>);

/// Boxed: errors travel on the path that tokens travel.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) hop: Hop,
    pub(super) host: Option<Arc<str>>,
    pub(super) code: Cow<'static, str>,
    pub(super) aadsts: Option<u32>,
    pub(super) suberror: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) trace_id: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) detail: Option<&'static str>,
}

struct At<'a>(Option<&'a str>);
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |host| write!(f, " ({host})"))
    }
}
struct Aadsts(Option<u32>);
impl fmt::Display for Aadsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |number| write!(f, ", AADSTS{number}"))
    }
}
struct Status(Option<u16>);
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.filter(|status| *status != 200).map_or(Ok(()), |status| write!(f, " (HTTP {status})"))
    }
}

impl TokenExchangeError {
    pub(crate) fn new(hop: Hop, code: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Facts {
            hop,
            host: None,
            code: code.into(),
            aadsts: None,
            suberror: None,
            status: None,
            trace_id: None,
            correlation_id: None,
            retry_after: None,
            detail: None,
        }))
    }
    pub(super) fn with(mut self, add: impl FnOnce(&mut Facts)) -> Self {
        add(&mut self.0);
        self
    }
    /// The same of the identity binding proxy of a cluster, to which none of our settings leads.
    #[cfg(feature = "federated")]
    pub(super) fn of_cluster_proxy(self) -> Self {
        let remedy = match &*self.0.code {
            "tls_failed" => {
                "the identity binding proxy must prove to be AZURE_KUBERNETES_SNI_NAME by the authority in \
                 AZURE_KUBERNETES_CA_FILE (or AZURE_KUBERNETES_CA_DATA), and no other root counts; the cluster sets \
                 them: start the pod anew, then look at the cluster's identity binding"
            }
            "connection_failed" | "timed_out" => {
                "let the pod reach AZURE_KUBERNETES_TOKEN_PROXY (DNS, the cluster's network policy); it is reached \
                 directly, whatever ENTRABOT_PROXY says"
            }
            "redirect_refused" | "non_json_response" | "missing_token" | "unexpected_status"
            | "malformed_error" => {
                "this was no answer of an identity binding proxy: look at what AZURE_KUBERNETES_TOKEN_PROXY names"
            }
            _ => return self,
        };
        self.with(|facts| facts.detail = Some(remedy))
    }
    /// Which request failed.
    #[must_use]
    pub fn hop(&self) -> Hop {
        self.0.hop
    }
    /// The host that was asked.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }
    /// The answer's own `error`; else one of `non_json_response`, `missing_token`, `malformed_error`,
    /// `invalid_token_type`, `invalid_expires_in`, `unexpected_status`, `redirect_refused`, `connection_failed`,
    /// `tls_failed`, `timed_out`, `aborted`, `malformed_device_code`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }
    /// The AADSTS number, where the answer had one.
    #[must_use]
    pub fn aadsts(&self) -> Option<u32> {
        self.0.aadsts
    }
    /// The answer's `suberror`.
    #[must_use]
    pub fn suberror(&self) -> Option<&str> {
        self.0.suberror.as_deref()
    }
    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }
    /// The answer's `trace_id` (a GUID).
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }
    /// The answer's `correlation_id` (a GUID; equals our `client-request-id`).
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }
    /// How long the service asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    fn remedy(&self) -> Cow<'static, str> {
        let number = self.0.aadsts;
        let of_hop = number.and_then(|number| match self.0.hop {
            Hop::Person => remedy_for_person(number),
            Hop::KeyVault => remedy_for_workload(number),
            _ => None,
        });
        if let Some(text) = of_hop.or_else(|| number.and_then(remedy_of_number)) {
            return text.into();
        }
        if let Some(detail) = self.0.detail {
            return detail.into();
        }
        match &*self.0.code {
            "connection_failed" => {
                "check that the host can be reached from here (network, DNS, ENTRABOT_PROXY, ENTRABOT_AUTHORITY_BASE)"
            }
            "timed_out" => "the host did not answer in time; try again, or check the network and ENTRABOT_PROXY",
            "tls_failed" => "the host's certificate is not trusted; name its authority in ENTRABOT_CA_BUNDLE",
            "redirect_refused" => "a token endpoint never redirects; check ENTRABOT_AUTHORITY_BASE and the proxy",
            "non_json_response" | "missing_token" | "unexpected_status" | "malformed_error" | "invalid_token_type"
            | "invalid_expires_in" | "malformed_device_code" => {
                "this was no answer of a token endpoint; check ENTRABOT_AUTHORITY_BASE and what stands between \
                 (a proxy or a portal)"
            }
            "temporarily_unavailable" | "server_error" => "Entra is busy; try again in a while",
            "invalid_client" => {
                "check ENTRABOT_BLUEPRINT_APP_ID and ENTRABOT_BLUEPRINT_CERT_THUMBPRINT against the blueprint's \
                 certificates (`entrabot cert verify`)"
            }
            "invalid_scope" | "invalid_resource" => "check the audience and the scope of the server in the manifest",
            "interaction_required" | "invalid_grant" if self.0.hop == Hop::Person => {
                "the sign-in is over: run `entrabot sign-in`"
            }
            "interaction_required" | "consent_required" => "an administrator has to consent to this resource",
            "aborted" => "try again",
            _ if self.0.hop == Hop::Person => "run `entrabot sign-in`",
            _ => "run `entrabot token check` to see each hop",
        }
        .into()
    }
}

/// What helps a person's sign-in, where that differs from the agent's.
fn remedy_for_person(number: u32) -> Option<&'static str> {
    Some(match number {
        700_016 => "the tenant does not know this app id: check ENTRABOT_TENANT_ID and ENTRABOT_CLIENT_ID",
        7_000_218 => {
            "the app of ENTRABOT_CLIENT_ID is no public client: switch \"Allow public client flows\" on for it"
        }
        50_011 => {
            "add http://localhost to the redirect URIs (mobile and desktop) of the app of ENTRABOT_CLIENT_ID"
        }
        65_001 => {
            "nobody has consented to what the app of ENTRABOT_CLIENT_ID asks for: consent at the sign-in"
        }
        53_003 | 530_003 | 530_033 => {
            "a Conditional Access policy blocks this sign-in (device code often is): use the browser, or ask an \
             administrator"
        }
        50_076 | 50_079 | 50_158 | 50_173 | 50_133 | 70_043 | 70_000 | 700_082 => {
            "the sign-in is over: run `entrabot sign-in`"
        }
        50_034 | 50_020 => "this person has no account in the tenant of ENTRABOT_TENANT_ID",
        50_057 => "this person's account is disabled",
        70_020 => "the code was not entered in time: run `entrabot sign-in` again",
        _ => return None,
    })
}

/// What helps the app behind a workload identity, where that differs from the agent's.
fn remedy_for_workload(number: u32) -> Option<&'static str> {
    Some(match number {
        700_016 => "the tenant does not know the app of AZURE_CLIENT_ID",
        70_021 | 700_211 | 700_212 | 700_213 => {
            "no federated credential of the app of AZURE_CLIENT_ID matches: check issuer, subject and audience; a new one \
             takes some minutes"
        }
        _ => return None,
    })
}

/// What helps against the numbers that are met in practice.
fn remedy_of_number(number: u32) -> Option<&'static str> {
    Some(match number {
        700_027 => {
            "Entra does not know this certificate for the blueprint: run `entrabot cert verify`; a certificate that was \
             just added takes up to a minute"
        }
        700_024 => "the assertion is outside its time: set this machine's clock",
        700_021 | 700_023 | 50_013 => {
            "the assertion was not accepted: check the tenant and the blueprint's ids"
        }
        700_016 => {
            "the tenant does not know this app id: check ENTRABOT_TENANT_ID, ENTRABOT_BLUEPRINT_APP_ID and \
                    ENTRABOT_AGENT_ID"
        }
        70_021 | 700_211 | 700_212 | 700_213 => {
            "no federated credential of the blueprint matches: check issuer, subject and audience; a new one takes \
             some minutes"
        }
        7_000_215 | 7_000_222 => "the credential is wrong or expired: rotate it with `entrabot cert rotate`",
        90_002 | 900_023 => "there is no such tenant: check ENTRABOT_TENANT_ID and ENTRABOT_CLOUD",
        500_011 | 650_052 => {
            "the tenant has no service principal for this resource: consent to it first \
                             (`entrabot provision --with-a365-work-iq`)"
        }
        65_001 => "consent is missing: grant it (`entrabot provision`, or an administrator's consent)",
        70_011 | 1_002_012 => "the scope is not one of the resource: check the manifest's audience and scope",
        50_034 | 50_020 => "the agent user does not exist in this tenant: check ENTRABOT_AGENT_USER_ID",
        50_057 => "the agent user is disabled: an administrator has to enable it",
        53_003 | 530_003 | 50_105 => {
            "a Conditional Access policy or an assignment blocks the agent: ask an administrator"
        }
        50_076 | 50_079 | 50_158 => {
            "a policy demands interaction, which an agent cannot do: exclude the agent user"
        }
        50_173 | 50_133 | 70_043 => "the grant was revoked: try again; if it stays, ask an administrator",
        50_196 | 90_033 | 90_055 | 90_036 => "Entra is busy; try again in a while",
        _ => return None,
    })
}

impl Diagnose for TokenExchangeError {
    fn error_type(&self) -> &'static str {
        "TokenExchangeError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self.0.retry_after {
            Some(wait) => format!("wait {} s; {}", wait.as_secs(), self.remedy()).into(),
            None => self.remedy(),
        })
    }
    fn class(&self) -> ErrorClass {
        if self.0.code == "timed_out" { ErrorClass::Unavailable } else { ErrorClass::NotSignedIn }
    }
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A hop failed.
    #[error(transparent)]
    Exchange(#[from] TokenExchangeError),
    /// The keystore refused.
    #[error(transparent)]
    Keystore(Arc<KeystoreError>),
    /// Settings that the exchange needs are missing, or the key is not in the keystore (`AgentIDNotAvailable`).
    #[error("agent identity not available: {reason}")]
    AgentIdNotAvailable {
        /// What is missing.
        reason: String,
    },
    /// The platform gave no token for the blueprint.
    #[cfg(feature = "federated")]
    #[error(transparent)]
    Federated(#[from] crate::FederatedError),
    /// The vault did not sign for the blueprint.
    #[cfg(feature = "federated")]
    #[error(transparent)]
    KeyVault(#[from] crate::KeyVaultError),
    /// Acts are a person's now, and this token is the agent's alone.
    #[error("a person is signed in, and this token is the agent's alone")]
    ActingForPerson,
    /// The key is there and cannot sign.
    #[error("the blueprint key cannot sign: {0}")]
    Signing(#[source] Arc<SignError>),
}

impl From<KeystoreError> for TokenError {
    fn from(error: KeystoreError) -> Self {
        Self::Keystore(Arc::new(error))
    }
}

impl From<SignError> for TokenError {
    fn from(error: SignError) -> Self {
        Self::Signing(Arc::new(error))
    }
}

impl Diagnose for TokenError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Exchange(error) => error.error_type(),
            Self::Keystore(error) => error.error_type(),
            #[cfg(feature = "federated")]
            Self::Federated(error) => error.error_type(),
            #[cfg(feature = "federated")]
            Self::KeyVault(error) => error.error_type(),
            Self::AgentIdNotAvailable { .. } | Self::ActingForPerson => "AgentIDNotAvailable",
            #[cfg(all(feature = "tpm2", unix))]
            Self::Signing(error) if matches!(**error, SignError::Tpm(_)) => error.error_type(),
            Self::Signing(_) => "SigningError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Exchange(error) => error.hint(),
            Self::Keystore(error) => error.hint(),
            #[cfg(feature = "federated")]
            Self::Federated(error) => error.hint(),
            #[cfg(feature = "federated")]
            Self::KeyVault(error) => error.hint(),
            Self::AgentIdNotAvailable { .. } => {
                Some("run `entrabot provision`, or set what is missing (`entrabot doctor` lists it)".into())
            }
            Self::ActingForPerson => Some(
                "set ENTRABOT_MODE=agent_user, and unset ENTRABOT_ALLOW_DELEGATED_FALLBACK, for acts of the agent"
                    .into(),
            ),
            #[cfg(all(feature = "tpm2", unix))]
            Self::Signing(error) if matches!(**error, SignError::Tpm(_)) => error.hint(),
            Self::Signing(_) => Some(
                "the keystore entry entrabot/blueprint-private-key must hold a PKCS#8 PEM key; \
                 `entrabot cert rotate` makes a new one"
                    .into(),
            ),
        }
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::Exchange(error) => error.class(),
            Self::Keystore(error) => error.class(),
            #[cfg(feature = "federated")]
            Self::Federated(error) => error.class(),
            #[cfg(feature = "federated")]
            Self::KeyVault(error) => error.class(),
            Self::AgentIdNotAvailable { .. } | Self::ActingForPerson | Self::Signing(_) => {
                ErrorClass::NotSignedIn
            }
        }
    }
}
