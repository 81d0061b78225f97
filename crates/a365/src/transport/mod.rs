//! The one way out to Work IQ: a recorded call goes in, a settled one comes out.

mod conversation;
mod exchange;
mod failure;
mod http;
mod server_state;

use std::path::Path;
use std::sync::Arc;

use entrabot_audit::{Permit, Settled};
use entrabot_identity::{Egress, TokenSource};
use serde_json::{Map, Value};

use crate::catalog::Effect;
use crate::definitions::{Definition, PinState, PinStore};
use crate::error::{CallError, CallFailure, Fate, UpstreamText};
use crate::message::{self, BadResult};
use crate::reply::{Body, Reply};
use crate::tool_call::Request;
use crate::xpia::Wrapping;
use crate::{A365Error, ToolCall, schema};
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
    /// A transport that keeps the pins of tool definitions in `data_dir`, and puts what comes back in envelopes
    /// unless `wrap` is off.
    ///
    /// # Errors
    /// [`A365Error::Setup`]: the CA bundle or the proxy cannot be used.
    pub fn new(egress: &Egress, data_dir: &Path, wrap: bool) -> Result<Self, A365Error> {
        Ok(Self {
            http: HttpClient::new(egress)?,
            states: ServerStates::default(),
            pins: Arc::new(PinStore::new(data_dir)),
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
        // Closing the span blocks for one write.
        match tokio::task::spawn_blocking(move || permit.finish(result)).await {
            Ok(settled) => settled,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down, and this future with it.
            Err(_) => std::future::pending().await,
        }
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

    async fn converse(&self, call: &ToolCall, conversation: &mut Conversation<'_>) -> Result<Reply, Failure> {
        match call.request() {
            Request::List => {
                let definitions = conversation.list_tools().await?;
                Ok(self.reply(call, Body::Definitions(definitions), 0))
            }
            Request::Call { arguments, effect, checked } => {
                let pinned = *effect == Effect::Write && self.is_pinned(call).await?;
                if pinned || *checked {
                    self.check_definition(call, arguments, pinned, *checked, conversation).await?;
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
        let result = message::read_call_result(result).map_err(|bad| match bad {
            BadResult::Rule(rule) => Failure::protocol(rule),
            BadResult::TooLarge => Failure::after_sending(CallFailure::TooLarge {
                what: "a file or text",
                limit: 5 * 1024 * 1024,
            }),
        })?;
        if result.is_error {
            return Err(failure::of_tool_error(result.text));
        }
        if result.body.is_empty() && call.effect() == Effect::Read {
            return Err(Failure::protocol("an answer without content"));
        }
        Ok(self.reply(call, result.body, result.skipped))
    }

    /// Holds the call to the definition that its server advertises: to its schema, and, where the tool is pinned,
    /// to the pin. Nothing of the call has left yet.
    async fn check_definition(
        &self,
        call: &ToolCall,
        arguments: &Map<String, Value>,
        pinned: bool,
        checked: bool,
        conversation: &mut Conversation<'_>,
    ) -> Result<(), Failure> {
        let definitions = match conversation.definitions().await {
            Ok(definitions) => definitions,
            // A server that lists nothing has the last word on the arguments itself; a pin has no such excuse.
            Err(Failure { what: CallFailure::Upstream { .. } | CallFailure::UnknownTool, .. }) if !pinned => {
                return Ok(());
            }
            Err(failure) => return Err(Failure { may_be_applied: false, ..failure }),
        };
        let name = call.tool().as_str();
        let Some(definition) = definitions.iter().find(|definition| definition.name == name) else {
            return Err(Failure::before_sending(CallFailure::UnknownTool));
        };
        if pinned && self.pin_state(call, definition).await? == PinState::Changed {
            return Err(Failure::before_sending(CallFailure::DefinitionChanged));
        }
        if checked {
            schema::check(&definition.input_schema, arguments)
                .map_err(|rule| Failure::before_sending(CallFailure::ArgumentsRefused { rule }))?;
        }
        Ok(())
    }

    /// The first definition of a tool that writes is trusted and recorded, after its first call: there is nothing
    /// to compare before it, and a server that offers no listing still works.
    async fn pin_first_seen(&self, call: &ToolCall, conversation: &mut Conversation<'_>) {
        let Ok(definitions) = conversation.definitions_within(std::time::Duration::from_secs(5)).await else {
            tracing::debug!(server = %call.server_name(), "no listing of tools to pin");
            return;
        };
        let name = call.tool().as_str();
        let Some(definition) = definitions.iter().find(|definition| definition.name == name) else { return };
        let pins = vec![(pin_key(call, name), definition.sha256.clone())];
        if let Err(error) = self.with_pins(move |store| store.pin(&pins, false)).await {
            tracing::warn!(%error, "the tool's definition could not be pinned");
        }
    }

    /// Pins the definitions of a listing anew.
    pub(crate) async fn trust(&self, call: &ToolCall, definitions: &[Definition]) -> Result<(), CallError> {
        let pins: Vec<_> = definitions
            .iter()
            .map(|definition| (pin_key(call, &definition.name), definition.sha256.clone()))
            .collect();
        self.with_pins(move |store| store.pin(&pins, true))
            .await
            .map_err(|error| self.error(call, pins_failure(&error), None))
    }

    async fn is_pinned(&self, call: &ToolCall) -> Result<bool, Failure> {
        let key = pin_key(call, call.tool().as_str());
        self.with_pins(move |store| store.is_pinned(&key)).await.map_err(|error| pins_failure(&error))
    }

    async fn pin_state(&self, call: &ToolCall, definition: &Definition) -> Result<PinState, Failure> {
        let key = pin_key(call, &definition.name);
        let sha256 = definition.sha256.clone();
        self.with_pins(move |store| store.state(&key, &sha256)).await.map_err(|error| pins_failure(&error))
    }

    /// The pins lie in a file, and files block.
    async fn with_pins<T: Send + 'static>(
        &self,
        run: impl FnOnce(&PinStore) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let store = Arc::clone(&self.pins);
        tokio::task::spawn_blocking(move || run(&store)).await.map_err(std::io::Error::other)?
    }

    fn reply(&self, call: &ToolCall, body: Body, skipped: usize) -> Reply {
        let source = format!("a365:{}.{}", call.server_name(), call.tool());
        Reply::new(body, skipped, source, self.wrapping)
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

fn pin_key(call: &ToolCall, tool: &str) -> String {
    format!("{}/{}/{tool}", call.server().endpoint().host(), call.server_name())
}

fn pins_failure(error: &std::io::Error) -> Failure {
    let reason = match error.kind() {
        std::io::ErrorKind::InvalidData => "the file is damaged".into(),
        kind => kind.to_string().into(),
    };
    Failure::before_sending(CallFailure::Pins { reason })
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
