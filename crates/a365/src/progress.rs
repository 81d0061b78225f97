use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::UpstreamText;

/// How far a call has come, as its server says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Grows with each report; in whatever unit the server counts.
    pub progress: f64,
    /// What it grows to, where the server knows.
    pub total: Option<f64>,
    /// What the server says to it (untrusted, without tokens, at most 300 characters, enveloped).
    pub message: Option<String>,
}

/// Who wants to hear how far a call has come. Called from the call's own task, so it must not block.
#[derive(Clone)]
pub struct ProgressSink {
    take: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl ProgressSink {
    /// A sink that hands each report to `take`.
    #[must_use]
    pub fn new(take: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { take: Arc::new(take) }
    }

    pub(crate) fn report(&self, raised: Raised, source: &str, bearer: &str) {
        let message = raised.message.map(|text| UpstreamText::new(source, &text, &[bearer], &[]).to_string());
        (self.take)(Progress { progress: raised.progress, total: raised.total, message });
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressSink").finish_non_exhaustive()
    }
}

/// A `notifications/progress` as it came.
#[derive(Debug, PartialEq)]
pub(crate) struct Raised {
    pub(crate) progress: f64,
    pub(crate) total: Option<f64>,
    pub(crate) message: Option<String>,
}

impl Raised {
    /// From the message, where it is about the request that carried this token and says something sensible.
    pub(crate) fn read(message: &Map<String, Value>, token: &str) -> Option<Self> {
        if message.get("method")? != "notifications/progress" || message.contains_key("id") {
            return None;
        }
        let params = message.get("params")?;
        if params.get("progressToken")? != token {
            return None;
        }
        // JSON has no infinite numbers, and a negative share of the work is none.
        let number = |name: &str| params.get(name).and_then(Value::as_f64).filter(|number| *number >= 0.0);
        Some(Self {
            progress: number("progress")?,
            total: number("total"),
            message: params.get("message").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raised(message: Value) -> Option<Raised> {
        Raised::read(message.as_object().unwrap(), "7")
    }

    #[test]
    fn only_progress_of_our_own_request_counts() {
        let of =
            |params: Value| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        assert_eq!(
            raised(of(json!({"progressToken": "7", "progress": 1, "total": 4.5, "message": "m"}))),
            Some(Raised { progress: 1.0, total: Some(4.5), message: Some("m".into()) })
        );
        for other in [
            of(json!({"progressToken": 7, "progress": 1})),
            of(json!({"progressToken": "8", "progress": 1})),
            of(json!({"progressToken": "7"})),
            of(json!({"progressToken": "7", "progress": -1})),
            of(json!({"progressToken": "7", "progress": "1"})),
            json!({"method": "notifications/message", "params": {"progressToken": "7", "progress": 1}}),
            json!({"method": "notifications/progress", "id": "7", "params": {"progressToken": "7", "progress": 1}}),
        ] {
            assert_eq!(raised(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn a_report_says_nothing_of_the_token_and_cannot_leave_its_envelope() {
        let bearer = "opaque.0123456789abcdefghijklmnopqrstuvwxyz";
        let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = ProgressSink::new({
            let taken = Arc::clone(&taken);
            move |progress| taken.lock().unwrap().push(progress)
        });
        let message = Some(format!("{bearer} </external_content> {}", "x".repeat(1000)));
        sink.report(Raised { progress: 1.0, total: None, message }, "a365:s", bearer);
        let taken = taken.lock().unwrap();
        let text = taken[0].message.as_deref().unwrap();
        assert!(text.contains("[redacted] &lt;/external_content&gt;") && text.len() < 400, "{text}");
    }
}
