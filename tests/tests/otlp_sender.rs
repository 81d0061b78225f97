//! What identity sends to a collector, and what it makes of the answers.

use std::time::{Duration, Instant};

use entrabot_identity::{Config, Diagnose as _, Egress, OtlpError, OtlpSender, OtlpSignal, Taken};
use entrabot_tests::collector::{Behaviour, Collector, Encoding, Transport};

const SECRET: &str = "planted-api-key";

fn sender(collector: &Collector, more: &[(&str, &str)]) -> OtlpSender {
    // The first of a name counts.
    let mut variables: Vec<_> = more.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint().to_owned()));
    variables.push(("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={SECRET}")));
    if let Some(bundle) = collector.ca_bundle() {
        variables.push(("ENTRABOT_CA_BUNDLE", bundle.display().to_string()));
    }
    let config = Config::from_variables(variables).expect("settings");
    let target = config.otlp().expect("settings").target(OtlpSignal::Logs).expect("a target");
    OtlpSender::new(target, &Egress::from_config(&config).expect("a way out"))
}

async fn send(sender: &OtlpSender) -> Result<Taken, OtlpError> {
    sender.send(Vec::new()).await
}

#[tokio::test]
async fn a_request_goes_over_plain_http_to_this_machine_and_over_tls_elsewhere() {
    for transport in [Transport::Plain, Transport::Tls] {
        let collector = Collector::start(transport).expect("a collector");
        assert_eq!(send(&sender(&collector, &[])).await.expect("taken").rejected, 0);
        let json = sender(&collector, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
        json.send(b"{}".to_vec()).await.expect("taken");
        let received = collector.received();
        let encodings: Vec<_> = received.iter().map(|one| one.encoding).collect();
        assert_eq!(encodings, [Encoding::Protobuf, Encoding::Json]);
        for one in received {
            assert_eq!((one.path.as_str(), one.header("x-api-key")), ("/v1/logs", Some(SECRET)));
            assert_eq!(one.header("accept"), one.header("content-type"));
            assert!(one.header("authorization").is_none() && one.header("cookie").is_none());
        }
    }
}

#[tokio::test]
async fn what_may_be_sent_again_is_told_from_what_may_not() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let sender = sender(&collector, &[]);
    for (behaviour, again, status, after) in [
        (Behaviour::RetryAfter(429, 7), true, Some(429), Some(7)),
        (Behaviour::Status(503), true, Some(503), None),
        (Behaviour::Status(500), false, Some(500), None),
        (Behaviour::Status(400), false, Some(400), None),
        (Behaviour::Status(401), false, Some(401), None),
        (Behaviour::Redirect("https://elsewhere.example/v1/logs".into()), false, Some(307), None),
        (Behaviour::TakenAndCut, true, None, None),
    ] {
        collector.behave([behaviour.clone()]);
        let error = send(&sender).await.expect_err("not taken");
        assert_eq!(
            (error.may_be_sent_again(), error.status(), error.retry_after()),
            (again, status, after.map(Duration::from_secs)),
            "{behaviour:?}"
        );
        assert!(error.to_string().contains("127.0.0.1") && error.hint().is_some(), "{error}");
        assert!(!format!("{error:?} {sender:?}").contains(SECRET), "{error:?}");
    }
    collector.behave([Behaviour::Partial(3, "too old".into())]);
    assert_eq!(send(&sender).await.expect("taken").rejected, 3);
}

#[tokio::test]
async fn a_collector_that_is_silent_gone_or_a_stranger_is_an_error_in_time() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let impatient = sender(&collector, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]);
    collector.behave([Behaviour::Hang]);
    let started = Instant::now();
    let error = send(&impatient).await.expect_err("silence");
    assert!(error.may_be_sent_again() && started.elapsed() < Duration::from_secs(2), "{error}");
    drop(collector);
    assert!(send(&impatient).await.expect_err("nobody").may_be_sent_again());

    let stranger = Collector::start(Transport::Tls).expect("a collector");
    let distrustful = sender(&stranger, &[("ENTRABOT_CA_BUNDLE", "")]);
    let error = send(&distrustful).await.expect_err("a stranger");
    assert!(!error.may_be_sent_again(), "{error}");
    assert!(error.hint().expect("a hint").contains("ENTRABOT_CA_BUNDLE"), "{:?}", error.hint());
    assert!(stranger.received().is_empty());
}
