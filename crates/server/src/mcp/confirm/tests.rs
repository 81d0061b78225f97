//! The real server over a pipe: every way in which a person's decision comes back, or does not.
//!
//! No Work IQ server is configured, so a call that was cleared ends in an error of its own, after it was asked about.

use serde_json::{Value, json};

use crate::stdio::test_client::Client;

fn document() -> Value {
    json!({"file_name": "Plan.docx", "content_html": "<p>PLANTED</p>"})
}

/// What a failed call says of itself.
fn error_type(answer: &Value) -> String {
    let result = &answer["result"];
    assert_eq!(result["isError"], true, "{answer}");
    assert!(result.get("structuredContent").is_none(), "{answer}");
    let text = result["content"][0]["text"].as_str().expect("text");
    assert!(!text.contains("PLANTED"), "{text}");
    let error: Value = serde_json::from_str(text).expect("JSON");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    error["error_type"].as_str().expect("a type").to_owned()
}

/// It was cleared, and went on to find that nothing is set up.
fn went_on(answer: &Value) {
    let error = error_type(answer);
    assert!(!error.starts_with("Confirmation"), "{error}");
}

async fn with_handshake(policy: &str, capabilities: Value) -> Client {
    let mut client = Client::start_with(&[("ENTRABOT_CONFIRM_WRITES", policy)]);
    client.initialize(capabilities).await;
    client
}

async fn call(client: &mut Client, id: i64) {
    let params = json!({"name": "create_word_document", "arguments": document()});
    client.send_json(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})).await;
}

/// The question that came instead of an answer.
async fn question(client: &mut Client) -> Value {
    let asked = client.receive().await;
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    assert_eq!(asked["params"]["requestedSchema"], json!({"type": "object", "properties": {}}));
    let message = asked["params"]["message"].as_str().expect("a message");
    assert!(message.starts_with("Create \"Plan.docx\" in the OneDrive of agent "), "{message}");
    assert!(message.contains("\n> <p>PLANTED</p>"), "{message}");
    asked["id"].clone()
}

#[tokio::test]
async fn each_decision_over_an_open_connection_decides() {
    let mut client = with_handshake("ask", json!({"elicitation": {}})).await;
    for (answer, expected) in [
        (json!({"result": {"action": "decline"}}), "ConfirmationDeclinedError"),
        (json!({"result": {"action": "cancel"}}), "ConfirmationCancelledError"),
        (json!({"result": {"action": "yes, please"}}), "ConfirmationFailedError"),
        (json!({"result": {}}), "ConfirmationFailedError"),
        (json!({"error": {"code": -32603, "message": "PLANTED"}}), "ConfirmationFailedError"),
    ] {
        call(&mut client, 1).await;
        let mut answer = answer;
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = question(&mut client).await;
        client.send_json(&answer).await;
        let got = client.receive().await;
        assert_eq!((error_type(&got).as_str(), &got["id"]), (expected, &json!(1)), "{answer}");
    }
    assert!(!client.has_records(), "a question is no act");
    call(&mut client, 2).await;
    let id = question(&mut client).await;
    client
        .send_json(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {}}}))
        .await;
    went_on(&client.receive().await);
}

#[tokio::test]
async fn a_person_who_does_not_decide_ends_the_call_and_the_question() {
    let mut client = with_handshake("always", json!({"elicitation": {"form": {}}})).await;
    call(&mut client, 1).await;
    let id = question(&mut client).await;
    let taken_back = client.receive().await;
    assert_eq!(taken_back["method"], "notifications/cancelled", "{taken_back}");
    assert_eq!(taken_back["params"]["requestId"], id);
    assert_eq!(error_type(&client.receive().await), "ConfirmationTimeoutError");
    assert!(!client.has_records());
}

#[tokio::test]
async fn a_cancelled_call_takes_its_question_back() {
    let mut client = with_handshake("always", json!({"elicitation": {}})).await;
    call(&mut client, 7).await;
    let id = question(&mut client).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    client.send_json(&cancel).await;
    let taken_back = client.receive().await;
    assert_eq!(taken_back["method"], "notifications/cancelled", "{taken_back}");
    assert_eq!(taken_back["params"]["requestId"], id);
    // A late yes is an answer to nothing, and the cancelled call is not answered.
    client.send_json(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}})).await;
    client.send_json(&json!({"jsonrpc": "2.0", "id": 8, "method": "ping"})).await;
    assert_eq!(client.receive().await["id"], 8);
    assert!(!client.has_records());
}

#[tokio::test]
async fn a_client_that_cannot_ask_is_let_through_or_refused_as_the_policy_says() {
    for (policy, capabilities) in [
        ("never", json!({"elicitation": {}})),
        ("ask", json!({})),
        // Only links: nothing that we could ask with.
        ("ask", json!({"elicitation": {"url": {}}})),
    ] {
        let mut client = with_handshake(policy, capabilities).await;
        call(&mut client, 1).await;
        went_on(&client.receive().await);
    }
    let mut client = with_handshake("always", json!({})).await;
    call(&mut client, 1).await;
    assert_eq!(error_type(&client.receive().await), "ConfirmationUnavailableError");
    assert!(!client.has_records());
    // What changes nothing in Microsoft 365 is not asked about.
    let params = json!({"name": "audit_log", "arguments": {"action": "a", "resource": "r"}});
    client.send_json(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})).await;
    assert_eq!(client.receive().await["result"]["isError"], false);
}

/// A call of the revision without a handshake, by a client that can ask.
async fn stateless(client: &mut Client, arguments: &Value, retry: Value) -> Value {
    let mut params = json!({"name": "create_word_document", "arguments": arguments, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }});
    for (name, value) in retry.as_object().into_iter().flatten() {
        params[name] = value.clone();
    }
    client.send_json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})).await;
    client.receive().await
}

fn answered(state: &Value, action: &str) -> Value {
    json!({"requestState": state, "inputResponses": {"confirm": {"action": action, "content": {}}}})
}

/// The state of a call that waits for a person.
fn state_of(answer: &Value) -> Value {
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let asked = &result["inputRequests"]["confirm"];
    assert_eq!(asked["method"], "elicitation/create", "{answer}");
    assert!(asked["params"]["message"].as_str().is_some_and(|text| text.contains("Plan.docx")), "{answer}");
    assert!(!result["requestState"].as_str().expect("a state").contains("Plan"), "{answer}");
    result["requestState"].clone()
}

#[tokio::test]
async fn each_decision_in_a_second_call_decides_once() {
    let mut client = Client::start_with(&[("ENTRABOT_CONFIRM_WRITES", "always")]);
    let document = document();
    for (action, expected) in [
        ("decline", "ConfirmationDeclinedError"),
        ("cancel", "ConfirmationCancelledError"),
        ("perhaps", "ConfirmationFailedError"),
    ] {
        let state = state_of(&stateless(&mut client, &document, json!({})).await);
        let decided = stateless(&mut client, &document, answered(&state, action)).await;
        assert_eq!(error_type(&decided), expected);
        let again = stateless(&mut client, &document, answered(&state, "accept")).await;
        assert_eq!(error_type(&again), "ConfirmationInvalidError", "a no stays a no");
    }
    assert!(!client.has_records(), "a question is no act");
    let state = state_of(&stateless(&mut client, &document, json!({})).await);
    // Without the person's answer the question is put again.
    let state_alone = json!({"requestState": state.clone()});
    assert_ne!(state_of(&stateless(&mut client, &document, state_alone).await), state);
    went_on(&stateless(&mut client, &document, answered(&state, "accept")).await);
    let again = stateless(&mut client, &document, answered(&state, "accept")).await;
    assert_eq!(error_type(&again), "ConfirmationInvalidError", "one yes is good for one call");
}

#[tokio::test]
async fn an_answer_is_good_for_the_call_that_was_asked_about_alone() {
    let mut client = Client::start_with(&[("ENTRABOT_CONFIRM_WRITES", "ask")]);
    let state = state_of(&stateless(&mut client, &document(), json!({})).await);
    let other = json!({"file_name": "Plan.docx", "content_html": "<p>something else</p>"});
    for (arguments, retry) in [
        (&other, answered(&state, "accept")),
        (&document(), answered(&json!("rs1.AAAA.AAAA"), "accept")),
        (&document(), answered(&json!(""), "accept")),
    ] {
        let got = stateless(&mut client, arguments, retry).await;
        assert_eq!(error_type(&got), "ConfirmationInvalidError");
    }
    // An answer that nobody asked for is none.
    let mut forged = answered(&state, "accept");
    forged.as_object_mut().expect("an object").remove("requestState");
    state_of(&stateless(&mut client, &document(), forged).await);
    assert!(!client.has_records());
    went_on(&stateless(&mut client, &document(), answered(&state, "accept")).await);
}
