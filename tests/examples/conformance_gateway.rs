//! `conformance_gateway CLIENT URL`: puts a stand-in cloud before the conformance suite's server at `URL`, which speaks
//! plain HTTP, and lets the client at it. So the client gets a real token, speaks TLS, and sends it to the endpoint that
//! the operator configured and nowhere else, as it always does.
//!
//! entrabot's client begins with one request and nothing before it, and takes a session or the stateless revision when
//! a server insists. The suite's servers mostly do not insist but look whether a client does it of its own accord; the
//! gateway insists for them, in the words of the official SDKs, before the first request reaches them.

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};

use entrabot_tests::stand_in::{Effect, Fault, Options, StandIn};
use serde_json::json;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "conformance_gateway CLIENT URL";
    let (client, url) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let revision = std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION").unwrap_or_default();
    let insists = match (scenario.as_str(), revision.as_str()) {
        ("initialize", _) => Some((-32_000, "Bad Request: Server not initialized")),
        (_, "2026-07-28") => Some((-32_022, "Unsupported protocol version")),
        _ => None,
    };
    let cloud = StandIn::try_start(Options::default())?;
    if let Some((code, message)) = insists {
        let body =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}}).to_string();
        cloud.set_fault(Fault::a365(Effect::Respond { status: 400, headers: Vec::new(), body }).times(1));
    }
    cloud.set_fault(Fault::a365(Effect::Relay(url)));
    let info = cloud.dir().join("info.json");
    fs::write(&info, serde_json::to_vec(cloud.info())?)?;
    let status = Command::new(client).arg(&info).status()?;
    Ok(ExitCode::from(if status.success() { 0 } else { 1 }))
}
