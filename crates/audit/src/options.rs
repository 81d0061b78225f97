use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entrabot_identity::{AuditSigning, Config, OutcomeSync};

use crate::AuditError;
use crate::signing::SigningPolicy;
use crate::time::{Clock, SystemClock};

/// Where the log lies and how it is sealed.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    pub(crate) audit_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) deadline: Duration,
    pub(crate) outcome_sync: OutcomeSync,
    pub(crate) as_root: bool,
    pub(crate) signing: SigningPolicy,
    pub(crate) require_seal: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AuditOptions {
    /// The audit directory and the data directory (anchor and public keys). Without a signing key until
    /// [`AuditOptions::with_signing`] names one.
    #[must_use]
    pub fn new(audit_dir: &Path, data_dir: &Path) -> Self {
        Self {
            audit_dir: audit_dir.to_owned(),
            data_dir: data_dir.to_owned(),
            deadline: Duration::from_secs(5),
            outcome_sync: OutcomeSync::default(),
            as_root: false,
            signing: SigningPolicy::Off,
            require_seal: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// As the settings say: `ENTRABOT_AUDIT_DIR`, `ENTRABOT_DATA_DIR`, `ENTRABOT_AUDIT_SIGNING`,
    /// `ENTRABOT_AUDIT_OUTCOME_SYNC`.
    ///
    /// # Errors
    /// [`AuditError::Sealing`] when the settings name a place for the signing key that this version does not know.
    pub fn from_config(config: &Config) -> Result<Self, AuditError> {
        let signing = match config.audit_signing() {
            AuditSigning::Keystore => SigningPolicy::Keystore(config.keystore_policy().clone()),
            AuditSigning::File(path) => SigningPolicy::File(path.clone()),
            AuditSigning::Off => SigningPolicy::Off,
            // Never "off" by accident.
            _ => {
                return Err(AuditError::Sealing {
                    reason: "ENTRABOT_AUDIT_SIGNING names an unknown place".into(),
                });
            }
        };
        Ok(Self::new(config.audit_dir(), config.data_dir())
            .with_signing(signing)
            .with_outcome_sync(config.audit_outcome_sync()))
    }

    /// Where the key that signs checkpoints is (`ENTRABOT_AUDIT_SIGNING`).
    #[must_use]
    pub fn with_signing(mut self, signing: SigningPolicy) -> Self {
        self.signing = signing;
        self
    }

    /// Where that key is.
    #[must_use]
    pub fn signing(&self) -> &SigningPolicy {
        &self.signing
    }

    /// Refuses permits while the log cannot be sealed, instead of going on with the chain alone.
    #[must_use]
    pub fn require_seal(mut self) -> Self {
        self.require_seal = true;
        self
    }

    /// How long a record may take before it is refused. Default: 5 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// When an outcome counts as taken (`ENTRABOT_AUDIT_OUTCOME_SYNC`). Default: after its write; it is synced at
    /// most 100 ms later, or with the next record that is. A power cut in between leaves a pending record without an
    /// outcome, which is the cautious reading.
    #[must_use]
    pub fn with_outcome_sync(mut self, outcome_sync: OutcomeSync) -> Self {
        self.outcome_sync = outcome_sync;
        self
    }

    /// Lets root write to a directory of another user.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.as_root = true;
        self
    }

    #[cfg(test)]
    pub(crate) fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}
