//! Traces and metrics for the operator's OpenTelemetry collector, where the settings name one.
//!
//! The records are the audit's business; this says how long things take and what fails, to whoever watches a fleet. Nothing
//! here can hold up or fail a call, and nothing of a call but its names gets in: see [`attributes`].

mod attributes;
mod exporter;
mod message;
mod metrics;
mod span;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrabot_a365::TraceParent;
use entrabot_identity::{Config, Egress, Otlp, OtlpSender, OtlpSignal};
use rmcp::model::{ProtocolVersion, RequestMetaObject};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use attributes::{Dimensions, text};
pub(crate) use attributes::{Method, ToolLabel};
use exporter::{Exporter, Times};
use message::{Message, Value};
use metrics::{Lost, Metrics};
use span::Kind;
pub(crate) use span::Operation;

use crate::failure::Failure;

/// How long the collector is waited for at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// What the server is reached over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Stdio,
    Http,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "pipe",
            Self::Http => "tcp",
        }
    }
}

/// Where operations are told of. Cheap to clone; off unless an endpoint is named.
#[derive(Clone, Default)]
pub(crate) struct Telemetry {
    inner: Option<Arc<Inner>>,
}

/// What calls and the exporter share.
struct Inner {
    transport: Transport,
    /// Of the one session that there is over stdio; over HTTP there is none.
    session: Option<String>,
    spans: Option<mpsc::Sender<Message>>,
    metrics: Mutex<Metrics>,
    queue_full: AtomicU64,
    not_taken: AtomicU64,
}

/// The exporter at work.
pub(crate) struct Exporting {
    stop: oneshot::Sender<Instant>,
    task: JoinHandle<()>,
    inner: Arc<Inner>,
}

impl Telemetry {
    /// Starts the exporter on this runtime, where the settings name an endpoint.
    pub(crate) fn start(config: &Config, egress: &Egress, transport: Transport) -> (Self, Option<Exporting>) {
        let otlp = match config.otlp() {
            Ok(otlp) => otlp,
            Err(error) => {
                let failure = Failure::of(error);
                tracing::warn!(error = failure.message(), hint = failure.hint(), "no telemetry");
                return (Self::default(), None);
            }
        };
        let sender = |signal| otlp.target(signal).map(|target| OtlpSender::new(target, egress));
        let (to_traces, to_metrics) = (sender(OtlpSignal::Traces), sender(OtlpSignal::Metrics));
        if to_traces.is_none() && to_metrics.is_none() {
            return (Self::default(), None);
        }
        let (queue, spans) = mpsc::channel(exporter::QUEUE);
        let inner = Arc::new(Inner {
            transport,
            session: matches!(transport, Transport::Stdio).then(|| uuid::Uuid::new_v4().to_string()),
            spans: to_traces.is_some().then_some(queue),
            metrics: Mutex::new(Metrics::new()),
            queue_full: AtomicU64::new(0),
            not_taken: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let exporter = Exporter {
            inner: Arc::clone(&inner),
            spans,
            resource: resource(config, otlp),
            to_traces,
            to_metrics,
            is_failing: false,
        };
        let task = tokio::spawn(exporter.run(Times::of(otlp), stopped));
        tracing::info!("traces and metrics go to an OpenTelemetry collector");
        (Self { inner: Some(Arc::clone(&inner)) }, Some(Exporting { stop, task, inner }))
    }

    /// A client asks for something; the trace that it belongs to is in its `_meta`.
    pub(crate) fn request(
        &self,
        method: Method,
        meta: &RequestMetaObject,
        version: Option<ProtocolVersion>,
    ) -> Operation {
        let parent = meta.get("traceparent").and_then(|text| TraceParent::parse(text.as_str()?));
        // Of the versions there are, and not what somebody claims.
        let protocol_version = ProtocolVersion::KNOWN_VERSIONS
            .iter()
            .find(|known| Some(*known) == version.as_ref())
            .map(ProtocolVersion::as_str);
        let dimensions = Dimensions { method, tool: None, server: None, error_type: None, protocol_version };
        Operation::begin(self.inner.clone(), Kind::Server, parent, dimensions)
    }
}

impl Inner {
    fn measure(&self, kind: Kind, dimensions: &Dimensions, took: Duration) {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).measure(kind, dimensions, took);
    }

    fn queue(&self, span: Message) {
        if let Some(spans) = &self.spans
            && spans.try_send(span).is_err()
        {
            self.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lost(&self) -> Lost {
        Lost {
            queue_full: self.queue_full.load(Ordering::Relaxed),
            not_taken: self.not_taken.load(Ordering::Relaxed),
        }
    }

    fn metrics(&self) -> Vec<Message> {
        let lost = self.lost();
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).messages(lost)
    }
}

impl Exporting {
    /// Sends what is left, within two seconds.
    pub(crate) async fn stop(self) {
        // An exporter that is gone has nothing left.
        let _gone = self.stop.send(Instant::now() + FLUSH);
        if tokio::time::timeout(FLUSH + Duration::from_millis(200), self.task).await.is_err() {
            tracing::warn!("the collector did not take the last telemetry in time");
        }
        let Lost { queue_full, not_taken } = self.inner.lost();
        if queue_full + not_taken > 0 {
            tracing::warn!(queue_full, not_taken, "spans did not reach the collector");
        }
    }
}

/// Who the data is about: what the operator says, then what we know.
fn resource(config: &Config, otlp: &Otlp) -> Message {
    let mut attributes: Vec<(Cow<'static, str>, String)> =
        otlp.resource().iter().map(|(key, value)| (key.clone().into(), value.clone())).collect();
    let ours = [
        ("service.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("service.instance.id", Some(uuid::Uuid::new_v4().to_string())),
        ("telemetry.sdk.name", Some("entrabot".to_owned())),
        ("telemetry.sdk.language", Some("rust".to_owned())),
        ("telemetry.sdk.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("gen_ai.agent.id", config.agent_id().map(ToString::to_string)),
    ];
    for (key, value) in ours {
        if let Some(value) = value
            && !attributes.iter().any(|(known, _)| known == key)
        {
            attributes.push((key.into(), value));
        }
    }
    let attributes = attributes.into_iter().map(|(key, value)| text(key, value)).collect();
    Message::new().with((1, "attributes"), Value::Messages(attributes))
}

#[cfg(test)]
mod tests {
    use entrabot_a365::{ServerName, ToolName};
    use rmcp::model::MetaObject;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

    fn started(variables: &[(&str, &str)]) -> (Telemetry, Option<Exporting>) {
        let config = Config::from_variables(variables.iter().copied()).unwrap();
        let egress = Egress::from_config(&config).unwrap();
        Telemetry::start(&config, &egress, Transport::Stdio)
    }

    fn meta(traceparent: &str) -> RequestMetaObject {
        let mut meta = MetaObject::default();
        meta.insert("traceparent".into(), traceparent.into());
        RequestMetaObject(meta)
    }

    #[tokio::test]
    async fn nothing_is_done_unless_an_endpoint_is_named() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4317")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:9"), ("OTEL_SDK_DISABLED", "true")],
        ] {
            let (telemetry, exporting) = started(variables);
            assert!(exporting.is_none() && telemetry.inner.is_none());
            let operation = telemetry.request(Method::ToolsList, &RequestMetaObject::default(), None);
            assert!(operation.observer().is_none());
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_into_the_queue_is_counted_and_holds_nobody_up() {
        // Nobody listens there, and the exporter does not get to run before we wait for something.
        let (telemetry, exporting) = started(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:9")]);
        let begun = Instant::now();
        for _ in 0..exporter::QUEUE + 500 {
            telemetry.request(Method::ToolsList, &RequestMetaObject::default(), None).end(None);
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(telemetry.inner.as_ref().unwrap().lost().queue_full, 500);
        let begun = Instant::now();
        exporting.unwrap().stop().await;
        assert!(begun.elapsed() < FLUSH + Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(telemetry.inner.unwrap().lost().not_taken, exporter::QUEUE as u64);
    }

    #[tokio::test]
    async fn a_trace_that_the_caller_does_not_record_is_measured_and_not_recorded() {
        let (telemetry, _exporting) = started(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:9"),
            ("OTEL_BSP_SCHEDULE_DELAY", "86400000"),
        ]);
        let inner = telemetry.inner.clone().unwrap();
        let queued = || exporter::QUEUE - inner.spans.as_ref().unwrap().capacity();
        for (flags, spans) in [("0", 0), ("1", 2)] {
            let meta = meta(&format!("{PARENT}{flags}"));
            let operation = telemetry.request(Method::ToolsCall, &meta, None);
            let calls = operation.observer().unwrap();
            let (server, tool) = (ServerName::parse("s").unwrap(), ToolName::parse("T").unwrap());
            let call = calls.begins(&server, &tool);
            let told = call.traceparent().unwrap().to_string();
            assert!(told.starts_with(&PARENT[..35]) && told.ends_with(flags), "{told}");
            assert!(!told.contains("b7ad6b7169203331"), "a span of its own: {told}");
            call.ended(None, None);
            operation.end(None);
            assert_eq!(queued(), spans);
        }
        assert_eq!(inner.metrics().len(), 2);
    }
}
