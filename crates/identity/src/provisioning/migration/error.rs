use std::borrow::Cow;
use std::path::PathBuf;

use entrabot_keystore::KeystoreError;

use crate::provisioning::ProvisioningError;
use crate::{ConfigError, Diagnose, ErrorClass};

/// Why an installation of the original was not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// There is none.
    #[error("{} holds neither .env nor .entrabot-state.json", directory.display())]
    NoInstallation {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// There is no place for a settings file.
    #[error("there is no home directory to write a settings file to")]
    NoSettingsFile,
    /// Our settings would be the original's own file.
    #[error("our settings file {} is the original's own .env", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// Our settings file is another agent's.
    #[error("the settings file {} names another agent: {name} differs", path.display())]
    OtherAgent {
        /// The file.
        path: PathBuf,
        /// The setting.
        name: &'static str,
    },
    /// The keyring has no blueprint key.
    #[error("the keyring holds no private key of the blueprint ({entry})")]
    NoKey {
        /// `entrabot/blueprint-private-key`.
        entry: String,
    },
    /// The keyring's blueprint key is none that can sign.
    #[error("the keystore entry {entry} is not an RSA key in PKCS#8 PEM")]
    UnusableKey {
        /// `entrabot/blueprint-private-key`.
        entry: String,
    },
    /// The only blueprint key there is lies in a file.
    #[error("the blueprint's private key lies in a file ({}) and not in the keyring", file.display())]
    LeakedKey {
        /// The file of Python's `keyring`.
        file: PathBuf,
    },
    /// The original's files, or ours, cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keyring refused.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The settings could not be written.
    #[error(transparent)]
    Writing(#[from] ProvisioningError),
}

impl Diagnose for MigrationError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Config(error) => error.error_type(),
            Self::Keystore(error) => error.error_type(),
            Self::Writing(error) => error.error_type(),
            _ => "MigrationError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NoInstallation { .. } => {
                "name the original's project directory with --from DIR: the one with its .env in it".into()
            }
            Self::NoSettingsFile => "set ENTRABOT_ENV_FILE".into(),
            Self::SameFile { .. } => {
                "unset ENTRABOT_ENV_FILE, or let it name another file: the original's stays as it is".into()
            }
            Self::OtherAgent { .. } => {
                "let ENTRABOT_ENV_FILE (and ENTRABOT_DATA_DIR) name another place for this agent".into()
            }
            Self::NoKey { .. } => {
                "run this in the session in which the original runs; when its key is lost, put the ids into the settings \
                 file and run entrabot provision --use-blueprint APP_ID for a new one"
                    .into()
            }
            Self::UnusableKey { .. } => "put the right key there with entrabot keystore set".into(),
            Self::LeakedKey { .. } => {
                "that key is not taken over: whoever read the file, or a backup of it, has it. Remove its certificate from \
                 the blueprint now, delete the file, and run entrabot provision --use-blueprint APP_ID for a new key"
                    .into()
            }
            Self::Config(error) => return error.hint(),
            Self::Keystore(error) => return error.hint(),
            Self::Writing(error) => return error.hint(),
        })
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoInstallation { .. } | Self::NoKey { .. } => ErrorClass::NotFound,
            Self::NoSettingsFile | Self::SameFile { .. } => ErrorClass::Configuration,
            Self::OtherAgent { .. } | Self::UnusableKey { .. } => ErrorClass::Failed,
            Self::LeakedKey { .. } => ErrorClass::InsecureKeyring,
            Self::Config(error) => error.class(),
            Self::Keystore(error) => error.class(),
            Self::Writing(error) => error.class(),
        }
    }
}
