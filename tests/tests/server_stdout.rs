//! Nothing but JSON-RPC on stdout: all nine tools and lines that are no requests, with every log at its highest.

mod journey;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use entrabot_tests::stand_in::{Effect, Fault, Options};
use journey::Home;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Every tool with arguments that it takes.
fn tools() -> Vec<(&'static str, Value)> {
    let url = json!({"url": "https://contoso.sharepoint.com/x.docx"});
    let file = json!({"document_library_id": "library", "file_id": "file"});
    let comment = json!({"drive_id": "drive", "document_id": "document", "content": "c"});
    let mut reply = comment.clone();
    reply["comment_id"] = json!("1");
    vec![
        ("whoami", json!({})),
        ("audit_log", json!({"action": "a", "resource": "r"})),
        ("read_word_document", url.clone()),
        ("create_word_document", json!({"file_name": "x", "content_html": "<p>x</p>"})),
        ("add_word_comment", comment),
        ("reply_to_word_comment", reply),
        ("get_a365_file_metadata_by_url", url),
        ("read_a365_text_file", file.clone()),
        ("read_a365_binary_file", file),
    ]
}

/// The requests of a session, an id each.
fn requests() -> Vec<String> {
    let client = json!({"name": "raw", "version": "1"});
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let mut requests =
        vec![("initialize", hello), ("tools/list", json!({})), ("ping", json!({})), ("no/such", json!({}))];
    for (tool, arguments) in tools() {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": tool}});
        requests.push(("tools/call", params));
        // Refused before anything else.
        requests.push(("tools/call", json!({"name": tool, "arguments": [1]})));
    }
    let numbered = requests.into_iter().enumerate();
    let text =
        |(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    numbered.map(text).map(|request| request.to_string()).collect()
}

/// Runs a session and gives back what is on stdout, byte for byte.
fn session(home: &Home) -> io::Result<String> {
    let stdout = home.scratch().join("stdout");
    let mut command = home.command(&["serve"]);
    command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command.stdin(Stdio::piped()).stdout(File::create(&stdout)?).stderr(File::create(home.serve_log())?);
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().expect("piped");
    let requests = requests();
    let (first, rest) = requests.split_first().expect("the handshake");
    writeln!(stdin, "{first}")?;
    writeln!(stdin, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
    for line in rest {
        writeln!(stdin, "{line}")?;
    }
    // No requests, but for the first two, whose answers have no id.
    writeln!(stdin, "nonsense\n[]\n{}", json!({"jsonrpc": "2.0", "method": "no/such"}))?;
    stdin.write_all(b"\n \r\n")?;

    let started = Instant::now();
    let answered = |text: &str| text.lines().filter(|line| line.contains("\"id\":")).count();
    while answered(&fs::read_to_string(&stdout)?) < requests.len() + 2 {
        assert!(started.elapsed() < PATIENCE, "{}", fs::read_to_string(&stdout)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(stdin);
    assert!(child.wait()?.success());
    fs::read_to_string(stdout)
}

/// That every line is a message of JSON-RPC 2.0 and nothing else, and how many calls went well.
fn assert_json_rpc(text: &str) -> usize {
    assert!(text.ends_with('\n'), "no half line");
    let (mut ids, mut without_id, mut well) = (BTreeSet::new(), 0, 0);
    for line in text.split_terminator('\n') {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let members: Vec<&str> = message.as_object().expect(line).keys().map(String::as_str).collect();
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        match members[..] {
            ["id", "jsonrpc", "result"] | ["error", "id", "jsonrpc"] => {}
            ["jsonrpc", "method", "params"] => {
                assert_eq!(message["method"], "notifications/progress", "{line}");
                continue;
            }
            ["error", "jsonrpc"] => {}
            _ => panic!("no message of JSON-RPC: {line}"),
        }
        match message["id"].as_u64() {
            Some(id) => assert!(ids.insert(id), "answered twice: {line}"),
            None => without_id += 1,
        }
        let result = &message["result"];
        well += usize::from(result["content"].is_array() && result["isError"] != true);
    }
    assert_eq!((ids.len(), without_id), (requests().len(), 2), "{text}");
    well
}

#[test]
fn stdout_carries_json_rpc_alone_whatever_every_tool_does_at_the_highest_log_level() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.set("ENTRABOT_LOG_LEVEL", "TRACE");
    home.set("ENTRABOT_NO_SUCH_SETTING", "1");
    // One answer that every tool can do something with: bytes as base64, and the ids of what was made.
    let good = json!({"content": "aGVsbG8=", "url": "https://x.example/", "id": "1", "commentId": "1"});
    let good = json!({"content": [{"type": "text", "text": good.to_string()}]});
    home.cloud.set_fault(Fault::a365(Effect::Result(good)));
    assert_eq!(assert_json_rpc(&session(&home)?), tools().len(), "every tool goes well");

    // Words of the upstream that would break out of a line, if anything could.
    let text = "\u{2028}\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\u{0}\u{1b}[31m".repeat(20);
    let content = json!([{"type": "text", "text": text}]);
    home.cloud.clear_faults();
    home.cloud.set_fault(Fault::a365(Effect::Result(json!({"isError": true, "content": content}))));
    assert_eq!(assert_json_rpc(&session(&home)?), 2, "only what stays on this machine goes well");

    home.cloud.clear_faults();
    home.cloud.set_fault(Fault::hop(1, Effect::Respond { status: 400, headers: vec![], body: text }));
    assert_eq!(assert_json_rpc(&session(&home)?), 2);

    let log = fs::read_to_string(home.state().join("logs/entrabot.log"))?;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        for key in ["timestamp", "level", "logger", "message"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
    assert!(log.contains(r#""level":"DEBUG""#), "the level was in force");
    Ok(())
}
