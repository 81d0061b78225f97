#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod anchor;
mod announced;
#[cfg(feature = "async")]
mod async_door;
mod background;
#[cfg(test)]
mod case_tests;
mod chain;
mod checkpoint;
mod commit;
#[cfg(test)]
mod commit_tests;
mod data;
mod disk;
mod engine;
mod error;
mod event;
mod evidence;
mod examine;
mod export;
mod give_way;
mod index;
mod journal;
mod json;
mod line;
mod locker;
mod log;
mod merkle;
mod names;
mod note;
mod options;
mod orphans;
mod owners;
mod permit;
mod prune;
mod pulse;
mod query;
mod read;
mod reader;
mod record;
#[cfg(feature = "report")]
mod report;
mod scan;
mod signing;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod sim_tests;
mod status;
mod storage;
mod sync;
mod tail;
#[cfg(test)]
mod test_bench;
mod time;
mod tombstone;
mod verify;

// What opening a log takes, so that a program needs this crate alone.
pub use checkpoint::Sealed;
pub use entrabot_identity::{
    Attribute, AttributionChain, AttributionType, Config, Diagnose, ErrorClass, OutcomeSync, Session,
};
pub use error::{
    AuditAttributionError, AuditError, AuditOutcomeLost, ClockStepped, LogShrunk, StorageError, UnsafePlace,
};
pub use event::StoredEvent;
pub use export::{
    ExportBatch, ExportFollower, ExportFormat, ExportFrom, Exported, OtlpEncoding, export, last_checkpoint,
};
pub use log::AuditLog;
pub use names::{InvalidName, ServerName, ToolName};
pub use note::{VerifyingKey, check_notes};
pub use options::AuditOptions;
pub use permit::{Auditable, Permit, Recorded, SettleError, Settled};
pub use prune::{PruneUntil, Pruned};
pub use query::Query;
pub use read::{Follower, Seen, SkippedLine, query, query_indexed, tail};
pub use record::{CallId, EventId, LogEntry, Outcome, Source, Subject};
#[cfg(feature = "report")]
pub use report::Report;
pub use signing::{CheckpointSigner, SigningPolicy, generate_signing_key};
pub use status::{Status, status};
pub use time::Timestamp;
pub use verify::{
    FirstError, OpenSpan, PrunedDays, VerifyLevel, VerifyOptions, VerifyReport, verify, verify_with,
};
