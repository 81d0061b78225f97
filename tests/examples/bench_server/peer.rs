//! An MCP server over stdio under a bare JSON-RPC client, so that the client's own cost stays out of the figures.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;

pub(crate) struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
}

impl Peer {
    /// Starts it and completes the handshake.
    pub(crate) fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut peer = Self { child, stdin, stdout, next_id: 0 };
        let client = json!({"name": "bench", "version": "0"});
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        peer.request("initialize", hello)?;
        peer.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(peer)
    }

    pub(crate) fn request(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        loop {
            let mut answer = self.receive()?;
            if answer["id"] == json!(id) {
                return Ok(answer["result"].take());
            }
        }
    }

    pub(crate) fn call(&mut self, call: &Call) -> Result<Value, Failure> {
        let mut result = self.request("tools/call", call.params())?;
        if result["isError"] == json!(true) || result.is_null() {
            return Err(format!("{} failed: {}", call.tool, result["content"]).into());
        }
        Ok(result["structuredContent"].take())
    }

    /// How long each of so many calls takes, one after the other.
    pub(crate) fn in_turn(&mut self, times: usize, call: &Call) -> Result<Vec<Duration>, Failure> {
        self.call(call)?;
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let started = Instant::now();
            self.call(call)?;
            taken.push(started.elapsed());
        }
        Ok(taken)
    }

    /// Calls a second with so many in flight at any time.
    pub(crate) fn at_once(&mut self, times: usize, in_flight: usize, call: &Call) -> Result<f64, Failure> {
        self.call(call)?;
        let started = Instant::now();
        for _ in 0..in_flight {
            self.send_call(call)?;
        }
        for answered in 0..times {
            let answer = self.receive()?;
            if answer["result"]["isError"] == json!(true) || answer["result"].is_null() {
                return Err(format!("{} failed: {answer}", call.tool).into());
            }
            if answered + in_flight < times {
                self.send_call(call)?;
            }
        }
        Ok(times as f64 / started.elapsed().as_secs_f64())
    }

    pub(crate) fn resident_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        drop(self.stdin);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    fn send_call(&mut self, call: &Call) -> Result<(), Failure> {
        self.next_id += 1;
        let message =
            json!({"jsonrpc": "2.0", "id": self.next_id, "method": "tools/call", "params": call.params()});
        self.send(&message)
    }

    fn send(&mut self, message: &Value) -> Result<(), Failure> {
        let line = format!("{message}\n");
        Ok(self.stdin.write_all(line.as_bytes())?)
    }

    fn receive(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err("the server ended".into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// What is called.
#[derive(Clone)]
pub(crate) struct Call {
    tool: &'static str,
    arguments: Value,
}

impl Call {
    pub(crate) fn new(tool: &'static str, arguments: Value) -> Self {
        Self { tool, arguments }
    }

    fn params(&self) -> Value {
        json!({"name": self.tool, "arguments": self.arguments})
    }
}
