//! Work IQ (Agent 365) calls through one audited door.
#![forbid(unsafe_code)]

mod endpoint;
mod error;
mod manifest;
mod provider;
mod reply;
mod tool_call;
pub mod tools;
mod transport;

pub use endpoint::{EgressAllowlist, Endpoint};
pub use entrabot_audit::{Diagnose, ErrorClass, Recorded, ServerName, ToolName};
pub use error::{A365Error, InvalidArgument};
pub use manifest::{Finding, Server, Servers, Severity, lint_manifest};
pub use provider::{Answered, WorkIqProvider};
pub use reply::{Reply, ToolDefinition};
pub use tool_call::ToolCall;
pub use transport::{CallError, Transport};
