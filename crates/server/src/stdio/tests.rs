//! What a client sees of each odd line.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::test_client::Client;
use super::*;

const CALL: &str = r#""method":"tools/call","params":{"name":"whoami"}"#;

/// A line and what is answered to it: the id and the code, or nothing.
type Case = (Vec<u8>, Option<(Value, i64)>);

fn malformed() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut refused =
        |line: &str, id: Value, code: i64| cases.push((line.as_bytes().to_vec(), Some((id, code))));
    let null = Value::Null;
    // No JSON: whatever id can be made out is answered.
    refused("hello", null.clone(), -32700);
    refused("{", null.clone(), -32700);
    refused("}", null.clone(), -32700);
    refused("[", null.clone(), -32700);
    refused("]", null.clone(), -32700);
    refused("\"", null.clone(), -32700);
    refused("nul", null.clone(), -32700);
    refused("{\"jsonrpc\"", null.clone(), -32700);
    refused("{'jsonrpc':'2.0','id':1}", null.clone(), -32700);
    refused(&format!(r#"{{"jsonrpc":"2.0","id":11,{CALL}"#), json!(11), -32700);
    refused(&format!(r#"{{"jsonrpc":"2.0","id":"x",{CALL}}}}}"#), json!("x"), -32700);
    refused(&format!(r#"{{"jsonrpc":"2.0","id":12,{CALL}}} trailing"#), json!(12), -32700);
    refused(&format!(r#"{{"jsonrpc":"2.0","id":13,{CALL},}}"#), json!(13), -32700);
    refused(r#"{"jsonrpc":"2.0","id":14,"method":"tools/call","params":{"a":NaN}}"#, json!(14), -32700);
    refused(r#"{"jsonrpc":"2.0","id":15,"method":"tools/call","params":{"a":"\q"}}"#, json!(15), -32700);
    refused(r#"{"jsonrpc":"2.0","id":16,"method":"tools/call","params":{"a":"#, json!(16), -32700);
    refused(
        "{\"jsonrpc\":\"2.0\",\"id\":17,\"method\":\"tools/call\",\"params\":{\"a\":\"\u{1}\"}}",
        json!(17),
        -32700,
    );
    refused(r#"{"jsonrpc":"2.0","id":18 "method":"ping"}"#, null.clone(), -32700);
    // JSON, but no request.
    refused("1", null.clone(), -32600);
    refused("null", null.clone(), -32600);
    refused("true", null.clone(), -32600);
    refused("\"text\"", null.clone(), -32600);
    refused("{}", null.clone(), -32600);
    refused(r#"{"id":20}"#, json!(20), -32600);
    refused(r#"{"jsonrpc":"2.0","id":21}"#, json!(21), -32600);
    refused(r#"{"jsonrpc":"1.0","id":22,"method":"ping"}"#, json!(22), -32600);
    refused(r#"{"jsonrpc":2.0,"id":23,"method":"ping"}"#, json!(23), -32600);
    refused(r#"{"id":24,"method":"ping"}"#, json!(24), -32600);
    refused(r#"{"jsonrpc":null,"id":25,"method":"ping"}"#, json!(25), -32600);
    refused(r#"{"jsonrpc":"2.0","id":26,"method":7}"#, json!(26), -32600);
    refused(r#"{"jsonrpc":"2.0","id":27,"method":null}"#, json!(27), -32600);
    refused(r#"{"jsonrpc":"2.0","id":28,"method":{}}"#, json!(28), -32600);
    refused(r#"{"jsonrpc":"2.0","id":29,"method":["ping"]}"#, json!(29), -32600);
    refused(r#"{"jsonrpc":"2.0","id":30,"method":"ping","result":{}}"#, json!(30), -32600);
    refused(
        r#"{"jsonrpc":"2.0","id":31,"method":"ping","error":{"code":1,"message":""}}"#,
        json!(31),
        -32600,
    );
    // Ids that are none.
    refused(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, null.clone(), -32600);
    refused(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, null.clone(), -32600);
    refused(r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, null.clone(), -32600);
    refused(r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, null.clone(), -32600);
    refused(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, json!(1.5), -32600);
    refused(
        r#"{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}"#,
        json!(9_223_372_036_854_775_808_u64),
        -32600,
    );
    // A member twice means two things.
    refused(r#"{"jsonrpc":"2.0","id":40,"id":41,"method":"ping"}"#, json!(40), -32600);
    refused(r#"{"jsonrpc":"2.0","id":42,"method":"ping","method":"tools/list"}"#, json!(42), -32600);
    refused(r#"{"jsonrpc":"2.0","id":43,"method":"ping","params":{},"params":{}}"#, json!(43), -32600);
    // Params that do not fit.
    refused(r#"{"jsonrpc":"2.0","id":50,"method":"tools/call","params":[]}"#, json!(50), -32602);
    refused(r#"{"jsonrpc":"2.0","id":51,"method":"tools/call","params":"x"}"#, json!(51), -32602);
    refused(r#"{"jsonrpc":"2.0","id":52,"method":"tools/call","params":null}"#, json!(52), -32602);
    refused(r#"{"jsonrpc":"2.0","id":53,"method":"tools/call","params":7}"#, json!(53), -32602);
    refused(r#"{"jsonrpc":"2.0","id":54,"method":"tools/call"}"#, json!(54), -32602);
    refused(r#"{"jsonrpc":"2.0","id":55,"method":"tools/call","params":{}}"#, json!(55), -32602);
    refused(r#"{"jsonrpc":"2.0","id":56,"method":"tools/call","params":{"name":7}}"#, json!(56), -32602);
    refused(
        r#"{"jsonrpc":"2.0","id":57,"method":"tools/call","params":{"name":"whoami","arguments":[]}}"#,
        json!(57),
        -32602,
    );
    refused(
        r#"{"jsonrpc":"2.0","id":58,"method":"tools/call","params":{"name":"whoami","arguments":"{}"}}"#,
        json!(58),
        -32602,
    );
    refused(
        r#"{"jsonrpc":"2.0","id":59,"method":"tools/call","params":{"name":"no_such_tool"}}"#,
        json!(59),
        -32602,
    );
    refused(r#"{"jsonrpc":"2.0","id":60,"method":"tools/call","params":{"name":""}}"#, json!(60), -32602);
    refused(r#"{"jsonrpc":"2.0","id":61,"method":"initialize","params":{}}"#, json!(61), -32602);
    refused(
        r#"{"jsonrpc":"2.0","id":62,"method":"tools/list","params":{"cursor":"none of ours"}}"#,
        json!(62),
        -32602,
    );
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":63,"method":"tools/call","params":{}1{}}}"#,
        "{\"a\":".repeat(500),
        "}".repeat(500)
    );
    refused(&deep, json!(63), -32602);
    // Methods that there are none of.
    refused(r#"{"jsonrpc":"2.0","id":70,"method":""}"#, json!(70), -32601);
    refused(r#"{"jsonrpc":"2.0","id":71,"method":"tools/destroy"}"#, json!(71), -32601);
    refused(r#"{"jsonrpc":"2.0","id":"\ud83d\ude00","method":"no/such"}"#, json!("😀"), -32601);
    // Batches.
    refused("[]", null.clone(), -32600);
    refused("[1]", null.clone(), -32600);
    refused(r#"[{"jsonrpc":"2.0","id":80,"method":"ping"}]"#, json!(80), -32600);
    // What nobody waits for is not answered.
    let mut ignored = |line: &[u8]| cases.push((line.to_vec(), None));
    ignored(b"");
    ignored(b"   \t ");
    ignored(b"\r");
    ignored(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}"#);
    ignored(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}"#);
    ignored(br#"{"jsonrpc":"1.0","method":"notifications/initialized"}"#);
    ignored(br#"{"jsonrpc":"2.0","method":"no/such/notification"}"#);
    ignored(br#"{"jsonrpc":"2.0","id":90,"result":{}}"#);
    ignored(br#"{"jsonrpc":"2.0","id":91,"error":{"code":1,"message":"x"}}"#);
    ignored(br#"{"jsonrpc":"2.0","id":92,"error":{"code":"#);
    ignored(br#"{"jsonrpc":"2.0","id":93,"error":7}"#);
    // Bytes that are no text.
    cases.push((b"\xff\xfe\xfd".to_vec(), Some((Value::Null, -32700))));
    cases.push((
        b"{\"jsonrpc\":\"2.0\",\"id\":94,\"method\":\"\xc3\x28\"}".to_vec(),
        Some((json!(94), -32700)),
    ));
    cases.push((b"\0\0\0".to_vec(), Some((Value::Null, -32700))));
    cases
}

#[tokio::test]
async fn every_malformed_line_gets_the_right_answer_and_the_server_goes_on() {
    let mut client = Client::started().await;
    let cases = malformed();
    assert!(cases.len() >= 75, "{}", cases.len());
    for (line, expected) in cases {
        let answers = client.answers_to(&line).await;
        let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        assert_eq!(answers, expected.into_iter().collect::<Vec<_>>(), "{shown}");
    }
}

#[tokio::test]
async fn the_same_lines_before_initialize_do_not_end_the_server() {
    let mut client = Client::start();
    for (line, _) in malformed() {
        client.answers_to(&line).await;
    }
    client.answers_to(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    client.answers_to(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    assert!(!client.served.is_finished());
}

#[tokio::test]
async fn a_line_over_the_limit_is_refused_with_its_id() {
    let mut client = Client::started().await;
    let mut line =
        br#"{"jsonrpc":"2.0","id":"big","method":"tools/call","params":{"name":"whoami","arguments":{"x":""#
            .to_vec();
    line.resize(MAX_LINE + 10, b'x');
    assert_eq!(client.answers_to(&line).await, [(json!("big"), -32600)]);
}

#[tokio::test]
async fn an_id_in_flight_is_not_taken_twice() {
    let mut client = Client::started().await;
    let ping = br#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
    // The second is sent before the first can be answered; both are answered, one with a result.
    let mut both = ping.to_vec();
    both.push(b'\n');
    both.extend_from_slice(ping);
    let answers = client.answers_to(&both).await;
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|(id, code)| *id == json!(5) && matches!(code, 0 | -32600)), "{answers:?}");
}

#[tokio::test]
async fn bad_arguments_are_a_tool_error_without_structured_content() {
    let mut client = Client::started().await;
    client
        .send(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_word_document","arguments":{"url":"http://x/"}}}"#)
        .await;
    let answer = client.receive().await;
    let result = &answer["result"];
    assert_eq!(result["isError"], true);
    assert!(result.get("structuredContent").is_none(), "{result}");
    assert_eq!(result["content"].as_array().unwrap().len(), 1);
    let error: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(error["error_type"], "InvalidArgumentError");
    assert!(error["hint"].is_string());
}

#[tokio::test]
async fn the_end_of_the_input_and_a_stop_end_the_server() {
    let mut client = Client::started().await;
    client.to.shutdown().await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), client.served).await.expect("ended").unwrap();

    let client = Client::started().await;
    client.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), client.served).await.expect("ended").unwrap();
}

#[tokio::test]
async fn a_client_that_closes_our_output_ends_the_server() {
    let home = Client::started().await;
    let Client { to, from, served, .. } = home;
    drop(from);
    drop(to);
    tokio::time::timeout(Duration::from_secs(2), served).await.expect("ended").unwrap();
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered() {
    let mut client = Client::started().await;
    for id in 0..50 {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": "audit_log", "arguments": {"action": "test.end", "resource": "r"}}});
        client.send(call.to_string().as_bytes()).await;
    }
    client.to.shutdown().await.unwrap();
    let mut answered = std::collections::HashSet::new();
    while let Some(line) = client.from.next_line().await.unwrap() {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["result"]["isError"], false, "{line}");
        assert!(answer["result"]["_meta"]["entrabot/audit"]["event_id"].is_string(), "{line}");
        answered.insert(answer["id"].as_i64().unwrap());
    }
    assert_eq!(answered.len(), 50);
}

/// The `_meta` that revision 2026-07-28 wants in every request.
fn stateless() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[tokio::test]
async fn the_stateless_revision_is_served_without_initialize() {
    let mut client = Client::start();
    let request = |id: i64, method: &str, mut params: Value| {
        params["_meta"] = stateless();
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    };
    client.send(request(1, "server/discover", json!({})).as_bytes()).await;
    let discovered = client.receive().await;
    assert!(discovered["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{discovered}");
    client.send(request(2, "tools/list", json!({})).as_bytes()).await;
    let listed = client.receive().await["result"].clone();
    assert_eq!(listed["tools"].as_array().unwrap().len(), 9);
    assert_eq!((&listed["ttlMs"], &listed["cacheScope"]), (&json!(3_600_000), &json!("private")));
    assert_eq!(listed["resultType"], "complete");
    client
        .send(
            request(
                3,
                "tools/call",
                json!({"name": "audit_log", "arguments": {"action": "a", "resource": "r"}}),
            )
            .as_bytes(),
        )
        .await;
    let called = client.receive().await["result"].clone();
    assert_eq!((&called["isError"], &called["resultType"]), (&json!(false), &json!("complete")));
    // Without the metadata it is refused, and the connection lives.
    client.send(br#"{"jsonrpc":"2.0","id":4,"method":"tools/list"}"#).await;
    assert_eq!(client.receive().await["error"]["code"], -32602);
    client.send(request(5, "tools/list", json!({})).as_bytes()).await;
    assert!(client.receive().await["result"].is_object());
}

#[tokio::test]
async fn each_revision_with_a_handshake_is_agreed_to() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = Client::start();
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        client.send(message.to_string().as_bytes()).await;
        let agreed = client.receive().await;
        assert_eq!(agreed["result"]["protocolVersion"], version, "{agreed}");
        assert!(agreed["result"]["instructions"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[tokio::test]
async fn more_calls_than_places_are_all_answered() {
    let mut client = Client::started().await;
    for id in 0..400 {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": "audit_log", "arguments": {"action": "test.many", "resource": "r"}}});
        client.send(call.to_string().as_bytes()).await;
    }
    let mut answered = std::collections::HashSet::new();
    while answered.len() < 400 {
        answered.insert(client.receive().await["id"].as_i64().unwrap());
    }
}
