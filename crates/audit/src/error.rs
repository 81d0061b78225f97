use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entrabot_identity::Unattributed;
use entrabot_keystore::InsecureKeyringBackendError;

use crate::time::Timestamp;
use crate::{Diagnose, ErrorClass};

/// Nobody could be named as the one who acts; nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("cannot attribute {action}: {reason}")]
pub struct AuditAttributionError {
    action: String,
    resource: String,
    reason: Unattributed,
}

impl AuditAttributionError {
    pub(crate) fn new(action: String, resource: String, reason: Unattributed) -> Self {
        Self { action, resource, reason }
    }
    /// What was to be done: the action's name, or what kind of event was to be logged.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }
    /// On what.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }
    /// Which links of the attribution chain were asked, and what each said.
    #[must_use]
    pub fn reason(&self) -> &Unattributed {
        &self.reason
    }
}

/// The act's outcome could not be written after the act happened. The pending line stays as evidence, and the log
/// refuses new permits until it is opened again.
#[derive(Debug, thiserror::Error)]
#[error("the act happened, but its outcome could not be written to the audit log")]
pub struct AuditOutcomeLost {
    #[source]
    source: Box<AuditError>,
}

impl AuditOutcomeLost {
    pub(crate) fn new(source: AuditError) -> Self {
        Self { source: Box::new(source) }
    }
}

impl Diagnose for AuditOutcomeLost {
    fn error_type(&self) -> &'static str {
        "AuditOutcomeLost"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("do not repeat the act; repair the audit directory, then restart entrabot".into())
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::AuditUnavailable
    }
}

/// An operation on a file of the log failed. Names the operation, the file and the system's code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {operation} {}: {text}", path.display())]
pub struct StorageError {
    operation: &'static str,
    path: PathBuf,
    kind: io::ErrorKind,
    code: Option<i32>,
    text: String,
}

impl StorageError {
    pub(crate) fn new(operation: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self {
            operation,
            path: path.into(),
            kind: error.kind(),
            code: error.raw_os_error(),
            text: error.to_string(),
        }
    }
    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }
    /// The system's code, e.g. 28 for `ENOSPC`.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.code
    }
}

/// A file or directory is not one that a log may be written to.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} is not a safe place for the audit log: {reason}", path.display())]
pub struct UnsafePlace {
    path: PathBuf,
    reason: &'static str,
}

impl UnsafePlace {
    pub(crate) fn new(path: impl Into<PathBuf>, reason: &'static str) -> Self {
        Self { path: path.into(), reason }
    }
    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The log holds less than it is known to have held.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} holds less than was written to it: {now} instead of at least {known} {unit}", path.display())]
pub struct LogShrunk {
    pub(crate) path: PathBuf,
    pub(crate) known: u64,
    pub(crate) now: u64,
    pub(crate) unit: &'static str,
}

/// The clock stands more than 48 hours before the last record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the clock says {now}, but {file} was last written at {last}")]
pub struct ClockStepped {
    pub(crate) now: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) file: String,
}

/// Why the log did not take a record, or could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Nobody could be named.
    #[error(transparent)]
    Attribution(Arc<AuditAttributionError>),
    /// The keyring that the attribution asked is not one to read from.
    #[error(transparent)]
    InsecureKeyring(Arc<InsecureKeyringBackendError>),
    /// The system refused an operation on a file.
    #[error(transparent)]
    Storage(Box<StorageError>),
    /// A symlink, a hard link, another owner, something that is no file.
    #[error(transparent)]
    Unsafe(Box<UnsafePlace>),
    /// Another process holds the directory's lock.
    #[error("the audit log's lock was not free within {} s{}", waited.as_secs_f32(), holder_text(*.holder))]
    LockTimeout {
        /// How long was waited.
        waited: Duration,
        /// The process that holds it, where the system says so.
        holder: Option<u32>,
    },
    /// The disk did not take the record in time. It may still appear; then a failure(abandoned) follows it.
    #[error("the audit log did not take the record within {} s", waited.as_secs_f32())]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// A sync failed earlier, so what is on the disk is not known.
    #[error("the audit log stopped after a failure: {cause}")]
    Stopped {
        /// The first failure.
        cause: String,
    },
    /// A file shrank, or the log is behind its anchor.
    #[error(transparent)]
    Shrunk(Box<LogShrunk>),
    /// The clock went back by more than 48 hours.
    #[error(transparent)]
    ClockStepped(Box<ClockStepped>),
    /// A part of the record is over its limit. Nothing is ever cut silently.
    #[error("{part} has {size} bytes, more than {limit}")]
    TooLarge {
        /// `action`, `resource` or `line`.
        part: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A part of the record is malformed.
    #[error("{part} is not valid: {reason}")]
    InvalidEntry {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The handle was made before a fork.
    #[error("this audit log was opened by another process")]
    Forked,
    /// The signing key or a checkpoint.
    #[error("cannot seal the audit log: {reason}")]
    Sealing {
        /// Why.
        reason: String,
    },
    /// Days may not be pruned.
    #[error("nothing is pruned: {reason}")]
    NotPruned {
        /// Why.
        reason: String,
    },
    /// The log is not the one that was exported before: what lies between would be left out unseen.
    #[error("the export cannot go on: {reason}")]
    ExportLost {
        /// Why.
        reason: String,
    },
    /// A public key, note or anchor file is malformed.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(", holder pid {pid}"))
}

impl AuditError {
    pub(crate) fn storage(operation: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Storage(Box::new(StorageError::new(operation, path, error)))
    }
    pub(crate) fn unsafe_place(path: impl Into<PathBuf>, reason: &'static str) -> Self {
        Self::Unsafe(Box::new(UnsafePlace::new(path, reason)))
    }
    pub(crate) fn unattributed(action: String, resource: String, reason: Unattributed) -> Self {
        match reason {
            Unattributed::InsecureKeyring(error) => Self::InsecureKeyring(Arc::new(error)),
            reason => Self::Attribution(Arc::new(AuditAttributionError::new(action, resource, reason))),
        }
    }
}

impl Diagnose for AuditError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Attribution(_) => "AuditAttributionError",
            Self::InsecureKeyring(error) => error.error_type(),
            Self::Storage(_) => "AuditStorageError",
            Self::Unsafe(_) => "AuditUnsafePlaceError",
            Self::LockTimeout { .. } => "AuditLockTimeoutError",
            Self::Timeout { .. } => "AuditTimeoutError",
            Self::Stopped { .. } => "AuditStoppedError",
            Self::Shrunk(_) => "AuditShrunkError",
            Self::ClockStepped(_) => "AuditClockSteppedError",
            Self::TooLarge { .. } => "AuditTooLargeError",
            Self::InvalidEntry { .. } => "AuditInvalidEntryError",
            Self::Forked => "AuditForkedError",
            Self::Sealing { .. } => "AuditSealingError",
            Self::NotPruned { .. } => "AuditPruneError",
            Self::ExportLost { .. } => "AuditExportError",
            Self::Malformed { .. } => "AuditMalformedError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Attribution(error) => return error.reason.hint(),
            Self::InsecureKeyring(error) => return error.hint(),
            Self::Storage(error) => match error.kind {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    "make room; the log goes on by itself when there is space".into()
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "make ENTRABOT_AUDIT_DIR a directory that this user may write to".into()
                }
                io::ErrorKind::NotFound => "check ENTRABOT_AUDIT_DIR".into(),
                _ => "check the disk and the system's log".into(),
            },
            Self::Unsafe(_) => "make it a plain directory or file of this user, without links".into(),
            Self::LockTimeout { .. } => "see what that process is doing; a stopped one holds the lock".into(),
            Self::Timeout { .. } => "see whether the disk hangs, then try again".into(),
            Self::Stopped { .. } => "check the disk, then restart; the log reads its tail anew".into(),
            Self::Shrunk(_) => {
                "something cut the log; keep the evidence, then `entrabot audit resume --accept-shrunk`"
                    .into()
            }
            Self::ClockStepped(_) => {
                "set the clock right, or accept it with `entrabot audit resume --accept-clock`".into()
            }
            Self::TooLarge { .. } => "shorten it; nothing is cut silently".into(),
            Self::InvalidEntry { .. } => "correct it".into(),
            Self::Forked => "open the log again in the new process".into(),
            Self::Sealing { .. } => "unlock the keyring, or set ENTRABOT_AUDIT_SIGNING".into(),
            Self::ExportLost { .. } => {
                "see `entrabot audit verify`; then --from start sends all again, --from now leaves it out"
                    .into()
            }
            Self::NotPruned { .. } => {
                "see `entrabot audit verify`; only what is proved may be removed".into()
            }
            Self::Malformed { .. } => "restore the file, or name another with --vkey".into(),
        })
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::InsecureKeyring(error) => error.class(),
            Self::NotPruned { .. } | Self::ExportLost { .. } => ErrorClass::Failed,
            Self::TooLarge { .. } | Self::InvalidEntry { .. } | Self::Malformed { .. } => {
                ErrorClass::Configuration
            }
            _ => ErrorClass::AuditUnavailable,
        }
    }
}
