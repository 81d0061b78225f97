//! How long operations take, counted since the start, and what was lost on the way to the collector.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::attributes::{Dimensions, text};
use super::message::{Message, Value};
use super::span::{Kind, nanos};

/// The conventions' own bounds, in seconds.
const BOUNDS: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// More series than that share one, as the specification has it.
const MOST_SERIES: usize = 2000;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: Value = Value::Choice(2);

#[derive(Debug)]
pub(super) struct Metrics {
    since: SystemTime,
    durations: BTreeMap<Series, Histogram>,
}

/// One series; `None`: those that are too many.
type Series = (Kind, Option<Dimensions>);

#[derive(Debug, Default)]
struct Histogram {
    buckets: Vec<u64>,
    sum: f64,
    least: Option<f64>,
    most: f64,
}

/// Spans that did not reach the collector.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    pub(super) queue_full: u64,
    pub(super) not_taken: u64,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self { since: SystemTime::now(), durations: BTreeMap::new() }
    }

    pub(super) fn measure(&mut self, kind: Kind, dimensions: &Dimensions, took: Duration) {
        let series = (kind, Some(dimensions.clone()));
        let full = self.durations.len() >= MOST_SERIES && !self.durations.contains_key(&series);
        let series = if full { (kind, None) } else { series };
        self.durations.entry(series).or_default().add(took.as_secs_f64());
    }

    /// Every metric as it is now.
    pub(super) fn messages(&self, lost: Lost) -> Vec<Message> {
        let now = SystemTime::now();
        let mut metrics = Vec::new();
        for (kind, name, what) in [
            (Kind::Server, "mcp.server.operation.duration", "Requests of MCP clients"),
            (Kind::Client, "mcp.client.operation.duration", "Calls of Work IQ servers"),
        ] {
            let points: Vec<_> = self
                .durations
                .iter()
                .filter(|((of, _), _)| *of == kind)
                .map(|((_, dimensions), histogram)| histogram.point(dimensions.as_ref(), self.since, now))
                .collect();
            if !points.is_empty() {
                let histogram = Message::new()
                    .with((1, "dataPoints"), Value::Messages(points))
                    .with((2, "aggregationTemporality"), CUMULATIVE);
                metrics.push(metric(name, what, "s", (9, "histogram"), histogram));
            }
        }
        metrics.extend(self.lost(lost, now));
        metrics
    }

    fn lost(&self, lost: Lost, now: SystemTime) -> Option<Message> {
        let points: Vec<_> = [("queue_full", lost.queue_full), ("not_taken", lost.not_taken)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| {
                Message::new()
                    .with((2, "startTimeUnixNano"), Value::Fixed(nanos(self.since)))
                    .with((3, "timeUnixNano"), Value::Fixed(nanos(now)))
                    .with((6, "asInt"), Value::Fixed(count))
                    .with((7, "attributes"), Value::Messages(vec![text("error.type", why)]))
            })
            .collect();
        let sum = Message::new()
            .with((1, "dataPoints"), Value::Messages(points.clone()))
            .with((2, "aggregationTemporality"), CUMULATIVE)
            .with((3, "isMonotonic"), Value::Flag(true));
        let what = "Spans that did not reach the collector";
        (!points.is_empty()).then(|| metric("entrabot.telemetry.spans.lost", what, "{span}", (7, "sum"), sum))
    }
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        self.buckets.resize(BOUNDS.len() + 1, 0);
        // A bound belongs to the bucket below it.
        self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
        self.least = Some(self.least.map_or(seconds, |least| least.min(seconds)));
        self.most = self.most.max(seconds);
    }

    fn point(&self, dimensions: Option<&Dimensions>, since: SystemTime, now: SystemTime) -> Message {
        let attributes = match dimensions {
            Some(dimensions) => dimensions.attributes(),
            None => vec![text("otel.metric.overflow", "true")],
        };
        Message::new()
            .with((2, "startTimeUnixNano"), Value::Fixed(nanos(since)))
            .with((3, "timeUnixNano"), Value::Fixed(nanos(now)))
            .with((4, "count"), Value::Fixed(self.buckets.iter().sum()))
            .with((5, "sum"), Value::Number(self.sum))
            .with((6, "bucketCounts"), Value::Counts(self.buckets.clone()))
            .with((7, "explicitBounds"), Value::Numbers(BOUNDS))
            .with((9, "attributes"), Value::Messages(attributes))
            .with((11, "min"), Value::Number(self.least.unwrap_or_default()))
            .with((12, "max"), Value::Number(self.most))
    }
}

fn metric(
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    kind: (u32, &'static str),
    data: Message,
) -> Message {
    Message::new()
        .with((1, "name"), Value::Text(name.into()))
        .with((2, "description"), Value::Text(description.into()))
        .with((3, "unit"), Value::Text(unit.into()))
        .with(kind, Value::Message(data))
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{Method, ToolLabel};
    use super::*;

    fn dimensions(tool: &'static str) -> Dimensions {
        Dimensions {
            method: Method::ToolsCall,
            tool: Some(ToolLabel::ours(tool)),
            server: None,
            error_type: None,
            protocol_version: None,
        }
    }

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for seconds in [0.0, 0.01, 0.011, 300.0, 300.1] {
            histogram.add(seconds);
        }
        assert_eq!((histogram.buckets[0], histogram.buckets[1]), (2, 1));
        assert_eq!((histogram.buckets[13], histogram.buckets[14]), (1, 1));
        assert_eq!((histogram.least, histogram.most), (Some(0.0), 300.1));
    }

    #[test]
    fn too_many_series_share_one() {
        let mut metrics = Metrics::new();
        for index in 0..MOST_SERIES + 7 {
            let tool: &'static str = Box::leak(format!("t{index}").into_boxed_str());
            metrics.measure(Kind::Server, &dimensions(tool), Duration::from_millis(1));
        }
        assert_eq!(metrics.durations.len(), MOST_SERIES + 1);
        assert_eq!(metrics.durations[&(Kind::Server, None)].buckets[0], 7);
        metrics.measure(Kind::Server, &dimensions("t1"), Duration::from_millis(1));
        let known = (Kind::Server, Some(dimensions("t1")));
        assert_eq!(metrics.durations[&known].buckets[0], 2);
    }
}
