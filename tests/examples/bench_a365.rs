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

    let mut bare = Bare::new(&door, &request).await;
    let peer = Peer::connect(&door).await;
    let arguments = json!({"url": url}).as_object().expect("an object").clone();
    let audit = Arc::new(AuditAlone::open(&door));

    let [mut through_door, mut by_reqwest, mut by_rmcp, mut on_record] =
        std::array::from_fn(|_| Vec::with_capacity(ROUNDS));
    // In turn, so that whatever else the machine does falls on all of them alike.
    for _ in 0..ROUNDS {
        through_door.push(timed(async { drop(door.read(&url).await.expect("an answer")) }).await);
        by_reqwest.push(timed(bare.exchange()).await);
        by_rmcp.push(
            timed(async {
                drop(peer.call("GetDocumentContent", arguments.clone()).await.expect("an answer"))
            })
            .await,
        );
        let audit = Arc::clone(&audit);
        on_record.push(tokio::task::spawn_blocking(move || audit.round()).await.expect("no panic"));
    }

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
        (percentile(&mut through_door, 50), percentile(&mut by_reqwest, 50), percentile(&mut on_record, 50));
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

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let started = Instant::now();
    work.await;
    started.elapsed()
}

/// A log of its own, on the disk of the door's.
struct AuditAlone(AuditLog);

impl AuditAlone {
    fn open(door: &Door) -> Self {
        let directory = door.directory().join("audit-alone");
        let config = config(&door.cloud, &directory, Vec::new());
        let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
        let options = AuditOptions::new(config.audit_dir(), config.data_dir());
        Self(AuditLog::open(options, who).expect("a log"))
    }

    /// Pending and outcome of a call that does nothing.
    fn round(&self) -> Duration {
        let started = Instant::now();
        let permit = self.0.permit(Nothing).expect("on record");
        permit.finish(Ok::<(), ()>(())).into_result().expect("settled");
        started.elapsed()
    }
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
