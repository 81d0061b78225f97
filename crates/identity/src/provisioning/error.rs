use std::borrow::Cow;

use entrabot_keystore::{KeystoreError, ProbeError};

use crate::graph::GraphError;
use crate::{Diagnose, ErrorClass, GateError, TokenError};

/// Why an agent was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisioningError {
    /// Settings that are needed are missing.
    #[error("provisioning needs settings that are missing: {missing}")]
    NotConfigured {
        /// Their names.
        missing: String,
    },
    /// The keystore has no certificate of the Provisioner app.
    #[error("no certificate of the Provisioner app in the keystore ({entry})")]
    NoProvisionerCertificate {
        /// `entrabot-provisioner-cert/{tenant}`.
        entry: String,
    },
    /// The keystore's entry for the Provisioner app is no certificate with its key.
    #[error("the keystore entry {entry} is not a PEM bundle of a certificate and its key")]
    WrongProvisionerCertificate {
        /// `entrabot-provisioner-cert/{tenant}`.
        entry: String,
    },
    /// The keystore refused.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The keystore did not give back what was put in.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The Provisioner app could not sign in.
    #[error("the Provisioner app could not sign in: {0}")]
    SignIn(#[source] TokenError),
    /// Graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The audit did not take a record: the step was not done.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The step happened, and its outcome could not be written to the audit.
    #[error("{action} happened, but its outcome could not be recorded: {source}")]
    OutcomeLost {
        /// The act.
        action: &'static str,
        /// The audit's own error.
        source: GateError,
    },
    /// Something in the directory has the name we were told to use, and is not ours.
    #[error("{what}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// What was named does not exist.
    #[error("{what} does not exist in the tenant")]
    NotFound {
        /// What.
        what: String,
    },
    /// Another run is under way on the same data directory.
    #[error("another provisioning run holds {}", path.display())]
    Busy {
        /// The lock.
        path: std::path::PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory did not show in time what was made.
    #[error("the directory does not show {what} yet, {} s after it was made", waited.as_secs())]
    NotYetVisible {
        /// What.
        what: &'static str,
        /// How long we waited.
        waited: std::time::Duration,
    },
    /// The crypto library refused.
    #[error("could not {what}")]
    Crypto {
        /// What.
        what: &'static str,
    },
    /// The work was lost with its runtime.
    #[error("the work was broken off")]
    Aborted,
}

impl ProvisioningError {
    /// The AADSTS number, where Entra refused a sign-in with one.
    #[cfg(feature = "delegated")]
    pub(super) fn aadsts(&self) -> Option<u32> {
        match self {
            Self::SignIn(TokenError::Exchange(error)) => error.aadsts(),
            _ => None,
        }
    }
    pub(super) fn crypto(what: &'static str) -> Self {
        Self::Crypto { what }
    }
    pub(super) fn refused(what: impl Into<String>, remedy: &'static str) -> Self {
        Self::Refused { what: what.into(), remedy }
    }
    pub(super) fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

impl Diagnose for ProvisioningError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Keystore(error) => error.error_type(),
            Self::Probe(error) => error.error_type(),
            Self::SignIn(error) => error.error_type(),
            Self::Graph(error) => error.error_type(),
            Self::Gate(error) => error.error_type(),
            Self::OutcomeLost { source, .. } => source.error_type(),
            _ => "ProvisioningError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotConfigured { .. } => "set them in the environment or in the settings file".into(),
            Self::NoProvisionerCertificate { entry } => {
                let (service, username) = entry.split_once('/').unwrap_or((entry, ""));
                format!(
                    "an administrator makes the Provisioner app once with `entrabot provisioner create`; or put the certificate \
                     and key of one that is there, as one PEM text, into the keystore with `entrabot keystore set {service} \
                     {username}`"
                )
                .into()
            }
            Self::WrongProvisionerCertificate { .. } => {
                "the entry must hold a CERTIFICATE block and a PRIVATE KEY block (PKCS#8, RSA)".into()
            }
            Self::Keystore(error) => return error.hint(),
            Self::Probe(error) => return error.hint(),
            Self::SignIn(_) => {
                "check ENTRABOT_PROVISIONER_CLIENT_ID and ENTRABOT_TENANT_ID, and that the app holds the certificate that \
                 is in the keystore"
                    .into()
            }
            Self::Graph(error) => return error.hint(),
            Self::Gate(error) | Self::OutcomeLost { source: error, .. } => return error.hint(),
            Self::Refused { remedy, .. } => (*remedy).into(),
            Self::NotFound { .. } => "check the id and the tenant".into(),
            Self::Busy { .. } => "wait for it to end, then try again".into(),
            Self::File { .. } => "check the file's directory, owner and mode, and the room on the disk".into(),
            Self::NotYetVisible { .. } | Self::Aborted => "run the same command again: it resumes".into(),
            Self::Crypto { .. } => return None,
        })
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotConfigured { .. } | Self::File { .. } => ErrorClass::Configuration,
            Self::NoProvisionerCertificate { .. } | Self::NotFound { .. } => ErrorClass::NotFound,
            Self::WrongProvisionerCertificate { .. } => ErrorClass::NotSignedIn,
            Self::Keystore(error) => error.class(),
            Self::Probe(error) => error.class(),
            Self::SignIn(error) => error.class(),
            Self::Graph(error) => error.class(),
            Self::Gate(error) | Self::OutcomeLost { source: error, .. } => error.class(),
            Self::Busy { .. } | Self::NotYetVisible { .. } => ErrorClass::Unavailable,
            Self::Refused { .. } | Self::Crypto { .. } | Self::Aborted => ErrorClass::Failed,
        }
    }
}
