//! The MCP server: nine tools, each with closed arguments, and nothing done before they are checked; and those of other
//! servers that the operator exposes.

mod answer;
mod arguments;
mod audit_log;
mod confirm;
mod door;
mod exposed;
mod handler;
mod in_flight;
mod link;
mod progress;
mod request;
mod schema;
mod tools;
mod whoami;

pub(crate) use exposed::Exposed;
pub(crate) use handler::EntrabotServer;
pub(crate) use in_flight::InFlight;
pub(crate) use whoami::{foreign_bases, who_am_i};
