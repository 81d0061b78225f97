//! The product's HTTP stack around somebody else's handler.

use std::net::SocketAddr;

use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tokio_util::sync::CancellationToken;

use crate::http::{self, HttpOptions, Sessions};

impl Sessions for LocalSessionManager {
    const KEPT: bool = true;
}

/// Serves a handler as `entrabot serve --http ADDR --no-bearer` serves ours, and says on stderr where. With `sessions`,
/// clients of the revisions before 2026-07-28 get one: a server cannot ask them anything without.
///
/// # Errors
/// The address is not of this machine alone, or cannot be listened on; as text.
pub async fn serve_http(
    address: SocketAddr,
    handler: impl ServerHandler + Clone,
    sessions: bool,
    stop: CancellationToken,
) -> Result<(), String> {
    let options = HttpOptions::new(address, None).map_err(|failure| failure.to_string())?;
    let served = if sessions {
        http::serve::<LocalSessionManager>(options, handler, stop).await
    } else {
        http::serve::<http::Stateless>(options, handler, stop).await
    };
    served.map_err(|failure| failure.to_string())
}
