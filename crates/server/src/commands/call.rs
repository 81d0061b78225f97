//! `entrabot call`, `entrabot tools` and `entrabot a365 trust`: the audited door, from the shell.

use std::io::Read;

use clap::Args;
use entrabot_a365::{ServerName, Servers, ToolName};
use entrabot_identity::Config;
use entrabot_keystore::ErrorClass;
use serde_json::{Map, Value, json};

use super::YES;
use super::audit::close;
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;

/// Longest arguments that are read.
const MAX_ARGUMENTS: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The server, e.g. mcp_WordServer
    server: String,
    /// The tool, e.g. GetDocumentContent
    tool: String,
    /// The arguments as a JSON object, as @FILE, or as - for stdin
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
}

pub(crate) fn call(call: CallArgs) -> Result<u8, Failure> {
    let server = server_name(&call.server)?;
    let tool = ToolName::parse(&call.tool)
        .map_err(|error| Failure::usage(error.to_string(), "see entrabot tools"))?;
    let arguments = arguments(&call.args)?;
    let parts = Parts::new(super::config()?)?;
    warn_of_the_manifest(parts.config())?;
    let runtime = super::runtime()?;
    runtime.block_on(parts.sign_in().ready())?;
    let door = parts.provider()?;
    let result = runtime.block_on(door.call(&server, &tool, arguments));
    drop(door);
    close(&parts);
    match result {
        Ok(answered) => {
            let ids = answered.recorded;
            terminal::json(&json!({
                "content": answered.reply.content(),
                "skipped_blocks": answered.reply.skipped_blocks(),
                "audit": {"call_id": ids.call_id.to_string(), "event_id": ids.event_id.to_string()},
            }))?;
            Ok(YES)
        }
        Err(error) => {
            if let Some(ids) = error.recorded() {
                terminal::note(&format!("audit: call_id {} event_id {}", ids.call_id, ids.event_id));
            }
            Err(error.into())
        }
    }
}

pub(crate) fn tools(server: Option<&str>, json: bool) -> Result<u8, Failure> {
    let only = server.map(server_name).transpose()?;
    let parts = Parts::new(super::config()?)?;
    let configured = warn_of_the_manifest(parts.config())?;
    let servers: Vec<_> = match only {
        Some(server) => vec![server],
        None => configured.iter().map(|server| server.name().clone()).collect(),
    };
    let runtime = super::runtime()?;
    runtime.block_on(parts.sign_in().ready())?;
    let door = parts.provider()?;
    let mut offered = Map::new();
    let mut first_failure = None;
    for server in servers {
        match runtime.block_on(door.list_tools(&server)) {
            Ok(answered) => {
                offered.insert(server.to_string(), json!({"tools": answered.reply}));
            }
            Err(error) => {
                let failure = Failure::from(error);
                offered.insert(server.to_string(), failure.to_json());
                first_failure.get_or_insert(failure);
            }
        }
    }
    drop(door);
    close(&parts);
    if json {
        terminal::json(&Value::Object(offered))?;
        return Ok(first_failure.map_or(YES, |failure| failure.exit_code()));
    }
    for (server, offer) in &offered {
        terminal::line(server)?;
        for tool in offer["tools"].as_array().into_iter().flatten() {
            let name = cleaned(tool["name"].as_str().unwrap_or_default());
            terminal::line(&format!("  {name}"))?;
        }
    }
    match first_failure {
        Some(failure) => Err(failure),
        None => Ok(YES),
    }
}

/// Shows what is accepted: the pin is by the hash.
pub(crate) fn trust(server: &str, json: bool) -> Result<u8, Failure> {
    let server = server_name(server)?;
    let parts = Parts::new(super::config()?)?;
    let runtime = super::runtime()?;
    runtime.block_on(parts.sign_in().ready())?;
    let door = parts.provider()?;
    let result = runtime.block_on(door.trust(&server));
    drop(door);
    close(&parts);
    let accepted = result?.reply;
    if accepted.pins_begun_anew {
        terminal::note("the pins could not be relied on: those of all other servers are dropped too");
    }
    if json {
        terminal::json(&json!({
            "server": server.as_str(),
            "trusted": accepted.tools,
            "pins_begun_anew": accepted.pins_begun_anew,
        }))?;
    } else {
        for tool in &accepted.tools {
            terminal::line(&cleaned(&format!("{}  sha256 {}", tool.name, tool.sha256)))?;
        }
    }
    Ok(YES)
}

/// The configured servers, after a line for each thing in the manifest that is ignored or doubtful.
fn warn_of_the_manifest(config: &Config) -> Result<Servers, Failure> {
    let servers = Servers::load(config)?;
    for warning in servers.warnings() {
        terminal::note(&cleaned(&format!("warning: the tooling manifest: {warning}; {}", warning.hint)));
    }
    Ok(servers)
}

pub(super) fn server_name(text: &str) -> Result<ServerName, Failure> {
    ServerName::parse(text).map_err(|error| Failure::usage(error.to_string(), "give a name of the manifest"))
}

fn arguments(text: &str) -> Result<Map<String, Value>, Failure> {
    let read = |input: &mut dyn Read, what: &str| {
        let mut text = String::new();
        let read = input.take(MAX_ARGUMENTS + 1).read_to_string(&mut text);
        read.map_err(|error| Failure::io(&format!("read the arguments from {what}"), &error))?;
        Ok::<_, Failure>(text)
    };
    let text = if text == "-" {
        read(&mut std::io::stdin().lock(), "stdin")?
    } else if let Some(path) = text.strip_prefix('@') {
        let mut file =
            std::fs::File::open(path).map_err(|error| Failure::io(&format!("open {path}"), &error))?;
        read(&mut file, path)?
    } else {
        text.to_owned()
    };
    let wrong = |message: &str| {
        Failure::new(
            "InvalidArgumentError",
            message,
            Some("give a JSON object, e.g. --args '{\"url\": \"https://...\"}'"),
            ErrorClass::Configuration,
        )
    };
    if text.len() as u64 > MAX_ARGUMENTS {
        return Err(wrong("the arguments are longer than 16 MiB"));
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(wrong("the arguments are no JSON object")),
        Err(error) => Err(wrong(&format!(
            "the arguments are no JSON (line {}, column {})",
            error.line(),
            error.column()
        ))),
    }
}
