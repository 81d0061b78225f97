//! Work IQ: MCP servers for Word and files behind one gateway, JSON-RPC over POST.

mod access;
mod catalog;
mod files;
pub(crate) mod hostile;
mod people;
mod word;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Cloud;
use super::faults::WorkIqFormat;
use super::http::{Answer, Request};
use access::User;
use catalog::Server;

const PROTOCOLS: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const SESSION: &str = "Mcp-Session-Id";

/// What a tool says: text, or an error the model should see.
pub(crate) enum Said {
    Json(Value),
    Text(String),
    Error(String),
}

/// Answers a request to the gateway.
pub(crate) fn answer(cloud: &Cloud, request: &Request) -> Answer {
    let Some((name, tenant)) = target(&request.path) else {
        return Answer::json(404, &json!({"error": "NotFound", "message": "No such endpoint."}));
    };
    if request.method != "POST" {
        return Answer::empty(405).with("Allow", "POST");
    }
    let behaviour = cloud.world().behaviour.clone();
    // Reported of the real gateway without a tenant in the path; the exact body is not public.
    let wrong_tenant =
        tenant.as_deref().is_some_and(|tenant| !tenant.eq_ignore_ascii_case(&cloud.info.tenant_id));
    if wrong_tenant || (behaviour.require_tenant_url && tenant.is_none()) {
        let body = json!({"error": {"code": "EndpointInvalid", "innererror": {"code": "TenantIdInvalid"},
                                    "message": "The tenant id in the request URL is missing or invalid."}});
        return Answer::json(400, &body);
    }
    let Some(server) = catalog::server(&name) else {
        let message = format!("MCP server '{name}' was not found.");
        return Answer::json(404, &json!({"error": "NotFound", "message": message}));
    };
    let user = match access::check(cloud, request, server) {
        Ok(user) => user,
        Err(refusal) => return refusal,
    };
    let accept = request.header("accept").unwrap_or_default();
    if !(accept.contains("application/json") && accept.contains("text/event-stream")) {
        let message = "Not Acceptable: Client must accept both application/json and text/event-stream";
        return Answer::json(406, &rpc_error(&Value::Null, -32_000, message));
    }
    if !request.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Answer::empty(415);
    }
    let Some(message) = request.json() else {
        return Answer::json(400, &rpc_error(&Value::Null, -32_700, "Parse error"));
    };
    let Some(method) = message["method"].as_str().filter(|_| message.is_object()) else {
        return Answer::json(400, &rpc_error(&Value::Null, -32_600, "Invalid Request"));
    };
    let id = message["id"].clone();
    if id.is_null() {
        return Answer::empty(202);
    }
    if behaviour.require_session && method != "initialize" && request.header(SESSION).is_none() {
        let text = "Bad Request: A new session can only be created by an initialize request.";
        return Answer::json(400, &rpc_error(&id, -32_000, text));
    }
    let reply = match dispatch(cloud, &user, server, method, &message["params"]) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, text)) => rpc_error(&id, code, &text),
    };
    let answer = framed(&reply, behaviour.work_iq_format);
    if method == "initialize" && behaviour.require_session {
        return answer.with(SESSION, Uuid::new_v4().to_string());
    }
    answer
}

/// A reply in the format the service speaks.
fn framed(reply: &Value, format: WorkIqFormat) -> Answer {
    match format {
        WorkIqFormat::Json => Answer::json(200, reply),
        WorkIqFormat::Sse => {
            let text = format!("event: message\ndata: {reply}\n\n");
            Answer::whole(200, "text/event-stream", text.into_bytes())
                .with("Cache-Control", "no-cache,no-store")
        }
    }
}

/// Server name and tenant of `/agents/servers/{name}`, `/agents/tenants/{tenant}/servers/{name}`, with or
/// without a slash at the end.
fn target(path: &str) -> Option<(String, Option<String>)> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["agents", "servers", name] => Some(((*name).to_owned(), None)),
        ["agents", "tenants", tenant, "servers", name] => {
            Some(((*name).to_owned(), Some((*tenant).to_owned())))
        }
        _ => None,
    }
}

fn rpc_error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn dispatch(
    cloud: &Cloud,
    user: &User,
    server: &Server,
    method: &str,
    params: &Value,
) -> Result<Value, (i64, String)> {
    match method {
        "initialize" => {
            let asked = params["protocolVersion"].as_str().unwrap_or_default();
            let version = if PROTOCOLS.contains(&asked) { asked } else { "2025-06-18" };
            Ok(json!({
                "protocolVersion": version, "capabilities": {"tools": {"listChanged": false}},
                "serverInfo": {"name": server.name, "version": "1.0.0"},
            }))
        }
        "ping" => Ok(json!({})),
        "tools/list" => catalog::list(&cloud.world().behaviour, server, params),
        "tools/call" => call(cloud, user, server, params),
        _ => Err((-32_601, format!("Method '{method}' is not available."))),
    }
}

fn call(cloud: &Cloud, user: &User, server: &Server, params: &Value) -> Result<Value, (i64, String)> {
    let name = params["name"].as_str().unwrap_or_default();
    let mut world = cloud.world();
    let documented = world.behaviour.documented_tool_names;
    let Some(tool) = server.tools.iter().find(|tool| tool.name(documented) == name) else {
        return Err((-32_602, format!("Unknown tool: '{name}'")));
    };
    let empty = json!({});
    let arguments = if params["arguments"].is_object() { &params["arguments"] } else { &empty };
    for (parameter, _) in tool.parameters {
        if !arguments[*parameter].is_string() {
            let text = format!(
                "The arguments dictionary is missing a value for the required parameter '{parameter}'."
            );
            return Ok(result(&Said::Error(text), false));
        }
    }
    let said = (tool.run)(&mut world, user, arguments);
    Ok(result(&said, world.behaviour.structured_content))
}

/// The `CallToolResult` of what a tool said.
fn result(said: &Said, structured: bool) -> Value {
    let (text, error) = match said {
        Said::Json(value) => (value.to_string(), false),
        Said::Text(text) => (text.clone(), false),
        Said::Error(text) => (text.clone(), true),
    };
    let mut result = json!({"content": [{"type": "text", "text": text}], "isError": error});
    if let (Said::Json(value), true) = (said, structured) {
        result["structuredContent"] = value.clone();
    }
    result
}
