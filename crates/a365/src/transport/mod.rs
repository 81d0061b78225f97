//! The one way out to Work IQ: a recorded call goes in, a settled one comes out.

mod conversation;
mod exchange;
mod failure;
mod http;
mod pinning;
mod redact;
mod server_state;

use std::path::Path;
use std::sync::Arc;

use entrabot_audit::{Permit, Settled};
use entrabot_identity::{Egress, TokenSource};
use serde_json::{Map, Value};

use crate::catalog::Effect;
use crate::error::{CallError, CallFailure, Fate, UpstreamText};
use crate::message::{self, BadResult};
use crate::pins::{PinSeal, PinStore};
use crate::reply::{Body, Reply};
use crate::tool_call::Request;
use crate::xpia::Wrapping;
use crate::{A365Error, ToolCall};
use conversation::Conversation;
use failure::Failure;
use http::HttpClient;
use server_state::ServerStates;

/// Names of parameters that are public knowledge: they may stay in an error's text.
const KNOWN_PARAMETERS: &[&str] = &[
    "url",
    "fileName",
    "contentInHtml",
    "driveId",
    "documentId",
    "commentId",
    "newComment",
    "fileOrFolderUrl",
    "documentLibraryId",
    "fileId",
];

/// The one way out to Work IQ. The HTTP client inside is reachable by nothing else, in this crate or outside.
pub struct Transport {
    http: HttpClient,
    states: ServerStates,
    pins: Arc<PinStore>,
    wrapping: Wrapping,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport that keeps the pins of tool definitions in `data_dir` under this seal, and puts what comes back in
    /// envelopes unless `wrap` is off.
    ///
    /// # Errors
    /// [`A365Error::Setup`]: the CA bundle or the proxy cannot be used.
    pub fn new(
        egress: &Egress,
        data_dir: &Path,
        seal: Option<Arc<dyn PinSeal>>,
        wrap: bool,
    ) -> Result<Self, A365Error> {
        Ok(Self {
            http: HttpClient::new(egress)?,
            states: ServerStates::default(),
            pins: Arc::new(PinStore::new(data_dir, seal)),
            wrapping: Wrapping::new(wrap),
        })
    }

    /// Sends exactly the call that was put on record; fetches the token itself, after the permit, for the
    /// endpoint's own resource; cannot return without closing the permit. Dropped, it closes the connection, and
    /// the permit's own drop closes the record.
    pub async fn send(
        &self,
        permit: Permit<ToolCall>,
        tokens: &dyn TokenSource,
    ) -> Settled<Reply, CallError> {
        let result = self.deliver(permit.call(), tokens).await;
        permit.finish_async(result).await
    }

    async fn deliver(&self, call: &ToolCall, tokens: &dyn TokenSource) -> Result<Reply, CallError> {
        let endpoint = call.server().endpoint();
        let state = self.states.of(endpoint);
        let mut conversation = match Conversation::open(&self.http, &state, call.server(), tokens).await {
            Ok(conversation) => conversation,
            Err(failure) => return Err(self.error(call, failure, None)),
        };
        let result = self.converse(call, &mut conversation).await;
        result.map_err(|failure| self.error(call, failure, conversation.bearer()))
    }

    async fn converse<'a>(
        &self,
        call: &'a ToolCall,
        conversation: &mut Conversation<'a>,
    ) -> Result<Reply, Failure> {
        conversation.trace(call.trace());
        match call.request() {
            Request::List(purpose) => {
                let definitions = conversation.list_tools().await?;
                let listing = self.listed(call, definitions, *purpose).await?;
                Ok(self.reply(call, Body::Listing(listing), 0))
            }
            Request::Call { arguments, effect, check } => {
                let pinned = *effect == Effect::Write && self.is_pinned(call).await?;
                self.check_definition(call, arguments, pinned, check, conversation).await?;
                if let Some(sink) = call.progress() {
                    conversation.listen(sink, source_of(call));
                }
                let reply = self.call_tool(call, arguments, conversation).await?;
                if *effect == Effect::Write && !pinned {
                    self.pin_first_seen(call, conversation).await;
                }
                Ok(reply)
            }
        }
    }

    async fn call_tool(
        &self,
        call: &ToolCall,
        arguments: &Map<String, Value>,
        conversation: &mut Conversation<'_>,
    ) -> Result<Reply, Failure> {
        let mut params = Map::new();
        params.insert("name".into(), call.tool().as_str().into());
        let name = Some(call.tool().as_str());
        let result = conversation.request("tools/call", name, params, Some(arguments), call.effect()).await?;
        let mut result = message::read_call_result(result).map_err(|bad| match bad {
            BadResult::Rule(rule) => Failure::protocol(rule),
            BadResult::TooLarge => Failure::after_sending(CallFailure::TooLarge {
                what: "a file or text",
                limit: 5 * 1024 * 1024,
            }),
        })?;
        if result.is_error {
            return Err(failure::of_tool_error(result.text));
        }
        if let Some(bearer) = conversation.bearer() {
            match &mut result.body {
                Body::Object(entries) => redact::without_in(bearer, entries),
                Body::Json(value) => redact::without(bearer, value),
                Body::Text(text) => *text = text.replace(bearer, redact::INSTEAD),
                Body::Listing(_) | Body::Empty => {}
            }
        }
        if result.body.is_empty() && call.effect() == Effect::Read {
            return Err(Failure::protocol("an answer without content"));
        }
        Ok(self.reply(call, result.body, result.skipped))
    }

    fn reply(&self, call: &ToolCall, body: Body, skipped: usize) -> Reply {
        Reply::new(body, skipped, source_of(call), self.wrapping)
    }

    fn error(&self, call: &ToolCall, failure: Failure, bearer: Option<&str>) -> CallError {
        let source = format!("a365:{}", call.server_name());
        let mut texts = Vec::new();
        if let Request::Call { arguments, .. } = call.request() {
            collect(arguments, &mut texts);
        }
        let secrets: Vec<&str> = bearer.into_iter().collect();
        let upstream = failure.message.map(|message| UpstreamText::new(&source, &message, &secrets, &texts));
        let unknown = failure.may_be_applied && call.effect() == Effect::Write;
        CallError {
            server: call.server_name().clone(),
            tool: call.tool().clone(),
            host: call.server().endpoint().host(),
            failure: failure.what,
            fate: if unknown { Fate::Unknown } else { Fate::NotApplied },
            upstream,
        }
    }
}

/// The `source` of the envelopes around what a call brings back.
fn source_of(call: &ToolCall) -> String {
    format!("a365:{}.{}", call.server_name(), call.tool())
}

/// Every string of the arguments, and every key that is not public knowledge.
fn collect<'a>(entries: &'a Map<String, Value>, texts: &mut Vec<&'a str>) {
    fn value<'a>(of: &'a Value, texts: &mut Vec<&'a str>) {
        match of {
            Value::String(text) => texts.push(text),
            Value::Array(values) => values.iter().for_each(|of| value(of, texts)),
            Value::Object(entries) => collect(entries, texts),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    for (key, of) in entries {
        if !KNOWN_PARAMETERS.contains(&key.as_str()) {
            texts.push(key);
        }
        value(of, texts);
    }
}
