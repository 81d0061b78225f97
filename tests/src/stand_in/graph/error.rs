//! Errors as Graph writes them.

use serde_json::json;
use uuid::Uuid;

use crate::stand_in::http::{Answer, Request};

/// A refusal of Graph.
#[derive(Debug, Clone)]
pub(crate) struct GraphError {
    status: u16,
    code: &'static str,
    message: String,
}

impl GraphError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "Request_BadRequest", message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(400, "Request_UnsupportedQuery", message)
    }

    /// Never says which permission is missing: Graph does not.
    pub(crate) fn denied() -> Self {
        Self::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    }

    pub(crate) fn not_found(id: &str) -> Self {
        Self::new(
            404,
            "Request_ResourceNotFound",
            format!(
                "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let id = Uuid::new_v4().to_string();
        let client = request.header("client-request-id").map_or_else(|| id.clone(), str::to_owned);
        let body = json!({"error": {
            "code": self.code, "message": self.message,
            "innerError": {
                "date": chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S").to_string(),
                "request-id": id, "client-request-id": client,
            },
        }});
        Answer::json(self.status, &body).with("request-id", id)
    }
}
