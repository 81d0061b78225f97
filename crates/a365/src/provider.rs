use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use entrabot_audit::{AuditLog, Recorded, SettleError};
use entrabot_identity::{Config, Diagnose as _, Egress, TokenSource};
use serde_json::{Map, Value};

use crate::catalog::KnownTool;
use crate::definitions::ToolDefinition;
use crate::error::CallFailure;
use crate::manifest::ManifestSource;
use crate::observer::{CallObserver, Observer};
use crate::pins::{self, PinSeal};
use crate::{
    A365Error, Offer, OfferedTool, ProgressSink, Reply, Server, ServerName, Servers, ToolCall, ToolName,
    Transport,
};

/// A result and the ids under which its call is on record.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered<T = Reply> {
    /// What the tool answered.
    pub reply: T,
    /// The audit ids, for the result's `_meta`.
    pub recorded: Recorded,
}

/// Definitions that are the pinned ones from here on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trusted {
    /// The tools, as their server defines them now.
    pub tools: Vec<ToolDefinition>,
    /// The pins there were could not be relied on, so all of them were dropped, also those of other servers: those are
    /// trusted anew at their next use.
    pub pins_begun_anew: bool,
}

/// The audited door: `pending` → token → call → outcome. Cheap to clone; clones share connections and caches.
#[derive(Clone, Debug)]
pub struct WorkIqProvider {
    inner: Arc<Inner>,
    progress: Option<ProgressSink>,
    observer: Option<Observer>,
}

#[derive(Debug)]
struct Inner {
    audit: AuditLog,
    tokens: Arc<dyn TokenSource>,
    transport: Transport,
    manifest: ManifestSource,
    /// Where each of entrabot's own tools was found last: address of the server, and the tool's name there.
    routes: Mutex<HashMap<KnownTool, Route>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) server: ServerName,
    pub(crate) tool: ToolName,
}

impl WorkIqProvider {
    /// Touches no file but the CA bundle, no keyring and no network: the manifest is read at each call, so that a
    /// server starts without one. The keyring vouches for the pins, where the settings use one.
    ///
    /// # Errors
    /// [`A365Error::Base`], [`A365Error::Setup`].
    pub fn new(
        config: &Config,
        audit: AuditLog,
        tokens: Arc<dyn TokenSource>,
        egress: &Egress,
    ) -> Result<Self, A365Error> {
        Self::with_seal(config, audit, tokens, egress, pins::of_config(config))
    }

    /// The same with a seal of the caller's for the pins, or with none: then they are as safe as the data directory.
    ///
    /// # Errors
    /// As [`WorkIqProvider::new`].
    pub fn with_seal(
        config: &Config,
        audit: AuditLog,
        tokens: Arc<dyn TokenSource>,
        egress: &Egress,
        seal: Option<Arc<dyn PinSeal>>,
    ) -> Result<Self, A365Error> {
        let transport = Transport::new(egress, config.data_dir(), seal, config.xpia_wrap())?;
        let manifest = ManifestSource::from_config(config)?;
        let inner = Inner { audit, tokens, transport, manifest, routes: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), progress: None, observer: None })
    }

    /// The same door, of whose calls' progress `sink` hears.
    #[must_use]
    pub fn reporting_to(&self, sink: ProgressSink) -> Self {
        Self { progress: Some(sink), ..self.clone() }
    }

    /// The same door, of each of whose calls `observer` hears.
    #[must_use]
    pub fn observed_by(&self, observer: Arc<dyn CallObserver>) -> Self {
        Self { observer: Some(Observer(observer)), ..self.clone() }
    }

    /// One audited call of exactly this server and tool.
    ///
    /// # Errors
    /// See [`A365Error`]; the span is closed whatever happens, also when the future is dropped.
    pub async fn call_tool(&self, call: ToolCall) -> Result<Answered, A365Error> {
        let call = match &self.progress {
            Some(sink) => call.reporting_to(sink.clone()),
            None => call,
        };
        let Some(Observer(observer)) = &self.observer else { return self.call_on_record(call).await };
        let observation = observer.begins(call.server_name(), call.tool());
        let call = match observation.traceparent() {
            Some(trace) => call.traced(trace),
            None => call,
        };
        let result = self.call_on_record(call).await;
        match &result {
            Ok(answered) => observation.ended(Some(answered.recorded), None),
            Err(error) => observation.ended(error.recorded(), Some(error.error_type())),
        }
        result
    }

    async fn call_on_record(&self, call: ToolCall) -> Result<Answered, A365Error> {
        // Durable on disk before anything leaves.
        let permit = self.inner.audit.permit_async(call).await?;
        let settled = self.inner.transport.send(permit, self.inner.tokens.as_ref()).await;
        let recorded = settled.recorded();
        match settled.into_result() {
            Ok(reply) => Ok(Answered { reply, recorded }),
            Err(SettleError::Failed(error)) => Err(A365Error::Call { error: Box::new(error), recorded }),
            Err(SettleError::OutcomeLost { result, lost }) => {
                Err(A365Error::OutcomeLost { result: Box::new(result), lost, recorded })
            }
            // The audit crate may learn new ways to fail; none of them is a success.
            Err(_) => Err(A365Error::Setup { reason: "the audit log gave an unknown answer".into() }),
        }
    }

    /// One audited call of any configured server's tool. The arguments are checked against the schema that the
    /// server advertises before they leave.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn call(
        &self,
        server: &ServerName,
        tool: &ToolName,
        arguments: Map<String, Value>,
    ) -> Result<Answered, A365Error> {
        let server = self.server(server).await?;
        self.call_tool(ToolCall::new(&server, tool.clone(), arguments).checked()).await
    }

    /// What a configured server offers (`tools/list`), on record like any call.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn list_tools(&self, server: &ServerName) -> Result<Answered<Vec<ToolDefinition>>, A365Error> {
        let server = self.server(server).await?;
        let Answered { reply, recorded } = self.call_tool(ToolCall::list(&server)).await?;
        Ok(Answered { reply: reply.definitions(), recorded })
    }

    /// What a configured server offers, for a client: each tool is pinned, or held to its pin, and what is shown of it
    /// is capped, cleaned and enveloped. On record like any call.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn offer(&self, server: &ServerName) -> Result<Answered<Offer>, A365Error> {
        let server = self.server(server).await?;
        let Answered { reply, recorded } = self.call_tool(ToolCall::offer(&server)).await?;
        let listing = reply.listing().expect("the answer to a listing is one");
        let offer = Offer::of(server.name(), listing, reply.source(), reply.wrapping());
        Ok(Answered { reply: offer, recorded })
    }

    /// One audited call of an offered tool, held to the very definition that was offered, with arguments that fit it.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn call_offered(
        &self,
        offered: &OfferedTool,
        arguments: Map<String, Value>,
    ) -> Result<Answered, A365Error> {
        let server = self.server(offered.server()).await?;
        let call = ToolCall::new(&server, offered.tool().clone(), arguments);
        self.call_tool(call.held_to(offered.sha256().to_owned())).await
    }

    /// Accepts the definitions that a server advertises now, after [`CallFailure::DefinitionChanged`] or
    /// [`CallFailure::PinsBroken`]: they are what its tools are held to from here on. On record as `tools.trust`.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn trust(&self, server: &ServerName) -> Result<Answered<Trusted>, A365Error> {
        let server = self.server(server).await?;
        let Answered { reply, recorded } = self.call_tool(ToolCall::trust(&server)).await?;
        let pins_begun_anew = reply.listing().is_some_and(|listing| listing.pins_begun_anew);
        Ok(Answered { reply: Trusted { tools: reply.definitions(), pins_begun_anew }, recorded })
    }

    /// The servers of the manifest, read now.
    ///
    /// # Errors
    /// [`A365Error::ManifestNotFound`], [`A365Error::ManifestInvalid`].
    pub async fn servers(&self) -> Result<Servers, A365Error> {
        let manifest = self.inner.manifest.clone();
        entrabot_identity::off_runtime(move || manifest.load()).await
    }

    async fn server(&self, name: &ServerName) -> Result<Server, A365Error> {
        let servers = self.servers().await?;
        servers.get(name).cloned().ok_or_else(|| A365Error::ServerNotConfigured { server: name.clone() })
    }

    /// One of entrabot's own tools, wherever and under whatever name it is offered. Each attempt is a call of its
    /// own on record, under the server and the name that were really called.
    pub(crate) async fn known(
        &self,
        tool: KnownTool,
        arguments: Map<String, Value>,
    ) -> Result<(Answered, Route), A365Error> {
        let servers = self.servers().await?;
        let mut candidates = self.candidates(tool, &servers);
        if candidates.is_empty() {
            let server = ServerName::parse(tool.servers()[0]).expect("the catalog's names are server names");
            return Err(A365Error::ServerNotConfigured { server });
        }
        if let Some(route) = self.route(tool)
            && let Some(at) = candidates.iter().position(|server| *server.name() == route.server)
        {
            let server = candidates.remove(at);
            match self.attempt(&server, route.tool.clone(), &arguments).await {
                Err(error) if is_unknown_tool(&error) => candidates.insert(at, server),
                other => return other,
            }
        }
        let mut last = None;
        for server in candidates {
            // The likeliest name first, without asking; what the server lists only where that is not there.
            let first = ToolName::parse(tool.names()[0]).expect("the catalog's names are tool names");
            match self.attempt(&server, first, &arguments).await {
                Err(error) if is_unknown_tool(&error) => last = Some(error),
                other => return self.remember(tool, other),
            }
            let Some(alias) = self.alias(tool, &server).await? else { continue };
            match self.attempt(&server, alias, &arguments).await {
                Err(error) if is_unknown_tool(&error) => last = Some(error),
                other => return self.remember(tool, other),
            }
        }
        Err(last.expect("there was a candidate, and it had no such tool"))
    }

    async fn attempt(
        &self,
        server: &Server,
        tool: ToolName,
        arguments: &Map<String, Value>,
    ) -> Result<(Answered, Route), A365Error> {
        let route = Route { server: server.name().clone(), tool: tool.clone() };
        let answered = self.call_tool(ToolCall::new(server, tool, arguments.clone())).await?;
        Ok((answered, route))
    }

    /// The name under which a server lists the tool.
    async fn alias(&self, tool: KnownTool, server: &Server) -> Result<Option<ToolName>, A365Error> {
        let Answered { reply, .. } = self.call_tool(ToolCall::list(server)).await?;
        let Some(listing) = reply.listing() else { return Ok(None) };
        let definitions = &listing.definitions;
        let offered = |name: &&&str| definitions.iter().any(|definition| definition.name == **name);
        let known = tool.names().iter().find(offered).map(|name| (*name).to_owned());
        let spelled_otherwise = || {
            definitions
                .iter()
                .find(|definition| {
                    tool.names().iter().any(|name| name.eq_ignore_ascii_case(&definition.name))
                })
                .map(|definition| definition.name.clone())
        };
        Ok(known.or_else(spelled_otherwise).and_then(|name| ToolName::parse(&name).ok()))
    }

    /// The configured servers that may offer the tool, the one to prefer first.
    fn candidates(&self, tool: KnownTool, servers: &Servers) -> Vec<Server> {
        tool.servers().iter().filter_map(|name| servers.find(name)).cloned().collect()
    }

    fn route(&self, tool: KnownTool) -> Option<Route> {
        self.inner.routes.lock().unwrap_or_else(PoisonError::into_inner).get(&tool).cloned()
    }

    fn remember(
        &self,
        tool: KnownTool,
        result: Result<(Answered, Route), A365Error>,
    ) -> Result<(Answered, Route), A365Error> {
        if let Ok((_, route)) = &result {
            self.inner.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(tool, route.clone());
        }
        result
    }
}

fn is_unknown_tool(error: &A365Error) -> bool {
    matches!(error.call_error().map(crate::CallError::failure), Some(CallFailure::UnknownTool))
}
