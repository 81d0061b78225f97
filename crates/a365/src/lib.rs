//! Work IQ (Agent 365) calls through one audited door.
//!
//! Each call is on record as `pending`, durably, before a token is fetched and before the first byte leaves; its
//! outcome is on record before the caller sees it. A token goes only to an [`Endpoint`], which only the allowlist
//! check makes. What comes back is taken for hostile: bounded, read strictly, and put in envelopes that it cannot
//! leave before a model sees it.
//!
//! [`WorkIqProvider`] is the door; [`tools`] has entrabot's own seven tools in types.
#![forbid(unsafe_code)]

mod catalog;
mod definitions;
mod endpoint;
mod error;
mod manifest;
mod message;
mod observer;
mod offer;
mod pins;
mod presentable;
mod progress;
mod provider;
mod reply;
mod schema;
#[doc(hidden)]
pub mod sse;
mod strict_json;
mod tool_call;
pub mod tools;
mod transport;
mod xpia;

pub use definitions::ToolDefinition;
pub use endpoint::{EgressAllowlist, Endpoint, EndpointError};
// What opening the door takes, so that a program needs this crate alone.
pub use entrabot_audit::{
    AttributionChain, AuditError, AuditLog, AuditOptions, Config, Diagnose, ErrorClass, Recorded, ServerName,
    Session, ToolName,
};
pub use entrabot_identity::{
    Egress, KeystoreSigner, Resource, SignerSource, TokenError, TokenExchange, TokenSource,
};
pub use entrabot_keystore::KeystoreError;
pub use error::{A365Error, CallError, CallFailure, Fate, InvalidArgument};
#[doc(hidden)]
pub use manifest::lint_bytes;
pub use manifest::{Finding, Server, Servers, Severity, lint_manifest};
pub use observer::{CallObservation, CallObserver, TraceParent};
pub use offer::{Offer, OfferedTool};
pub use pins::{KeyringSeal, PinSeal};
pub use progress::{Progress, ProgressSink};
pub use provider::{Answered, Trusted, WorkIqProvider};
pub use reply::Reply;
pub use tool_call::ToolCall;
pub use transport::Transport;
#[doc(hidden)]
pub use xpia::envelope;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
