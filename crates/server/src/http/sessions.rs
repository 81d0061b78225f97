//! Whether clients of the revisions before 2026-07-28 are given a session.

use rmcp::transport::streamable_http_server::SessionManager;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;

/// No session: nothing outlives its request, so nothing has to be bounded or forgotten. What `serve` does.
pub(crate) type Stateless = NeverSessionManager;

/// How sessions are kept.
pub(crate) trait Sessions: SessionManager + Default {
    /// Whether there are any.
    const KEPT: bool;
}

impl Sessions for NeverSessionManager {
    const KEPT: bool = false;
}
