//! The real server over a pipe in memory, for the tests of this crate.

use entrabot_identity::Config;
use rmcp::ServiceExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::*;
use crate::compose::Parts;
use crate::mcp::{EntrabotServer, Exposed, InFlight};

/// A client of the real server, and the server beside it.
pub(crate) struct Client {
    pub(super) to: WriteHalf<DuplexStream>,
    pub(super) from: Lines<BufReader<ReadHalf<DuplexStream>>>,
    pub(super) served: JoinHandle<()>,
    pub(super) stop: CancellationToken,
    next: i64,
    home: tempfile::TempDir,
}

impl Client {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more settings, and a person who decides within a second or not at all.
    pub(crate) fn start_with(settings: &[(&'static str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = |name: &str| home.path().join(name).display().to_string();
        let base = [
            ("HOME", dir("home")),
            ("ENTRABOT_AUDIT_DIR", dir("audit")),
            ("ENTRABOT_DATA_DIR", dir("data")),
            ("ENTRABOT_LOG_DIR", dir("logs")),
            ("ENTRABOT_AGENT_ID", "00000000-0000-4000-8000-00000000000a".to_owned()),
            ("ENTRABOT_AUDIT_SIGNING", "off".to_owned()),
        ];
        let more = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let config = Config::from_variables(base.into_iter().chain(more)).unwrap();
        let server =
            EntrabotServer::new(Parts::new(config).unwrap(), InFlight::default(), Exposed::default())
                .with_patience(Duration::from_secs(1));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(theirs);
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let transport = StdioTransport::start(input, output, stop.clone(), abandon.clone());
        let served = tokio::spawn(async move {
            if let Ok(running) = server.serve_with_ct(transport, abandon).await {
                running.waiting().await.unwrap();
            }
        });
        let (from, to) = tokio::io::split(ours);
        Self { to, from: BufReader::new(from).lines(), served, stop, next: 1_000_000, home }
    }

    pub(super) async fn started() -> Self {
        let mut client = Self::start();
        client.initialize(json!({})).await;
        client
    }

    /// The handshake of 2025-06-18.
    pub(crate) async fn initialize(&mut self, capabilities: Value) {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities,
            "clientInfo": {"name": "t", "version": "1"}});
        self.send_json(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        let answer = self.receive().await;
        assert_eq!(answer["result"]["serverInfo"]["name"], "EntraBot Agent Identity");
        self.send(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    }

    /// Whether anything was put on record.
    pub(crate) fn has_records(&self) -> bool {
        std::fs::read_dir(self.home.path().join("audit")).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.path().extension().is_some_and(|kind| kind == "jsonl"))
        })
    }

    pub(crate) async fn send_json(&mut self, message: &Value) {
        self.send(message.to_string().as_bytes()).await;
    }

    pub(super) async fn send(&mut self, line: &[u8]) {
        self.to.write_all(line).await.unwrap();
        self.to.write_all(b"\n").await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let line =
            tokio::time::timeout(Duration::from_secs(10), self.from.next_line()).await.expect("an answer");
        serde_json::from_str(&line.unwrap().expect("a line")).expect("JSON")
    }

    /// What is answered to `line` before the ping that is sent behind it is answered.
    pub(super) async fn answers_to(&mut self, line: &[u8]) -> Vec<(Value, i64)> {
        self.send(line).await;
        self.next += 1;
        let ping = json!({"jsonrpc": "2.0", "id": self.next, "method": "ping"});
        self.send(ping.to_string().as_bytes()).await;
        let mut answers = Vec::new();
        loop {
            let answer = self.receive().await;
            assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
            if answer["id"] == json!(self.next) {
                assert_eq!(answer["result"], json!({}), "the server goes on");
                // An answer of rmcp's own may come a moment later than the ping's.
                while let Ok(Ok(Some(line))) =
                    tokio::time::timeout(Duration::from_millis(2), self.from.next_line()).await
                {
                    let answer: Value = serde_json::from_str(&line).unwrap();
                    answers.push((answer["id"].clone(), answer["error"]["code"].as_i64().unwrap_or(0)));
                }
                return answers;
            }
            answers.push((answer["id"].clone(), answer["error"]["code"].as_i64().unwrap_or(0)));
        }
    }
}
