//! The task that sends: batches of spans every few seconds, all metrics every minute, and what is left at the end. It never
//! holds anybody up: calls only put spans into a queue, and what does not fit is counted and gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entrabot_identity::{Otlp, OtlpError, OtlpProtocol, OtlpSender};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::Inner;
use super::message::{Message, Value};
use crate::failure::Failure;

/// Spans that wait to be sent.
pub(super) const QUEUE: usize = 2048;
/// Spans in one request.
const BATCH: usize = 512;
const SPAN_DELAY: Duration = Duration::from_secs(5);
const METRIC_INTERVAL: Duration = Duration::from_secs(60);
/// Waits before a batch is sent again, where the collector does not say.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// No collector is waited for longer than that between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What tells the task to end: by then, it has sent what it could.
pub(super) type Stop = oneshot::Receiver<Instant>;

pub(super) struct Exporter {
    pub(super) inner: Arc<Inner>,
    pub(super) spans: mpsc::Receiver<Message>,
    pub(super) resource: Message,
    pub(super) to_traces: Option<OtlpSender>,
    pub(super) to_metrics: Option<OtlpSender>,
    /// The last request failed, and the log says so already.
    pub(super) is_failing: bool,
}

impl Exporter {
    pub(super) async fn run(mut self, otlp: Times, mut stop: Stop) {
        let mut span_tick = ticks(otlp.span_delay);
        let mut metric_tick = ticks(otlp.metric_interval);
        loop {
            let work = async {
                tokio::select! {
                    _ = span_tick.tick() => self.send_spans(None).await,
                    _ = metric_tick.tick() => self.send_metrics(None).await,
                }
            };
            tokio::select! {
                biased;
                until = &mut stop => {
                    let until = until.unwrap_or_else(|_| Instant::now());
                    // A request that was under way is not sent twice; what it carried counts as lost.
                    self.send_spans(Some(until)).await;
                    self.send_metrics(Some(until)).await;
                    return;
                }
                () = work => {}
            }
        }
    }

    /// Everything that waits, at most until then.
    async fn send_spans(&mut self, until: Option<Instant>) {
        if self.to_traces.is_none() {
            return;
        }
        loop {
            let mut spans = Vec::new();
            while spans.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                spans.push(span);
            }
            if spans.is_empty() {
                return;
            }
            // Counted first, so that a task that is ended in the middle leaves a true number behind.
            let underway = Underway::new(&self.inner.not_taken, spans.len());
            let request = enclose(&self.resource, Shape::TRACES, spans);
            let sender = self.to_traces.as_ref();
            let sent = deliver(sender, &request, until).await;
            if sent.is_ok() {
                underway.taken();
            }
            self.tell("traces", sent);
        }
    }

    async fn send_metrics(&mut self, until: Option<Instant>) {
        let metrics = self.inner.metrics();
        if self.to_metrics.is_none() || metrics.is_empty() {
            return;
        }
        let request = enclose(&self.resource, Shape::METRICS, metrics);
        let sent = deliver(self.to_metrics.as_ref(), &request, until).await;
        self.tell("metrics", sent);
    }

    /// Once when it begins to fail, and once when it works again.
    fn tell(&mut self, what: &'static str, sent: Result<u64, OtlpError>) {
        match sent {
            Ok(rejected) => {
                if rejected > 0 {
                    tracing::warn!(what, rejected, "the collector did not take all of it");
                }
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(what, "the collector takes telemetry again");
                }
            }
            Err(error) => {
                let failure = Failure::of(&error);
                if std::mem::replace(&mut self.is_failing, true) {
                    tracing::debug!(what, error = failure.message(), "telemetry was not taken");
                } else {
                    tracing::warn!(
                        what,
                        error = failure.message(),
                        error_type = failure.error_type(),
                        hint = failure.hint(),
                        "telemetry was not taken; the agent works on without"
                    );
                }
            }
        }
    }
}

/// Counts spans as lost until they are known to be taken.
struct Underway<'a> {
    lost: &'a AtomicU64,
    count: u64,
}

impl<'a> Underway<'a> {
    fn new(lost: &'a AtomicU64, count: usize) -> Self {
        let count = count as u64;
        lost.fetch_add(count, Ordering::Relaxed);
        Self { lost, count }
    }
    fn taken(self) {
        self.lost.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// How often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    span_delay: Duration,
    metric_interval: Duration,
}

impl Times {
    pub(super) fn of(otlp: &Otlp) -> Self {
        Self {
            span_delay: otlp.span_delay().unwrap_or(SPAN_DELAY),
            metric_interval: otlp.metric_interval().unwrap_or(METRIC_INTERVAL),
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One request, sent again as OTLP allows; at the end, only as long as there is time. How many of its items were rejected.
async fn deliver(
    sender: Option<&OtlpSender>,
    request: &Message,
    until: Option<Instant>,
) -> Result<u64, OtlpError> {
    let Some(sender) = sender else { return Ok(0) };
    let body = match sender.target().protocol() {
        OtlpProtocol::HttpJson => request.to_json().to_string().into_bytes(),
        _ => request.to_protobuf(),
    };
    let mut pauses = PAUSES.into_iter();
    loop {
        let longest =
            until.map_or(sender.target().timeout(), |until| until.saturating_duration_since(Instant::now()));
        let error = match sender.send_within(body.clone(), longest).await {
            Ok(taken) => return Ok(taken.rejected),
            Err(error) => error,
        };
        let Some(pause) = pauses.next().filter(|_| error.may_be_sent_again()) else { return Err(error) };
        let again = Instant::now() + error.retry_after().unwrap_or(pause).min(LONGEST_PAUSE);
        if until.is_some_and(|until| again >= until) {
            return Err(error);
        }
        match until {
            Some(until) => drop(timeout_at(until, sleep_until(again)).await),
            None => sleep_until(again).await,
        }
    }
}

/// The names of the two levels around the items: they are alike but for that.
struct Shape {
    of_resource: &'static str,
    of_scope: &'static str,
    items: &'static str,
}

impl Shape {
    const TRACES: Self = Self { of_resource: "resourceSpans", of_scope: "scopeSpans", items: "spans" };
    const METRICS: Self = Self { of_resource: "resourceMetrics", of_scope: "scopeMetrics", items: "metrics" };
}

fn enclose(resource: &Message, shape: Shape, items: Vec<Message>) -> Message {
    let scope = Message::new()
        .with((1, "name"), Value::Text("entrabot.server".into()))
        .with((2, "version"), Value::Text(env!("CARGO_PKG_VERSION").into()));
    let scoped = Message::new()
        .with((1, "scope"), Value::Message(scope))
        .with((2, shape.items), Value::Messages(items));
    let of_resource = Message::new()
        .with((1, "resource"), Value::Message(resource.clone()))
        .with((2, shape.of_scope), Value::Messages(vec![scoped]));
    Message::new().with((1, shape.of_resource), Value::Messages(vec![of_resource]))
}
