//! What is to be done with one line: hand it to rmcp, answer it ourselves, or leave it.

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcError, JsonRpcNotification,
    JsonRpcRequest, JsonRpcResponse, RequestId,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::salvage::{Salvaged, salvage, scalar};

/// JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;

/// Answers to the members of a batch, at most.
const MAX_BATCH_ANSWERS: usize = 64;

/// What a line turned out to be.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// A message in good order.
    Deliver(Box<ClientJsonRpcMessage>),
    /// Something that its sender may wait for an answer to: these are the answers.
    Refuse(Vec<Refusal>),
    /// Nothing that anybody waits for; why.
    Ignore(&'static str),
}

/// A JSON-RPC error that we answer with ourselves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The id as JSON; `None` is answered as `null`.
    id: Option<String>,
    code: i32,
    message: &'static str,
}

impl Refusal {
    fn new(id: Option<String>, code: i32, message: &'static str) -> Self {
        Self { id, code, message }
    }

    /// A request whose id is in flight.
    pub(super) fn duplicate_id(id: &RequestId) -> Self {
        Self::new(serde_json::to_string(id).ok(), INVALID_REQUEST, "a request with this id is in flight")
    }

    /// A line over the limit, by how it began.
    pub(super) fn overlong(head: &[u8]) -> Option<Self> {
        let Salvaged { id, is_answer } = salvage(head);
        (!is_answer).then(|| Self::new(id, INVALID_REQUEST, "the message is longer than 16 MiB"))
    }

    /// As the line that is sent.
    pub(crate) fn line(&self) -> Vec<u8> {
        let id = self.id.as_deref().unwrap_or("null");
        let error = serde_json::json!({"code": self.code, "message": self.message});
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes()
    }
}

/// The members of a message, not yet looked into.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there, also when it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Looks at one line.
pub(crate) fn judge(line: &[u8]) -> Verdict {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Verdict::Ignore("a blank line");
    }
    if line[0] == b'[' {
        return batch(line);
    }
    let shape: Shape<'_> = match serde_json::from_slice(line) {
        Ok(shape) => shape,
        Err(error) => return unreadable(line, &error),
    };
    let id = shape.id.and_then(|raw| scalar(raw.get().as_bytes()));
    let refuse = |code, message| Verdict::Refuse(vec![Refusal::new(id.clone(), code, message)]);
    let is_answer = shape.method.is_none() && (shape.result.is_some() || shape.error.is_some());
    if is_answer {
        return answer(line, shape.error.is_some());
    }
    let is_notification = shape.id.is_none();
    let fault = if shape.jsonrpc.is_none_or(|version| version.get() != r#""2.0""#) {
        Some((INVALID_REQUEST, "jsonrpc must be \"2.0\""))
    } else if !shape.method.is_some_and(|method| method.get().starts_with('"')) {
        Some((INVALID_REQUEST, "method must be a string"))
    } else if shape.result.is_some() || shape.error.is_some() {
        Some((INVALID_REQUEST, "a request has no result and no error"))
    } else if shape.params.is_some_and(|params| !params.get().starts_with('{')) {
        Some((INVALID_PARAMS, "params must be an object"))
    } else {
        None
    };
    match fault {
        Some(_) if is_notification && shape.method.is_some() => {
            return Verdict::Ignore("a malformed notification");
        }
        Some((code, message)) => return refuse(code, message),
        None => {}
    }
    if is_notification {
        return match serde_json::from_slice::<JsonRpcNotification<ClientNotification>>(line) {
            Ok(message) => Verdict::Deliver(Box::new(ClientJsonRpcMessage::Notification(message))),
            Err(_) => Verdict::Ignore("a malformed notification"),
        };
    }
    if shape.id.is_none_or(|raw| serde_json::from_str::<RequestId>(raw.get()).is_err()) {
        return refuse(INVALID_REQUEST, "id must be a string or an integer of 64 bits");
    }
    match serde_json::from_slice::<JsonRpcRequest<ClientRequest>>(line) {
        Ok(message) if fell_through(&message.request) => {
            refuse(INVALID_PARAMS, "the params do not fit the method")
        }
        Ok(message) => Verdict::Deliver(Box::new(ClientJsonRpcMessage::Request(message))),
        Err(_) => refuse(INVALID_PARAMS, "the params do not fit the method"),
    }
}

/// rmcp takes a request whose params it does not understand for one of an unknown method.
fn fell_through(request: &ClientRequest) -> bool {
    const KNOWN: &[&str] = &[
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "server/discover",
        "subscriptions/listen",
        "tools/call",
        "tools/list",
    ];
    matches!(request, ClientRequest::CustomRequest(custom) if KNOWN.contains(&custom.method.as_str()))
}

/// No JSON, or an object with a member twice, or bytes that are no text.
fn unreadable(line: &[u8], error: &serde_json::Error) -> Verdict {
    let Salvaged { id, is_answer } = salvage(line);
    if is_answer {
        return Verdict::Ignore("an answer that cannot be read");
    }
    // A duplicate member is well-formed JSON that means two things.
    let (code, message) = if error.is_data() {
        (INVALID_REQUEST, "the message is no JSON-RPC object")
    } else {
        (PARSE_ERROR, "the line is not valid JSON")
    };
    Verdict::Refuse(vec![Refusal::new(id, code, message)])
}

/// JSON-RPC batches left MCP with revision 2025-06-18. Whoever sent one still waits for its requests.
fn batch(line: &[u8]) -> Verdict {
    const REASON: &str = "batches are not part of MCP; send one message a line";
    let Ok(members) = serde_json::from_slice::<Vec<&RawValue>>(line) else {
        return Verdict::Refuse(vec![Refusal::new(None, PARSE_ERROR, "the line is not valid JSON")]);
    };
    let mut refusals: Vec<_> = members
        .iter()
        .filter_map(|member| serde_json::from_str::<Shape<'_>>(member.get()).ok())
        .filter(|shape| shape.method.is_some())
        .filter_map(|shape| scalar(shape.id?.get().as_bytes()))
        .take(MAX_BATCH_ANSWERS)
        .map(|id| Refusal::new(Some(id), INVALID_REQUEST, REASON))
        .collect();
    if refusals.is_empty() {
        refusals.push(Refusal::new(None, INVALID_REQUEST, REASON));
    }
    Verdict::Refuse(refusals)
}

/// An answer to a request of ours.
fn answer(line: &[u8], is_error: bool) -> Verdict {
    let message = if is_error {
        serde_json::from_slice::<JsonRpcError>(line).map(ClientJsonRpcMessage::Error)
    } else {
        serde_json::from_slice::<JsonRpcResponse<_>>(line).map(ClientJsonRpcMessage::Response)
    };
    match message {
        Ok(message) => Verdict::Deliver(Box::new(message)),
        Err(_) => Verdict::Ignore("an answer that cannot be read"),
    }
}
