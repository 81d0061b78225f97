//! Puts two calls on record, one of which is abandoned, and verifies the log.

use std::path::Path;
use std::sync::Arc;

use entrabot_audit::{
    AttributionChain, AuditLog, AuditOptions, Auditable, Config, ServerName, Session, Subject, ToolName, verify,
};

struct Greeting;

impl Auditable for Greeting {
    fn subject(&self) -> Subject {
        let server = ServerName::parse("mcp_Greeter").expect("a fixed name");
        Subject::WorkIq { server, tool: ToolName::parse("Greet").expect("a fixed name") }
    }
}

fn main() {
    let directory = std::env::args().nth(1).expect("usage: consumer-audit DIRECTORY");
    let directory = Path::new(&directory);
    let audit = directory.join("audit");
    let settings = [("ENTRABOT_AGENT_ID", "22222222-2222-2222-2222-222222222222")];
    let config = Config::from_variables(settings).expect("sound settings");
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));

    let log = AuditLog::open(AuditOptions::new(&audit, &directory.join("data")), who).expect("a log");
    let permit = log.permit(Greeting).expect("on record");
    let greeted: Result<&str, std::io::Error> = Ok("hello");
    assert_eq!(permit.finish(greeted).into_result().expect("settled"), "hello");
    drop(log.permit(Greeting).expect("on record"));
    drop(log);

    let report = verify(&audit).expect("readable");
    assert_eq!(report.pending_without_outcome, 0, "the abandoned call was closed");
    println!("{} events, chain {}", report.events, if report.ok { "intact" } else { "broken" });
}
