//! What is sent again, and what is not.

use std::time::{Duration, Instant};

use entrabot_a365::{CallFailure, Fate};
use entrabot_tests::stand_in::{Effect, Fault, TlsFault};

use crate::harness::Door;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_outlives_two_failures_of_its_server() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    for case in ["500", "502", "503", "504", "close_at_once", "sse_empty", "429_1"] {
        door.cloud.clear_requests();
        door.cloud.set_fault(Fault::case("GetDocumentContent", case).times(2));
        door.read(&url).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(door.methods().len(), 3, "{case}");
    }
    door.cloud.set_fault(Fault::case("GetDocumentContent", "503").times(3));
    door.read(&url).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_does_not_fit_is_left_to_the_caller() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.clear_requests();
    door.cloud.set_fault(Fault::case("GetDocumentContent", "429_3600"));
    let started = Instant::now();
    let error = door.read(&url).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    let failure = error.call_error().unwrap().failure();
    assert!(matches!(failure, CallFailure::RateLimited { retry_after: Some(3600) }), "{error}");
    assert_eq!(door.methods().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_token_is_replaced_once_with_and_without_claims() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    for case in ["401", "401_claims"] {
        door.cloud.clear_requests();
        door.cloud.set_fault(Fault::case("GetDocumentContent", case).times(1));
        door.read(&url).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        let requests = door.cloud.requests();
        let third_hops: Vec<_> = requests.iter().filter(|request| request.hop() == Some(3)).collect();
        assert_eq!(third_hops.len(), 1, "{case}");
        let claims = third_hops[0].field("claims").unwrap_or_default();
        assert_eq!(claims.contains("nbf"), case == "401_claims", "{case}: {claims}");
        let bearers: Vec<_> = door
            .work_iq()
            .iter()
            .map(|request| request.header("authorization").unwrap().to_owned())
            .collect();
        assert_eq!(bearers.len(), 2);
        assert_ne!(bearers[0], bearers[1], "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_among_many_calls_costs_one_refresh() {
    let door = std::sync::Arc::new(Door::open());
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.clear_requests();
    door.cloud.set_fault(Fault::case("GetDocumentContent", "401").times(1));
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (door, url) = (std::sync::Arc::clone(&door), url.clone());
            tokio::spawn(async move { door.read(&url).await.map(drop).map_err(|error| error.to_string()) })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert_eq!(door.cloud.requests().iter().filter(|request| request.hop() == Some(3)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_had_closes_the_span_and_sends_nothing() {
    let door = Door::open();
    door.cloud.set_fault(Fault::hop(
        3,
        Effect::Respond {
            status: 400,
            headers: Vec::new(),
            body: r#"{"error":"invalid_grant","error_description":"AADSTS65001: no consent"}"#.into(),
        },
    ));
    let error = door.create("x").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("hop3:agent_user") && text.contains("invalid_grant"), "{text}");
    assert!(door.work_iq().is_empty());
    assert_eq!(door.outcomes().last().unwrap().1, "failure");
    assert!(door.all_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_right_ends_before_the_token_leaves() {
    for fault in [TlsFault::Expired, TlsFault::WrongName, TlsFault::UnknownAuthority] {
        let door = Door::open();
        door.create("first").await.unwrap();
        // The token is in the cache; only new connections see the other certificate.
        door.cloud.set_tls_fault(fault).unwrap();
        let mut door = door;
        let tokens_before = door.cloud.requests().len();
        door.again();
        let error = door.create("second").await.unwrap_err();
        assert!(error.to_string().contains("TLS") || error.to_string().contains("tls"), "{fault:?}: {error}");
        assert!(door.cloud.requests().len() >= tokens_before);
        assert!(door.all_closed());
        assert_ne!(error.call_error().map(|error| error.fate()), Some(Fate::Unknown));
    }
}
