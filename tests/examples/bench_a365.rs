//! What the audited door costs, beside bare reqwest and rmcp's client on the same server, in one run; prints JSON.
//!
//! `cargo run --release -p entrabot-tests --example bench_a365`

#![allow(clippy::print_stdout, reason = "the figures are the answer")]

#[path = "../tests/a365_door/harness.rs"]
#[allow(dead_code, reason = "a benchmark needs a part of it")]
mod harness;
#[path = "../tests/a365_door/rmcp_peer.rs"]
mod rmcp_peer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_audit::{AuditLog, AuditOptions, Auditable, ServerName, Subject, ToolName};
use entrabot_identity::{AttributionChain, Session};
use entrabot_tests::stand_in::RecordedRequest;
use harness::{Door, config};
use rmcp_peer::{Peer, http_client, token, word_server};
use serde_json::json;

const ROUNDS: usize = 400;
const PARALLEL: usize = 64;

struct Nothing;

impl Auditable for Nothing {
    fn subject(&self) -> Subject {
        let server = ServerName::parse("mcp_Nothing").expect("a name");
        Subject::WorkIq { server, tool: ToolName::parse("Nothing").expect("a name") }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let door = Arc::new(Door::open());
    let url = door.create("bench").await.expect("a document").reply.url;
    door.read(&url).await.expect("warm");
    let request = door.work_iq().pop().expect("the call just made");

    let mut through_door = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        door.read(&url).await.expect("an answer");
        through_door.push(started.elapsed());
    }

    let mut bare = Bare::new(&door, &request).await;
    let mut by_reqwest = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        bare.exchange().await;
        by_reqwest.push(started.elapsed());
    }

    let peer = Peer::connect(&door).await;
    let arguments = json!({"url": url}).as_object().expect("an object").clone();
    let mut by_rmcp = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        peer.call("GetDocumentContent", arguments.clone()).await.expect("an answer");
        by_rmcp.push(started.elapsed());
    }

    let audit = tokio::task::spawn_blocking({
        let door = Arc::clone(&door);
        move || audit_alone(&door)
    })
    .await
    .expect("no panic");

    let started = Instant::now();
    let calls: Vec<_> = (0..PARALLEL)
        .map(|_| {
            let (door, url) = (Arc::clone(&door), url.clone());
            tokio::spawn(async move { door.read(&url).await.is_ok() })
        })
        .collect();
    for call in calls {
        assert!(call.await.expect("no panic"));
    }
    let parallel = started.elapsed();

    let (door_p50, bare_p50, audit_p50) =
        (percentile(&mut through_door, 50), percentile(&mut by_reqwest, 50), audit);
    let overhead = door_p50.saturating_sub(bare_p50).saturating_sub(audit_p50);
    let figures = json!({
        "rounds": ROUNDS,
        "door_p50_us": door_p50.as_micros(),
        "door_p99_us": percentile(&mut through_door, 99).as_micros(),
        "bare_reqwest_p50_us": bare_p50.as_micros(),
        "bare_reqwest_p99_us": percentile(&mut by_reqwest, 99).as_micros(),
        "rmcp_client_p50_us": percentile(&mut by_rmcp, 50).as_micros(),
        "rmcp_client_p99_us": percentile(&mut by_rmcp, 99).as_micros(),
        "audit_p50_us": audit_p50.as_micros(),
        // Of the door over bare reqwest, without the audit's own cost. Limit: 200.
        "overhead_p50_us": overhead.as_micros(),
        "parallel_reads": PARALLEL,
        // Limit: 300.
        "parallel_ms": parallel.as_millis(),
        "optimised": !cfg!(debug_assertions),
    });
    println!("{figures:#}");
}

/// Pending and outcome of a call that does nothing.
fn audit_alone(door: &Door) -> Duration {
    let directory = door.directory().join("audit-alone");
    let config = config(&door.cloud, &directory, Vec::new());
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let log = AuditLog::open(AuditOptions::new(config.audit_dir(), config.data_dir()), who).expect("a log");
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let permit = log.permit(Nothing).expect("on record");
        permit.finish(Ok::<(), ()>(())).into_result().expect("settled");
        times.push(started.elapsed());
    }
    percentile(&mut times, 50)
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

/// reqwest with the request that the door sent.
struct Bare {
    client: reqwest::Client,
    url: String,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Bare {
    async fn new(door: &Door, request: &RecordedRequest) -> Self {
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in [
            ("authorization", format!("Bearer {}", token(door).await)),
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        let body = request.json.as_ref().expect("JSON").to_string().into_bytes();
        Self { client: http_client(door), url: word_server(door), headers, body }
    }

    async fn exchange(&mut self) {
        let request = self.client.post(&self.url).headers(self.headers.clone()).body(self.body.clone());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(!answer.bytes().await.expect("a body").is_empty());
    }
}
