//! `entrabot serve` with an OpenTelemetry collector: what it is told, what it is never told, and that it holds nobody up.

mod journey;

use std::io;
use std::time::{Duration, Instant};

use entrabot_tests::collector::{Behaviour, Collector, Encoding, Signal, Transport, text_of};
use entrabot_tests::stand_in::{Effect, Fault, Options, Role};
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use journey::Home;
use journey::raw::Raw;

const PATIENCE: Duration = Duration::from_secs(20);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn observed(collector: &Collector) -> io::Result<Home> {
    let mut home = Home::ready(Options::default())?;
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    home.set("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=planted-key");
    home.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    home.set("OTEL_SERVICE_NAME", "the-agent");
    if let Some(bundle) = collector.ca_bundle() {
        // One bundle for the cloud and for the collector.
        let both = [bundle, home.cloud.info().ca_bundle.as_path()].map(std::fs::read_to_string);
        let path = home.scratch().join("both.pem");
        std::fs::write(&path, both.into_iter().collect::<io::Result<String>>()?)?;
        home.set("ENTRABOT_CA_BUNDLE", path.display().to_string());
    }
    Ok(home)
}

fn call(server: &mut Raw, tool: &str, arguments: Value) -> io::Result<Value> {
    let meta = json!({"traceparent": format!("00-{TRACE}-{PARENT}-01"), "tracestate": "planted=state"});
    let id = server.request("tools/call", json!({"name": tool, "arguments": arguments, "_meta": meta}))?;
    Ok(server.answer(id, PATIENCE))
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} in {names:?}"))
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    text_of(&span.attributes, key)
}

fn points(collector: &Collector, name: &str) -> Vec<HistogramDataPoint> {
    // Cumulative: the last word counts.
    let metric = collector.metrics().into_iter().rfind(|metric| metric.name == name);
    match metric.expect("the metric").data {
        Some(Data::Histogram(histogram)) => histogram.data_points,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_one_trace_from_the_client_to_work_iq_and_names_its_record() -> io::Result<()> {
    for (transport, protocol, encoding) in [
        (Transport::Plain, "http/protobuf", Encoding::Protobuf),
        (Transport::Tls, "http/json", Encoding::Json),
    ] {
        let collector = Collector::start(transport)?;
        let mut home = observed(&collector)?;
        home.set("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let mut server = Raw::serve(&home, &["serve"])?;
        let planted = json!({"file_name": "planted-name", "content_html": "<p>planted-content</p>"});
        let made = call(&mut server, "create_word_document", planted)?;
        assert_eq!(made["result"]["isError"], false, "{made}");
        assert!(server.end()?.success());

        let spans = collector.spans();
        let (ours, theirs) =
            (named(&spans, "tools/call create_word_document"), named(&spans, "tools/call CreateDocument"));
        assert_eq!((hex(&ours.trace_id), hex(&ours.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert_eq!((&theirs.trace_id, &theirs.parent_span_id), (&ours.trace_id, &ours.span_id));
        assert_eq!((ours.kind, theirs.kind), (2, 3), "server and client");
        let inside = ours.start_time_unix_nano <= theirs.start_time_unix_nano
            && theirs.start_time_unix_nano < theirs.end_time_unix_nano
            && theirs.end_time_unix_nano <= ours.end_time_unix_nano;
        assert!(inside, "{ours:?} {theirs:?}");
        assert_eq!(attribute(ours, "mcp.method.name").as_deref(), Some("tools/call"));
        assert_eq!(attribute(ours, "gen_ai.operation.name").as_deref(), Some("execute_tool"));
        assert_eq!(attribute(ours, "network.transport").as_deref(), Some("pipe"));
        assert_eq!(attribute(ours, "mcp.protocol.version").as_deref(), Some("2025-06-18"));
        assert!(attribute(ours, "mcp.session.id").is_some() && attribute(ours, "error.type").is_none());
        assert_eq!(attribute(theirs, "entrabot.a365.server").as_deref(), Some("mcp_WordServer"));
        let id = made["result"]["_meta"]["entrabot/audit"]["call_id"].as_str().map(str::to_owned);
        assert!(id.is_some() && attribute(theirs, "entrabot.audit.call_id") == id);

        // Work IQ is told of the trace, and of nothing else that the client said.
        let asked: Vec<_> = home.cloud.requests().into_iter().filter(|one| one.host == Role::A365).collect();
        let meta = |one: &Value| one["params"]["_meta"]["traceparent"].as_str().map(str::to_owned);
        let told: Vec<_> = asked.iter().filter_map(|one| meta(one.json.as_ref()?)).collect();
        assert!(told.contains(&format!("00-{TRACE}-{}-01", hex(&theirs.span_id))), "{told:?}");
        assert!(!format!("{asked:?}").contains("planted=state"));

        for received in collector.received() {
            assert_eq!(received.encoding, encoding);
            assert_eq!(text_of(&received.resource(), "service.name").as_deref(), Some("the-agent"));
            assert!(text_of(&received.resource(), "gen_ai.agent.id").is_some());
            assert_eq!(received.header("x-api-key"), Some("planted-key"));
            assert!(received.header("authorization").is_none());
            let body = String::from_utf8_lossy(&received.body).into_owned();
            assert!(!body.contains("planted") && !body.contains("eyJ"), "{body}");
        }
        let log = std::fs::read_to_string(home.serve_log())?;
        assert!(!log.contains("planted"), "{log}");
    }
    Ok(())
}

#[test]
fn durations_are_counted_by_tool_and_by_error() -> io::Result<()> {
    let collector = Collector::start(Transport::Plain)?;
    let home = observed(&collector)?;
    let mut server = Raw::serve(&home, &["serve"])?;
    call(&mut server, "whoami", json!({}))?;
    call(&mut server, "whoami", json!({}))?;
    call(&mut server, "read_word_document", json!({"url": 7}))?;
    call(&mut server, "planted-tool", json!({"planted": "argument"}))?;
    home.cloud.set_fault(Fault::a365(Effect::Respond { status: 403, headers: vec![], body: "{}".into() }));
    let refused =
        call(&mut server, "read_word_document", json!({"url": "https://x.sharepoint.com/planted"}))?;
    assert_eq!(refused["result"]["isError"], true);
    let list = server.request("tools/list", json!({}))?;
    server.answer(list, PATIENCE);
    assert!(server.end()?.success());

    let served = points(&collector, "mcp.server.operation.duration");
    let count = |method: &str, tool: Option<&str>, error: Option<&str>| {
        let of = |point: &&HistogramDataPoint| {
            let text = |key| text_of(&point.attributes, key);
            text("mcp.method.name").as_deref() == Some(method)
                && text("gen_ai.tool.name").as_deref() == tool
                && text("error.type").as_deref() == error
        };
        served.iter().find(of).map_or(0, |point| point.count)
    };
    assert_eq!(count("tools/call", Some("whoami"), None), 2, "{served:?}");
    assert_eq!(
        count("tools/call", Some("read_word_document"), Some("InvalidArgumentError")),
        1,
        "{served:?}"
    );
    assert_eq!(count("tools/call", Some("read_word_document"), Some("A365ForbiddenError")), 1, "{served:?}");
    // What a client makes up is not a name.
    assert_eq!(count("tools/call", None, Some("InvalidArgumentError")), 1, "{served:?}");
    assert_eq!(count("tools/list", None, None), 1, "{served:?}");
    for point in &served {
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert!(point.sum.unwrap_or(-1.0) >= point.max.unwrap_or(f64::MAX));
    }
    let called = points(&collector, "mcp.client.operation.duration");
    let failed = called
        .iter()
        .any(|one| text_of(&one.attributes, "error.type").as_deref() == Some("A365ForbiddenError"));
    assert!(failed, "{called:?}");
    let failure = collector
        .spans()
        .into_iter()
        .find(|span| span.status.as_ref().is_some_and(|status| status.code == 2));
    assert!(failure.is_some());
    for received in collector.received() {
        let body = String::from_utf8_lossy(&received.body).into_owned();
        assert!(!body.contains("planted"), "{body}");
        let to = if matches!(received.signal, Signal::Metrics(_)) { "/v1/metrics" } else { "/v1/traces" };
        assert_eq!(received.path, to);
    }
    Ok(())
}

#[test]
fn a_collector_that_says_nothing_delays_no_call_and_hardly_the_end() -> io::Result<()> {
    let collector = Collector::start(Transport::Plain)?;
    collector.behave(std::iter::repeat_n(Behaviour::Hang, 100));
    let home = observed(&collector)?;
    let mut server = Raw::serve(&home, &["serve"])?;
    call(&mut server, "whoami", json!({}))?;
    let begun = Instant::now();
    for _ in 0..50 {
        let id = server.request("tools/list", json!({}))?;
        server.answer(id, PATIENCE);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(server.end()?.success());
    assert!(begun.elapsed() < Duration::from_millis(4500), "{:?}", begun.elapsed());
    let log = std::fs::read_to_string(home.serve_log())?;
    assert!(log.contains("spans did not reach the collector"), "{log}");
    assert!(collector.received().is_empty());
    Ok(())
}

#[test]
fn a_collector_that_comes_back_is_sent_what_waited() -> io::Result<()> {
    let collector = Collector::start(Transport::Plain)?;
    collector.behave([Behaviour::RetryAfter(503, 1)]);
    let mut home = observed(&collector)?;
    home.set("OTEL_METRICS_EXPORTER", "none");
    let mut server = Raw::serve(&home, &["serve"])?;
    call(&mut server, "whoami", json!({}))?;
    assert!(collector.wait_until(PATIENCE, |received| !received.is_empty()), "sent again");
    assert_eq!(collector.refused(), 1);
    assert!(server.end()?.success());
    assert_eq!(collector.spans().iter().filter(|span| span.name == "tools/call whoami").count(), 1);
    assert!(collector.metrics().is_empty());
    Ok(())
}

#[test]
fn without_an_endpoint_work_iq_hears_of_no_trace() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    let mut server = Raw::serve(&home, &["serve"])?;
    let made =
        call(&mut server, "create_word_document", json!({"file_name": "a", "content_html": "<p>x</p>"}))?;
    assert_eq!(made["result"]["isError"], false, "{made}");
    assert!(server.end()?.success());
    assert!(!format!("{:?}", home.cloud.requests()).contains("traceparent"));
    Ok(())
}
