//! `entrabot serve` under a bare JSON-RPC client: for what an MCP library would hide.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Home;

/// A server that has completed the handshake.
pub(crate) struct Raw {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    next_id: u64,
    answers: HashMap<u64, Value>,
}

impl Raw {
    /// Starts `entrabot` with these arguments; its stderr goes to the home's log.
    pub(crate) fn serve(home: &Home, arguments: &[&str]) -> io::Result<Self> {
        Self::serve_at(home, arguments, "2025-06-18")
    }

    /// The same at another revision of the protocol.
    pub(crate) fn serve_at(home: &Home, arguments: &[&str], revision: &str) -> io::Result<Self> {
        let mut command = home.command(arguments);
        let log = File::options().create(true).append(true).open(home.serve_log())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (to, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        let mut raw = Self { child, stdin, lines, next_id: 0, answers: HashMap::new() };
        let client = json!({"name": "raw", "version": "1"});
        let hello = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
        let id = raw.request("initialize", hello)?;
        raw.answer(id, Duration::from_secs(20));
        raw.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(raw)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request; the answer is its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> io::Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    /// Calls a tool, with its id as the token for its progress.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> io::Result<u64> {
        let token = json!({"progressToken": self.next_id});
        self.request("tools/call", json!({"name": tool, "arguments": arguments, "_meta": token}))
    }

    pub(crate) fn cancel(&mut self, id: u64) -> io::Result<()> {
        self.send(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}),
        )
    }

    fn send(&mut self, message: &Value) -> io::Result<()> {
        writeln!(self.stdin.as_mut().expect("open until the end"), "{message}")
    }

    /// The next message.
    pub(crate) fn receive(&mut self, within: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(within).ok()?;
        Some(serde_json::from_str(&line).expect("JSON on every line"))
    }

    /// The answer to a request; answers to others are kept for whoever asks for them, and what else comes is lost.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64, within: Duration) -> Value {
        let until = Instant::now() + within;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            let message =
                self.receive(until.saturating_duration_since(Instant::now())).expect("an answer in time");
            if let (Some(id), None) = (message["id"].as_u64(), message.get("method")) {
                self.answers.insert(id, message);
            }
        }
    }

    /// Reads no more, like a client that is gone while its end of the input is still open; the server meets it at the
    /// second message from here. It is dead when nothing more can be read.
    pub(crate) fn end_by_closed_output(mut self) -> io::Result<ExitStatus> {
        // Without a receiver the reading thread ends at the next line, and the pipe with it.
        self.lines = channel().1;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            // A write may fail only because it is gone.
            let _asked = self.request("ping", json!({}));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.child.wait()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Already gone when the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
