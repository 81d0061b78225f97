//! What is to be done with one line: hand it to rmcp, answer it ourselves, or leave it.

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetMeta, JsonRpcError, JsonRpcNotification,
    JsonRpcRequest, JsonRpcResponse, ProtocolVersion, RequestId,
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
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "subscriptions/listen",
        "tools/call",
        "tools/list",
    ];
    /// Unknown indeed to a request of 2026-07-28 or later, which names its revision.
    const KNOWN_BEFORE_2026_07_28: &[&str] =
        &["initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
    let ClientRequest::CustomRequest(custom) = request else { return false };
    let method = custom.method.as_str();
    let revision = request.get_meta().protocol_version();
    let older = revision.is_none_or(|revision| revision.as_str() < ProtocolVersion::V_2026_07_28.as_str());
    KNOWN.contains(&method) || older && KNOWN_BEFORE_2026_07_28.contains(&method)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Every answer of ours, as its receiver reads it.
    fn answers(line: &[u8]) -> Vec<Value> {
        match judge(line) {
            Verdict::Refuse(refusals) => refusals
                .iter()
                .map(|refusal| serde_json::from_slice(&refusal.line()).expect("JSON"))
                .collect(),
            Verdict::Deliver(_) | Verdict::Ignore(_) => Vec::new(),
        }
    }

    /// What left MCP with 2026-07-28 is "method not found" there, which rmcp says; before, its params are wrong.
    #[test]
    fn a_removed_method_is_unknown_to_the_revision_that_removed_it() {
        for method in ["initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
            let request = |revision: &str| {
                let meta = json!({"io.modelcontextprotocol/protocolVersion": revision});
                json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}}).to_string()
            };
            assert!(matches!(judge(request("2026-07-28").as_bytes()), Verdict::Deliver(_)), "{method}");
            assert_eq!(
                answers(request("2025-11-25").as_bytes())[0]["error"]["code"],
                INVALID_PARAMS,
                "{method}"
            );
        }
        let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
        assert_eq!(answers(bare.as_bytes())[0]["error"]["code"], INVALID_PARAMS);
    }

    fn sound(answer: &Value) -> bool {
        let id = &answer["id"];
        answer["jsonrpc"] == "2.0"
            && (id.is_null() || id.is_string() || id.is_number())
            && answer["error"]["code"].as_i64().is_some_and(|code| (-32768..=-32000).contains(&code))
            && answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty())
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(
                    prop_oneof![
                        Just("id".to_owned()),
                        Just("method".to_owned()),
                        Just("params".to_owned()),
                        Just("jsonrpc".to_owned()),
                        ".{0,6}"
                    ],
                    inner,
                    0..5
                )
                .prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_get_sound_answers_and_no_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(answers(&line).iter().all(sound));
        }

        #[test]
        fn any_json_gets_sound_answers_and_no_panic(value in value()) {
            prop_assert!(answers(value.to_string().as_bytes()).iter().all(sound));
        }

        #[test]
        fn a_request_cut_behind_its_id_is_answered_with_it(id in any::<i64>(), name in ".{0,40}", cut in 0.0..1.0_f64) {
            let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"#);
            let call = json!({"name": name, "arguments": {"id": 1}});
            let whole = format!(r#"{head}"method":"tools/call","params":{call}}}"#);
            let rest = ((whole.len() - head.len()) as f64 * cut) as usize;
            let line = &whole.as_bytes()[..head.len() + rest];
            let answers = answers(line);
            prop_assert_eq!(answers.len(), 1);
            prop_assert_eq!(&answers[0]["id"], &json!(id));
        }
    }
}
