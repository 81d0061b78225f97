use std::borrow::Cow;
use std::path::PathBuf;

use crate::{Diagnose, ErrorClass};

/// Why the platform gave no token for the blueprint. Holds nothing of a token or an answer but a status and a code.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FederatedError {
    /// Variables that the platform sets are missing.
    #[error("the blueprint's credential is not here: not set: {}", missing.join(", "))]
    NotConfigured {
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// The host's identity endpoint is one that we do not use.
    #[error("the identity endpoint of {host} is not supported")]
    Unsupported {
        /// The host.
        host: &'static str,
    },
    /// A variable that the platform sets cannot be meant so.
    #[error("{name} is malformed: {reason}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that the platform projects, the token or the proxy's authority, cannot be used.
    #[error("the projected file {} cannot be used: {reason}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// The host's identity endpoint refused, or did not answer.
    #[error("{host} gave no token: {code}{}", Status(*status))]
    Endpoint {
        /// `IMDS`, `App Service` or `Azure Arc`.
        host: &'static str,
        /// The status, when there was an answer.
        status: Option<u16>,
        /// The endpoint's own code, or one of ours: `connection_failed`, `timed_out`, `malformed_answer`,
        /// `identity_not_found`, `not_the_endpoint`, `other_identity`, `key_file_refused`, `key_file_unreadable`,
        /// `no_challenge`.
        code: Cow<'static, str>,
    },
}

pub(super) struct Status(pub(super) Option<u16>);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.filter(|status| *status != 200).map_or(Ok(()), |status| write!(f, " (HTTP {status})"))
    }
}

impl Diagnose for FederatedError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::NotConfigured { .. } | Self::Unsupported { .. } | Self::Malformed { .. } => {
                "CredentialUnavailableError"
            }
            Self::TokenFile { .. } => "FederatedTokenError",
            Self::Endpoint { .. } => "ManagedIdentityError",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::NotConfigured { missing } if missing.contains(&"ENTRABOT_BLUEPRINT_CERT_THUMBPRINT") => {
                "set it to the certificate's, or let ENTRABOT_KEY_VAULT_KEY name a certificate of the vault"
            }
            Self::NotConfigured { .. } => {
                "label the pod azure.workload.identity/use and give it a service account with the annotation, or \
                 choose another ENTRABOT_BLUEPRINT_CREDENTIAL"
            }
            Self::Unsupported { .. } => "choose another ENTRABOT_BLUEPRINT_CREDENTIAL on this host",
            Self::Malformed { .. } => "the platform sets it; do not set it yourself",
            Self::TokenFile { .. } => {
                "look at the projected volume and its service account token; it is read anew at each sign-in"
            }
            Self::Endpoint { code, .. } => match &**code {
                "identity_not_found" => {
                    "assign a managed identity to this host, or set AZURE_CLIENT_ID to the one that is assigned"
                }
                "other_identity" => {
                    "this Azure Arc agent ignores AZURE_CLIENT_ID: update it, or use the system-assigned identity"
                }
                "connection_failed" | "not_the_endpoint" => {
                    "this host has no such identity endpoint: choose another ENTRABOT_BLUEPRINT_CREDENTIAL"
                }
                "key_file_unreadable" => "let this user read the Azure Arc tokens: add it to the group himds",
                "key_file_refused" => {
                    "the endpoint named a file outside the Azure Arc agent's tokens: something answers in its place"
                }
                _ => "try again; if it stays, look at the host's identity",
            },
        }))
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::NotConfigured { .. } | Self::Unsupported { .. } | Self::Malformed { .. } => {
                ErrorClass::Configuration
            }
            Self::Endpoint { code, .. } if code == "timed_out" => ErrorClass::Unavailable,
            Self::TokenFile { .. } | Self::Endpoint { .. } => ErrorClass::NotSignedIn,
        }
    }
}
