//! One request, read with the published protobufs.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::stand_in::http::{Answer, Request};

/// How the request was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// To `/v1/traces`.
    Traces(ExportTraceServiceRequest),
    /// To `/v1/metrics`.
    Metrics(ExportMetricsServiceRequest),
    /// To `/v1/logs`.
    Logs(ExportLogsServiceRequest),
}

/// A request that was taken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// The path it was sent to.
    pub path: String,
    /// Headers as they came.
    pub headers: Vec<(String, String)>,
    /// The body as it came, to look for what must not be in it.
    pub body: Vec<u8>,
    /// How it was encoded.
    pub encoding: Encoding,
    /// What it says.
    pub signal: Signal,
}

impl Received {
    pub(super) fn read(request: &Request) -> Result<Self, String> {
        if request.method != "POST" {
            return Err(format!("{} is not POST", request.method));
        }
        let kind = request.header("content-type").unwrap_or_default();
        let encoding = match kind.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" => Encoding::Protobuf,
            "application/json" => Encoding::Json,
            other => return Err(format!("the content type {other:?} is none of OTLP's")),
        };
        let body = request.body.as_slice();
        // The signal is the path's last part: the base may have a path of its own.
        let signal = match request.path.rsplit('/').next().unwrap_or_default() {
            "traces" => Signal::Traces(decode(encoding, body)?),
            "metrics" => Signal::Metrics(decode(encoding, body)?),
            "logs" => Signal::Logs(decode(encoding, body)?),
            _ => return Err(format!("{} takes no signal", request.path)),
        };
        Ok(Self {
            path: request.path.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            encoding,
            signal,
        })
    }

    /// In the encoding of the request; with what was not taken of it, and why.
    pub(super) fn answer(&self, partial: Option<(i64, &String)>) -> Answer {
        match &self.signal {
            Signal::Traces(_) => self.encode(&ExportTraceServiceResponse {
                partial_success: partial.map(|(rejected_spans, reason)| ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: reason.clone(),
                }),
            }),
            Signal::Metrics(_) => self.encode(&ExportMetricsServiceResponse {
                partial_success: partial.map(|(rejected_data_points, reason)| ExportMetricsPartialSuccess {
                    rejected_data_points,
                    error_message: reason.clone(),
                }),
            }),
            Signal::Logs(_) => self.encode(&ExportLogsServiceResponse {
                partial_success: partial.map(|(rejected_log_records, reason)| ExportLogsPartialSuccess {
                    rejected_log_records,
                    error_message: reason.clone(),
                }),
            }),
        }
    }

    fn encode<M: Message + Serialize>(&self, message: &M) -> Answer {
        match self.encoding {
            Encoding::Protobuf => Answer::whole(200, "application/x-protobuf", message.encode_to_vec()),
            Encoding::Json => {
                let body = serde_json::to_vec(message).expect("the published types are JSON");
                Answer::whole(200, "application/json", body)
            }
        }
    }

    /// A header by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The attributes of the resources that it is about.
    #[must_use]
    pub fn resource(&self) -> Vec<KeyValue> {
        let resources: Vec<_> = match &self.signal {
            Signal::Traces(request) => request.resource_spans.iter().map(|spans| &spans.resource).collect(),
            Signal::Metrics(request) => {
                request.resource_metrics.iter().map(|metrics| &metrics.resource).collect()
            }
            Signal::Logs(request) => request.resource_logs.iter().map(|logs| &logs.resource).collect(),
        };
        resources.into_iter().flatten().flat_map(|resource| resource.attributes.clone()).collect()
    }

    /// Its log records.
    #[must_use]
    pub fn logs(&self) -> Vec<LogRecord> {
        let Signal::Logs(request) = &self.signal else { return Vec::new() };
        let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }

    /// Its spans.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let Signal::Traces(request) = &self.signal else { return Vec::new() };
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let Signal::Metrics(request) = &self.signal else { return Vec::new() };
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics.clone()).collect()
    }
}

/// An attribute that is text or a whole number, as text.
#[must_use]
pub fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn decode<M: Message + Default + DeserializeOwned>(encoding: Encoding, body: &[u8]) -> Result<M, String> {
    match encoding {
        Encoding::Protobuf => M::decode(body).map_err(|error| error.to_string()),
        Encoding::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
    }
}
