//! Clients that other people wrote drive the real binary, over stdio and HTTP, in both revisions. What fails reaches
//! their user with our error, its type and its remedy.

mod journey;

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use entrabot_tests::built;
use entrabot_tests::peers::{Node, Python, PythonPeer};
use entrabot_tests::stand_in::{Fault, Options};
use journey::{Home, spans};
use serde_json::{Value, json};

const WITH_SESSIONS: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A home whose Work IQ creates documents but has no consent for reading them.
fn home() -> io::Result<Home> {
    let home = Home::ready(Options::default())?;
    home.cloud.set_fault(Fault::case("GetDocumentContent", "403_scope"));
    Ok(home)
}

/// What a client is to do: a call that succeeds, one that Work IQ refuses, one whose arguments are wrong.
fn calls() -> Value {
    json!([
        {"tool": "create_word_document",
         "arguments": {"file_name": "By another client.docx", "content_html": "<p>Hello</p>"}},
        {"tool": "read_word_document", "arguments": {"url": "https://contoso.sharepoint.com/x.docx"}},
        {"tool": "read_word_document", "arguments": {"url": ""}},
    ])
}

/// How a client starts the server.
fn stdio(home: &Home) -> Value {
    let command = home.command(&["serve"]);
    let environment: serde_json::Map<String, Value> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.into())))
        .collect();
    json!({"command": command.get_program().to_str(), "arguments": ["serve"], "environment": environment})
}

/// Lets a client carry the plan out over both transports and looks at what its user saw.
fn drive(revision: &str, mut client: impl FnMut(Value) -> io::Result<String>) -> io::Result<()> {
    let home = home()?;
    let mut over_stdio = stdio(&home);
    over_stdio["calls"] = calls();
    let said = client(over_stdio)?;
    saw_what_is_right(&said, revision, "stdio");

    let server = home.serve_http(&[])?;
    let bearer = home.run(&["serve", "--show-bearer"], b"")?.stdout;
    let headers = json!({"Authorization": format!("Bearer {}", bearer.trim_end())});
    let said = client(json!({"url": server.url(), "headers": headers, "calls": calls()}))?;
    saw_what_is_right(&said, revision, "HTTP");
    assert!(!said.contains(bearer.trim_end()));

    let spans = spans(&home.a365_records()?);
    let of_one: &[&[&str]] = &[&["pending", "success"], &["pending", "failure"]];
    let acts: Vec<_> = spans.iter().filter(|span| *span != &["pending", "success"]).collect();
    assert_eq!(
        acts,
        [of_one[1], of_one[1]],
        "each refused call is a closed failure; bad arguments are no act"
    );
    Ok(())
}

#[track_caller]
fn saw_what_is_right(said: &str, revision: &str, over: &str) {
    let said: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{over}: {error}: {said}"));
    assert_eq!(said["server"], "EntraBot Agent Identity", "{over}");
    // The old TypeScript SDK does not tell what it negotiated over stdio.
    assert!(said["revision"] == revision || said["revision"].is_null(), "{over}: {}", said["revision"]);
    assert_eq!(said["tools"].as_array().map(Vec::len), Some(9), "{over}");
    let [made, refused, wrong] = said["answers"].as_array().expect("answers").as_slice() else {
        panic!("{over}: {}", said["answers"])
    };
    assert_ne!(made["isError"], true, "{over}: {made}");
    assert!(
        made["structuredContent"]["url"].as_str().is_some_and(|url| url.starts_with("https://")),
        "{made}"
    );
    assert_eq!(
        (&made["content"][1]["type"], &made["content"][1]["uri"]),
        (&json!("resource_link"), &made["structuredContent"]["url"]),
        "{over}: {made}"
    );
    assert!(made["_meta"]["entrabot/audit"]["call_id"].is_string(), "{over}: {made}");
    let failure = failure(refused);
    assert_eq!(failure["error_type"], "A365ConsentMissingError", "{over}: {failure}");
    assert!(
        failure["hint"].as_str().is_some_and(|hint| hint.contains("grant McpServers.CopilotMCP.All")),
        "{over}: {failure}"
    );
    let failure = self::failure(wrong);
    assert_eq!(failure["error_type"], "InvalidArgumentError", "{over}: {failure}");
    assert!(failure["error"].as_str().is_some_and(|error| error.contains("url")), "{over}: {failure}");
}

/// Our three values, out of what a client makes of a failed call.
#[track_caller]
fn failure(answer: &Value) -> Value {
    assert_eq!(answer["isError"], true, "{answer}");
    assert!(answer.get("structuredContent").is_none(), "a client would hold it against the schema: {answer}");
    let text = answer["content"][0]["text"].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn python(peer: PythonPeer, program: &str, revision: &str) -> io::Result<()> {
    let python = Python::with(target(), peer)?;
    drive(revision, |plan| python.run(program, &[], &[("PLAN", &plan.to_string())]))
}

#[test]
fn the_python_sdk_with_sessions() -> io::Result<()> {
    python(PythonPeer::McpOne, include_str!("clients/python_1.py"), WITH_SESSIONS)
}

#[test]
fn the_python_sdk_of_2026_07_28() -> io::Result<()> {
    python(PythonPeer::McpTwo, include_str!("clients/python_2.py"), STATELESS)
}

fn typescript_once(node: &Node, mut plan: Value, sdk: &Value, options: &Value) -> io::Result<String> {
    (plan["sdk"], plan["options"]) = (sdk.clone(), options.clone());
    node.run(include_str!("clients/typescript.mjs"), &[], &[("PLAN", &plan.to_string())])
}

fn new_typescript() -> Value {
    json!({"client": "@modelcontextprotocol/client", "stdio": "@modelcontextprotocol/client/stdio",
        "http": "@modelcontextprotocol/client"})
}

#[test]
fn the_typescript_sdk_with_sessions() -> io::Result<()> {
    let sdk = json!({"client": "@modelcontextprotocol/sdk/client/index.js",
        "stdio": "@modelcontextprotocol/sdk/client/stdio.js",
        "http": "@modelcontextprotocol/sdk/client/streamableHttp.js"});
    let node = Node::ready(target())?;
    drive(WITH_SESSIONS, |plan| typescript_once(&node, plan, &sdk, &json!({})))
}

#[test]
fn the_typescript_sdk_of_2026_07_28() -> io::Result<()> {
    let node = Node::ready(target())?;
    let options = json!({"versionNegotiation": {"mode": "auto"}});
    drive(STATELESS, |plan| typescript_once(&node, plan, &new_typescript(), &options))
}

/// A person before one of the SDKs of 2026-07-28, asked by it before each write, over both transports.
fn a_persons_word_counts(mut client: impl FnMut(Value) -> io::Result<String>) -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.set("ENTRABOT_CONFIRM_WRITES", "always");
    let server = home.serve_http(&["--no-bearer"])?;
    let write = json!([calls()[0]]);
    for over in [stdio(&home), json!({"url": server.url(), "headers": {}})] {
        for (word, error_type) in [("decline", "ConfirmationDeclinedError"), ("accept", "")] {
            let mut plan = over.clone();
            (plan["person"], plan["calls"]) = (word.into(), write.clone());
            let said: Value = serde_json::from_str(&client(plan)?).map_err(io::Error::other)?;
            let question = said["asked"][0].as_str().unwrap_or_default();
            assert!(question.contains("By another client.docx"), "{word}: {said}");
            let answer = &said["answers"][0];
            if word == "accept" {
                assert!(answer["structuredContent"]["url"].is_string(), "{said}");
            } else {
                assert_eq!(failure(answer)["error_type"], error_type, "{said}");
            }
        }
    }
    let created = home.a365_records()?;
    let created = created.iter().filter(|record| record["action"] == "a365.mcp_WordServer.CreateDocument");
    let outcomes: Vec<_> = created.map(|record| record["outcome"].as_str().unwrap_or_default()).collect();
    // Over each transport the one that was accepted, and nothing of the one that was declined.
    assert_eq!(outcomes, ["pending", "success", "pending", "success"]);
    Ok(())
}

#[test]
fn a_person_is_asked_by_the_python_sdk() -> io::Result<()> {
    let python = Python::with(target(), PythonPeer::McpTwo)?;
    let program = include_str!("clients/python_2.py");
    a_persons_word_counts(|plan| python.run(program, &[], &[("PLAN", &plan.to_string())]))
}

#[test]
fn a_person_is_asked_by_the_typescript_sdk() -> io::Result<()> {
    let node = Node::ready(target())?;
    let options =
        json!({"versionNegotiation": {"mode": "auto"}, "capabilities": {"elicitation": {"form": {}}}});
    a_persons_word_counts(|plan| typescript_once(&node, plan, &new_typescript(), &options))
}

/// The inspector's command line on `entrabot serve` over stdio.
fn inspect(node: &Node, home: &Home, request: &[&str]) -> io::Result<Output> {
    let serve = home.command(&["serve"]);
    let mut inspector: Command =
        node.script("@modelcontextprotocol/inspector/clients/launcher/build/index.js");
    inspector.arg("--cli");
    for (name, value) in serve.get_envs() {
        if let (Some(name), Some(value)) = (name.to_str(), value.and_then(std::ffi::OsStr::to_str)) {
            inspector.args(["-e", &format!("{name}={value}")]);
        }
    }
    inspector.arg(built::entrabot()).arg("serve").args(request);
    // It would leave a catalogue of servers in the developer's own home.
    inspector.env("HOME", home.scratch()).stdin(Stdio::null()).output()
}

#[test]
fn the_inspector_lists_and_calls() -> io::Result<()> {
    let node = Node::ready(target())?;
    let home = home()?;
    // Strict: a schema that some client cannot take is an error.
    let listed = inspect(&node, &home, &["--method", "tools/list", "--strict"])?;
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let tools: Value = serde_json::from_slice(&listed.stdout).map_err(io::Error::other)?;
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(9), "{tools}");

    let call = |arguments: &[&str]| {
        inspect(&node, &home, &[&["--method", "tools/call", "--tool-name"], arguments].concat())
    };
    let logged = call(&["audit_log", "--tool-arg", "action=look", "--tool-arg", "resource=file"])?;
    assert!(logged.status.success(), "{}", String::from_utf8_lossy(&logged.stderr));
    let refused = call(&["read_word_document", "--tool-arg", "url=https://contoso.sharepoint.com/x.docx"])?;
    assert!(!refused.status.success(), "the inspector says by its exit code that the tool failed");
    let answer = serde_json::from_slice(&refused.stdout).map_err(io::Error::other)?;
    let failure = failure(&answer);
    assert_eq!(failure["error_type"], "A365ConsentMissingError", "{failure}");
    assert!(failure["hint"].is_string(), "{failure}");
    Ok(())
}
