//! The benign rows: every tool, every framing the field uses, sessions and both revisions.

use entrabot_a365::tools::{
    AddWordComment, GetFileMetadataByUrl, ReadBinaryFile, ReadTextFile, ReplyToWordComment,
};
use entrabot_a365::{Diagnose as _, ServerName};
use entrabot_tests::stand_in::{Effect, Fault, Options, WorkIqFormat};
use serde_json::json;

use crate::harness::Door;

#[tokio::test(flavor = "multi_thread")]
async fn the_seven_tools_do_their_work_and_are_on_record_by_server_and_tool_alone() {
    let door = Door::open();
    let created = door.create("Coastal report").await.unwrap();
    let document = created.reply;
    assert!(document.url.starts_with("https://"), "{document:?}");
    let (drive, id) = (document.drive_id.clone().unwrap(), document.document_id.clone().unwrap());

    let read = door.read(&document.url).await.unwrap().reply;
    assert!(read.content_html.starts_with("<external_content source=\"file:https://"), "{read:?}");
    assert!(read.content_html.contains("Title") && read.content_html.ends_with("</external_content>"));

    let comment = AddWordComment::new(&drive, &id, "Please check").unwrap();
    let comment = door.provider.add_word_comment(comment).await.unwrap().reply;
    let reply = ReplyToWordComment::new(&drive, &id, &comment.comment_id, "Checked").unwrap();
    let reply = door.provider.reply_to_word_comment(reply).await.unwrap().reply;
    assert_ne!(reply.reply_id, comment.comment_id);
    let read = door.read(&document.url).await.unwrap().reply;
    let comments = serde_json::to_string(&read.comments).unwrap();
    assert!(comments.contains("Please check") && comments.contains("Checked"), "{comments}");
    assert_eq!(read.comments[0]["id"], json!(comment.comment_id), "a reply needs the id as it is");

    for file in door.cloud.seeded_files() {
        let metadata = GetFileMetadataByUrl::new(&file.web_url).unwrap();
        let metadata = door.provider.get_a365_file_metadata_by_url(metadata).await.unwrap().reply;
        assert_eq!(metadata.item_id, file.item_id);
        assert_eq!(metadata.document_library_id.as_deref(), Some(file.drive_id.as_str()));
        if file.name.ends_with(".txt") {
            let request = ReadTextFile::new(&file.drive_id, &file.item_id).unwrap();
            let text = door.provider.read_a365_text_file(request).await.unwrap().reply;
            assert!(
                text.content.starts_with(&format!("<external_content source=\"a365:{}\">", file.item_id))
            );
            assert_eq!(text.encoding, "text");
        } else {
            let request = ReadBinaryFile::new(&file.drive_id, &file.item_id).unwrap();
            let binary = door.provider.read_a365_binary_file(request).await.unwrap().reply;
            assert_eq!(binary.encoding, "base64");
            assert!(binary.size_bytes > 0 && binary.sha256.len() == 64);
        }
    }

    assert!(door.all_closed());
    for line in door.log() {
        let action = line["action"].as_str().unwrap();
        assert_eq!(line["resource"], line["action"]);
        let metadata = line["metadata"].as_object().unwrap();
        assert_eq!(metadata.keys().collect::<Vec<_>>(), ["server", "tool"]);
        let (server, tool) = (metadata["server"].as_str().unwrap(), metadata["tool"].as_str().unwrap());
        assert_eq!(action, format!("a365.{server}.{tool}"));
    }
    let pending =
        door.outcomes().into_iter().filter(|(_, outcome)| outcome == "pending").map(|(action, _)| action);
    assert_eq!(
        pending.take(4).collect::<Vec<_>>(),
        [
            "a365.mcp_WordServer.CreateDocument",
            "a365.mcp_WordServer.GetDocumentContent",
            "a365.mcp_WordServer.AddComment",
            "a365.mcp_WordServer.ReplyToComment",
        ]
    );
    // The token goes nowhere but to its own resource's host, and is not asked for again.
    assert_eq!(door.cloud.requests().iter().filter(|request| request.hop() == Some(3)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_what_the_service_expects_and_nothing_more() {
    let door = Door::open();
    door.create("x").await.unwrap();
    let request = &door.work_iq()[0];
    assert_eq!(request.path, "/agents/servers/mcp_WordServer");
    assert_eq!(request.header("accept"), Some("application/json, text/event-stream"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert!(request.header("authorization").is_some_and(|value| value.starts_with("Bearer ")));
    for absent in ["cookie", "referer", "mcp-session-id", "mcp-protocol-version"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
    let json = request.json.clone().unwrap();
    assert_eq!(json["method"], "tools/call");
    assert_eq!(json["params"]["name"], "CreateDocument");
    assert_eq!(json["params"]["arguments"]["fileName"], "x");
    assert_eq!(json["params"].as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_structured_content_sessions_and_the_stateless_revision_all_work() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.set_behaviour(|behaviour| behaviour.work_iq_format = WorkIqFormat::Json);
    door.read(&url).await.unwrap();
    door.cloud.set_behaviour(|behaviour| behaviour.structured_content = true);
    assert!(door.read(&url).await.unwrap().reply.content_html.contains("Title"));

    door.cloud.clear_requests();
    door.cloud.set_behaviour(|behaviour| behaviour.require_session = true);
    door.read(&url).await.unwrap();
    assert_eq!(door.methods(), ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
    let last = door.work_iq().pop().unwrap();
    assert!(last.header("mcp-session-id").is_some());
    assert_eq!(last.header("mcp-protocol-version"), Some("2025-06-18"));
    // Remembered: the next call opens no session.
    door.cloud.clear_requests();
    door.read(&url).await.unwrap();
    assert_eq!(door.methods(), ["tools/call"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_is_opened_again_once() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.set_behaviour(|behaviour| behaviour.require_session = true);
    door.read(&url).await.unwrap();
    door.cloud.clear_requests();
    door.cloud.set_fault(
        Fault { tool: Some("tools/call".into()), ..Fault::a365(Effect::Case("404".into())) }.times(1),
    );
    door.read(&url).await.unwrap();
    assert_eq!(door.methods(), ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_newest_revision_alone_is_spoken_to_in_it() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.clear_requests();
    door.cloud.set_fault(Fault::a365(Effect::Case("only_2026".into())));
    door.read(&url).await.unwrap();
    let request = door.work_iq().pop().unwrap();
    assert_eq!(request.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(request.header("mcp-method"), Some("tools/call"));
    assert_eq!(request.header("mcp-name"), Some("GetDocumentContent"));
    let meta = &request.json.as_ref().unwrap()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert!(door.all_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_tools_are_found_and_recorded_by_the_name_that_was_called() {
    let mut options = Options::default();
    options.behaviour.documented_tool_names = true;
    let door = Door::open_with(options, |_| Vec::new());
    let url = door.create("x").await.unwrap().reply.url;
    assert_eq!(
        door.outcomes(),
        [
            ("a365.mcp_WordServer.CreateDocument".to_owned(), "pending".to_owned()),
            ("a365.mcp_WordServer.CreateDocument".to_owned(), "failure".to_owned()),
            ("a365.mcp_WordServer.tools.list".to_owned(), "pending".to_owned()),
            ("a365.mcp_WordServer.tools.list".to_owned(), "success".to_owned()),
            ("a365.mcp_WordServer.WordCreateNewDocument".to_owned(), "pending".to_owned()),
            ("a365.mcp_WordServer.WordCreateNewDocument".to_owned(), "success".to_owned()),
        ]
    );
    // Only one document was made, and the name is remembered.
    door.cloud.clear_requests();
    door.read(&url).await.unwrap();
    door.read(&url).await.unwrap();
    let names: Vec<_> = door
        .work_iq()
        .iter()
        .filter_map(|request| request.json.as_ref()?["params"]["name"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(names, ["GetDocumentContent", "WordGetDocumentContent", "WordGetDocumentContent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_configured_server_can_be_listed_and_called() {
    let mut options = Options::default();
    options.behaviour.tools_page_size = 2;
    let door = Door::open_with(options, |_| Vec::new());
    let word = ServerName::parse("MCP_wordserver").unwrap();
    let tools = door.provider.list_tools(&word).await.unwrap().reply;
    assert_eq!(
        tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
        ["CreateDocument", "GetDocumentContent", "AddComment", "ReplyToComment"]
    );
    assert!(tools.iter().all(|tool| tool.description.as_ref().unwrap().starts_with("<external_content")));

    let answered = door
        .call("mcp_WordServer", "CreateDocument", json!({"fileName": "a", "contentInHtml": "<p>b</p>"}))
        .await
        .unwrap();
    let content = answered.reply.content();
    assert!(
        content["webUrl"].as_str().unwrap().starts_with("<external_content source=\"a365:mcp_WordServer.")
    );

    // The advertised schema is held to before anything leaves.
    let sent = door.methods().len();
    let error = door.call("mcp_WordServer", "CreateDocument", json!({"fileName": 7})).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidArgumentError", "{error}");
    let error = door.call("mcp_WordServer", "NoSuchTool", json!({})).await.unwrap_err();
    assert_eq!(error.error_type(), "A365UnknownToolError", "{error}");
    assert_eq!(door.methods().len(), sent);
    let error = door.call("mcp_MailTools", "SendMail", json!({})).await.unwrap_err();
    assert_eq!(error.error_type(), "A365ServerNotConfiguredError");
    assert_eq!(error.recorded(), None);
    assert!(door.all_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_audience_of_its_own_gets_a_token_for_it() {
    let door = Door::open_with(Options::default(), |cloud| {
        vec![("ENTRABOT_A365_TOOLING_MANIFEST", cloud.manifest_v2().display().to_string())]
    });
    door.create("x").await.unwrap();
    let scopes: Vec<_> = door
        .cloud
        .requests()
        .iter()
        .filter_map(|request| request.field("scope").map(str::to_owned))
        .collect();
    assert!(
        scopes
            .iter()
            .any(|scope| scope.contains("c2d0c2b6-8013-4346-9f8b-b81d3b754a29/Tools.ListInvoke.All")),
        "{scopes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_hears_how_far_a_call_has_come() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.set_fault(Fault::case("GetDocumentContent", "progress"));
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = entrabot_a365::ProgressSink::new({
        let heard = std::sync::Arc::clone(&heard);
        move |progress| heard.lock().unwrap().push(progress)
    });
    let request = entrabot_a365::tools::ReadWordDocument::new(&url).unwrap();
    door.provider.reporting_to(sink).read_word_document(request).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    let shares: Vec<_> = heard.iter().map(|progress| (progress.progress, progress.total)).collect();
    assert_eq!(shares, [(1.0, Some(3.0)), (2.0, Some(3.0)), (3.0, Some(3.0))]);
    for (at, progress) in (1..).zip(heard.iter()) {
        let expected = format!(
            "<external_content source=\"a365:mcp_WordServer.GetDocumentContent\">page {at} &lt;/external_content&gt; [redacted]</external_content>"
        );
        assert_eq!(progress.message.as_deref(), Some(expected.as_str()));
    }
    // Who did not ask gives out no token for it.
    door.cloud.clear_requests();
    door.read(&url).await.unwrap();
    assert!(door.work_iq()[0].json.as_ref().unwrap()["params"].get("_meta").is_none());
}
