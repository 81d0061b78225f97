//! All attempts of one call: the token, the retries, the deadline, the revision the server speaks.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entrabot_identity::{AccessToken, TokenSource};
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, timeout_at};

use super::exchange::{self, Attempt, Listener};
use super::failure::{Again, Failure};
use super::http::{HttpClient, ProtocolHeaders};
use super::redact;
use super::server_state::{Mode, ServerState};
use crate::Server;
use crate::catalog::Effect;
use crate::definitions::{Definition, MAX_TOOLS};
use crate::error::CallFailure;
use crate::message;
use crate::observer::TraceParent;
use crate::progress::ProgressSink;

/// The whole time of a call, from the token on.
const TOTAL: Duration = Duration::from_secs(30);
/// Copilot thinks before it answers.
const TOTAL_COPILOT: Duration = Duration::from_secs(120);
const COPILOT: &str = "mcp_M365Copilot";
const MAX_RETRIES: u32 = 2;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_PAGES: usize = 10;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One call's way to its server and back.
pub(super) struct Conversation<'a> {
    http: &'a HttpClient,
    state: &'a ServerState,
    server: &'a Server,
    tokens: &'a dyn TokenSource,
    token: AccessToken,
    deadline: Instant,
    total: Duration,
    refreshed: bool,
    sessions: u32,
    /// Who hears of the call's progress, and the `source` of its messages.
    progress: Option<(&'a ProgressSink, String)>,
    /// What the server is told of the call's trace.
    trace: Option<TraceParent>,
    _slot: SemaphorePermit<'a>,
}

impl<'a> Conversation<'a> {
    /// Waits for a free slot and a token.
    pub(super) async fn open(
        http: &'a HttpClient,
        state: &'a ServerState,
        server: &'a Server,
        tokens: &'a dyn TokenSource,
    ) -> Result<Self, Failure> {
        let total = if server.name().as_str().eq_ignore_ascii_case(COPILOT) { TOTAL_COPILOT } else { TOTAL };
        let slot = match timeout_at(Instant::now() + total, state.slots.acquire()).await {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) | Err(_) => {
                return Err(Failure::before_sending(CallFailure::Timeout {
                    waiting_for: "other calls of this server",
                    seconds: total.as_secs(),
                }));
            }
        };
        let resource = server.endpoint().resource();
        // The hops have deadlines of their own.
        let token = tokens.token(resource).await.map_err(|error| {
            Failure::before_sending(CallFailure::Token { scope: resource.scope().to_owned(), error })
        })?;
        let deadline = Instant::now() + total;
        Ok(Self {
            http,
            state,
            server,
            tokens,
            token,
            deadline,
            total,
            refreshed: false,
            sessions: 0,
            progress: None,
            trace: None,
            _slot: slot,
        })
    }

    /// Hears of the call's progress from here on.
    pub(super) fn listen(&mut self, sink: &'a ProgressSink, source: String) {
        self.progress = Some((sink, source));
    }

    /// The requests belong to this trace from here on.
    pub(super) fn trace(&mut self, trace: Option<TraceParent>) {
        self.trace = trace;
    }

    /// The bearer, so that what comes back can be searched for it.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.token.expose_for(self.server.endpoint().resource())
    }

    /// One JSON-RPC request, sent again as far as its effect allows.
    pub(super) async fn request(
        &mut self,
        method: &'static str,
        name: Option<&str>,
        mut params: Map<String, Value>,
        arguments: Option<&Map<String, Value>>,
        effect: Effect,
    ) -> Result<Map<String, Value>, Failure> {
        let mut retries = 0;
        let mut asked_stateless = 0;
        loop {
            let mode = self.state.mode();
            let id = next_id();
            // Only of the call itself: what stands around it is not what the caller waits for.
            let progress_token = self.progress.as_ref().filter(|_| arguments.is_some()).map(|_| id.as_str());
            match message::meta(mode == Mode::Stateless, progress_token, self.trace) {
                Some(meta) => params.insert("_meta".into(), meta),
                None => params.remove("_meta"),
            };
            let mut protocol = protocol(&mode);
            if mode == Mode::Stateless {
                protocol.method = Some(method);
                protocol.name = name.map(str::to_owned);
            }
            let body = Bytes::from(message::request(&id, method, &params, arguments));
            let failure = match self.attempt(&id, protocol, body).await {
                Ok(outcome) => return Ok(outcome.result),
                Err(failure) => failure,
            };
            let wait = match failure.again {
                Again::FreshToken { ref claims } if !self.refreshed => {
                    self.refreshed = true;
                    let resource = self.server.endpoint().resource();
                    let fresh = self.tokens.token_after_rejection(resource, &self.token, claims.as_ref());
                    self.token = fresh.await.map_err(|error| {
                        Failure::before_sending(CallFailure::Token {
                            scope: resource.scope().to_owned(),
                            error,
                        })
                    })?;
                    continue;
                }
                Again::Session if self.sessions < 2 && mode != Mode::Stateless => {
                    self.sessions += 1;
                    self.open_session().await?;
                    continue;
                }
                // Twice: a service in the middle of an upgrade refuses it with one voice and speaks it with another.
                Again::Stateless if asked_stateless < 2 => {
                    asked_stateless += 1;
                    self.state.set_mode(Mode::Stateless);
                    continue;
                }
                Again::Safe { after } => after,
                Again::IfRead { after } if effect == Effect::Read => after,
                Again::No
                | Again::IfRead { .. }
                | Again::FreshToken { .. }
                | Again::Session
                | Again::Stateless => return Err(failure),
            };
            let wait = wait.unwrap_or_else(|| backoff(retries));
            // A wait that does not fit in the deadline is the caller's to make.
            if retries == MAX_RETRIES || Instant::now() + wait >= self.deadline {
                return Err(failure);
            }
            retries += 1;
            sleep(wait).await;
        }
    }

    /// `initialize` and `notifications/initialized`.
    async fn open_session(&mut self) -> Result<(), Failure> {
        let id = next_id();
        let body = Bytes::from(message::request(&id, "initialize", &message::initialize_params(), None));
        // Whatever fails here, the call itself was not done.
        let unsent = |failure: Failure| Failure { may_be_applied: false, again: Again::No, ..failure };
        let outcome = self.attempt(&id, ProtocolHeaders::default(), body).await.map_err(unsent)?;
        let mode = Mode::Session(outcome.session);
        let attempt = self.attempt_of("", protocol(&mode), Bytes::from(message::initialized()));
        exchange::notify(self.http, attempt).await.map_err(unsent)?;
        self.state.set_mode(mode);
        Ok(())
    }

    async fn attempt(
        &self,
        id: &str,
        protocol: ProtocolHeaders,
        body: Bytes,
    ) -> Result<exchange::Outcome, Failure> {
        exchange::request(self.http, self.attempt_of(id, protocol, body)).await
    }

    fn attempt_of<'b>(&'b self, id: &'b str, protocol: ProtocolHeaders, body: Bytes) -> Attempt<'b> {
        Attempt {
            endpoint: self.server.endpoint(),
            token: &self.token,
            protocol,
            id,
            body,
            deadline: self.deadline,
            total: self.total,
            scope: self.server.scope(),
            progress: self.listener(),
        }
    }

    fn listener(&self) -> Option<Listener<'_>> {
        let (sink, source) = self.progress.as_ref()?;
        Some(Listener { sink, source, bearer: self.bearer()? })
    }

    /// What the server offers, as listed in the last minutes.
    pub(super) async fn definitions(&mut self) -> Result<Arc<[Definition]>, Failure> {
        match self.state.listing() {
            Some(listing) => Ok(listing),
            None => self.list_tools().await,
        }
    }

    /// The same, giving up early.
    pub(super) async fn definitions_within(&mut self, time: Duration) -> Result<Arc<[Definition]>, Failure> {
        self.deadline = self.deadline.min(Instant::now() + time);
        self.definitions().await
    }

    /// What the server offers now: every page, at most 10 of them and 500 tools.
    pub(super) async fn list_tools(&mut self) -> Result<Arc<[Definition]>, Failure> {
        let mut definitions: Vec<Definition> = Vec::new();
        let mut cursors: Vec<String> = Vec::new();
        loop {
            let mut params = Map::new();
            if let Some(cursor) = cursors.last() {
                params.insert("cursor".into(), cursor.as_str().into());
            }
            let mut result = self.request("tools/list", None, params, None, Effect::Read).await?;
            if let Some(bearer) = self.bearer() {
                redact::without_in(bearer, &mut result);
            }
            let Some(Value::Array(tools)) = result.remove("tools") else {
                return Err(Failure::protocol("a listing without tools"));
            };
            definitions.extend(tools.into_iter().filter_map(Definition::read));
            if definitions.len() > MAX_TOOLS {
                return Err(Failure::protocol("a listing of more than 500 tools"));
            }
            match result.remove("nextCursor") {
                None | Some(Value::Null) => break,
                Some(Value::String(cursor)) => {
                    if cursors.contains(&cursor) || cursor.len() > 4096 {
                        return Err(Failure::protocol("a listing whose pages go round in a circle"));
                    }
                    cursors.push(cursor);
                    if cursors.len() >= MAX_PAGES {
                        return Err(Failure::protocol("a listing of more than 10 pages"));
                    }
                }
                Some(_) => return Err(Failure::protocol("a cursor that is not a string")),
            }
        }
        let mut names = HashSet::new();
        if !definitions.iter().all(|definition| names.insert(definition.name.as_str())) {
            // What was pinned and what is called could be different ones.
            return Err(Failure::protocol("a listing that names a tool twice"));
        }
        let definitions: Arc<[Definition]> = definitions.into();
        self.state.set_listing(Arc::clone(&definitions));
        Ok(definitions)
    }
}

fn next_id() -> String {
    format!("entrabot-{}", NEXT_ID.fetch_add(1, Ordering::Relaxed))
}

fn protocol(mode: &Mode) -> ProtocolHeaders {
    match mode {
        Mode::Plain => ProtocolHeaders::default(),
        Mode::Session(session) => ProtocolHeaders {
            revision: Some(message::SESSION_REVISION),
            session: session.clone(),
            ..ProtocolHeaders::default()
        },
        Mode::Stateless => {
            ProtocolHeaders { revision: Some(message::STATELESS_REVISION), ..ProtocolHeaders::default() }
        }
    }
}

/// Full jitter: anything up to the doubled bound, so that clients that failed together do not come back together.
fn backoff(retries: u32) -> Duration {
    let bound = FIRST_BACKOFF * 2_u32.pow(retries.min(4));
    // The hasher's keys are random per value, which is all that jitter needs.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let fraction = f64::from(u32::try_from(random & 0xffff).unwrap_or_default()) / 65536.0;
    bound.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_is_jittered_and_bounded() {
        let waits: Vec<Duration> = (0..64).map(|_| backoff(1)).collect();
        assert!(waits.iter().all(|wait| *wait < FIRST_BACKOFF * 2));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
