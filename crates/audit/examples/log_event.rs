//! Puts one event on record: `log_event DIRECTORY ACTION RESOURCE`.
//!
//! The id is printed only when the record is on the disk.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::path::Path;
use std::sync::Arc;

use entrabot_audit::{AttributionChain, AttributionType, AuditLog, AuditOptions, Config, LogEntry, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, action, resource] = arguments.as_slice() else {
        return Err("usage: log_event DIRECTORY ACTION RESOURCE".into());
    };
    let directory = Path::new(directory);
    // Who acts is what the settings and the session say; no caller can name itself.
    let config = Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")])?;
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let log = AuditLog::open(AuditOptions::new(&directory.join("audit"), &directory.join("data")), who)?;
    println!("{}", log.log_event(&LogEntry::cli(action, resource, "success", AttributionType::Agent))?);
    Ok(())
}
