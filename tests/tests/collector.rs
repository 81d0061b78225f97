//! The collector takes what a real one takes, and nothing else.

use std::io;

use entrabot_tests::collector::{Behaviour, Collector, Encoding, Transport, text_of};
use entrabot_tests::https::{Https, Reply, plain};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::json;

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn post(collector: &Collector, path: &str, kind: (&str, &str), body: &[u8]) -> io::Result<Reply> {
    plain("POST", &format!("{}{path}", collector.endpoint()), &[kind], body)
}

#[test]
fn both_encodings_are_read_with_the_published_protobufs() -> io::Result<()> {
    let collector = Collector::start(Transport::Plain)?;
    let span = Span { name: "a span".into(), trace_id: vec![1; 16], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    };
    assert_eq!(post(&collector, "/v1/traces", PROTOBUF, &request.encode_to_vec())?.status, 200);
    let logs = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},
        "scopeLogs": [{"logRecords": [{"body": {"stringValue": "said"}}]}],
    }]});
    let reply = post(&collector, "/prefix/v1/logs", JSON, logs.to_string().as_bytes())?;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!((collector.spans().len(), collector.logs().len(), collector.metrics().len()), (1, 1, 0));
    let received = collector.received();
    assert_eq!((received[0].encoding, received[1].encoding), (Encoding::Protobuf, Encoding::Json));
    assert_eq!(text_of(&received[1].resource(), "service.name").as_deref(), Some("s"));
    Ok(())
}

#[test]
fn what_no_collector_reads_is_refused() -> io::Result<()> {
    let collector = Collector::start(Transport::Plain)?;
    for (path, kind, body) in [
        ("/v1/traces", PROTOBUF, b"\xff\xff".as_slice()),
        ("/v1/traces", JSON, br#"{"resourceSpans": 7}"#),
        ("/v1/logs", ("Content-Type", "text/plain"), b""),
        ("/v1/other", PROTOBUF, b""),
    ] {
        assert_eq!(post(&collector, path, kind, body)?.status, 400, "{path} {kind:?}");
    }
    assert_eq!((collector.received().len(), collector.refused()), (0, 4));
    Ok(())
}

#[test]
fn it_answers_as_it_is_told_and_then_takes_what_comes() -> io::Result<()> {
    let collector = Collector::start(Transport::Tls)?;
    let https = Https::trusting(collector.ca_bundle().expect("a CA"))?;
    let url = format!("{}/v1/logs", collector.endpoint());
    let send = || https.send("POST", &url, &[PROTOBUF], b"");
    collector.behave([
        Behaviour::Status(500),
        Behaviour::RetryAfter(429, 7),
        Behaviour::Redirect("https://elsewhere.example/".into()),
        Behaviour::Partial(2, "too old".into()),
        Behaviour::TakenAndCut,
    ]);
    assert_eq!(send()?.status, 500);
    assert_eq!(send()?.header("retry-after"), Some("7"));
    assert_eq!(send()?.status, 307);
    assert_eq!(collector.received().len(), 0);
    assert!(send()?.body.windows(7).any(|window| window == b"too old"));
    send().expect_err("no answer");
    assert_eq!(send()?.status, 200);
    assert_eq!((collector.received().len(), collector.refused()), (3, 3));
    Ok(())
}
