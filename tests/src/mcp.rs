//! A real MCP client (rmcp's) over stdio, for tests that are not async, and scripts for it.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult,
    ElicitationAction, ElicitationCapability, Implementation, ProtocolVersion,
};
use rmcp::service::{RequestContext, RoleClient, RunningService};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::process::Child;
use tokio::runtime::Runtime;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running MCP server and the session with it.
pub struct Client {
    runtime: Runtime,
    session: Option<RunningService<RoleClient, Person>>,
    child: Child,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("pid", &self.child.id()).finish_non_exhaustive()
    }
}

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revision {
    /// `initialize`, at the newest revision that has it.
    Handshake,
    /// `server/discover` and metadata in every request: 2026-07-28.
    Stateless,
}

/// Who sits before the client, and what they answer when a server asks.
#[derive(Debug, Clone, Default)]
pub struct Person {
    decides: Option<ElicitationAction>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Person {
    /// Accepts whatever is asked.
    #[must_use]
    pub fn who_accepts() -> Self {
        Self { decides: Some(ElicitationAction::Accept), ..Self::default() }
    }

    /// Declines whatever is asked.
    #[must_use]
    pub fn who_declines() -> Self {
        Self { decides: Some(ElicitationAction::Decline), ..Self::default() }
    }

    /// Every question so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = self.decides.as_ref().map(|_| ElicitationCapability::new());
        ClientConfig::new(capabilities, Implementation::new("entrabot-tests", "0"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        if let ElicitRequestParams::FormElicitationParams { message, .. } = request {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
        Ok(ElicitResult::new(self.decides.clone().unwrap_or(ElicitationAction::Cancel)))
    }
}

/// What a tool call gave.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The tool.
    pub tool: String,
    /// Whether the server says that the tool failed.
    pub is_error: bool,
    /// `structuredContent`; null when absent.
    pub structured: Value,
    /// The text of the first text block.
    pub text: String,
    /// All content blocks as they came.
    pub content: Value,
    /// `_meta`; null when absent.
    #[serde(rename = "_meta")]
    pub meta: Value,
    /// How long the call took.
    pub milliseconds: f64,
}

impl Answer {
    /// The structured content, or else the first text block as JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        if self.structured.is_null() {
            serde_json::from_str(&self.text).unwrap_or(Value::Null)
        } else {
            self.structured.clone()
        }
    }
}

impl Client {
    /// Starts the server and completes the handshake. Its stderr goes where the command says, by
    /// default to ours.
    ///
    /// # Errors
    /// When it does not start, or does not answer `initialize`.
    pub fn start(command: Command) -> io::Result<Self> {
        Self::start_with(command, Person::default(), Revision::Handshake)
    }

    /// The same for a person who can be asked, at a revision of one's choice.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub fn start_with(command: Command, person: Person, revision: Revision) -> io::Result<Self> {
        let lifecycle = match revision {
            Revision::Handshake => ClientLifecycleMode::Initialize,
            Revision::Stateless => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let (session, child) = runtime.block_on(async {
            let mut child = command.spawn()?;
            let stdin = child.stdin.take().ok_or_else(|| io::Error::other("the server has no stdin"))?;
            let stdout = child.stdout.take().ok_or_else(|| io::Error::other("the server has no stdout"))?;
            let session =
                tokio::time::timeout(PATIENCE, person.serve_with_lifecycle((stdout, stdin), lifecycle));
            Ok::<_, io::Error>((session.await?.map_err(io::Error::other)?, child))
        })?;
        Ok(Self { runtime, session: Some(session), child })
    }

    /// Process id of the server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What the server said of itself: the result of `initialize`.
    #[must_use]
    pub fn server(&self) -> Value {
        let info = self.session.as_ref().and_then(|session| session.peer_info());
        info.and_then(|info| serde_json::to_value(info).ok()).unwrap_or_default()
    }

    /// All tools, as `tools/list` defines them.
    ///
    /// # Errors
    /// When the server refuses, is gone, or takes too long.
    pub fn tools(&self) -> io::Result<Vec<Value>> {
        let session = self.session()?;
        let tools = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, session.list_all_tools()).await })?;
        let tools = tools.map_err(io::Error::other)?;
        tools.iter().map(|tool| serde_json::to_value(tool).map_err(io::Error::other)).collect()
    }

    /// Calls a tool; `arguments` is a JSON object.
    ///
    /// # Errors
    /// When the server answers a JSON-RPC error, is gone, or takes too long. A tool that fails is no
    /// error here: [`Answer::is_error`] says so.
    pub fn call(&self, tool: &str, arguments: &Value) -> io::Result<Answer> {
        let arguments = match arguments {
            Value::Object(arguments) => arguments.clone(),
            Value::Null => Map::new(),
            _ => return Err(io::Error::other("the arguments of a tool are a JSON object")),
        };
        let session = self.session()?;
        let begun = Instant::now();
        let parameters = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, session.call_tool(parameters)).await })?
            .map_err(io::Error::other)?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
        let result = serde_json::to_value(result).map_err(io::Error::other)?;
        let blocks = result["content"].as_array().cloned().unwrap_or_default();
        let text =
            blocks.iter().find(|block| block["type"] == "text").and_then(|block| block["text"].as_str());
        Ok(Answer {
            tool: tool.to_owned(),
            is_error: result["isError"] == true,
            structured: result["structuredContent"].clone(),
            text: text.unwrap_or_default().to_owned(),
            content: result["content"].clone(),
            meta: result["_meta"].clone(),
            milliseconds,
        })
    }

    /// Closes the session and waits for the server to end by itself.
    ///
    /// # Errors
    /// When it does not within ten seconds; it is killed then.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        if let Some(session) = self.session.take() {
            // Closing can fail only when the server is already gone.
            let _gone = self.runtime.block_on(session.cancel());
        }
        self.runtime.block_on(async {
            match tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await {
                Ok(status) => status,
                Err(late) => {
                    self.child.kill().await?;
                    Err(late.into())
                }
            }
        })
    }

    fn session(&self) -> io::Result<&RunningService<RoleClient, Person>> {
        self.session.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// One step of a script.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The tool to call.
    pub tool: String,
    /// Its arguments. In every string `${name.path.to.member}` stands for a member of the result that
    /// an earlier step saved; a string that is nothing else takes the member's type. An object
    /// `{"$file": "path"}` stands for the text of a file.
    #[serde(default)]
    pub arguments: Value,
    /// The name later steps know the result by.
    #[serde(default)]
    pub save: Option<String>,
    /// The tool is meant to fail.
    #[serde(default)]
    pub expect_error: bool,
}

/// Plays a script; `told` gets each answer as it comes.
///
/// # Errors
/// When a call does not come through, a name is unknown, or a tool fails that should not (or the reverse).
pub fn play(
    client: &Client,
    steps: &[Step],
    mut told: impl FnMut(&Answer) -> io::Result<()>,
) -> io::Result<()> {
    let mut saved = Map::new();
    for step in steps {
        let arguments = filled(&step.arguments, &saved)?;
        let answer = client.call(&step.tool, &arguments)?;
        told(&answer)?;
        if answer.is_error != step.expect_error {
            let what = if answer.is_error { "failed" } else { "was meant to fail" };
            return Err(io::Error::other(format!("{} {what}: {}", step.tool, answer.text)));
        }
        if let Some(name) = &step.save {
            saved.insert(name.clone(), answer.value());
        }
    }
    Ok(())
}

/// The arguments with all references replaced.
fn filled(value: &Value, saved: &Map<String, Value>) -> io::Result<Value> {
    Ok(match value {
        Value::String(text) => filled_text(text, saved)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| filled(item, saved)).collect::<io::Result<_>>()?)
        }
        Value::Object(members) => {
            if let (1, Some(path)) = (members.len(), members.get("$file").and_then(Value::as_str)) {
                return Ok(Value::String(std::fs::read_to_string(Path::new(path))?));
            }
            let filled = members.iter().map(|(name, value)| Ok((name.clone(), filled(value, saved)?)));
            Value::Object(filled.collect::<io::Result<_>>()?)
        }
        other => other.clone(),
    })
}

fn filled_text(text: &str, saved: &Map<String, Value>) -> io::Result<Value> {
    if let Some(path) =
        text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).filter(|path| !path.contains('$'))
    {
        return looked_up(path, saved);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((path, after)) = after.split_once('}') else { break };
        out.push_str(before);
        match looked_up(path, saved)? {
            Value::String(text) => out.push_str(&text),
            other => out.push_str(&other.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(Value::String(out))
}

fn looked_up(path: &str, saved: &Map<String, Value>) -> io::Result<Value> {
    let mut parts = path.split('.');
    let mut value = saved.get(parts.next().unwrap_or_default());
    for part in parts {
        value = match value {
            Some(Value::Array(items)) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            Some(other) => other.get(part),
            None => None,
        };
    }
    value.cloned().ok_or_else(|| io::Error::other(format!("no earlier step gave {path}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_keep_their_type_alone_and_become_text_within_text() {
        let saved = json!({"a": {"list": [{"n": 7}], "name": "x"}});
        let saved = saved.as_object().expect("an object");
        let arguments =
            json!({"whole": "${a.list.0.n}", "part": "<${a.name}-${a.list.0.n}>", "plain": "$ {x}"});
        let expected = json!({"whole": 7, "part": "<x-7>", "plain": "$ {x}"});
        assert_eq!(filled(&arguments, saved).expect("all names are known"), expected);
        assert!(filled(&json!("${b.c}"), saved).is_err());
    }
}
