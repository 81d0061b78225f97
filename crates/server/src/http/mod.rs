//! MCP over streamable HTTP at `/mcp`, for clients on this machine.
//!
//! Loopback only. Every request shows a bearer; `Host` and `Origin` are checked, so that a page in a browser cannot reach
//! the server through a name of its own. Stateless: no session outlives its request, and an answer is plain JSON.

mod bearer;
mod gate;
mod places;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use entrabot_keystore::ErrorClass;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::ServerHandler;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use bearer::Bearer;
use gate::Gate;
pub(crate) use sessions::{Sessions, Stateless};

use crate::failure::Failure;

/// Largest request body. A document's HTML has to fit in it.
const MAX_BODY: usize = 1024 * 1024;
/// Requests that are worked on at a time.
const MAX_REQUESTS: usize = 128;
/// How long a client may take for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a request may take for its body.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long requests in flight may go on after the stop.
const GRACE: Duration = Duration::from_millis(3500);
/// A pause after the system refused to accept, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, and what a client must show.
pub(crate) struct HttpOptions {
    address: SocketAddr,
    bearer: Option<Bearer>,
}

impl HttpOptions {
    /// # Errors
    /// The address is not one of this machine's own.
    pub(crate) fn new(address: SocketAddr, bearer: Option<Bearer>) -> Result<Self, Failure> {
        if !address.ip().is_loopback() {
            return Err(Failure::usage(
                format!("{address} is not a loopback address"),
                "listen on 127.0.0.1 or [::1]; put a proxy that speaks TLS before it for other machines",
            ));
        }
        Ok(Self { address, bearer })
    }
}

/// Serves until `stop`; then requests in flight may finish, and the rest is abandoned.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn serve<S: Sessions>(
    options: HttpOptions,
    server: impl ServerHandler + Clone,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(options.address)
        .await
        .map_err(|error| Failure::io(&format!("listen on {}", options.address), &error))?;
    let address = listener.local_addr().map_err(|error| Failure::io("listen", &error))?;
    let service = service::<_, S>(server, address, &stop);
    let gate = Arc::new(Gate::new(service, options.bearer, MAX_REQUESTS));
    tracing::info!(%address, "entrabot serves MCP over HTTP at /mcp");
    crate::terminal::note(&format!("http://{address}/mcp"));

    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(places::places()));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (gate, stop) = (Arc::clone(&gate), stop.clone());
        connections.spawn(async move {
            connection(stream, gate, stop).await;
            drop(place);
        });
    }
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!("requests were still in flight at the end; they are abandoned");
    }
    Ok(())
}

fn service<H: ServerHandler + Clone, S: Sessions>(
    server: H,
    address: SocketAddr,
    stop: &CancellationToken,
) -> StreamableHttpService<H, S> {
    let port = address.port();
    let names = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
    let origins = names.iter().map(|name| format!("http://{name}"));
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_allowed_hosts(names.clone())
        .with_legacy_session_mode(S::KEPT)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY)
        .with_cancellation_token(stop.child_token());
    StreamableHttpService::new(move || Ok(server.clone()), Arc::new(S::default()), config)
}

/// An accepted connection. The type that could also connect outwards is not named here.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(impl Stream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "answers may be held back");
            }
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}

async fn connection<H: ServerHandler, S: Sessions>(
    stream: impl Stream,
    gate: Arc<Gate<H, S>>,
    stop: CancellationToken,
) {
    let answer = service_fn(move |request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, std::convert::Infallible>(gate.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(served);
    tokio::select! {
        result = served.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection ended");
            }
            return;
        }
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The family of what goes wrong with a bearer that was configured.
const BEARER_CLASS: ErrorClass = ErrorClass::Configuration;
