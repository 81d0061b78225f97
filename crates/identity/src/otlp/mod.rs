//! Sends OpenTelemetry data to the operator's collector. Encoded by others; no token of the agent can come near it.

mod answer;
mod error;

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::tokens::http::{Http, Method, Request};
use crate::{Egress, OtlpProtocol, OtlpTarget};

pub use error::OtlpError;
use error::Why;

/// An answer is a few bytes, or a page that a proxy made.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends the requests of one signal, over connections that it keeps.
pub struct OtlpSender {
    http: Http,
    target: OtlpTarget,
    url: String,
}

/// The collector took the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// So many of its items it did not take, and never will.
    pub rejected: u64,
}

impl OtlpSender {
    /// Touches no network.
    #[must_use]
    pub fn new(target: &OtlpTarget, egress: &Egress) -> Self {
        let http = if target.endpoint().is_plain() { Http::of_this_host() } else { Http::new(egress) };
        Self { http, target: target.clone(), url: target.endpoint().url() }
    }

    /// Where it sends to, and how.
    #[must_use]
    pub fn target(&self) -> &OtlpTarget {
        &self.target
    }

    /// One request, encoded as the target's protocol says, once, within the target's deadline. Redirects are not followed.
    ///
    /// # Errors
    /// It was not taken, as far as is known; [`OtlpError::may_be_sent_again`] says whether that is worth it.
    pub async fn send(&self, body: Vec<u8>) -> Result<Taken, OtlpError> {
        self.send_within(body, self.target.timeout()).await
    }

    /// The same with less time than the target's.
    ///
    /// # Errors
    /// As [`OtlpSender::send`].
    pub async fn send_within(&self, body: Vec<u8>, longest: Duration) -> Result<Taken, OtlpError> {
        let content_type = match self.target.protocol() {
            OtlpProtocol::HttpProtobuf => "application/x-protobuf",
            OtlpProtocol::HttpJson => "application/json",
        };
        let mut headers = vec![("accept", Zeroizing::new(content_type.to_owned()))];
        headers.extend(self.target.headers().iter().map(|(name, value)| (name.as_str(), value.clone())));
        let request = Request {
            method: Method::Post,
            url: &self.url,
            headers,
            body: Some((content_type, Zeroizing::new(body))),
            timeout: longest.min(self.target.timeout()),
            max_body: MAX_ANSWER,
        };
        match self.http.send(request).await {
            Err(error) => Err(self.error(Why::NoAnswer(error))),
            Ok(answer) if (200..300).contains(&answer.status) => {
                Ok(Taken { rejected: answer::rejected(self.target.protocol(), &answer.body) })
            }
            Ok(answer) => {
                Err(self.error(Why::Refused { status: answer.status, retry_after: answer.retry_after }))
            }
        }
    }

    fn error(&self, why: Why) -> OtlpError {
        OtlpError::new(self.target.endpoint().host(), why)
    }
}

impl fmt::Debug for OtlpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSender").field("target", &self.target).finish_non_exhaustive()
    }
}
