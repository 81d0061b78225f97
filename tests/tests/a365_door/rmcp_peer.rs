//! rmcp's own client against the same server, with the same token over the same TLS: what another careful implementation
//! makes of the same bytes.

use std::fs;
use std::time::Duration;

use entrabot_a365::{Resource, TokenSource as _};
use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Map, Value};

use crate::harness::Door;

const SHARED_SCOPE: &str = "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default";
/// It has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session with the Word server.
pub(crate) struct Peer {
    session: RunningService<RoleClient, ()>,
}

impl Peer {
    pub(crate) async fn connect(door: &Door) -> Self {
        let config =
            StreamableHttpClientTransportConfig::with_uri(word_server(door)).auth_header(token(door).await);
        let transport = StreamableHttpClientTransport::with_client(http_client(door), config);
        Self { session: ().serve(transport).await.expect("a session") }
    }

    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<CallToolResult, String> {
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        match tokio::time::timeout(PATIENCE, self.session.call_tool(call)).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}

/// The address of the Word server.
pub(crate) fn word_server(door: &Door) -> String {
    format!("{}/mcp_WordServer", door.cloud.info().a365_base)
}

/// A token that the Word server takes.
pub(crate) async fn token(door: &Door) -> String {
    let resource = Resource::from_scope(SHARED_SCOPE).expect("a scope");
    let token = door.tokens.token(&resource).await.expect("a token");
    token.expose_for(&resource).expect("its own resource").to_owned()
}

/// reqwest as it is, but for the stand-in's authority.
pub(crate) fn http_client(door: &Door) -> reqwest::Client {
    let pem = fs::read(&door.cloud.info().ca_bundle).expect("the CA");
    let roots = reqwest::Certificate::from_pem_bundle(&pem).expect("PEM");
    let builder = reqwest::Client::builder().tls_certs_merge(roots).no_proxy().http1_only().tcp_nodelay(true);
    builder.build().expect("an HTTP client")
}
