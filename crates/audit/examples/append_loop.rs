//! Appends until it is killed, and prints each id when its record is durable:
//! `append_loop DIRECTORY [permits | starved | sealed | batch | COUNT]`. The kill tests run it as their child. Starved, it
//! uses up all file descriptors after the first record, and goes on for fifty more. Sealed, it writes two, each under a
//! checkpoint by the key in `DIRECTORY/key.pem`. A batch is five records at once.
#![allow(clippy::print_stdout, reason = "the ids are its answer")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use entrabot_audit::{
    AttributionChain, AttributionType, AuditLog, AuditOptions, Auditable, Config, LogEntry, ServerName,
    Session, SigningPolicy, Subject, ToolName,
};

struct Call;

impl Auditable for Call {
    fn subject(&self) -> Subject {
        Subject::WorkIq {
            server: ServerName::parse("mcp_WordServer").expect("a fixed name"),
            tool: ToolName::parse("CreateDocument").expect("a fixed name"),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = Path::new(
        arguments
            .first()
            .ok_or("usage: append_loop DIRECTORY [permits | starved | sealed | batch | COUNT]")?,
    );
    let mode = arguments.get(1).map_or("", String::as_str);
    let (permits, starved, sealed) = (mode == "permits", mode == "starved", mode == "sealed");
    let count = match mode {
        "starved" => 51,
        "sealed" => 2,
        other => other.parse().unwrap_or(u64::MAX),
    };
    let mut taken = Vec::new();
    let config = Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")])?;
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let mut options = AuditOptions::new(&directory.join("audit"), &directory.join("data"));
    if sealed {
        options = options.with_signing(SigningPolicy::File(directory.join("key.pem")));
    }
    let log = AuditLog::open(options, who)?;
    let mut out = std::io::stdout();
    if mode == "batch" {
        let entries = vec![LogEntry::cli("loop", "step", "success", AttributionType::Agent); 5];
        let mut refused = Ok(());
        log.log_events(&entries, |_, id| match id {
            Ok(id) => drop(writeln!(out, "{id}")),
            Err(error) => refused = Err(error),
        })?;
        return Ok(refused?);
    }
    for _ in 0..count {
        let id = if permits {
            let permit = log.permit(Call)?;
            let id = permit.recorded().event_id;
            drop(permit.finish(Ok::<(), ()>(())).into_result());
            id
        } else {
            log.log_event(&LogEntry::cli("loop", "step", "success", AttributionType::Agent))?
        };
        writeln!(out, "{id}")?;
        out.flush()?;
        if sealed && let Err(error) = log.checkpoint() {
            // The record stays, and whoever comes next seals it.
            drop(writeln!(std::io::stderr(), "not sealed: {error}"));
        }
        while starved && let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
    }
    Ok(())
}
