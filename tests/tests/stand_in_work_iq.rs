//! Work IQ's stand-in lets only the right token in, and its documents are real ones.

use std::io;
use std::sync::{Arc, Mutex};

use entrabot_tests::cases;
use entrabot_tests::https::{ReadyAgent, Reply};
use entrabot_tests::stand_in::{Fault, FirstByte, Options, Role, StandIn, WorkIqFormat};
use serde_json::{Value, json};

const WORD: &str = "mcp_WordServer";

fn rpc(
    cloud: &StandIn,
    agent: &ReadyAgent<'_>,
    token: &str,
    server: &str,
    tool: &str,
    arguments: Value,
) -> io::Result<Reply> {
    let url = format!("{}/{server}", cloud.info().a365_base);
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    agent.https().call("POST", &url, token, &body)
}

fn text(reply: &Reply) -> String {
    reply.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

fn said(reply: &Reply) -> Value {
    serde_json::from_str(&text(reply)).unwrap_or_default()
}

#[test]
fn only_an_agent_users_token_of_this_server_gets_in() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let try_with =
        |token: &str, server: &str| rpc(&cloud, &agent, token, server, "CreateDocument", json!({}));

    assert_eq!(try_with("", WORD)?.status, 401);
    assert_eq!(try_with("e30.e30.e30", WORD)?.status, 401);
    let graph = agent.token("https://graph.microsoft.com")?;
    assert_eq!(try_with(&graph, WORD)?.status, 401);
    // The V2 token of Word is for Word alone.
    let word = agent.token("c2d0c2b6-8013-4346-9f8b-b81d3b754a29")?;
    assert_eq!(try_with(&word, WORD)?.status, 200);
    assert_eq!(try_with(&word, "mcp_ODSPRemoteServer")?.status, 401);
    // The shared audience lets in where its scope does.
    let shared = agent.token(&info.resource)?;
    assert_eq!(try_with(&shared, WORD)?.status, 200);
    assert_eq!(try_with(&shared, "mcp_NoSuchServer")?.status, 404);
    Ok(())
}

#[test]
fn a_missing_scope_is_named_like_the_service_names_it() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let (t1, t2) = agent.exchange_tokens(&info.agent_id)?;
    assert!(!t2.is_empty());
    // Hop 2 for Graph: an app-only token, whose audience Work IQ does not take either.
    let app = agent.hop2(&info.agent_id, &t1, "https://graph.microsoft.com/.default")?;
    let app = app.json()["access_token"].as_str().unwrap_or_default().to_owned();
    assert_eq!(rpc(&cloud, &agent, &app, WORD, "CreateDocument", json!({}))?.status, 401);

    let provisioner =
        entrabot_tests::https::AssertionKey::read(&info.provisioner_cert_pem, &info.provisioner_cert_pem)?;
    let (header, claims) = provisioner.assertion(&agent.token_url(), &info.provisioner_client_id);
    let assertion = provisioner.sign(&header, &claims);
    let graph = agent.https().form(
        &agent.token_url(),
        &[
            ("client_id", &info.provisioner_client_id),
            ("grant_type", "client_credentials"),
            ("scope", "https://graph.microsoft.com/.default"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ],
    )?;
    let graph = graph.json()["access_token"].as_str().unwrap_or_default().to_owned();
    let directory = agent.https().call(
        "GET",
        &format!("{}/v1.0/oauth2PermissionGrants", info.graph_base),
        &graph,
        &Value::Null,
    )?;
    let grants = directory.json()["value"].as_array().cloned().unwrap_or_default();
    let grant = grants
        .iter()
        .find(|grant| grant["scope"].as_str().is_some_and(|scope| scope.contains("McpServers.Word.All")));
    let id = grant.and_then(|grant| grant["id"].as_str()).unwrap_or_default().to_owned();
    let url = format!("{}/v1.0/oauth2PermissionGrants/{id}", info.graph_base);
    let change = json!({"scope": "McpServers.OneDriveSharepoint.All"});
    assert_eq!(agent.https().call("PATCH", &url, &graph, &change)?.status, 204);

    let token = agent.token(&info.resource)?;
    let refused = rpc(&cloud, &agent, &token, WORD, "CreateDocument", json!({}))?;
    assert_eq!(refused.status, 403);
    let message = "Access denied: Scope 'McpServers.Word.All' is not present in the request.";
    assert_eq!(refused.json(), json!({"error": "Forbidden", "message": message}));
    Ok(())
}

#[test]
fn a_document_is_created_read_back_commented_and_replied_to() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let token = agent.token(&info.resource)?;
    let call =
        |server: &str, tool: &str, arguments: Value| rpc(&cloud, &agent, &token, server, tool, arguments);

    let html =
        "<h1>Zatoka Gdańska</h1><p>東京湾 &amp; <b>bold</b></p><table><tr><th>A</th><td>1</td></tr></table>";
    let item = said(&call(WORD, "CreateDocument", json!({"fileName": "Report", "contentInHtml": html}))?);
    assert_eq!(item["name"], "Report.docx");
    let url = item["webUrl"].as_str().unwrap_or_default().to_owned();
    let path = cloud.document_path(&url).expect("the document lies on disk");
    assert!(path.starts_with(cloud.documents_dir()));
    assert!(std::fs::read(&path)?.starts_with(b"PK"));

    let metadata =
        said(&call("mcp_ODSPRemoteServer", "getFileOrFolderMetadataByUrl", json!({"fileOrFolderUrl": url}))?);
    let (drive, id) = (&metadata["parentReference"]["driveId"], &metadata["id"]);
    assert_eq!(id, &item["id"]);
    let place = json!({"driveId": drive, "documentId": id, "newComment": "Sure?\nSecond line"});
    let comment = text(&call(WORD, "AddComment", place)?);
    assert_eq!(comment, "WordCommentInfo [CommentId=1, Content=Sure?\nSecond line]");
    let reply = json!({"commentId": "1", "driveId": drive, "documentId": id, "newComment": "Yes."});
    assert_eq!(text(&call(WORD, "ReplyToComment", reply)?), "WordCommentInfo [CommentId=2, Content=Yes.]");

    let content = said(&call(WORD, "GetDocumentContent", json!({"url": url}))?);
    assert_eq!(content["content"], "Zatoka Gdańska\n東京湾 & bold\nA\t1");
    assert_eq!(content["comments"][0]["content"], "Sure?\nSecond line");
    assert_eq!(content["comments"][0]["replies"][0]["content"], "Yes.");
    assert_eq!((&content["driveId"], &content["documentId"]), (drive, id));

    // A second one of the same name gets its own.
    let again =
        said(&call(WORD, "CreateDocument", json!({"fileName": "Report.docx", "contentInHtml": "x"}))?);
    assert_eq!(again["name"], "Report 1.docx");
    // Nobody else's agent sees it.
    let other = agent.token_of(&info.other_agent_id, &info.other_agent_user_id, &info.resource)?;
    let foreign = rpc(&cloud, &agent, &other, WORD, "GetDocumentContent", json!({"url": url}))?;
    assert_eq!(foreign.json()["result"]["isError"], true);
    Ok(())
}

#[test]
fn files_are_read_as_text_and_as_bytes() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    cloud.set_behaviour(|behaviour| behaviour.work_iq_format = WorkIqFormat::Json);
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let token = agent.token(&info.resource)?;
    let files = cloud.seeded_files();
    let read = |tool: &str, number: usize| {
        let place = json!({"documentLibraryId": files[number].drive_id, "fileId": files[number].item_id});
        rpc(&cloud, &agent, &token, "mcp_SharePointRemoteServer", tool, place)
    };
    assert!(
        said(&read("readSmallTextFile", 0)?)["content"]
            .as_str()
            .is_some_and(|text| text.contains("Grüße, 漢字, 🙂"))
    );
    assert!(
        said(&read("readSmallBinaryFile", 1)?)["content"]
            .as_str()
            .is_some_and(|text| text.starts_with("iVBORw0KGgo"))
    );
    assert_eq!(read("readSmallTextFile", 1)?.json()["result"]["isError"], true);
    Ok(())
}

#[test]
fn the_first_byte_is_announced_before_anything_is_answered() -> io::Result<()> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&seen);
    let options = Options {
        on_first_byte: Some(Arc::new(move |first: &FirstByte| {
            hook.lock().expect("no holder panics").push((first.role, first.request));
        })),
        ..Options::default()
    };
    let cloud = StandIn::start(options);
    let agent = ReadyAgent::of(cloud.info())?;
    rpc(&cloud, &agent, "", WORD, "CreateDocument", json!({}))?;
    let seen = seen.lock().expect("no holder panics").clone();
    assert_eq!(seen, [(Role::A365, None), (Role::A365, Some(1))]);
    Ok(())
}

#[test]
fn every_hostile_case_is_served() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let token = format!("Bearer {}", agent.token(&info.resource)?);
    let url = format!("{}/{WORD}", info.a365_base);
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "CreateDocument", "arguments": {"fileName": "x", "contentInHtml": "<p>x</p>"}}});
    let headers = [
        ("Authorization", token.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    for case in cases::names() {
        // These never end, or end without a byte; the client's own deadline is what is tested with them.
        if ["hang", "close_at_once", "sse_then_open", "keepalive_forever", "slow_drip", "slow_headers"]
            .contains(&case)
        {
            continue;
        }
        cloud.clear_faults();
        cloud.set_fault(Fault::case("CreateDocument", case));
        let bytes = agent.https().raw("POST", &url, &headers, body.to_string().as_bytes(), 8 * 1024)?;
        assert!(bytes.starts_with(b"HTTP/1.1 "), "{case}");
        assert!(!String::from_utf8_lossy(&bytes).contains("knows no case"), "{case}");
        assert_eq!(cloud.requests().last().and_then(|request| request.fault.clone()).as_deref(), Some(case));
    }
    Ok(())
}
