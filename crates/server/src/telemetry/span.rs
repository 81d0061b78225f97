//! One operation under way, and the span that it becomes.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use entrabot_a365::{CallObservation, CallObserver, Recorded, ServerName, ToolName, TraceParent};

use super::Inner;
use super::attributes::{Dimensions, Method, ToolLabel, audit_ids, text};
use super::message::{Message, Value};

/// The error of what was dropped before it ended.
const CANCELLED: &str = "CancelledError";

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A client asks us.
    Server,
    /// We ask a Work IQ server.
    Client,
}

/// One operation under way; it is over when it is dropped.
pub(crate) struct Operation {
    inner: Option<Arc<Inner>>,
    kind: Kind,
    trace: TraceParent,
    parent: Option<[u8; 8]>,
    began: Instant,
    began_at: SystemTime,
    dimensions: Dimensions,
    recorded: Option<Recorded>,
    ended: bool,
}

impl Operation {
    pub(super) fn begin(
        inner: Option<Arc<Inner>>,
        kind: Kind,
        parent: Option<TraceParent>,
        dimensions: Dimensions,
    ) -> Self {
        let trace_id = parent.map_or_else(random, |parent| parent.trace_id);
        // What the caller does not record, we do not record either.
        let sampled = parent.is_none_or(|parent| parent.sampled);
        Self {
            inner,
            kind,
            trace: TraceParent { trace_id, span_id: random(), sampled },
            parent: parent.map(|parent| parent.span_id),
            began: Instant::now(),
            began_at: SystemTime::now(),
            dimensions,
            recorded: None,
            ended: false,
        }
    }

    /// It is about this tool.
    pub(crate) fn about(&mut self, tool: ToolLabel) {
        self.dimensions.tool = Some(tool);
    }

    /// It ended, with the stable name of its error if it failed.
    pub(crate) fn end(mut self, error_type: Option<&'static str>) {
        self.dimensions.error_type = error_type;
        self.ended = true;
    }

    /// Who hears of the calls that are made for it; nobody where telemetry is off.
    pub(crate) fn observer(&self) -> Option<Arc<dyn CallObserver>> {
        let inner = self.inner.clone()?;
        Some(Arc::new(Calls { inner, parent: self.trace }))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if !self.ended {
            self.dimensions.error_type = Some(CANCELLED);
        }
        let took = self.began.elapsed();
        let dimensions = &self.dimensions;
        inner.measure(self.kind, dimensions, took);
        if !self.trace.sampled {
            return;
        }
        let name = match &dimensions.tool {
            Some(tool) => format!("{} {}", dimensions.method.as_str(), tool.as_str()),
            None => dimensions.method.as_str().to_owned(),
        };
        let mut attributes = dimensions.attributes();
        attributes.extend(self.recorded.into_iter().flat_map(audit_ids));
        if self.kind == Kind::Server {
            attributes.push(text("network.transport", inner.transport.as_str()));
            attributes.extend(inner.session.clone().map(|session| text("mcp.session.id", session)));
        }
        let status =
            dimensions.error_type.map(|_| Value::Message(Message::new().with((3, "code"), Value::Choice(2))));
        // The sampled flag, and whether the parent is known to be elsewhere: W3C's and OTLP's bits.
        let flags = if self.kind == Kind::Server && self.parent.is_some() { 0x301 } else { 0x101 };
        let span = Message::new()
            .with((1, "traceId"), Value::Id(self.trace.trace_id.to_vec()))
            .with((2, "spanId"), Value::Id(self.trace.span_id.to_vec()))
            .with_some((4, "parentSpanId"), self.parent.map(|id| Value::Id(id.to_vec())))
            .with((5, "name"), Value::Text(name.into()))
            .with((6, "kind"), Value::Choice(if self.kind == Kind::Server { 2 } else { 3 }))
            .with((7, "startTimeUnixNano"), Value::Fixed(nanos(self.began_at)))
            .with((8, "endTimeUnixNano"), Value::Fixed(nanos(self.began_at + took)))
            .with((9, "attributes"), Value::Messages(attributes))
            .with_some((15, "status"), status)
            .with((16, "flags"), Value::Fixed32(flags));
        inner.queue(span);
    }
}

/// The calls to Work IQ that one operation makes.
struct Calls {
    inner: Arc<Inner>,
    parent: TraceParent,
}

impl CallObserver for Calls {
    fn begins(&self, server: &ServerName, tool: &ToolName) -> Box<dyn CallObservation> {
        // A listing is on record under names of ours.
        let listing = matches!(tool.as_str(), "tools.list" | "tools.trust");
        let dimensions = Dimensions {
            method: if listing { Method::ToolsList } else { Method::ToolsCall },
            tool: (!listing).then(|| ToolLabel::of_server(tool)),
            server: Some(server.clone()),
            error_type: None,
            protocol_version: None,
        };
        let inner = Some(Arc::clone(&self.inner));
        Box::new(Operation::begin(inner, Kind::Client, Some(self.parent), dimensions))
    }
}

impl CallObservation for Operation {
    fn traceparent(&self) -> Option<TraceParent> {
        Some(self.trace)
    }
    fn ended(mut self: Box<Self>, recorded: Option<Recorded>, error_type: Option<&'static str>) {
        self.recorded = recorded;
        self.end(error_type);
    }
}

pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Not all zeros, which would mean "none".
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Then nothing that needs secrets works here; an id only has to differ.
        let now = nanos(SystemTime::now()).to_le_bytes();
        bytes.iter_mut().zip(now).for_each(|(byte, other)| *byte = other);
    }
    bytes[N - 1] |= 1;
    bytes
}
