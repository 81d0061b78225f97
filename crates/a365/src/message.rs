//! JSON-RPC messages and MCP results, read strictly: an answer is ours only if it says so.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::observer::TraceParent;
use crate::progress::Raised;
use crate::reply::Body;
use crate::strict_json;

/// The revision that `initialize` offers where a server insists on a session.
pub(crate) const SESSION_REVISION: &str = "2025-06-18";
/// The stateless revision, for servers that speak nothing else.
pub(crate) const STATELESS_REVISION: &str = "2026-07-28";

/// What a message is to the call with our id.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// Our result.
    Result(Map<String, Value>),
    /// Our error.
    Error { code: i64, message: String },
    /// How far our request has come.
    Progress(Raised),
    /// Another request or notification of the server's: never an answer, whatever its id.
    ServerMessage,
    /// An answer with another id, or without one.
    Foreign,
}

/// A message that breaks the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not acceptable JSON.
    NotJson(strict_json::StrictJsonError),
    /// JSON that is no answer.
    Rule(&'static str),
}

/// Reads one message. `id` is the one that our request carried, also as its progress token.
pub(crate) fn read(text: &[u8], id: &str) -> Result<Incoming, Malformed> {
    let value = strict_json::parse(text).map_err(Malformed::NotJson)?;
    let mut message = match value {
        Value::Object(message) => message,
        Value::Array(_) => return Err(Malformed::Rule("a batch, which the protocol no longer has")),
        _ => return Err(Malformed::Rule("non-object body")),
    };
    match message.get("jsonrpc") {
        // Tolerated where it is missing: servers in the field leave it out.
        None => {}
        Some(version) if version == "2.0" => {}
        Some(_) => return Err(Malformed::Rule("a JSON-RPC version other than 2.0")),
    }
    if message.contains_key("method") {
        return Ok(Raised::read(&message, id).map_or(Incoming::ServerMessage, Incoming::Progress));
    }
    if message.get("id").and_then(Value::as_str) != Some(id) {
        // An error that could not be tied to a request is the answer to the only request there is.
        let untied = message.get("id").is_none_or(Value::is_null) && message.contains_key("error");
        if !untied || message.contains_key("result") {
            return Ok(Incoming::Foreign);
        }
    }
    match (message.remove("result"), message.remove("error")) {
        (Some(_), Some(_)) => Err(Malformed::Rule("both a result and an error")),
        (Some(Value::Object(result)), None) => Ok(Incoming::Result(result)),
        (Some(_), None) => Err(Malformed::Rule("a result that is not an object")),
        (None, Some(error)) => {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(Incoming::Error { code, message })
        }
        (None, None) => Err(Malformed::Rule("missing result")),
    }
}

/// A `tools/call` result.
pub(crate) struct CallResult {
    pub(crate) body: Body,
    pub(crate) skipped: usize,
    pub(crate) is_error: bool,
    /// The text blocks, for an error's message.
    pub(crate) text: String,
}

/// A `tools/call` result that is not acceptable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadResult {
    /// It breaks this rule.
    Rule(&'static str),
    /// It holds more text than any file that the service handles.
    TooLarge,
}

impl From<&'static str> for BadResult {
    fn from(rule: &'static str) -> Self {
        Self::Rule(rule)
    }
}

/// A file of 5 MiB, the service's own limit, in base64.
pub(crate) const MAX_FILE_TEXT: usize = (5 * 1024 * 1024_usize).div_ceil(3) * 4;
/// What the JSON around a file may add.
const FILE_FRAME: usize = 64 * 1024;

/// Reads a `tools/call` result: `structuredContent` before text, blocks of other kinds skipped and counted.
pub(crate) fn read_call_result(result: Map<String, Value>) -> Result<CallResult, BadResult> {
    let result = read_blocks(result)?;
    let longest = match &result.body {
        Body::Object(entries) => entries.values().map(longest_text).max().unwrap_or_default(),
        Body::Json(value) => longest_text(value),
        Body::Text(text) => text.len(),
        Body::Listing(_) | Body::Empty => 0,
    };
    if longest > MAX_FILE_TEXT { Err(BadResult::TooLarge) } else { Ok(result) }
}

fn longest_text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(longest_text).max().unwrap_or_default(),
        Value::Object(entries) => entries.values().map(longest_text).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn read_blocks(mut result: Map<String, Value>) -> Result<CallResult, BadResult> {
    match result.get("resultType").map(Value::as_str) {
        None | Some(Some("complete")) => {}
        Some(Some("input_required")) => {
            return Err("the server asks for input, which nobody here can give".into());
        }
        Some(_) => return Err("a result of an unknown type".into()),
    }
    let is_error = match result.get("isError") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_error)) => *is_error,
        Some(_) => return Err("isError is not a boolean".into()),
    };
    let mut texts = Vec::new();
    let mut skipped = 0;
    match result.remove("content") {
        None | Some(Value::Null) => {}
        Some(Value::Array(blocks)) => {
            for block in blocks {
                match block {
                    Value::Object(mut block) if block.get("type").is_some_and(|kind| kind == "text") => {
                        match block.remove("text") {
                            // Before it is parsed once more: that would double it.
                            Some(Value::String(text)) if text.len() > MAX_FILE_TEXT + FILE_FRAME => {
                                return Err(BadResult::TooLarge);
                            }
                            Some(Value::String(text)) => texts.push(text),
                            _ => return Err("a text block without text".into()),
                        }
                    }
                    Value::Object(_) => skipped += 1,
                    _ => return Err("a content block that is not an object".into()),
                }
            }
        }
        Some(_) => return Err("content that is not a list".into()),
    }
    let text = if is_error { texts.join("\n") } else { String::new() };
    let body = match result.remove("structuredContent") {
        None | Some(Value::Null) => Body::from_texts(texts),
        Some(Value::Object(object)) => Body::Object(object),
        Some(other) => Body::Json(other),
    };
    Ok(CallResult { body, skipped, is_error, text })
}

/// A request's bytes. The arguments go in by reference, so a large document is not copied first.
pub(crate) fn request(
    id: &str,
    method: &str,
    params: &Map<String, Value>,
    arguments: Option<&Map<String, Value>>,
) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Params<'a> {
        #[serde(flatten)]
        params: &'a Map<String, Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments: Option<&'a Map<String, Value>>,
    }
    #[derive(serde::Serialize)]
    struct Request<'a> {
        jsonrpc: &'static str,
        id: &'a str,
        method: &'a str,
        params: Params<'a>,
    }
    serde_json::to_vec(&Request { jsonrpc: "2.0", id, method, params: Params { params, arguments } })
        .expect("maps with string keys are always JSON")
}

/// `notifications/initialized`.
pub(crate) fn initialized() -> Vec<u8> {
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec()
}

/// The params of `initialize`.
pub(crate) fn initialize_params() -> Map<String, Value> {
    let Value::Object(params) = json!({
        "protocolVersion": SESSION_REVISION,
        "capabilities": {},
        "clientInfo": client_info(),
    }) else {
        unreachable!("the literal is an object")
    };
    params
}

/// The `_meta` of a request: what the stateless revision wants in every one, the token for its progress where somebody wants
/// to hear of it, and the trace that it belongs to. `None` where there is nothing of these.
pub(crate) fn meta(
    stateless: bool,
    progress_token: Option<&str>,
    trace: Option<TraceParent>,
) -> Option<Value> {
    let mut meta = Map::new();
    if stateless {
        meta.insert("io.modelcontextprotocol/protocolVersion".into(), STATELESS_REVISION.into());
        meta.insert("io.modelcontextprotocol/clientInfo".into(), client_info());
        meta.insert("io.modelcontextprotocol/clientCapabilities".into(), Map::new().into());
    }
    if let Some(token) = progress_token {
        meta.insert("progressToken".into(), token.into());
    }
    if let Some(trace) = trace {
        meta.insert("traceparent".into(), trace.to_string().into());
    }
    (!meta.is_empty()).then(|| meta.into())
}

fn client_info() -> Value {
    json!({"name": "entrabot", "version": env!("CARGO_PKG_VERSION")})
}

/// Whether an error says that there is no such tool: by code and words, as the official SDKs write it.
pub(crate) fn means_unknown_tool(code: Option<i64>, message: &str) -> bool {
    if code.is_some_and(|code| !matches!(code, -32_601 | -32_602)) || message.len() > 400 {
        return false;
    }
    let message = message.to_ascii_lowercase();
    let absent = ["unknown", "not found", "not exist", "no such", "not available", "unrecognized"];
    (message.contains("tool") && absent.iter().any(|word| message.contains(word)))
        || (code == Some(-32_601) && message.contains("method not found"))
}

/// A session that must be opened first, by the words of the SDKs and gateways.
pub(crate) fn means_session(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("session")
        || message.contains("not initialized")
        || message.contains("initialize request")
}

/// A rule's text for an error.
pub(crate) fn rule(malformed: &Malformed) -> Cow<'static, str> {
    match malformed {
        Malformed::NotJson(error) => format!("the answer {error}").into(),
        Malformed::Rule(rule) => (*rule).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(text: &str) -> Result<Incoming, Malformed> {
        read(text.as_bytes(), "7")
    }

    #[test]
    fn only_an_answer_with_our_id_is_ours() {
        let result = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        assert_eq!(
            incoming(r#"{"jsonrpc":"2.0","id":"7","result":{"a":1}}"#),
            Ok(Incoming::Result(result(r#"{"a":1}"#)))
        );
        assert_eq!(incoming(r#"{"id":"7","result":{}}"#), Ok(Incoming::Result(Map::new())));
        for foreign in [
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"8","result":{}}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":["7"],"error":{"code":1,"message":"x"}}"#,
        ] {
            assert_eq!(incoming(foreign), Ok(Incoming::Foreign), "{foreign}");
        }
        for server in [
            r#"{"method":"ping","id":"7"}"#,
            r#"{"method":"notifications/progress"}"#,
            r#"{"method":"x","id":"7","result":{}}"#,
        ] {
            assert_eq!(incoming(server), Ok(Incoming::ServerMessage), "{server}");
        }
        assert_eq!(
            incoming(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#),
            Ok(Incoming::Error { code: -32_700, message: "m".into() })
        );
    }

    #[test]
    fn broken_answers_are_named() {
        for (text, rule) in [
            (r#"[{"id":"7","result":{}}]"#, "batch"),
            (r#""x""#, "non-object body"),
            (r#"{"id":"7"}"#, "missing result"),
            (r#"{"id":"7","result":[],"x":1}"#, "not an object"),
            (r#"{"id":"7","result":{},"error":{}}"#, "both"),
            (r#"{"jsonrpc":"1.0","id":"7","result":{}}"#, "version"),
            (r#"{"id":"7","result":{},"result":{}}"#, "same key twice"),
            ("<html>", "not JSON"),
        ] {
            let error = incoming(text).unwrap_err();
            assert!(super::rule(&error).contains(rule), "{text}: {error:?}");
        }
    }

    fn call_result(text: &str) -> Result<CallResult, BadResult> {
        read_call_result(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn structured_content_goes_before_text_and_other_blocks_are_counted() {
        let result = call_result(
            r#"{"content":[{"type":"image","data":"x"},{"type":"hologram"},{"type":"text","text":"{\"a\":1}"}]}"#,
        )
        .unwrap();
        assert_eq!(result.skipped, 2);
        assert!(matches!(result.body, Body::Object(object) if object["a"] == 1));
        let result =
            call_result(r#"{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":2}}"#)
                .unwrap();
        assert!(matches!(result.body, Body::Object(object) if object["a"] == 2));
        assert!(call_result(r#"{"content":[]}"#).unwrap().body.is_empty());
    }

    #[test]
    fn more_text_than_a_file_holds_is_too_large_wherever_it_is() {
        let large = "A".repeat(MAX_FILE_TEXT + 1);
        let inner = json!({"content": large}).to_string();
        for result in [
            json!({"content": [{"type": "text", "text": large}]}),
            json!({"content": [{"type": "text", "text": inner}]}),
            json!({"structuredContent": {"a": [large]}}),
        ] {
            assert_eq!(call_result(&result.to_string()).err(), Some(BadResult::TooLarge));
        }
        let fits = json!({"content": [{"type": "text", "text": "A".repeat(MAX_FILE_TEXT)}]});
        assert!(call_result(&fits.to_string()).is_ok());
    }

    #[test]
    fn is_error_is_a_boolean_or_nothing() {
        assert!(call_result(r#"{"isError":true,"content":[{"type":"text","text":"no"}]}"#).unwrap().is_error);
        for text in [
            r#"{"isError":"true"}"#,
            r#"{"isError":1}"#,
            r#"{"content":{}}"#,
            r#"{"content":["x"]}"#,
            r#"{"content":[{"type":"text"}]}"#,
            r#"{"resultType":"input_required"}"#,
            r#"{"resultType":7}"#,
        ] {
            assert!(call_result(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_tool_is_told_from_other_errors() {
        assert!(means_unknown_tool(Some(-32_602), "Tool CreateDocument not found"));
        assert!(means_unknown_tool(Some(-32_602), "Unknown tool: 'X'"));
        assert!(means_unknown_tool(None, "Unknown tool: X"));
        assert!(!means_unknown_tool(Some(-32_602), "Invalid arguments: url is missing"));
        assert!(!means_unknown_tool(Some(-32_603), "Unknown tool"));
        assert!(!means_unknown_tool(None, "The resource could not be found."));
    }

    #[test]
    fn a_request_is_one_json_rpc_message() {
        let Value::Object(arguments) = json!({"url": "https://x"}) else { unreachable!() };
        let Value::Object(params) = json!({"name": "T"}) else { unreachable!() };
        let bytes = request("i", "tools/call", &params, Some(&arguments));
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({"jsonrpc": "2.0", "id": "i", "method": "tools/call",
                   "params": {"name": "T", "arguments": {"url": "https://x"}}})
        );
    }
}
