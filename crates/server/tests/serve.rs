//! `entrabot serve`, from outside.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{AGENT, Home, Server, closed_port};
use entrabot_keystore::private_keyring::Mode;
use serde_json::json;

const CREATE: &str = "create_word_document";

fn document() -> serde_json::Value {
    json!({"file_name": "x.docx", "content_html": "<p>PLANTED content</p>"})
}

#[test]
fn initialize_and_the_list_are_answered_while_the_sign_in_hangs() {
    // It takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::with_agent(Mode::Encrypted, silent.local_addr().unwrap().port());
    let started = Instant::now();
    let mut server = home.serve();
    let info = server.initialize();
    assert_eq!(info["serverInfo"]["name"], "EntraBot Agent Identity");
    assert_eq!(info["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    let tools = server.request("tools/list", json!({}));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let names: Vec<_> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "add_word_comment",
            "audit_log",
            "create_word_document",
            "get_a365_file_metadata_by_url",
            "read_a365_binary_file",
            "read_a365_text_file",
            "read_word_document",
            "reply_to_word_comment",
            "whoami"
        ]
    );
    assert!(tools["result"].to_string().len() <= 14_000);
    // The end of the input does not wait for it either.
    assert!(server.end().success());
}

#[test]
fn stdout_carries_json_rpc_alone_at_the_highest_log_level() {
    let mut home = Home::with_agent(Mode::Encrypted, closed_port());
    home.set("ENTRABOT_LOG_LEVEL", "TRACE").set("ENTRABOT_NO_SUCH_SETTING", "1");
    let mut server = home.serve();
    server.initialize();
    server.call("audit_log", json!({"action": "a", "resource": "r"}));
    server.call("whoami", json!({}));
    server.failure(CREATE, document());
    server.send_line("nonsense");
    assert_eq!(server.receive()["error"]["code"], -32700);
    assert!(server.end().success());
    let log = std::fs::read_to_string(home.path("logs/entrabot.log")).unwrap();
    assert!(!log.contains("PLANTED"), "no content in the log");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("every line of the log is JSON");
        for key in ["timestamp", "level", "logger", "message"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
    assert!(log.contains(r#""logger":"entrabot.serve""#), "the modules go by the program's name");
}

#[test]
fn a_failed_sign_in_is_logged_with_hop_code_and_remedy() {
    let home = Home::with_agent(Mode::Encrypted, closed_port());
    let mut server = home.serve();
    server.initialize();
    let who = server.call("whoami", json!({}))["structuredContent"].clone();
    assert_eq!(who["status"], "not_authenticated");
    assert!(server.end().success());
    let log = std::fs::read_to_string(home.path("logs/entrabot.log")).unwrap();
    let line = log.lines().find(|line| line.contains("no token")).expect("a line about it");
    assert!(line.contains("\"hint\"") && line.contains("\"error_type\":\"AgentIDNotAvailable\""), "{line}");
}

#[test]
fn an_insecure_keyring_refuses_each_call_by_its_name_and_the_server_lives() {
    for mode in [Mode::NoProvider, Mode::Cleartext] {
        let mut home = Home::with_agent(mode, closed_port());
        home.set("ENTRABOT_A365_TOOLING_MANIFEST", manifest(&home));
        let mut server = home.serve();
        server.initialize();
        for _ in 0..2 {
            let failure = server.failure(CREATE, document());
            assert_eq!(failure["error_type"], "InsecureKeyringBackendError", "{mode:?}: {failure}");
            assert!(failure["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{failure}");
        }
        assert_eq!(server.request("ping", json!({}))["result"], json!({}));
        assert!(server.end().success());
    }
}

fn manifest(home: &Home) -> String {
    let path = home.path("ToolingManifest.json");
    let text = json!({"mcpServers": [{"mcpServerName": "mcp_WordServer", "mcpServerUniqueName": "mcp_WordServer",
        "scope": "McpServers.Word.All", "audience": "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1"}]});
    std::fs::write(&path, text.to_string()).expect("a file");
    path.display().to_string()
}

#[test]
fn an_unknown_backend_lets_the_server_start_and_refuses_each_call() {
    let mut home = Home::with_agent(Mode::Encrypted, closed_port());
    home.set("ENTRABOT_A365_TOOLING_MANIFEST", manifest(&home));
    home.set("ENTRABOT_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring");
    let mut server = home.serve();
    server.initialize();
    let failure = server.failure(CREATE, document());
    assert_eq!(failure["error_type"], "InsecureKeyringBackendError");
    assert!(failure["error"].as_str().unwrap().contains("keyrings.alt.file.PlaintextKeyring"), "{failure}");
    assert!(server.end().success());
}

#[test]
fn without_an_audit_every_call_is_refused_and_the_server_lives() {
    let mut home = Home::with_agent(Mode::Encrypted, closed_port());
    std::fs::write(home.path("a-file"), "").unwrap();
    home.set("ENTRABOT_AUDIT_DIR", home.path("a-file").display().to_string());
    let mut server = home.serve();
    server.initialize();
    for (tool, arguments) in [(CREATE, document()), ("audit_log", json!({"action": "a", "resource": "r"}))] {
        let failure = server.failure(tool, arguments);
        assert!(failure["error_type"].as_str().unwrap().starts_with("Audit"), "{failure}");
    }
    assert!(server.call("whoami", json!({}))["structuredContent"].is_object());
    assert!(server.end().success());
}

#[test]
fn a_malformed_setting_ends_serve_with_2_and_nothing_on_stdout() {
    let mut home = Home::with_directories(Mode::NoProvider);
    home.set("ENTRABOT_TENANT_ID", "../x");
    let finished = home.run(&["serve"]).expect(2);
    assert!(finished.stdout.is_empty() && finished.stderr.contains("ENTRABOT_TENANT_ID"), "{finished:?}");
}

#[test]
fn several_of_ours_run_side_by_side_but_never_beside_the_original() {
    let home = Home::with_directories(Mode::NoProvider);
    let (mut first, mut second) = (home.serve(), home.serve());
    first.initialize();
    second.initialize();
    assert!(first.end().success() && second.end().success());

    std::fs::write(home.path("data/.singleton.lock.holder.pid"), "4242").unwrap();
    let original = std::fs::File::open(home.path("data/.singleton.lock")).unwrap();
    original.lock().unwrap();
    let finished = home.run(&["serve"]).expect(2);
    assert!(
        finished.stderr.contains("SingletonLockHeldError") && finished.stderr.contains("4242"),
        "{finished:?}"
    );
}

#[test]
fn signals_end_it_cleanly_and_the_audit_is_sealed() {
    for signal in ["TERM", "INT"] {
        let mut home = Home::with_directories(Mode::Encrypted);
        home.set("ENTRABOT_AGENT_ID", AGENT);
        let mut server = home.serve();
        server.initialize();
        server.call("audit_log", json!({"action": "a", "resource": "r"}));
        server.signal(signal);
        assert!(server.wait(Duration::from_secs(5)).success(), "{signal}");
        let report = home.run(&["audit", "verify", "--json"]).expect(0).json();
        assert_eq!((&report["events"], &report["level"]), (&json!(1), &json!("anchored")), "{report}");
    }
}

#[test]
fn a_closed_stdout_ends_it_cleanly() {
    let home = Home::with_directories(Mode::NoProvider);
    let mut child = home
        .command(&["serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut server = Server::over(child);
    server.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    // Stdin stays open: the failed write alone ends it.
    assert!(server.wait(Duration::from_secs(5)).success());
}

#[test]
fn an_input_that_ends_before_it_says_anything_is_a_clean_end() {
    let home = Home::with_directories(Mode::NoProvider);
    assert!(home.run(&["serve"]).expect(0).stdout.is_empty());
    let finished = home
        .run_with(&["serve"], b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
        .expect(0);
    assert!(finished.stdout.is_empty(), "{finished:?}");
}

#[test]
fn an_answer_to_a_last_line_without_a_newline_is_still_given() {
    let home = Home::with_directories(Mode::NoProvider);
    let line = br#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    assert_eq!(home.run_with(&["serve"], line).expect(0).json()["id"], 9);
}

#[test]
fn calls_in_flight_at_the_end_are_abandoned_in_time_and_their_spans_closed() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut home = Home::with_agent(Mode::Encrypted, silent.local_addr().unwrap().port());
    home.set("ENTRABOT_A365_TOOLING_MANIFEST", manifest(&home)).set("ENTRABOT_SKIP_PROVISIONING", "1");
    put_a_key(&home);
    let mut server = home.serve();
    server.initialize();
    server.send(&json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call",
        "params": {"name": CREATE, "arguments": document()}}));
    // The call is on record and waits for its token.
    wait_for(|| home.run(&["audit", "tail", "--json"]).text().contains("\"pending\""));
    let started = Instant::now();
    assert!(server.end().success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let report = home.run(&["audit", "verify", "--json"]).expect(0).json();
    assert_eq!(report["pending_without_outcome"], 0, "{report}");
}

#[test]
fn a_cancelled_call_closes_its_span_and_is_not_answered() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut home = Home::with_agent(Mode::Encrypted, silent.local_addr().unwrap().port());
    home.set("ENTRABOT_A365_TOOLING_MANIFEST", manifest(&home)).set("ENTRABOT_SKIP_PROVISIONING", "1");
    put_a_key(&home);
    let mut server = home.serve();
    server.initialize();
    server.send(&json!({"jsonrpc": "2.0", "id": 78, "method": "tools/call",
        "params": {"name": CREATE, "arguments": document()}}));
    // The call waits for its token; the mint itself is shared, and is not the call's to end.
    let _asked = silent.accept().unwrap();
    server.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 78}}));
    wait_for(|| home.run(&["audit", "tail", "--json"]).text().contains("\"failure\""));
    assert_eq!(server.request("ping", json!({}))["result"], json!({}), "no answer to 78 came before");
    assert!(server.receive_within(Duration::from_millis(100)).is_none());
    assert!(server.end().success());
}

/// Any PKCS#8 key will do: the answer to the assertion never comes.
fn put_a_key(home: &Home) {
    let key = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("openssl is there");
    assert!(key.status.success());
    home.run_with(&["keystore", "set", "entrabot", "blueprint-private-key"], &key.stdout).expect(0);
}

fn wait_for(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "it did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}
