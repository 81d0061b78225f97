//! What the official MCP conformance suite asks of a client, through the audited door.
//!
//! `conformance_client STAND_IN_JSON`: the file holds the first line of `cargo xtask stand-in --json`, whose Work IQ is a
//! TLS end before the suite's own server; the suite says in `MCP_CONFORMANCE_SCENARIO` what to do with it.
//! `cargo xtask conformance` puts both together.

mod stand_in;

use std::error::Error;

use entrabot_a365::{ServerName, ToolDefinition, ToolName, WorkIqProvider};
use serde_json::{Map, Value, json};

/// Any server of the manifest: whatever its address, the suite answers there.
const SERVER: &str = "mcp_WordServer";

struct Client {
    door: WorkIqProvider,
    server: ServerName,
}

impl Client {
    async fn tools(&self) -> Result<Vec<ToolDefinition>, Box<dyn Error>> {
        Ok(self.door.list_tools(&self.server).await?.reply)
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<(), Box<dyn Error>> {
        let arguments: Map<String, Value> = serde_json::from_value(arguments)?;
        self.door.call(&self.server, &ToolName::parse(tool)?, arguments).await?;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("conformance_client STAND_IN_JSON")?;
    let info = serde_json::from_slice(&std::fs::read(&file)?)?;
    let state = std::path::Path::new(&file).with_extension("state");
    let client = Client { door: stand_in::door(&info, &state)?, server: ServerName::parse(SERVER)? };
    let tools = client.tools().await?;
    match std::env::var("MCP_CONFORMANCE_SCENARIO")?.as_str() {
        "tools_call" => client.call("add_numbers", json!({"a": 5, "b": 3})).await,
        "json-schema-2020-12-preservation" => {
            let focal = tools.iter().find(|tool| tool.name == "json_schema_2020_12_tool");
            let schema = &focal.ok_or("the suite lists no json_schema_2020_12_tool")?.input_schema;
            client.call("json_schema_echo", json!({"schema": schema})).await
        }
        "http-standard-headers" => {
            for tool in &tools {
                client.call(&tool.name, json!({})).await?;
            }
            Ok(())
        }
        // The others look at the listing alone, or at how far a client comes that can do no more.
        _ => Ok(()),
    }
}
