//! The MCP server: nine tools, each with closed arguments, and nothing done before they are checked.

mod answer;
mod arguments;
mod audit_log;
mod confirm;
mod handler;
mod heartbeat;
mod in_flight;
mod request;
mod schema;
mod tools;
mod whoami;

pub(crate) use handler::EntrabotServer;
pub(crate) use in_flight::InFlight;
pub(crate) use whoami::{foreign_bases, who_am_i};
