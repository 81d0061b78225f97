//! What the MCP conformance suite expects of a server under test, behind the product's own HTTP stack.
//!
//! `conformance_server [--sessions]`: says on stderr where it listens and serves until its stdin closes. The tools,
//! resources and prompts are data, in `conformance/fixture.json`. With `--sessions`, clients of the older revisions get
//! one, so that a tool may ask them something.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
    CompleteRequestParams, CompleteResult, ErrorCode, ErrorData, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, Implementation, InputRequest, InputRequiredResult, InputResponses, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, RequestStateCodec, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

const TTL_MS: u64 = 1_000;
/// The suite wants to see that messages come one after the other.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct Data {
    tools: BTreeMap<String, ToolData>,
    resources: BTreeMap<String, Map<String, Value>>,
    prompts: BTreeMap<String, PromptData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolData {
    input_schema: Option<Map<String, Value>>,
    #[serde(default)]
    logs: Vec<String>,
    #[serde(default)]
    progress: Vec<f64>,
    /// Capabilities without which the client is refused.
    requires: Option<ClientCapabilities>,
    /// What a client of the older revisions is asked in the middle of the call.
    asks: Option<Value>,
    #[serde(default)]
    rounds: Rounds,
    result: Option<Value>,
}

#[derive(Deserialize)]
struct PromptData {
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    rounds: Rounds,
    result: Value,
}

/// What a client of 2026-07-28 has to answer before it gets its result, round after round.
type Rounds = Vec<BTreeMap<String, InputRequest>>;

#[derive(Clone)]
struct Fixture {
    data: Arc<Data>,
    states: Arc<RequestStateCodec>,
}

impl Fixture {
    fn load() -> Result<Self, Box<dyn Error>> {
        let data = serde_json::from_str(include_str!("../conformance/fixture.json"))?;
        // Whoever kills the server loses the rounds that were under way.
        let key = uuid::Uuid::new_v4().into_bytes().repeat(2);
        Ok(Self { data: Arc::new(data), states: Arc::new(RequestStateCodec::try_new(key)?) })
    }

    fn tool(name: &str, data: &ToolData) -> Tool {
        let schema = data.input_schema.clone();
        let schema = schema.unwrap_or_else(|| object(json!({"type": "object", "properties": {}})));
        Tool::new(name.to_owned(), "Of the conformance suite", schema)
    }

    /// What is still to be asked, if anything.
    fn next_round(
        &self,
        rounds: &Rounds,
        answers: Option<&InputResponses>,
        state: Option<&str>,
        able: &ClientCapabilities,
    ) -> Result<Option<InputRequiredResult>, ErrorData> {
        let opened = state.map(|sealed| self.states.open_json::<usize>(sealed)).transpose();
        let current = opened
            .map_err(|_| ErrorData::invalid_params("the request state is not ours", None))?
            .unwrap_or(0);
        let answered = |round: &BTreeMap<String, InputRequest>| {
            round.keys().all(|key| answers.and_then(|answers| answers.get(key)).is_some_and(Value::is_object))
        };
        let ask = match rounds.get(current) {
            Some(round) if answered(round) => current + 1,
            _ => current,
        };
        let Some(round) = rounds.get(ask) else { return Ok(None) };
        let round = round.iter().filter(|(_, request)| can_answer(able, request));
        let round = round.map(|(key, request)| (key.clone(), request.clone())).collect();
        let sealed = self.states.seal_json(&ask).map_err(broken)?;
        Ok(Some(InputRequiredResult::new(Some(round), Some(sealed))))
    }
}

fn can_answer(able: &ClientCapabilities, request: &InputRequest) -> bool {
    match request {
        InputRequest::CreateMessage(_) => able.sampling.is_some(),
        InputRequest::Elicitation(_) => able.elicitation.is_some(),
        InputRequest::ListRoots(_) => able.roots.is_some(),
        _ => false,
    }
}

#[expect(deprecated, reason = "the suite of the older revision asks for them")]
impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("conformance fixture", "1"))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.data.tools.iter().map(|(name, data)| Self::tool(name, data)).collect();
        Ok(ListToolsResult::with_all_items(tools).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.data.tools.get(name).map(|data| Self::tool(name, data))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.data.tools.get(&*call.name) else {
            return Err(ErrorData::invalid_params("there is no such tool", None));
        };
        let able = context.client_capabilities().unwrap_or_default();
        if let Some(required) = &tool.requires
            && (required.sampling.is_some() && able.sampling.is_none())
        {
            return Err(ErrorData::missing_required_client_capability(required.clone()));
        }
        let (answers, state) = (call.input_responses.as_ref(), call.request_state.as_deref());
        if let Some(ask) = self.next_round(&tool.rounds, answers, state, &able)? {
            return Ok(ask.into());
        }
        for text in &tool.logs {
            if logs_are_wanted(&context) {
                let message = from_json(json!({"level": "info", "data": text}))?;
                context.peer.notify_logging_message(message).await.map_err(broken)?;
            }
            tokio::time::sleep(BETWEEN_MESSAGES).await;
        }
        for progress in &tool.progress {
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, *progress).with_total(100.0);
                context.peer.notify_progress(progress).await.map_err(broken)?;
            }
            tokio::time::sleep(BETWEEN_MESSAGES).await;
        }
        if let Some(asks) = &tool.asks {
            let answer = context.peer.send_request(from_json(asks.clone())?).await.map_err(broken)?;
            let answer = serde_json::to_string(&answer).map_err(broken)?;
            return complete::<CallToolResult>(json!({"content": [{"type": "text", "text": answer}]}))
                .map(Into::into);
        }
        complete::<CallToolResult>(tool.result.clone().unwrap_or_default()).map(Into::into)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = self.data.resources.iter();
        let resources: Vec<Value> = resources
            .map(|(uri, data)| json!({"uri": uri, "name": uri, "description": uri, "mimeType": data["mimeType"]}))
            .collect();
        Ok(ListResourcesResult::with_all_items(from_json(resources.into())?)
            .with_ttl_ms(TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!([{"uriTemplate": "test://template/{id}/data", "name": "by id",
            "description": "Data of an id", "mimeType": "application/json"}]);
        Ok(ListResourceTemplatesResult::with_all_items(from_json(template)?)
            .with_ttl_ms(TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        read: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let id = read.uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let mut content = match (self.data.resources.get(&read.uri), id) {
            (Some(data), _) => data.clone(),
            (None, Some(id)) => {
                let text = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                object(json!({"mimeType": "application/json", "text": text.to_string()}))
            }
            (None, None) => {
                let data = json!({"uri": read.uri});
                return Err(ErrorData::invalid_params("there is no such resource", Some(data)));
            }
        };
        content.insert("uri".into(), read.uri.into());
        let result: ReadResourceResult = complete(json!({"contents": [content]}))?;
        Ok(result.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Private).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompts = self.data.prompts.iter().map(|(name, data)| {
            let arguments = data.arguments.iter().map(|name| json!({"name": name, "required": true}));
            json!({"name": name, "description": name, "arguments": arguments.collect::<Vec<_>>()})
        });
        Ok(ListPromptsResult::with_all_items(from_json(prompts.collect::<Vec<_>>().into())?)
            .with_ttl_ms(TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn get_prompt(
        &self,
        get: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let Some(prompt) = self.data.prompts.get(&get.name) else {
            return Err(ErrorData::invalid_params("there is no such prompt", None));
        };
        let able = context.client_capabilities().unwrap_or_default();
        let (answers, state) = (get.input_responses.as_ref(), get.request_state.as_deref());
        if let Some(ask) = self.next_round(&prompt.rounds, answers, state, &able)? {
            return Ok(ask.into());
        }
        let mut text = prompt.result.to_string();
        for (name, value) in get.arguments.iter().flatten() {
            // As it stands inside of a JSON string.
            let quoted = Value::from(value.as_str().unwrap_or_default()).to_string();
            text = text.replace(&format!("${{{name}}}"), quoted.trim_matches('"'));
        }
        complete::<GetPromptResult>(serde_json::from_str(&text).map_err(broken)?).map(Into::into)
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        complete(json!({"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": false}}))
    }

    async fn set_level(
        &self,
        _: rmcp::model::SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        _: rmcp::model::SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: rmcp::model::UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }
}

/// A client of the older revisions sets a level for its session, one of 2026-07-28 for each request.
fn logs_are_wanted(context: &RequestContext<RoleServer>) -> bool {
    let stateless =
        context.protocol_version().is_some_and(|version| version == ProtocolVersion::V_2026_07_28);
    !stateless || context.meta.log_level().is_some()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// A result; rmcp leaves the member of 2026-07-28 out for the older revisions.
fn complete<T: DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    result["resultType"] = "complete".into();
    from_json(result)
}

fn from_json<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ErrorData {
    ErrorData { code: ErrorCode::INTERNAL_ERROR, message: Cow::Owned(error.to_string()), data: None }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sessions = std::env::args().any(|argument| argument == "--sessions");
    let stop = CancellationToken::new();
    let end = stop.clone();
    std::thread::spawn(move || {
        // Whatever comes, the end of it is the end.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        end.cancel();
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    entrabot::test_util::serve_http(address, Fixture::load()?, sessions, stop).await?;
    Ok(())
}
