//! Where an answer is sound, rmcp's client and ours read the same.

use entrabot_tests::cases::{CASES, Rmcp, Verdict};
use entrabot_tests::stand_in::Fault;
use serde_json::{Map, Value, json};

use crate::harness::Door;
use crate::rmcp_peer::Peer;

const READ: &str = "GetDocumentContent";

/// Without the envelopes.
fn plain(value: Value) -> Value {
    const OPEN: &str = "<external_content source=\"a365:mcp_WordServer.GetDocumentContent\">";
    match value {
        Value::String(text) => {
            let inner = text.strip_prefix(OPEN).and_then(|text| text.strip_suffix("</external_content>"));
            Value::String(inner.expect("every text is in an envelope").to_owned())
        }
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}

/// A text as the object that it holds, through at most two layers of JSON, else as it is.
fn unwrapped(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => Value::Object(object),
        Ok(Value::String(inner)) if inner.starts_with('{') => {
            serde_json::from_str(&inner).unwrap_or(Value::String(inner))
        }
        _ => Value::String(text.to_owned()),
    }
}

async fn by_rmcp(door: &Door, arguments: &Map<String, Value>) -> Result<Value, String> {
    let result = Peer::connect(door).await.call(READ, arguments.clone()).await?;
    if let Some(structured) = result.structured_content {
        return Ok(structured);
    }
    let text = result.content.iter().find_map(|block| block.as_text());
    Ok(unwrapped(&text.ok_or("no text")?.text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_answer_means_the_same_to_rmcps_client() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    let arguments = json!({"url": url}).as_object().unwrap().clone();
    let mut wrong = Vec::new();
    for case in CASES {
        let Verdict::Answer { rmcp, .. } = case.verdict else { continue };
        let case = case.name;
        door.cloud.clear_faults();
        door.cloud.set_fault(Fault::case(READ, case));
        let ours = door.call("mcp_WordServer", READ, arguments.clone().into()).await;
        let ours = match ours {
            Ok(answered) => plain(answered.reply.content()),
            Err(error) => {
                wrong.push(format!("{case}: {error}"));
                continue;
            }
        };
        match (by_rmcp(&door, &arguments).await, rmcp) {
            (Ok(theirs), Rmcp::ReadsTheSame) if theirs == ours => {}
            (Ok(theirs), Rmcp::KeepsMore) if theirs != ours => {}
            (Err(_), Rmcp::GivesUp) => {}
            (theirs, _) => wrong.push(format!("{case}: ours {ours}, theirs {theirs:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
