//! What goes wrong ends as an error that names the layer, the real code and the remedy; the span is
//! closed and the server lives on.

mod journey;

use std::fs;
use std::io;
use std::process::Command;

use entrabot_tests::mcp::{Answer, Client};
use entrabot_tests::stand_in::{Effect, Fault, Options, Role, TlsFault};
use journey::{Home, spans};
use serde_json::{Value, json};

fn create(client: &Client) -> io::Result<Answer> {
    client.call("create_word_document", &json!({"file_name": "x", "content_html": "<p>x</p>"}))
}

/// The one text item of a failed tool, and that it is built like every failure.
#[track_caller]
fn failure(answer: &Answer) -> Value {
    assert!(answer.is_error, "{answer:?}");
    assert!(answer.structured.is_null(), "a failure has no structured content: {answer:?}");
    assert_eq!(answer.content.as_array().map(Vec::len), Some(1));
    let body: Value = serde_json::from_str(&answer.text).expect("the text is JSON");
    for member in ["error", "error_type"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
    assert!(body["hint"].as_str().is_some_and(|text| !text.is_empty()), "a remedy is named: {body}");
    body
}

fn requests_to(home: &Home, role: Role) -> usize {
    home.cloud.requests().iter().filter(|request| request.host == role).count()
}

#[test]
fn a_refusing_work_iq_is_told_apart_and_outlived() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    let client = home.serve()?;
    for (case, error_type, said) in [
        ("401", "A365McpCallError", "401"),
        ("403_scope", "A365ConsentMissingError", "McpServers.CopilotMCP.All"),
        ("403_licence", "A365LicenceMissingError", "assign a Microsoft 365 Copilot licence"),
        ("403_policy", "A365ForbiddenError", "403"),
        ("404", "A365TenantNotActivatedError", "404"),
        ("500", "A365McpCallError", "500"),
    ] {
        home.cloud.clear_faults();
        home.cloud.set_fault(Fault::case("CreateDocument", case));
        let told = failure(&create(&client)?);
        assert_eq!(told["error_type"], error_type, "{case}: {told}");
        assert!(told.to_string().contains(said), "{case}: {told}");
    }
    home.cloud.clear_faults();
    assert!(!create(&client)?.is_error, "the server lives on");
    client.stop()?;
    let mut expected = vec![vec!["pending".to_owned(), "failure".to_owned()]; 6];
    expected.push(vec!["pending".to_owned(), "success".to_owned()]);
    assert_eq!(spans(&home.a365_records()?), expected);
    Ok(())
}

#[test]
fn a_refusing_token_endpoint_names_hop_code_and_remedy() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    let body = r#"{"error":"invalid_client","error_description":"AADSTS700027: The certificate is not registered. Trace ID: t","error_codes":[700027],"trace_id":"5a2f4c66-0000-4000-8000-000000000001","correlation_id":"5a2f4c66-0000-4000-8000-000000000002"}"#;
    home.cloud.set_fault(Fault::hop(1, Effect::Respond { status: 400, headers: vec![], body: body.into() }));
    let client = home.serve()?;
    let told = failure(&create(&client)?);
    let text = told.to_string();
    for expected in ["hop1:blueprint", "invalid_client", "700027"] {
        assert!(text.contains(expected), "{expected}: {told}");
    }
    assert!(!text.contains("is not registered. Trace"), "the description is not repeated: {told}");
    home.cloud.clear_faults();
    assert!(!create(&client)?.is_error, "the next attempt signs in");
    client.stop()?;
    Ok(())
}

#[test]
fn an_unreachable_token_endpoint_is_named() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    home.set("ENTRABOT_AUTHORITY_BASE", format!("https://localhost:{port}"));
    let finished = home.run(&["token", "check", "--json"], &[])?;
    assert_ne!(finished.code, Some(0));
    let told = &finished.json()["hops"][0];
    assert_eq!(
        (&told["hop"], &told["host"]),
        (&json!("hop1:blueprint"), &json!("localhost")),
        "{finished:?}"
    );
    assert!(
        told["hint"].as_str().is_some_and(|hint| hint.contains("ENTRABOT_AUTHORITY_BASE")),
        "{finished:?}"
    );
    assert_eq!(requests_to(&home, Role::A365), 0);
    Ok(())
}

#[test]
fn a_certificate_that_proves_nothing_ends_it_before_a_byte_is_sent() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    for fault in [TlsFault::Expired, TlsFault::WrongName, TlsFault::UnknownAuthority] {
        home.cloud.set_tls_fault(fault)?;
        let finished = home.run(&["token", "check", "--json"], &[])?;
        assert_ne!(finished.code, Some(0), "{fault:?}");
        let told = &finished.json()["hops"][0];
        assert_eq!(told["hop"], "hop1:blueprint", "{fault:?}: {finished:?}");
        assert!(told.to_string().contains("certificate"), "{fault:?} is not told: {told}");
    }
    assert_eq!(home.cloud.requests().len(), 0, "no request went over such a connection");
    home.cloud.set_tls_fault(TlsFault::None)?;
    home.run(&["token", "check", "--json"], &[])?.assert_code(0);
    Ok(())
}

#[test]
fn a_proxy_of_the_environment_sees_no_request() -> io::Result<()> {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0")?;
    proxy.set_nonblocking(true)?;
    let mut home = Home::ready(Options::default())?;
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        home.set(name, format!("http://{}", proxy.local_addr()?));
    }
    // Entra, Graph and Work IQ.
    home.run(&["token", "check", "--json"], &[])?.assert_code(0);
    home.run(&["whoami", "--json"], &[])?.assert_code(0);
    home.run(&["tools", "mcp_WordServer", "--json"], &[])?.assert_code(0);
    // The stand-in's name leads to an address of this machine: its certificate is what counts.
    assert_eq!(spans(&home.a365_records()?), [["pending", "success"]]);
    let asked = proxy.accept().map(|(_, from)| from);
    assert_eq!(asked.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
    Ok(())
}

#[test]
fn a_missing_setting_is_named_and_the_server_answers() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.unset("ENTRABOT_AGENT_USER_ID");
    let client = home.serve()?;
    assert_eq!(client.tools()?.len(), 9);
    let told = failure(&create(&client)?);
    assert!(told.to_string().contains("ENTRABOT_AGENT_USER_ID"), "{told}");
    client.stop()?;
    assert_eq!(requests_to(&home, Role::A365), 0);
    Ok(())
}

#[test]
fn a_malformed_setting_ends_serve_with_2() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.set("ENTRABOT_AUTHORITY_BASE", "http://localhost:1");
    let finished = home.run(&["serve"], &[])?;
    finished.assert_code(2);
    assert!(finished.stderr.contains("ENTRABOT_AUTHORITY_BASE"), "{finished:?}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
    Ok(())
}

#[test]
fn a_missing_key_asks_for_no_token() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    home.run(&["keystore", "delete", "entrabot", "blueprint-private-key"], &[])?.assert_code(0);
    let client = home.serve()?;
    let told = failure(&create(&client)?);
    assert!(told["error"].as_str().is_some_and(|text| text.contains("private key not found")), "{told}");
    client.stop()?;
    let check = home.run(&["token", "check", "--json"], &[])?;
    check.assert_code(6);
    assert!(check.stdout.contains("AgentIDNotAvailable"), "{check:?}");
    assert_eq!(home.cloud.requests().len(), 0, "nothing left the machine");
    Ok(())
}

#[test]
fn a_keyring_that_dies_is_no_missing_key_and_may_come_back() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.keyring.kill_provider()?;
    let client = home.serve()?;
    let told = failure(&create(&client)?);
    assert_ne!(told["error_type"], "AgentIDNotAvailable", "{told}");
    assert_eq!(home.cloud.requests().len(), 0, "nothing left the machine");
    home.keyring.restart_provider()?;
    let answer = create(&client)?;
    assert!(!answer.is_error, "no restart is needed: {}", answer.text);
    client.stop()?;
    Ok(())
}

#[test]
fn without_an_audit_no_request_leaves_the_machine() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    let file = home.scratch().join("a-file");
    fs::write(&file, "in the way")?;
    home.set("ENTRABOT_AUDIT_DIR", file.join("audit").display().to_string());
    let arguments = r#"{"fileName":"x","contentInHtml":"x"}"#;
    let call = home.run(&["call", "mcp_WordServer", "CreateDocument", "--args", arguments, "--json"], &[])?;
    call.assert_code(7);
    assert!(call.stderr.contains("Audit"), "{call:?}");
    assert_eq!(home.cloud.requests().len(), 0, "no token, no request");
    let client = home.serve()?;
    let told = failure(&create(&client)?);
    assert!(told["error_type"].as_str().is_some_and(|name| name.starts_with("Audit")), "{told}");
    client.stop()?;
    assert_eq!(requests_to(&home, Role::A365), 0);
    Ok(())
}

/// Cases 47 and 48: what only the service can know is passed on; what no service takes is not.
#[test]
fn the_service_decides_about_links_and_an_empty_name_is_its_to_fill() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    let client = home.serve()?;
    let url = |url: &str| json!({"url": url});
    let longest = format!("https://elsewhere.example/{}", "a".repeat(8 * 1024 - 26));
    for passed in ["https://elsewhere.example/x.docx", "HTTPS://contoso.sharepoint.com/x?a=1#b", &longest] {
        let answer = client.call("read_word_document", &url(passed))?;
        // The server may be signing in for something else meanwhile.
        let requests = home.cloud.requests();
        let to_work_iq = requests.iter().rfind(|request| request.host == Role::A365);
        let sent = to_work_iq.and_then(|request| request.json.clone()).unwrap_or_default();
        assert_eq!(sent["params"]["arguments"]["url"], passed, "{}", answer.text);
    }
    let created =
        client.call("create_word_document", &json!({"file_name": "", "content_html": "<p>x</p>"}))?;
    assert!(!created.is_error, "{}", created.text);
    assert!(created.value()["file_name"].as_str().is_some_and(|name| !name.is_empty()), "{}", created.text);
    let acts = home.a365_records()?.len();

    home.cloud.clear_requests();
    let too_long = format!("{longest}a");
    let name = |name: &str| json!({"file_name": name, "content_html": "<p>x</p>"});
    for (tool, arguments) in [
        ("read_word_document", url("http://contoso.sharepoint.com/x")),
        ("read_word_document", url("ftp://contoso.sharepoint.com/x")),
        ("read_word_document", url("https://contoso.sharepoint.com/\u{7}")),
        ("read_word_document", url("https://contoso.sharepoint.com/a b")),
        ("get_a365_file_metadata_by_url", url(&too_long)),
        ("create_word_document", name("a/b")),
        ("create_word_document", name("a\\b")),
        ("create_word_document", name("..")),
        ("create_word_document", name("a\u{0}b")),
        ("create_word_document", name(&"x".repeat(401))),
    ] {
        let told = failure(&client.call(tool, &arguments)?);
        assert_eq!(told["error_type"], "InvalidArgumentError", "{tool} {arguments}: {told}");
    }
    assert_eq!((requests_to(&home, Role::A365), home.a365_records()?.len()), (0, acts));
    client.stop()?;
    let spans = spans(&home.a365_records()?);
    assert!(spans.iter().all(|span| span.len() == 2), "{spans:?}");
    Ok(())
}

#[test]
fn a_full_disk_stops_the_acts_and_not_the_server() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    // No file may grow beyond 16 KiB: a write gets EFBIG where a full disk gives ENOSPC.
    let serve = home.command(&["serve"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" serve"]).arg(serve.get_program());
    limited.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(home.scratch()).stderr(fs::File::create(home.serve_log())?);
    let client = Client::start(limited)?;
    let mut refused = None;
    for _ in 0..60 {
        let answer = create(&client)?;
        if answer.is_error {
            refused = Some(answer);
            break;
        }
    }
    let told = failure(&refused.expect("some act finds no room for its record"));
    assert!(told["error_type"].as_str().is_some_and(|name| name.starts_with("Audit")), "{told}");
    let before = requests_to(&home, Role::A365);
    for _ in 0..3 {
        failure(&create(&client)?);
    }
    assert_eq!(requests_to(&home, Role::A365), before, "no request leaves without a record");
    assert_eq!(client.tools()?.len(), 9, "the server lives on");
    client.stop()?;
    let verified = home.run(&["audit", "verify", "--json"], &[])?;
    verified.assert_code(0);
    Ok(())
}

#[test]
fn arguments_that_no_tool_has_are_refused_before_anything_happens() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    let client = home.serve()?;
    for (tool, arguments) in [
        ("create_word_document", json!({"file_name": "x"})),
        ("create_word_document", json!({"file_name": "x", "content_html": 7})),
        ("create_word_document", json!({"file_name": "x", "content_html": "y", "more": 1})),
        ("create_word_document", json!({"file_name": "../x", "content_html": "y"})),
        ("read_word_document", json!({"url": "http://contoso.sharepoint.com/x"})),
        ("read_a365_text_file", json!({"document_library_id": "", "file_id": ""})),
    ] {
        let answer = client.call(tool, &arguments);
        assert!(
            answer.is_err() || answer.as_ref().is_ok_and(|answer| answer.is_error),
            "{tool} {arguments}: {answer:?}"
        );
    }
    client.stop()?;
    assert_eq!(requests_to(&home, Role::A365), 0);
    assert_eq!(home.a365_records()?, Vec::<Value>::new(), "nothing is recorded as an act");
    Ok(())
}
