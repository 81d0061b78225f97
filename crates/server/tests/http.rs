//! `entrabot serve --http`, and what an attacker on the same machine or in a browser may try.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{AGENT, Home};
use entrabot_keystore::private_keyring::Mode;
use serde_json::{Value, json};

/// A server that listens, and the bearer it wants.
struct Listening {
    child: Child,
    address: String,
    bearer: String,
}

impl Listening {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut all = vec!["serve", "--http", "127.0.0.1:0"];
        all.extend_from_slice(arguments);
        let mut child = home
            .command(&all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some(rest) = line.strip_prefix("http://") {
                break rest.trim_end_matches("/mcp").to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let bearer = if arguments.contains(&"--no-bearer") {
            String::new()
        } else {
            home.run(&["serve", "--show-bearer"]).expect(0).text().trim_end().to_owned()
        };
        Self { child, address, bearer }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the end.
    fn raw(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    fn post_with(&self, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request =
            format!("POST /mcp HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(format!("{request}\r\n{body}").as_bytes())
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Host", self.address.clone()),
            ("Authorization", format!("Bearer {}", self.bearer)),
            ("Content-Type", "application/json".into()),
            ("Accept", "application/json, text/event-stream".into()),
        ]
    }

    /// With the right headers but for one.
    fn post_but(&self, name: &str, value: Option<&str>, body: &str) -> (u16, String) {
        let mut headers = self.headers();
        headers.retain(|(known, _)| *known != name);
        let mut borrowed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        borrowed.extend(value.map(|value| (name, value)));
        self.post_with(&borrowed, body)
    }

    fn post(&self, message: &Value) -> (u16, Value) {
        let (status, body) = self.post_but("X-None", None, &message.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn stop(mut self) {
        let status = std::process::Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(6), "still running");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Already gone when the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn home() -> Home {
    let mut home = Home::with_directories(Mode::Encrypted);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    home
}

fn list() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
}

#[test]
fn a_client_with_the_bearer_is_served_and_a_signal_ends_it_sealed() {
    let home = home();
    let server = Listening::start(&home, &[]);
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let (status, answer) = server.post(&initialize);
    assert_eq!(
        (status, &answer["result"]["serverInfo"]["name"]),
        (200, &json!("EntraBot Agent Identity")),
        "{answer}"
    );
    let (status, answer) = server.post(&list());
    assert_eq!((status, answer["result"]["tools"].as_array().map(Vec::len)), (200, Some(9)), "{answer}");
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "audit_log", "arguments": {"action": "a", "resource": "r"}}});
    let (status, answer) = server.post(&call);
    assert_eq!((status, &answer["result"]["isError"]), (200, &json!(false)), "{answer}");
    server.stop();
    let report = home.run(&["audit", "verify", "--json"]).expect(0).json();
    assert_eq!((&report["events"], &report["level"]), (&json!(1), &json!("anchored")));
}

#[test]
fn without_the_bearer_nobody_gets_in() {
    let home = home();
    let server = Listening::start(&home, &[]);
    assert_eq!(server.bearer.len(), 64);
    let message = list().to_string();
    let almost = format!("Bearer {}", &server.bearer[..63]);
    let more = format!("Bearer {}0", server.bearer);
    for wrong in [None, Some("Bearer"), Some("Bearer "), Some("Basic YTpi"), Some(&*almost), Some(&*more)] {
        let (status, body) = server.post_but("Authorization", wrong, &message);
        assert_eq!(status, 401, "{wrong:?}: {body}");
        assert!(!body.contains(&server.bearer));
    }
    assert_eq!(server.post(&list()).0, 200);
    // It stays the same: clients are configured with it.
    let again = home.run(&["serve", "--show-bearer"]).expect(0).text();
    assert_eq!(again.trim_end(), server.bearer);
    let log = std::fs::read_to_string(home.path("logs/entrabot.log")).unwrap();
    assert!(!log.contains(&server.bearer));
    server.stop();
}

#[test]
fn a_page_in_a_browser_does_not_get_in() {
    let home = home();
    let server = Listening::start(&home, &["--no-bearer"]);
    let message = list().to_string();
    for origin in
        ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1", "file://"]
    {
        assert_eq!(server.post_but("Origin", Some(origin), &message).0, 403, "{origin}");
    }
    let own = format!("http://{}", server.address);
    assert_eq!(server.post_but("Origin", Some(&own), &message).0, 200);
    for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1:1", "0.0.0.0", "169.254.169.254"] {
        let (status, _) = server.post_but("Host", Some(host), &message);
        assert!(matches!(status, 400 | 403), "{host}: {status}");
    }
    let (status, _) = server.post_but("Host", None, &message);
    assert!(matches!(status, 400 | 403), "no Host: {status}");
    server.stop();
}

#[test]
fn broken_and_huge_bodies_are_refused_and_the_server_lives() {
    let home = home();
    let server = Listening::start(&home, &[]);
    for (body, code) in [
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"", -32700),
        ("nonsense", -32700),
        ("[]", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\",\"params\":[]}", -32602),
    ] {
        let (status, answer) = server.post_but("X-None", None, body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(code)), "{body}: {answer}");
    }
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024));
    assert_eq!(server.post_but("X-None", None, &huge).0, 413);
    // The same without saying how long it is.
    let mut headers = server.headers();
    headers.push(("Transfer-Encoding", "chunked".into()));
    let mut request = String::from("POST /mcp HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in &headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    for _ in 0..20 {
        request.push_str(&format!("10000\r\n{}\r\n", "x".repeat(0x10000)));
    }
    request.push_str("0\r\n\r\n");
    assert_eq!(server.raw(request.as_bytes()).0, 413);
    for (request, expected) in
        [("GET /mcp", 405), ("DELETE /mcp", 405), ("POST /", 404), ("GET /etc/passwd", 404)]
    {
        let text = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n",
            server.address, server.bearer
        );
        assert_eq!(server.raw(text.as_bytes()).0, expected, "{request}");
    }
    assert_eq!(server.post(&list()).0, 200);
    server.stop();
}

#[test]
fn nothing_is_smuggled_in_behind_a_request() {
    let home = home();
    let server = Listening::start(&home, &["--no-bearer"]);
    let body = list().to_string();
    let length = body.len();
    let head = |host: &str, more: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\n{host}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{more}\r\n"
        )
    };
    let host = format!("Host: {}\r\n", server.address);
    let inner = format!("POST /mcp HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n");
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (what, request) in [
        ("two lengths", head(&host, "Content-Length: 3\r\nContent-Length: 4\r\n") + "0\r\n\r\n"),
        ("a list of lengths", head(&host, "Content-Length: 3, 4\r\n") + "0\r\n\r\n"),
        ("a length with a sign", head(&host, &format!("Content-Length: +{length}\r\n")) + &body),
        ("a negative length", head(&host, "Content-Length: -1\r\n") + &body),
        ("a length over 64 bits", head(&host, "Content-Length: 18446744073709551617\r\n") + &body),
        (
            "length and chunks",
            head(&host, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
        ),
        ("an encoding that is none", head(&host, "Transfer-Encoding: xchunked\r\n") + &chunked),
        ("chunked, but not last", head(&host, "Transfer-Encoding: chunked, identity\r\n") + &chunked),
        (
            "a size that is none",
            head(&host, "Transfer-Encoding: chunked\r\n") + "zz\r\n" + &body + "\r\n0\r\n\r\n",
        ),
        (
            "a size over 64 bits",
            head(&host, "Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n" + &body,
        ),
        ("a space before the colon", head(&host, &format!("Content-Length : {length}\r\n")) + &body),
        ("a folded header", head(&host, &format!("X-A: b\r\n c\r\nContent-Length: {length}\r\n")) + &body),
        ("a NUL in a header", head(&host, &format!("X-A: b\0c\r\nContent-Length: {length}\r\n")) + &body),
        (
            "two hosts",
            head(&format!("{host}Host: evil.example\r\n"), &format!("Content-Length: {length}\r\n")) + &body,
        ),
    ] {
        let (status, answer) = server.raw((request + &inner).as_bytes());
        assert!(matches!(status, 400 | 403 | 413 | 431), "{what}: {status}: {answer}");
        assert!(!answer.contains("HTTP/1.1"), "{what}: one answer, then the end: {answer}");
        assert!(!answer.contains("\"tools\""), "{what}: {answer}");
    }
    // A name for another host in the first line counts for as much as one in the header.
    let absolute = format!(
        "POST http://evil.example/mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    assert!(matches!(server.raw(absolute.as_bytes()).0, 400 | 403));
    assert_eq!(server.post(&list()).0, 200);
    server.stop();
}

#[test]
fn a_thousand_silent_connections_starve_nobody_and_do_not_hold_up_the_end() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).unwrap();
    let home = home();
    let server = Listening::start(&home, &[]);
    let mut silent: Vec<TcpStream> = (0..1_000).map(|_| server.connect()).collect();
    for stream in &mut silent {
        stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: x\r\n").unwrap();
    }
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(server.post(&list()).0, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    server.stop();
}

#[test]
fn a_head_that_does_not_end_is_cut_off_after_ten_seconds() {
    let home = home();
    let server = Listening::start(&home, &[]);
    let mut slow = server.connect();
    let started = Instant::now();
    slow.write_all(b"POST /mcp HTTP/1.1\r\nHost: x\r\n").unwrap();
    // One more byte now and then does not buy more time.
    let mut drip = slow.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while drip.write_all(b"X").is_ok() {
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let mut answer = Vec::new();
    drop(slow.read_to_end(&mut answer));
    let took = started.elapsed();
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(14), "{took:?}");
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
    drop(slow);
    dripping.join().unwrap();
    server.stop();
}

#[test]
fn clients_that_chose_the_same_id_each_get_their_own_answer() {
    let home = home();
    let server = Listening::start(&home, &[]);
    let call = |resource: &str| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "audit_log", "arguments": {"action": "a", "resource": resource}}})
    };
    let mut events = std::collections::HashSet::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                scope.spawn({
                    let server = &server;
                    move || server.post(&call(&n.to_string()))
                })
            })
            .collect();
        for thread in threads {
            let (status, answer) = thread.join().unwrap();
            assert_eq!((status, &answer["id"]), (200, &json!(1)), "{answer}");
            events.insert(answer["result"]["structuredContent"]["event_id"].as_str().unwrap().to_owned());
        }
    });
    assert_eq!(events.len(), 16);
    // An id twice in one request is two requests in one.
    let (status, answer) =
        server.post_but("X-None", None, "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"tools/list\"}");
    assert_eq!(status, 400, "{answer}");
    server.stop();
}

#[test]
fn only_loopback_is_listened_on() {
    let home = home();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let finished = home.run(&["serve", "--http", address]).expect(2);
        assert!(finished.stderr.contains("loopback"), "{finished:?}");
    }
    home.run(&["serve", "--no-bearer"]).expect(2);
}

#[test]
fn without_a_keyring_there_is_no_bearer_and_no_server() {
    let home = Home::with_directories(Mode::NoProvider);
    home.run(&["serve", "--http", "127.0.0.1:0"]).expect(3);
    home.run(&["serve", "--show-bearer"]).expect(3);
    // A mounted file takes the keyring's place.
    let mut home = Home::with_directories(Mode::NoProvider);
    std::fs::write(home.path("bearer"), format!("{}\n", "b".repeat(40))).unwrap();
    home.set("ENTRABOT_HTTP_BEARER_FILE", home.path("bearer").display().to_string());
    let server = Listening::start(&home, &[]);
    assert_eq!(server.bearer, "b".repeat(40));
    assert_eq!(server.post(&list()).0, 200);
    server.stop();
}
