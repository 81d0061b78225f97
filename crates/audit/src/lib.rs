//! The durable, chained, tamper-evident log that every act waits for.
#![forbid(unsafe_code)]

mod chain;
mod checkpoint;
mod disk;
mod engine;
mod error;
mod event;
mod examine;
mod journal;
mod json;
mod line;
mod locker;
mod log;
mod merkle;
mod names;
mod permit;
mod read;
mod reader;
mod record;
mod scan;
mod storage;
mod tail;
mod time;
mod verify;

pub use entrabot_identity::{Diagnose, ErrorClass};
pub use error::{
    AuditAttributionError, AuditError, AuditOutcomeLost, ClockStepped, LogShrunk, StorageError, UnsafePlace,
};
pub use event::StoredEvent;
pub use log::{AuditLog, AuditOptions, OutcomeSync};
pub use names::{InvalidName, ServerName, ToolName};
pub use permit::{Auditable, Permit, Recorded, SettleError, Settled};
pub use read::{Follower, Query, Seen, SkippedLine, query, tail};
pub use record::{CallId, EventId, LogEntry, Outcome, Source, Subject};
pub use time::Timestamp;
pub use verify::{FirstError, OpenSpan, VerifyLevel, VerifyOptions, VerifyReport, verify, verify_with};
