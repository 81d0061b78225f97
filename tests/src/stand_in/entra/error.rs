//! Error bodies as Entra writes them.

use serde_json::json;
use uuid::Uuid;

use crate::stand_in::http::{Answer, Request};

/// A refusal of the token service.
#[derive(Debug, Clone)]
pub(crate) struct EntraError {
    status: u16,
    error: &'static str,
    number: u32,
    text: String,
    suberror: Option<&'static str>,
    claims: Option<String>,
}

impl EntraError {
    pub(crate) fn new(status: u16, error: &'static str, number: u32, text: &str) -> Self {
        Self { status, error, number, text: text.to_owned(), suberror: None, claims: None }
    }

    /// `invalid_request`.
    pub(crate) fn request(number: u32, text: &str) -> Self {
        Self::new(400, "invalid_request", number, text)
    }

    /// `invalid_client`: the client's proof is no good.
    pub(crate) fn client(number: u32, text: &str) -> Self {
        Self::new(401, "invalid_client", number, text)
    }

    /// `invalid_grant`: the client is fine, what it brings or asks for is not.
    pub(crate) fn grant(number: u32, text: &str) -> Self {
        Self::new(400, "invalid_grant", number, text)
    }

    #[must_use]
    pub(crate) fn suberror(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    /// The response: `error_description` ends with trace, correlation and time, as Entra's does.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let trace = Uuid::new_v4().to_string();
        let correlation = request
            .header("client-request-id")
            .map(str::to_owned)
            .or_else(|| request.parameter("client-request-id"))
            .or_else(|| {
                let form = request.form()?;
                form.into_iter().find(|(name, _)| name == "client-request-id").map(|(_, value)| value)
            })
            .unwrap_or_else(|| Uuid::new_v4().to_string());
        let timestamp = chrono::Utc::now().format("%Y-%m-%d %H:%M:%SZ").to_string();
        // OAuth's own errors of the device flow carry AADSTS numbers too.
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
            self.number, self.text
        );
        let mut body = json!({
            "error": self.error, "error_description": description, "error_codes": [self.number],
            "timestamp": timestamp, "trace_id": trace, "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.number),
        });
        if let Some(suberror) = self.suberror {
            body["suberror"] = json!(suberror);
        }
        if let Some(claims) = &self.claims {
            body["claims"] = json!(claims);
        }
        Answer::json(self.status, &body).with("x-ms-request-id", trace)
    }
}
