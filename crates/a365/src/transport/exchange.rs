//! One request and its answer: JSON or server-sent events, under the caps.

use std::time::Duration;

use bytes::Bytes;
use entrabot_identity::AccessToken;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::failure::{self, Again, Failure, Refusal};
use super::http::{Answer, HttpClient, ProtocolHeaders};
use crate::error::CallFailure;
use crate::message::{self, Incoming};
use crate::progress::{ProgressSink, Raised};
use crate::sse::{self, SseDecoder, SseError};
use crate::{Endpoint, strict_json};

/// Most bytes of a JSON answer.
const MAX_JSON_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of an error's body that are looked at, and how long they are waited for.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_BODY_TIME: Duration = Duration::from_secs(3);

/// What one attempt sends.
pub(super) struct Attempt<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) token: &'a AccessToken,
    pub(super) protocol: ProtocolHeaders,
    pub(super) id: &'a str,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
    /// The whole time of the call, for messages.
    pub(super) total: Duration,
    pub(super) scope: Option<&'a str>,
    pub(super) progress: Option<Listener<'a>>,
}

/// Who hears of the request's progress.
#[derive(Clone, Copy)]
pub(super) struct Listener<'a> {
    pub(super) sink: &'a ProgressSink,
    /// The `source` of the messages' envelopes.
    pub(super) source: &'a str,
    /// What no message may hold.
    pub(super) bearer: &'a str,
}

impl Listener<'_> {
    fn hear(self, raised: Raised) {
        self.sink.report(raised, self.source, self.bearer);
    }
}

/// A result, and the session that came with it.
pub(super) struct Outcome {
    pub(super) result: Map<String, Value>,
    pub(super) session: Option<String>,
}

/// Sends a request and reads its answer.
pub(super) async fn request(http: &HttpClient, attempt: Attempt<'_>) -> Result<Outcome, Failure> {
    let in_session = attempt.protocol.session.is_some();
    let mut answer = http
        .post(attempt.endpoint, attempt.token, &attempt.protocol, attempt.body.clone(), attempt.deadline)
        .await?;
    if answer.status != 200 {
        return Err(refusal(&mut answer, &attempt, in_session).await);
    }
    if answer.encoded {
        return Err(Failure::after_sending(CallFailure::ContentEncoding));
    }
    let session = answer.session.take();
    let incoming = match answer.media_type.as_deref() {
        Some("application/json") => json(&mut answer, &attempt).await?,
        Some("text/event-stream") => events(&mut answer, &attempt).await?,
        _ => {
            let media_type = answer.media_type.take();
            return Err(Failure::after_sending(CallFailure::NonJson { status: 200, media_type }));
        }
    };
    match incoming {
        Incoming::Result(result) => Ok(Outcome { result, session }),
        Incoming::Error { code, message } => Err(match failure::of_rpc_error(code, message) {
            // A missing session is refused by status before anything is done; words in an answer prove no such thing.
            Failure { again: Again::Session, what, message, may_be_applied } => {
                Failure { again: Again::No, what, message, may_be_applied }
            }
            other => other,
        }),
        Incoming::Progress(_) | Incoming::ServerMessage => {
            Err(Failure::protocol("a message of the server's own in place of an answer"))
        }
        Incoming::Foreign => Err(Failure::protocol("an answer to another request")),
    }
}

/// Sends a notification; any success will do.
pub(super) async fn notify(http: &HttpClient, attempt: Attempt<'_>) -> Result<(), Failure> {
    let mut answer = http
        .post(attempt.endpoint, attempt.token, &attempt.protocol, attempt.body.clone(), attempt.deadline)
        .await?;
    if answer.status < 300 { Ok(()) } else { Err(refusal(&mut answer, &attempt, true).await) }
}

async fn json(answer: &mut Answer, attempt: &Attempt<'_>) -> Result<Incoming, Failure> {
    const TOO_LARGE: CallFailure = CallFailure::TooLarge { what: "an answer", limit: MAX_JSON_BYTES };
    let announced = answer.length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > MAX_JSON_BYTES) {
        return Err(Failure::after_sending(TOO_LARGE));
    }
    // What is announced is believed only so far.
    let mut text = Vec::with_capacity(announced.unwrap_or(4096).min(1024 * 1024));
    while let Some(chunk) = answer.chunk(attempt.deadline, attempt.total).await? {
        if text.len() + chunk.len() > MAX_JSON_BYTES {
            return Err(Failure::after_sending(TOO_LARGE));
        }
        text.extend_from_slice(&chunk);
    }
    if text.is_empty() {
        return Err(Failure::protocol("HTTP 200 without an answer to the request"));
    }
    message::read(&text, attempt.id).map_err(|error| malformed(&error))
}

/// Reads events until the answer with our id, then lets go of the stream: it may stay open for ever.
async fn events(answer: &mut Answer, attempt: &Attempt<'_>) -> Result<Incoming, Failure> {
    let mut reading =
        Reading { id: attempt.id, progress: attempt.progress, found: None, any: false, foreign: false };
    let mut decoder = SseDecoder::default();
    loop {
        match answer.chunk(attempt.deadline, attempt.total).await {
            Ok(Some(chunk)) => decoder.feed(&chunk, |event| reading.take(&event)).map_err(of_sse)?,
            Ok(None) => {
                if let Some(event) = decoder.finish().map_err(of_sse)? {
                    reading.take(&event);
                }
                return match reading.found {
                    Some(found) => found,
                    None if reading.foreign => Err(Failure::protocol("answers to other requests only")),
                    None => Err(reading.ended(Failure::after_sending(CallFailure::Disconnected))),
                };
            }
            Err(failure) => return Err(reading.ended(failure)),
        }
        if let Some(found) = reading.found.take() {
            return found;
        }
    }
}

struct Reading<'a> {
    id: &'a str,
    progress: Option<Listener<'a>>,
    found: Option<Result<Incoming, Failure>>,
    any: bool,
    foreign: bool,
}

impl Reading<'_> {
    /// Whether to read on.
    fn take(&mut self, event: &sse::Event) -> bool {
        self.any = true;
        if !(event.kind.is_empty() || event.kind == "message") {
            return true;
        }
        match message::read(event.data.as_bytes(), self.id) {
            Ok(Incoming::Progress(raised)) => {
                if let Some(listener) = self.progress {
                    listener.hear(raised);
                }
                return true;
            }
            Ok(Incoming::ServerMessage) => return true,
            Ok(Incoming::Foreign) => {
                self.foreign = true;
                return true;
            }
            Ok(ours) => self.found = Some(Ok(ours)),
            Err(error) => self.found = Some(Err(malformed(&error))),
        }
        false
    }

    /// A stream that ended before any event may be asked for again; one that had begun may not.
    fn ended(&self, failure: Failure) -> Failure {
        let again = match failure.what {
            CallFailure::Disconnected if !self.any => Again::IfRead { after: None },
            _ => Again::No,
        };
        Failure { again, ..failure }
    }
}

fn malformed(error: &message::Malformed) -> Failure {
    match error {
        message::Malformed::NotJson(strict_json::StrictJsonError::NotJson) => {
            Failure::after_sending(CallFailure::NonJson { status: 200, media_type: None })
        }
        other => Failure::protocol(message::rule(other)),
    }
}

fn of_sse(error: SseError) -> Failure {
    match error {
        SseError::EventTooLarge => Failure::after_sending(CallFailure::TooLarge {
            what: "an event of the answer",
            limit: sse::MAX_EVENT_BYTES,
        }),
        SseError::StreamTooLarge => Failure::after_sending(CallFailure::TooLarge {
            what: "a stream of events",
            limit: sse::MAX_STREAM_BYTES,
        }),
        SseError::NotUtf8 => Failure::protocol("an event that is not UTF-8"),
    }
}

/// Reads what the status needs of the body, and no more.
async fn refusal(answer: &mut Answer, attempt: &Attempt<'_>, in_session: bool) -> Failure {
    let json = answer
        .media_type
        .as_deref()
        .is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"));
    let mut text = Vec::new();
    if answer.status >= 400 && json && !answer.encoded {
        let deadline = attempt.deadline.min(Instant::now() + ERROR_BODY_TIME);
        let reading = async {
            while let Ok(Some(chunk)) = answer.chunk(deadline, attempt.total).await {
                if text.len() + chunk.len() > MAX_ERROR_BYTES {
                    // A longer one has no message that a person wrote.
                    text.clear();
                    break;
                }
                text.extend_from_slice(&chunk);
            }
        };
        if timeout_at(deadline, reading).await.is_err() {
            text.clear();
        }
    }
    let body = strict_json::parse(&text).ok();
    failure::of_status(Refusal {
        status: answer.status,
        retry_after: answer.retry_after,
        challenge: answer.challenge.as_deref(),
        location: answer.location.take(),
        body: body.as_ref(),
        in_session,
        named_tenant: attempt.endpoint.names_tenant(),
        scope: attempt.scope,
    })
}
