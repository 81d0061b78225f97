use std::borrow::Cow;
use std::time::Duration;

use crate::tokens::http::HttpError;
use crate::{Diagnose, ErrorClass};

/// The collector did not take a request. Holds its host and nothing else of the address, and nothing of what was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the collector at {host} {why}")]
pub struct OtlpError {
    host: String,
    why: Why,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Why {
    #[error("answered {status}")]
    Refused { status: u16, retry_after: Option<Duration> },
    #[error("{}", words(*.0))]
    NoAnswer(HttpError),
}

fn words(error: HttpError) -> &'static str {
    match error {
        HttpError::TimedOut => "did not answer in time",
        HttpError::Tls(_) => "cannot be trusted",
        HttpError::NotConnected => "could not be reached",
        HttpError::Interrupted => "broke off the connection",
        HttpError::TooLarge => "gave an answer that is too large",
        HttpError::Setup(_) => "cannot be asked",
    }
}

impl OtlpError {
    pub(super) fn new(host: &str, why: Why) -> Self {
        Self { host: host.to_owned(), why }
    }

    /// Whether the same request may be taken later: the statuses that OTLP names, and whatever is not a matter of settings.
    #[must_use]
    pub fn may_be_sent_again(&self) -> bool {
        match &self.why {
            Why::Refused { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Why::NoAnswer(error) => {
                matches!(error, HttpError::TimedOut | HttpError::NotConnected | HttpError::Interrupted)
            }
        }
    }

    /// What the collector asked for, at most a day.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.why {
            Why::Refused { retry_after, .. } => retry_after,
            Why::NoAnswer(_) => None,
        }
    }

    /// Whether a smaller request may be taken.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.status() == Some(413)
    }

    /// The HTTP status, when there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.why {
            Why::Refused { status, .. } => Some(status),
            Why::NoAnswer(_) => None,
        }
    }
}

impl Diagnose for OtlpError {
    fn error_type(&self) -> &'static str {
        "OtlpExportError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match &self.why {
            Why::Refused { status: 401 | 403, .. } => {
                "correct OTEL_EXPORTER_OTLP_HEADERS: the collector wants other credentials".into()
            }
            Why::Refused { status: 404 | 405, .. } => {
                "correct OTEL_EXPORTER_OTLP_ENDPOINT: OTLP over HTTP is usually at port 4318".into()
            }
            Why::Refused { status: 300..=399, .. } => {
                "set OTEL_EXPORTER_OTLP_ENDPOINT to where it redirects to: redirects are not followed".into()
            }
            Why::Refused { status: 413, .. } => {
                "let the collector and what stands before it take larger requests (its max_request_body_size)"
                    .into()
            }
            Why::Refused { status: 400 | 415, .. } => {
                "set OTEL_EXPORTER_OTLP_PROTOCOL to what the collector speaks: http/protobuf or http/json"
                    .into()
            }
            Why::NoAnswer(HttpError::Tls(detail) | HttpError::Setup(detail)) => (*detail).into(),
            Why::NoAnswer(HttpError::NotConnected) => {
                "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT".into()
            }
            Why::Refused { .. } | Why::NoAnswer(_) => "look at the collector's own log".into(),
        })
    }
    fn class(&self) -> ErrorClass {
        if self.may_be_sent_again() { ErrorClass::Unavailable } else { ErrorClass::Configuration }
    }
}
