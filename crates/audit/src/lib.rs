//! The durable, chained, tamper-evident log that every act waits for.
#![forbid(unsafe_code)]

mod error;
mod log;
mod names;
mod permit;
mod record;
mod verify;

pub use entrabot_identity::{Diagnose, ErrorClass};
pub use error::{AuditAttributionError, AuditError, AuditOutcomeLost};
pub use log::{AuditLog, AuditOptions};
pub use names::{InvalidName, ServerName, ToolName};
pub use permit::{Auditable, Permit, Recorded, SettleError, Settled};
pub use record::{CallId, EventId, LogEntry, Outcome, Source, Subject};
pub use verify::{VerifyLevel, VerifyReport, verify};
