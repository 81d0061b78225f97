//! What can be made to go wrong, by a test in this process or through the control endpoint.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http::{Answer, Request, Step};
use super::{Role, entra};

/// A rule: the requests it is about, and what happens to them.
///
/// Rules are tried in the order they were set; the first that applies decides.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Only requests to this listener.
    pub target: Option<Role>,
    /// Only this method.
    pub method: Option<String>,
    /// Only paths (with the query) that contain this.
    pub path_contains: Option<String>,
    /// Only this hop of the token exchange: 1, 2 or 3.
    pub hop: Option<u8>,
    /// Only `tools/call` of this tool, or, with a slash in it, this JSON-RPC method (`tools/list`).
    pub tool: Option<String>,
    /// Lets this many matching requests pass first.
    pub skip: u32,
    /// Applies to this many requests; for ever when unset.
    pub times: Option<u32>,
    /// What happens.
    pub effect: Effect,
}

/// What happens to a request that a [`Fault`] is about.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing: the request is only let through.
    #[default]
    Pass,
    /// Handled as usual, answered this many milliseconds later.
    DelayMs(u64),
    /// Never handled, never answered; the connection stays open.
    Hang,
    /// Never handled; the connection is closed without a byte.
    Close,
    /// Handled as usual, but the connection is closed instead of the answer.
    CloseAfterEffect,
    /// Never handled; answered with exactly this.
    Respond {
        /// Status code.
        status: u16,
        /// More headers; `Content-Type` is JSON unless one is given.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body, verbatim.
        #[serde(default)]
        body: String,
    },
    /// A hostile case of Work IQ by its name (see [`crate::cases`]), around the true result.
    Case(String),
    /// Never handled; a JSON-RPC answer to the request with this result.
    Result(serde_json::Value),
    /// Answered by the server at this address, which speaks plain HTTP on this machine; whole, once it is complete.
    Relay(String),
}

impl Fault {
    /// A fault of the token endpoint.
    #[must_use]
    pub fn sts(effect: Effect) -> Self {
        Self {
            target: Some(Role::Authority),
            path_contains: Some("/token".into()),
            effect,
            ..Self::default()
        }
    }

    /// A fault of one hop of the token exchange.
    #[must_use]
    pub fn hop(hop: u8, effect: Effect) -> Self {
        Self { hop: Some(hop), ..Self::sts(effect) }
    }

    /// A fault of Graph.
    #[must_use]
    pub fn graph(effect: Effect) -> Self {
        Self { target: Some(Role::Graph), effect, ..Self::default() }
    }

    /// A fault of Work IQ.
    #[must_use]
    pub fn a365(effect: Effect) -> Self {
        Self { target: Some(Role::A365), effect, ..Self::default() }
    }

    /// A hostile case for calls of one tool.
    #[must_use]
    pub fn case(tool: &str, case: &str) -> Self {
        Self { tool: Some(tool.into()), ..Self::a365(Effect::Case(case.into())) }
    }

    /// The same fault for the first `times` matching requests only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Whether it is about this request.
    fn matches(&self, role: Role, request: &Request) -> bool {
        let path = format!("{}?{}", request.path, request.query);
        self.target.is_none_or(|target| target == role)
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&request.method))
            && self.path_contains.as_ref().is_none_or(|part| path.contains(part.as_str()))
            && self.hop.is_none_or(|hop| request.form().and_then(|form| entra::hop_of(&form)) == Some(hop))
            && self.tool.as_ref().is_none_or(|tool| {
                let body = request.json().unwrap_or_default();
                let named = if tool.contains('/') { &body["method"] } else { &body["params"]["name"] };
                named.as_str() == Some(tool.as_str())
            })
    }

    /// Uses the rule up by one, if it applies.
    fn take(&mut self, role: Role, request: &Request) -> bool {
        if self.times == Some(0) || !self.matches(role, request) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        true
    }
}

impl Effect {
    /// The name in the record.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Pass => "pass".into(),
            Self::DelayMs(_) => "delay".into(),
            Self::Hang => "hang".into(),
            Self::Close => "close".into(),
            Self::CloseAfterEffect => "close_after_effect".into(),
            Self::Respond { status, .. } => format!("respond_{status}"),
            Self::Case(name) => name.clone(),
            Self::Result(_) => "result".into(),
            Self::Relay(_) => "relay".into(),
        }
    }

    /// Applies it around the honest answer.
    pub(crate) fn apply(&self, request: &Request, honest: impl FnOnce() -> Answer) -> Answer {
        match self {
            Self::Pass => honest(),
            Self::DelayMs(milliseconds) => {
                let mut answer = honest();
                answer.delay += Duration::from_millis(*milliseconds);
                answer
            }
            Self::Hang => Answer::script(0, [Step::Hold]),
            Self::Close => Answer::script(0, []),
            Self::CloseAfterEffect => {
                let _unsent = honest();
                Answer::script(0, [])
            }
            Self::Respond { status, headers, body } => {
                let typed = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                let kind = typed.map_or("application/json; charset=utf-8", |(_, value)| value.as_str());
                let mut answer = Answer::whole(*status, kind, body.clone().into_bytes());
                for (name, value) in headers {
                    if !name.eq_ignore_ascii_case("content-type") {
                        answer = answer.with(name, value);
                    }
                }
                answer
            }
            Self::Case(name) => super::work_iq::hostile::answer(name, request, honest),
            Self::Result(result) => {
                let id = request.json().unwrap_or_default()["id"].clone();
                Answer::json(200, &serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result}))
            }
            Self::Relay(url) => super::relay::answer(url, request),
        }
    }
}

/// The first rule that applies, used up by one.
pub(crate) fn take(faults: &mut [Fault], role: Role, request: &Request) -> Option<Effect> {
    faults.iter_mut().find_map(|fault| fault.take(role, request).then(|| fault.effect.clone()))
}

/// How the cloud behaves when nothing is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// A new directory object is seen by reads, references and the token endpoint only after this.
    pub replication_delay_ms: u64,
    /// A changed certificate list reaches the token endpoint only after this.
    pub certificate_delay_ms: u64,
    /// Application roles that the Provisioner app is treated as lacking.
    pub missing_permissions: Vec<String>,
    /// Life of an access token in seconds.
    pub token_lifetime_s: i64,
    /// A resource that the directory does not know is taken for Microsoft Graph, so that there can be many.
    pub any_resource: bool,
    /// Each client assertion may be used once; without it only a second assertion with an old `jti` is refused.
    pub assertion_once: bool,
    /// Work IQ answers as `sse` or as `json`.
    pub work_iq_format: WorkIqFormat,
    /// Work IQ also fills `structuredContent`.
    pub structured_content: bool,
    /// Work IQ demands `initialize` and its session header first.
    pub require_session: bool,
    /// Work IQ demands the tenant in the path.
    pub require_tenant_url: bool,
    /// Work IQ demands a Microsoft 365 Copilot licence of the acting user.
    pub require_copilot_licence: bool,
    /// Word tools go by the documented names (`WordCreateNewDocument` ...) instead of the live ones.
    pub documented_tool_names: bool,
    /// Tools on one page of `tools/list`; all when 0.
    pub tools_page_size: usize,
    /// Appended to each tool's description, to change its definition.
    pub tool_description_suffix: String,
    /// Its clock is so many seconds ahead of ours, as its `Date` tells.
    pub clock_ahead_s: i64,
    /// Polls that a device code answers with `authorization_pending` first.
    pub device_polls_pending: u32,
}

/// How Work IQ frames its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkIqFormat {
    /// `text/event-stream`, as the real service does.
    #[default]
    Sse,
    /// `application/json`.
    Json,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            replication_delay_ms: 0,
            certificate_delay_ms: 0,
            missing_permissions: Vec::new(),
            token_lifetime_s: 3600,
            any_resource: false,
            assertion_once: false,
            work_iq_format: WorkIqFormat::Sse,
            structured_content: false,
            require_session: false,
            require_tenant_url: false,
            require_copilot_licence: false,
            documented_tool_names: false,
            tools_page_size: 0,
            tool_description_suffix: String::new(),
            clock_ahead_s: 0,
            device_polls_pending: 1,
        }
    }
}
