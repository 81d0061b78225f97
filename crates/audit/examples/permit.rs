//! Puts a call on record before it is made, and its outcome after: `permit DIRECTORY`.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::path::Path;
use std::sync::Arc;

use entrabot_audit::{
    AttributionChain, AuditLog, AuditOptions, Auditable, Config, ServerName, Session, Subject, ToolName,
};

/// A call with its argument. The record says which tool; there is no way to put the text on it.
struct Translate {
    server: ServerName,
    tool: ToolName,
    text: &'static str,
}

impl Auditable for Translate {
    fn subject(&self) -> Subject {
        Subject::WorkIq { server: self.server.clone(), tool: self.tool.clone() }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: permit DIRECTORY")?;
    let directory = Path::new(&directory);
    let config = Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")])?;
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let log = AuditLog::open(AuditOptions::new(&directory.join("audit"), &directory.join("data")), who)?;

    let call = Translate {
        server: ServerName::parse("mcp_Translator")?,
        tool: ToolName::parse("Translate")?,
        text: "hello",
    };
    // From here on the call is on the disk as pending.
    let permit = log.permit(call)?;
    let answer: Result<String, std::io::Error> = Ok(permit.call().text.to_uppercase());
    match permit.finish(answer).into_result() {
        Ok(answer) => println!("{answer}"),
        Err(error) => println!("{error:?}"),
    }
    // A permit that nobody finishes is a failure on record.
    let forgotten = Translate {
        server: ServerName::parse("mcp_Translator")?,
        tool: ToolName::parse("Translate")?,
        text: "",
    };
    drop(log.permit(forgotten)?);
    Ok(())
}
