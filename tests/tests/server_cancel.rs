//! A cancelled call ends where it is: the connection to Work IQ is closed, the span is closed, nobody is answered.

mod journey;

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use entrabot_tests::stand_in::{Fault, Options};
use journey::{Home, spans};
use serde_json::{Value, json};

fn send(stdin: &mut ChildStdin, message: &Value) -> io::Result<()> {
    writeln!(stdin, "{message}")
}

fn receive(lines: &Receiver<String>, within: Duration) -> Option<Value> {
    lines.recv_timeout(within).ok().map(|line| serde_json::from_str(&line).expect("JSON on every line"))
}

/// Sockets of the process that are connected to `port`.
fn connections(pid: u32, port: u16) -> io::Result<usize> {
    let remote = format!(":{port:04X} 01 ");
    let mut inodes = Vec::new();
    for table in ["tcp", "tcp6"] {
        for line in std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))?.lines() {
            let columns: Vec<_> = line.split_whitespace().collect();
            if line.contains(&remote)
                && columns.get(2).is_some_and(|peer| peer.ends_with(&format!(":{port:04X}")))
                && let Some(inode) = columns.get(9)
            {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    let mut count = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        count += usize::from(inodes.iter().any(|inode| target.to_string_lossy() == *inode));
    }
    Ok(count)
}

fn wait_for(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> io::Result<bool>,
) -> io::Result<Duration> {
    let started = Instant::now();
    while !holds()? {
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(started.elapsed())
}

#[test]
fn a_cancelled_call_closes_its_connection_within_100_ms_and_its_span() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    home.cloud.set_fault(Fault::case("GetDocumentContent", "hang"));
    let port: u16 = home
        .cloud
        .info()
        .a365_base
        .split(['/', ':'])
        .find_map(|part| part.parse().ok())
        .expect("the base names its port");

    let mut child = home
        .command(&["serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("stdin");
    let stdout = BufReader::new(child.stdout.take().expect("stdout"));
    let (to, lines) = channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    send(
        &mut stdin,
        &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
            "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}),
    )?;
    receive(&lines, Duration::from_secs(10)).expect("an answer to initialize");
    send(
        &mut stdin,
        &json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "read_word_document",
            "arguments": {"url": "https://contoso.sharepoint.com/x.docx"}, "_meta": {"progressToken": "p"}}}),
    )?;
    let pid = child.id();
    // Pending is on record before the connection is made, so this is the call under way.
    wait_for("the call", Duration::from_secs(15), || {
        Ok(connections(pid, port)? > 0 && home.audit_dir().exists() && !home.a365_records()?.is_empty())
    })?;
    // Let the request itself arrive.
    std::thread::sleep(Duration::from_millis(300));
    // While it hangs, a client that gave a token hears of it.
    let progress = receive(&lines, Duration::from_secs(8)).expect("progress");
    assert_eq!(progress["method"], "notifications/progress", "{progress}");
    assert_eq!(progress["params"]["progressToken"], "p");

    send(
        &mut stdin,
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}),
    )?;
    let took =
        wait_for("the connection is closed", Duration::from_secs(5), || Ok(connections(pid, port)? == 0))?;
    assert!(took < Duration::from_millis(100), "{took:?}");
    let closed = vec![vec!["pending".to_owned(), "failure".to_owned()]];
    wait_for("the span is closed", Duration::from_secs(5), || Ok(spans(&home.a365_records()?) == closed))?;

    home.cloud.clear_faults();
    send(&mut stdin, &json!({"jsonrpc": "2.0", "id": 8, "method": "ping"}))?;
    let next = receive(&lines, Duration::from_secs(5)).expect("the server lives");
    assert_eq!(next["id"], 8, "the cancelled call is not answered: {next}");
    drop(stdin);
    assert!(child.wait()?.success());
    Ok(())
}
