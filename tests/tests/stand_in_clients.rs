//! What keeps the stand-in honest: clients that other people wrote.

use std::io;
use std::path::Path;

use entrabot_tests::https::ReadyAgent;
use entrabot_tests::peers::{MSAL, MSAL_NODE, Node, Python};
use entrabot_tests::stand_in::{Options, RecordedRequest, StandIn};
use serde_json::{Value, json};

const TOKEN_AGAIN_AND_A_WRONG_AGENT: &str = r#"
user, token = agent_user(info["resource"])
silent = user.acquire_token_silent([info["resource"] + "/.default"], account=user.get_accounts()[0])
wrong = blueprint().acquire_token_for_client(exchange, fmi_path="11111111-2222-3333-4444-555555555555")
print(json.dumps({"token": token, "silent": silent, "wrong": wrong}))
"#;

const NODE_TOKEN: &str = r#"
const token = await agentUser(info.resource);
console.log(JSON.stringify({ token: token.accessToken, account: token.account?.username, scopes: token.scopes }));
"#;

const READ_DOCX: &str = r#"
import json, sys, zipfile, docx
from xml.dom import minidom
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
for name in archive.namelist():
    if name.endswith((".xml", ".rels")):
        minidom.parseString(archive.read(name))
document = docx.Document(sys.argv[1])
print(json.dumps({
    "paragraphs": [[p.style.name, p.text] for p in document.paragraphs],
    "bold": [r.text for p in document.paragraphs for r in p.runs if r.bold],
    "italic": [r.text for p in document.paragraphs for r in p.runs if r.italic],
    "links": [[h.text, h.address] for p in document.paragraphs for h in p.hyperlinks],
    "table": [[c.text for c in row.cells] for row in document.tables[0].rows],
    "comments": [[c.author, c.text] for c in document.comments],
}))
"#;

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn names(request: &RecordedRequest) -> Vec<&str> {
    let mut names: Vec<&str> = request.form.iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn msal_python_runs_the_three_hops() -> io::Result<()> {
    let python = Python::ready(target())?;
    let cloud = StandIn::start(Options::default());
    let info = serde_json::to_string(cloud.info()).map_err(io::Error::other)?;
    let ca = cloud.info().ca_bundle.display().to_string();
    let program = [MSAL, TOKEN_AGAIN_AND_A_WRONG_AGENT].concat();
    let output = python.run(&program, &[&info], &[("REQUESTS_CA_BUNDLE", &ca)])?;
    let said: Value = serde_json::from_str(&output).map_err(io::Error::other)?;
    assert!(said["token"]["access_token"].is_string(), "{said}");
    assert_eq!(said["silent"]["access_token"], said["token"]["access_token"]);
    assert_eq!(
        (&said["wrong"]["error"], &said["wrong"]["error_codes"]),
        (&json!("invalid_request"), &json!([90023]))
    );

    // The forms are the captured ones, name for name.
    let requests = cloud.requests();
    let hop =
        |number| requests.iter().find(|request| request.hop() == Some(number)).map(names).unwrap_or_default();
    let common = ["client_assertion", "client_assertion_type", "client_id", "client_info"];
    assert_eq!(hop(1), [&common[..], &["fmi_path", "grant_type", "scope"]].concat());
    assert_eq!(hop(2), [&common[..], &["grant_type", "scope"]].concat());
    let mut third =
        [&common[..], &["claims", "grant_type", "scope", "user_federated_identity_credential", "user_id"]]
            .concat();
    third.sort_unstable();
    assert_eq!(hop(3), third);
    let posts: Vec<&RecordedRequest> = requests.iter().filter(|request| request.method == "POST").collect();
    for post in &posts {
        assert_eq!(post.header("x-client-sku"), Some("MSAL.Python"));
    }
    Ok(())
}

#[test]
#[ignore = "long: needs node and npm"]
fn msal_node_runs_the_three_hops() -> io::Result<()> {
    let node = Node::ready(target())?;
    let cloud = StandIn::start(Options::default());
    let info = serde_json::to_string(cloud.info()).map_err(io::Error::other)?;
    let ca = cloud.info().ca_bundle.display().to_string();
    let program = [MSAL_NODE, NODE_TOKEN].concat();
    let output = node.run(&program, &[&info], &[("NODE_EXTRA_CA_CERTS", &ca)])?;
    let said: Value = serde_json::from_str(&output).map_err(io::Error::other)?;
    assert!(said["token"].is_string(), "{said}");
    assert_eq!(said["account"], cloud.info().agent_upn.as_str());
    // Telemetry and the request id come in the body and in the query, and are tolerated.
    let requests = cloud.requests();
    let third = requests.iter().find(|request| request.hop() == Some(3)).expect("hop 3 was made");
    assert_eq!(third.field("x-client-SKU"), Some("msal.js.node"));
    assert!(third.query.starts_with("client-request-id="));
    Ok(())
}

#[test]
fn the_documents_open_in_another_program() -> io::Result<()> {
    let python = Python::ready(target())?;
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let token = agent.token(&info.resource)?;
    let call = |tool: &str, arguments: Value| -> io::Result<Value> {
        let url = format!("{}/mcp_WordServer", info.a365_base);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments}});
        let reply = agent.https().call("POST", &url, &token, &body)?.json();
        let text = reply["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    };
    let html = "<html><head><title>t</title><style>p{}</style></head><body><h1>Über 漢字 🙂</h1><h2>Teil 2</h2>\
        <p>Ein <b>fetter</b> und <i>schräger</i> Satz mit <a href=\"https://example.org/?a=1&amp;b=2\">Verweis</a>.</p>\
        <ul><li>eins<ul><li>tiefer</li></ul></li><li>zwei</li></ul><ol><li>erst</li><li>dann</li></ol>\
        <table><thead><tr><th>Jahr</th><th>Wert</th></tr></thead><tbody><tr><td>2026</td><td>1 &lt; 2</td></tr></tbody></table>\
        <blockquote><p>Zitat</p></blockquote><pre>a\n  b</pre><p></p><script>alert(1)</script></body></html>";
    let item = call("CreateDocument", json!({"fileName": "Büro.docx", "contentInHtml": html}))?;
    let place = |text: &str| json!({"driveId": item["parentReference"]["driveId"], "documentId": item["id"], "newComment": text});
    call("AddComment", place("Stimmt <das> & jenes?"))?;
    let mut reply = place("Ja.");
    reply["commentId"] = json!("1");
    call("ReplyToComment", reply)?;

    let path = cloud.document_path(item["webUrl"].as_str().unwrap_or_default()).expect("it was created");
    let output = python.run(READ_DOCX, &[&path.display().to_string()], &[])?;
    let read: Value = serde_json::from_str(&output).map_err(io::Error::other)?;
    assert_eq!(
        read["paragraphs"],
        json!([
            ["Heading 1", "Über 漢字 🙂"],
            ["Heading 2", "Teil 2"],
            ["Normal", "Ein fetter und schräger Satz mit Verweis."],
            ["List Paragraph", "eins"],
            ["List Paragraph", "tiefer"],
            ["List Paragraph", "zwei"],
            ["List Paragraph", "erst"],
            ["List Paragraph", "dann"],
            ["Normal", ""],
            ["Quote", "Zitat"],
            ["Normal", "a\n  b"],
        ])
    );
    assert_eq!((&read["bold"], &read["italic"]), (&json!(["fetter"]), &json!(["schräger"])));
    assert_eq!(read["links"], json!([["Verweis", "https://example.org/?a=1&b=2"]]));
    assert_eq!(read["table"], json!([["Jahr", "Wert"], ["2026", "1 < 2"]]));
    assert_eq!(read["comments"], json!([["ready user", "Stimmt <das> & jenes?"], ["ready user", "Ja."]]));
    Ok(())
}
