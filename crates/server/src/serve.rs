//! `entrabot serve`: the MCP server from its start to its end.
//!
//! Over stdio it ends when the input ends, when the client closes our output, or at SIGTERM or SIGINT: no further request is
//! taken, those in flight may finish, the audit is sealed, and the exit code is 0.

use std::time::Duration;

use entrabot_identity::Config;
use rmcp::ServiceExt;
use rmcp::service::{QuitReason, ServerInitializeError};
use tokio_util::sync::CancellationToken;

use crate::certificate;
use crate::compose::Parts;
use crate::failure::Failure;
use crate::http::{self, HttpOptions};
use crate::logging;
use crate::mcp::{EntrabotServer, Exposed, InFlight, foreign_bases};
use crate::singleton::SingletonLock;
use crate::stdio::StdioTransport;
use crate::telemetry::{Telemetry, Transport};

/// Threads for files and the keyring, which block. More work than that waits.
const BLOCKING_THREADS: usize = 128;
/// How long abandoned calls may take to close their spans.
const CLOSING: Duration = Duration::from_millis(500);

/// Serves MCP over stdio until it ends.
///
/// # Errors
/// A setting is malformed, the Python original is running, or the runtime cannot be made.
pub(crate) fn over_stdio(config: Config, exposed: Exposed) -> Result<(), Failure> {
    run(config, exposed, Transport::Stdio, stdio)
}

/// Serves MCP over HTTP until a signal.
///
/// # Errors
/// As [`over_stdio`]; the address cannot be listened on.
pub(crate) fn over_http(config: Config, exposed: Exposed, options: HttpOptions) -> Result<(), Failure> {
    run(config, exposed, Transport::Http, async |serving| {
        http::serve::<http::Stateless>(options, serving.server(), serving.stop.clone()).await?;
        // What is still at work would otherwise go on until the runtime is gone.
        serving.abandon.cancel();
        Ok(())
    })
}

/// What serving needs, whatever it goes over.
struct Serving {
    parts: Parts,
    in_flight: InFlight,
    exposed: Exposed,
    telemetry: Telemetry,
    /// No further request is taken.
    stop: CancellationToken,
    /// What is in flight ends.
    abandon: CancellationToken,
}

impl Serving {
    fn server(&self) -> EntrabotServer {
        EntrabotServer::new(self.parts.clone(), self.in_flight.clone(), self.exposed.clone())
            .with_telemetry(self.telemetry.clone())
    }
}

fn run(
    config: Config,
    exposed: Exposed,
    transport: Transport,
    serve: impl AsyncFnOnce(&Serving) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let _singleton = SingletonLock::share(config.data_dir())?;
    logging::start(&config);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let foreign = foreign_bases(&config);
    if !foreign.is_empty() {
        tracing::warn!(bases = foreign.join(" "), "not a Microsoft cloud");
    }
    let parts = Parts::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the runtime", &error))?;
    let (telemetry, exporting) = {
        let _inside = runtime.enter();
        Telemetry::start(parts.config(), parts.egress(), transport)
    };
    let serving = Serving {
        parts: parts.clone(),
        in_flight: InFlight::default(),
        exposed,
        telemetry,
        stop: CancellationToken::new(),
        abandon: CancellationToken::new(),
    };
    let result = runtime.block_on(async {
        tokio::spawn(stop_at_signals(serving.stop.clone()));
        parts.sign_in().start();
        open_audit_early(&parts);
        certificate::watch(&parts);
        let result = serve(&serving).await;
        if !serving.in_flight.none(CLOSING).await {
            tracing::warn!("a call did not stop in time; its span is left open");
        }
        if let Some(exporting) = exporting {
            exporting.stop().await;
        }
        tracing::debug!(tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks(), "at the end");
        result
    });
    // A read of stdin may still be pending; it must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    for warning in parts.close_audit() {
        tracing::warn!("{warning}");
    }
    tracing::info!("entrabot ended");
    result
}

async fn stdio(serving: &Serving) -> Result<(), Failure> {
    let (input, output) = rmcp::transport::io::stdio_pipes();
    let (stop, abandon) = (serving.stop.clone(), serving.abandon.clone());
    let transport = StdioTransport::start(input, output, stop, abandon.clone());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "entrabot serves MCP over stdio");
    match serving.server().serve_with_ct(transport, abandon).await {
        Ok(running) => match running.waiting().await {
            Ok(QuitReason::JoinError(_)) | Err(_) => return Err(Failure::internal("the MCP connection")),
            Ok(_) => {}
        },
        // The client left before it said anything: an end like any other.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {}
        Err(error) => {
            tracing::warn!(reason = kind(&error), "no MCP session came about");
        }
    }
    Ok(())
}

/// The error itself may quote the client's message.
fn kind(error: &ServerInitializeError) -> &'static str {
    match error {
        ServerInitializeError::ExpectedInitializeRequest(_) => "no initialize request",
        ServerInitializeError::InitializeFailed(_) => "initialize failed",
        ServerInitializeError::TransportError { .. } => "the client closed the connection",
        _ => "the handshake failed",
    }
}

/// Says at once, in the log, when the audit cannot be written: no call will be possible.
fn open_audit_early(parts: &Parts) {
    let parts = parts.clone();
    tokio::task::spawn_blocking(move || match parts.audit() {
        Ok(audit) => audit.take_notices().iter().for_each(|notice| tracing::warn!("{notice}")),
        Err(error) => {
            let failure = Failure::from(error);
            tracing::error!(
                error = failure.message(),
                error_type = failure.error_type(),
                hint = failure.hint(),
                "the audit log cannot be opened: every call will be refused"
            );
        }
    });
}

#[cfg(unix)]
async fn stop_at_signals(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::warn!("signals cannot be handled; the system's defaults apply");
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    stop.cancel();
}

#[cfg(not(unix))]
async fn stop_at_signals(stop: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.cancel();
    }
}
