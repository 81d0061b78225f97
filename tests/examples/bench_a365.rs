//! What the audited door costs, beside a bare TLS connection that sends the same bytes, in one run; prints JSON.
//!
//! `cargo run --release -p entrabot-tests --example bench_a365`

#![allow(clippy::print_stdout, reason = "the figures are the answer")]

#[path = "../tests/a365_door/harness.rs"]
#[allow(dead_code, reason = "a benchmark needs a part of it")]
mod harness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_audit::{AuditLog, AuditOptions, Auditable, ServerName, Subject, ToolName};
use entrabot_identity::{AttributionChain, Session};
use entrabot_tests::stand_in::RecordedRequest;
use harness::{Door, config};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName as TlsName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

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

    let mut bare = Bare::connect(&door).await;
    let bytes = as_sent(&request);
    let mut on_the_wire = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        bare.exchange(&bytes).await;
        on_the_wire.push(started.elapsed());
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
        (percentile(&mut through_door, 50), percentile(&mut on_the_wire, 50), audit);
    let overhead = door_p50.saturating_sub(bare_p50).saturating_sub(audit_p50);
    let figures = json!({
        "rounds": ROUNDS,
        "door_p50_us": door_p50.as_micros(),
        "door_p99_us": percentile(&mut through_door, 99).as_micros(),
        "bare_p50_us": bare_p50.as_micros(),
        "bare_p99_us": percentile(&mut on_the_wire, 99).as_micros(),
        "audit_p50_us": audit_p50.as_micros(),
        "overhead_p50_us": overhead.as_micros(),
        "parallel_reads": PARALLEL,
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

/// The recorded request as bytes again.
fn as_sent(request: &RecordedRequest) -> Vec<u8> {
    let body = request.json.as_ref().expect("JSON").to_string();
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case("content-length") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

struct Bare {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Bare {
    async fn connect(door: &Door) -> Self {
        let info = door.cloud.info();
        let pem = std::fs::read(&info.ca_bundle).expect("the CA");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.expect("PEM")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let base = url::Url::parse(&info.a365_base).expect("a URL");
        let address = ("127.0.0.1", base.port().expect("a port"));
        let tcp = TcpStream::connect(address).await.expect("a connection");
        tcp.set_nodelay(true).expect("a socket option");
        let name = TlsName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(client)).connect(name, tcp).await.expect("TLS");
        Self { stream, buffer: vec![0; 64 * 1024] }
    }

    /// Reads until the answer's announced length is there.
    async fn exchange(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.expect("written");
        self.stream.flush().await.expect("flushed");
        let mut answer = Vec::new();
        loop {
            let read = self.stream.read(&mut self.buffer).await.expect("read");
            assert!(read > 0, "the connection stays open");
            answer.extend_from_slice(&self.buffer[..read]);
            let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            assert!(text.starts_with("http/1.1 200"), "{text}");
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .expect("a length")
                .trim()
                .parse()
                .expect("a number");
            if answer.len() >= head + 4 + length {
                return;
            }
        }
    }
}
