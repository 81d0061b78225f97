//! An OpenTelemetry collector on loopback: takes OTLP over HTTP, reads it with the published protobufs, and answers as it is
//! told to.
//!
//! ```no_run
//! use entrabot_tests::collector::{Behaviour, Collector, Transport};
//!
//! let collector = Collector::start(Transport::Plain).expect("a port");
//! collector.behave([Behaviour::Status(503), Behaviour::RetryAfter(429, 1)]);
//! // ... send to collector.endpoint(); the third request is taken ...
//! assert_eq!(collector.logs().len(), 1);
//! ```

mod received;

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use received::{Encoding, Received, Signal, text_of};

use crate::stand_in::http::{Answer, Connection, Request, Step};
use crate::stand_in::pki::{Authority, TlsFault};

/// How the collector is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `http`, as on the same machine.
    Plain,
    /// `https`, under a CA of its own.
    Tls,
}

/// What becomes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// It is taken.
    Accept,
    /// It is refused with this status, and not taken.
    Status(u16),
    /// The same with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// A redirect to this address.
    Redirect(String),
    /// It is taken but for so many of its items, with this reason.
    Partial(i64, String),
    /// It is taken, and the connection is cut before the answer.
    TakenAndCut,
    /// No answer until the peer goes.
    Hang,
}

/// A running collector; dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    ca_bundle: Option<PathBuf>,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct State {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    received: Vec<Received>,
    refused: usize,
    next: VecDeque<Behaviour>,
    /// Log records in one request, if there is a limit.
    most: Option<usize>,
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// Starts it on a free port of loopback.
    ///
    /// # Errors
    /// When a port or a key cannot be had.
    pub fn start(transport: Transport) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("entrabot-collector-").tempdir()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (endpoint, ca_bundle, acceptor) = match transport {
            Transport::Plain => (format!("http://127.0.0.1:{port}"), None, None),
            Transport::Tls => {
                let (path, acceptor) = tls(dir.path())?;
                (format!("https://localhost:{port}"), Some(path), Some(acceptor))
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = Arc::<State>::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("collector".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, acceptor, serving) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { endpoint, ca_bundle, state, stop: Some(stop), thread: Some(thread), _dir: dir })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`; no slash at the end.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The CA to trust, PEM; `None` without TLS.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&Path> {
        self.ca_bundle.as_deref()
    }

    /// What becomes of the next requests, one each; those after them are taken.
    pub fn behave(&self, next: impl IntoIterator<Item = Behaviour>) {
        self.state.seen().next.extend(next);
    }

    /// From now on a request with more log records is too large (413).
    pub fn take_at_most(&self, records: usize) {
        self.state.seen().most = Some(records);
    }

    /// Every request that was taken, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.seen().received.clone()
    }

    /// How many requests were not taken.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state.seen().refused
    }

    /// Waits until what was taken is so; false when it never became so.
    #[must_use]
    pub fn wait_until(&self, longest: Duration, so: impl Fn(&[Received]) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut seen = self.state.seen();
        while !so(&seen.received) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.state.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Every log record that was taken, in order.
    #[must_use]
    pub fn logs(&self) -> Vec<LogRecord> {
        self.received().iter().flat_map(Received::logs).collect()
    }

    /// Every span that was taken, in order.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.received().iter().flat_map(Received::spans).collect()
    }

    /// Every metric that was taken, in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        self.received().iter().flat_map(Received::metrics).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself; then there is nothing to stop.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn tls(dir: &Path) -> io::Result<(PathBuf, TlsAcceptor)> {
    let authority = Authority::generate()?;
    let path = dir.join("ca.pem");
    std::fs::write(&path, authority.pem())?;
    let certified = authority.certified(TlsFault::None)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    Ok((path, TlsAcceptor::from(Arc::new(config))))
}

async fn serve(listener: std::net::TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("the listener does not block");
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        // A connection that breaks concerns only its peer.
        tokio::spawn(async move { drop(connection(stream, acceptor, &state).await) });
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, state: &State) -> io::Result<()> {
    match acceptor {
        Some(acceptor) => converse(acceptor.accept(stream).await?, state).await,
        None => converse(stream, state).await,
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) -> io::Result<()> {
    let mut peer = Connection::new(stream);
    while peer.wait().await? {
        let request = peer.read().await?;
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !peer.write(answer(&request, state), close).await? {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Request, state: &State) -> Answer {
    let mut seen = state.seen();
    let behaviour = seen.next.pop_front().unwrap_or(Behaviour::Accept);
    let refused = match &behaviour {
        Behaviour::Status(status) => Some(Answer::empty(*status)),
        Behaviour::RetryAfter(status, seconds) => {
            Some(Answer::empty(*status).with("Retry-After", seconds.to_string()))
        }
        Behaviour::Redirect(to) => Some(Answer::empty(307).with("Location", to.clone())),
        Behaviour::Hang => Some(Answer::script(0, [Step::Hold])),
        Behaviour::Accept | Behaviour::Partial(..) | Behaviour::TakenAndCut => None,
    };
    let answer = match (refused, Received::read(request)) {
        (Some(answer), _) => {
            seen.refused += 1;
            answer
        }
        // As a real collector answers what it cannot read.
        (None, Err(reason)) => {
            seen.refused += 1;
            Answer::whole(400, "text/plain", reason.into_bytes())
        }
        (None, Ok(received)) if seen.most.is_some_and(|most| received.logs().len() > most) => {
            seen.refused += 1;
            Answer::empty(413)
        }
        (None, Ok(received)) => {
            let answer = match &behaviour {
                Behaviour::TakenAndCut => Answer::script(0, []),
                Behaviour::Partial(rejected, reason) => received.answer(Some((*rejected, reason))),
                _ => received.answer(None),
            };
            seen.received.push(received);
            answer
        }
    };
    drop(seen);
    state.changed.notify_all();
    answer
}
