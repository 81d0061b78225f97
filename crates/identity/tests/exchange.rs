//! The three hops over real TLS, against answers written byte for byte.

#![cfg(feature = "tokens")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up shall fail")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{AGENT, BLUEPRINT, Certificate, Endpoint, Key, Reply, Seen, TENANT, USER};
use entrabot_identity::{
    AgentId, AgentIdentity, AgentUserId, ClaimsChallenge, Diagnose, Resource, TokenError, TokenSource,
};

fn graph() -> Resource {
    Resource::from_scope("https://graph.microsoft.com/.default").unwrap()
}

fn other() -> Resource {
    Resource::from_scope("ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default").unwrap()
}

fn failed(
    result: Result<entrabot_identity::AccessToken, TokenError>,
) -> entrabot_identity::TokenExchangeError {
    match result {
        Err(TokenError::Exchange(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_forms_are_those_of_the_real_clients_field_for_field() {
    let endpoint = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    endpoint.exchange().token(&graph()).await.unwrap();
    let seen = endpoint.seen();
    assert_eq!(endpoint.hops(), [1, 2, 3]);
    let names = |at: usize| seen[at].fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for request in &seen {
        assert_eq!(request.path, format!("/{TENANT}/oauth2/v2.0/token"), "no query");
        assert_eq!(request.connection, 0, "one connection for all hops");
        assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(request.headers["accept"], "application/json");
        assert_eq!(request.headers["x-client-sku"], "entrabot");
        assert_eq!(request.headers["client-request-id"], seen[0].headers["client-request-id"]);
        assert!(
            !request.headers.contains_key("accept-encoding")
                && !request.headers.contains_key("x-anchormailbox")
        );
        assert_eq!(request.field("client_assertion_type"), assertion_type);
    }

    assert_eq!(
        names(0),
        ["client_id", "scope", "fmi_path", "grant_type", "client_assertion_type", "client_assertion"]
    );
    assert_eq!(seen[0].field("client_id"), BLUEPRINT);
    assert_eq!(seen[0].field("scope"), "api://AzureADTokenExchange/.default");
    assert_eq!(seen[0].field("fmi_path"), AGENT);
    assert_eq!(seen[0].field("grant_type"), "client_credentials");
    assert_eq!(seen[0].field("client_assertion").split('.').count(), 3);

    let t1 = format!("t1.{BLUEPRINT}..api://AzureADTokenExchange/.default");
    let t2 = format!("t2.{AGENT}..api://AzureADTokenExchange/.default");
    assert_eq!(names(1), ["client_id", "scope", "grant_type", "client_assertion_type", "client_assertion"]);
    assert_eq!(seen[1].field("client_id"), AGENT);
    assert_eq!(seen[1].field("client_assertion"), t1);

    assert_eq!(
        names(2),
        [
            "client_id",
            "scope",
            "grant_type",
            "client_assertion_type",
            "client_assertion",
            "user_id",
            "user_federated_identity_credential",
            "claims"
        ]
    );
    assert_eq!(seen[2].field("client_id"), AGENT);
    assert_eq!(seen[2].field("scope"), graph().scope(), "the resource alone: no openid, no offline_access");
    assert_eq!(seen[2].field("client_assertion"), t1, "the same T1 as for hop 2");
    assert_eq!(seen[2].field("user_federated_identity_credential"), t2);
    assert_eq!(seen[2].field("user_id"), USER);
    assert_eq!(seen[2].field("claims"), r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#);
}

#[tokio::test]
async fn a_clouds_exchange_audience_is_asked_for_on_both_hops() {
    let endpoint = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    endpoint.exchange_with(&[("ENTRABOT_CLOUD", "usgov")]).token(&graph()).await.unwrap();
    let scopes: Vec<_> = endpoint.seen().iter().map(|seen| seen.field("scope").to_owned()).collect();
    assert_eq!(scopes[..2], ["api://AzureADTokenExchangeUSGov/.default"; 2]);
}

#[tokio::test]
async fn two_hundred_cold_callers_are_one_post_for_each_hop() {
    let endpoint = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    let exchange = endpoint.exchange();
    let call = |resource: Resource| {
        let exchange = exchange.clone();
        tokio::spawn(async move { exchange.token(&resource).await.map(|_| ()) })
    };
    let calls: Vec<_> =
        (0..200).map(|number| call(if number % 2 == 0 { graph() } else { other() })).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let mut hops = endpoint.hops();
    hops.sort_unstable();
    assert_eq!(hops, [1, 2, 3, 3], "one more hop 3 for the second resource, nothing else");
    exchange.token(&graph()).await.unwrap();
    assert_eq!(endpoint.hops().len(), 4, "warm: no request");
}

#[tokio::test]
async fn no_token_ever_crosses_between_agents_users_and_resources() {
    let endpoint = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    let base = endpoint.exchange();
    let second_agent = "81a6f9df-affe-4e5d-9922-b78e218dbe05";
    let second_user = "2ebaa906-342a-4cb8-b455-6666072682cc";
    let mut calls = Vec::new();
    for round in 0..3 {
        for agent in [AGENT, second_agent] {
            for user in [USER, second_user] {
                for resource in [graph(), other()] {
                    let identity = AgentIdentity {
                        agent: AgentId::parse(agent).unwrap(),
                        user: AgentUserId::parse(user).unwrap(),
                        ..base.identity().clone()
                    };
                    let exchange = base.for_identity(identity);
                    calls.push(tokio::spawn(async move {
                        let token = exchange.token(&resource).await.unwrap();
                        let want = format!("t3.{agent}.{user}.{}", resource.scope());
                        assert_eq!(token.expose_for(&resource), Some(want.as_str()), "round {round}");
                        let wrong = if resource == graph() { other() } else { graph() };
                        assert_eq!(token.expose_for(&wrong), None, "a token knows its resource");
                    }));
                }
            }
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    let hops = endpoint.hops();
    let count = |hop: u8| hops.iter().filter(|seen| **seen == hop).count();
    assert_eq!((count(1), count(2), count(3)), (2, 2, 8));
}

#[tokio::test]
async fn the_agents_own_token_takes_two_hops_and_is_not_its_users() {
    let endpoint = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    let exchange = endpoint.exchange();
    let own = exchange.app_only_token(&graph()).await.unwrap();
    assert_eq!(own.expose_for(&graph()).unwrap(), format!("t2.{AGENT}..{}", graph().scope()));
    let users = exchange.token(&graph()).await.unwrap();
    assert!(users.expose_for(&graph()).unwrap().starts_with("t3."));
    assert_eq!(endpoint.hops(), [1, 2, 2, 3], "T1 is used again");
}

#[tokio::test]
async fn a_challenge_is_answered_by_hop_3_alone_with_the_claims_merged() {
    let endpoint =
        Endpoint::start(|seen, number| Reply::token(&format!("token{number}.{}", seen.hop()), 3600)).await;
    let exchange = endpoint.exchange();
    let first = exchange.token(&graph()).await.unwrap();
    let challenge =
        ClaimsChallenge::parse(r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#).unwrap();
    let second = exchange.token_after_rejection(&graph(), &first, Some(&challenge)).await.unwrap();
    assert_ne!(first.expose_for(&graph()), second.expose_for(&graph()));
    assert_eq!(endpoint.hops(), [1, 2, 3, 3]);
    assert_eq!(
        endpoint.seen()[3].field("claims"),
        r#"{"access_token":{"nbf":{"essential":true,"value":"1"},"xms_cc":{"values":["cp1"]}}}"#
    );
    // From now on the new one is the token; who comes late with the old one gets it without a request.
    let late = exchange.token_after_rejection(&graph(), &first, None).await.unwrap();
    assert_eq!(late.expose_for(&graph()), second.expose_for(&graph()));
    assert_eq!(exchange.token(&graph()).await.unwrap().expose_for(&graph()), second.expose_for(&graph()));
    assert_eq!(endpoint.hops().len(), 4);
}

#[tokio::test]
async fn a_connection_that_dies_between_the_hops_is_made_again() {
    for dies_at in 0..3 {
        let died = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&died);
        let endpoint = Endpoint::start(move |seen, number| {
            if number == dies_at && count.fetch_add(1, Ordering::SeqCst) == 0 {
                Reply::Cut
            } else {
                Reply::telling(seen)
            }
        })
        .await;
        endpoint.exchange().token(&graph()).await.unwrap();
        assert_eq!(died.load(Ordering::SeqCst), 1);
        assert_eq!(endpoint.hops().len(), 4);
    }
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_not_before_its_time() {
    for busy in [
        Reply::json(503, "Retry-After: 1\r\n", r#"{"error":"temporarily_unavailable"}"#),
        Reply::json(429, "Retry-After: 1\r\n", r#"{"error":"temporarily_unavailable"}"#),
        Reply::json(500, "Retry-After: 1\r\n", "<html>"),
    ] {
        let Reply::Bytes(busy) = busy else { unreachable!() };
        let endpoint =
            Endpoint::start(
                move |seen, number| {
                    if number == 0 { Reply::Bytes(busy.clone()) } else { Reply::telling(seen) }
                },
            )
            .await;
        let start = Instant::now();
        endpoint.exchange().token(&graph()).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_eq!(endpoint.hops(), [1, 1, 2, 3]);
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_costs_one_request() {
    for (status, headers) in [(400, ""), (401, ""), (403, "Retry-After: 1\r\n"), (429, ""), (404, "")] {
        let endpoint = Endpoint::start(move |_, _| {
            Reply::json(status, headers, r#"{"error":"invalid_client","error_codes":[700027]}"#)
        })
        .await;
        let error = failed(endpoint.exchange().token(&graph()).await);
        assert_eq!(
            (error.code(), error.aadsts(), error.status()),
            ("invalid_client", Some(700_027), Some(status))
        );
        assert_eq!(error.host(), Some("localhost"));
        assert_eq!(endpoint.hops(), [1]);
    }
}

#[tokio::test]
async fn a_certificate_that_was_rotated_away_costs_no_call_and_is_proven_anew_only_once() {
    let gone = Arc::new(Mutex::new(Vec::new()));
    let certificate = |seen: &Seen| seen.field("client_assertion").split_once('.').unwrap().0.to_owned();
    let known = Arc::clone(&gone);
    let endpoint = Endpoint::start(move |seen, _| {
        if seen.hop() == 1 && known.lock().unwrap().contains(&certificate(seen)) {
            return Reply::json(401, "", r#"{"error":"invalid_client","error_codes":[700027]}"#);
        }
        Reply::telling(seen)
    })
    .await;
    let key = Arc::new(Key::new());
    let exchange = endpoint.exchange_by(Arc::clone(&key), &[]);
    exchange.token(&graph()).await.unwrap();
    gone.lock().unwrap().push(certificate(&endpoint.seen()[0]));
    key.rotations.fetch_add(1, Ordering::SeqCst);
    // Another agent of the blueprint needs hop 1 again, and the assertion of before is young enough to be sent.
    let another =
        |agent| AgentIdentity { agent: AgentId::parse(agent).unwrap(), ..exchange.identity().clone() };
    exchange.for_identity(another(USER)).token(&graph()).await.unwrap();
    assert_eq!(endpoint.hops(), [1, 2, 3, 1, 1, 2, 3]);
    let seen = endpoint.seen();
    let besides = |at: usize| -> Vec<_> {
        seen[at].fields.iter().filter(|(name, _)| name != "client_assertion").cloned().collect()
    };
    assert_eq!(besides(3), besides(4), "the same blueprint asks for the same agent");

    // The new one is refused as well: there is no third.
    gone.lock().unwrap().push(certificate(&seen[4]));
    let error = failed(exchange.for_identity(another(TENANT)).token(&graph()).await);
    assert_eq!((error.aadsts(), endpoint.hops().len()), (Some(700_027), 8));
}

#[tokio::test]
async fn a_long_rest_that_the_service_asks_for_is_kept() {
    let endpoint = Endpoint::start(|_, _| {
        Reply::json(429, "Retry-After: 3600\r\n", r#"{"error":"temporarily_unavailable"}"#)
    })
    .await;
    let exchange = endpoint.exchange();
    for _ in 0..3 {
        let error = failed(exchange.token(&graph()).await);
        assert_eq!(error.code(), "temporarily_unavailable");
        assert!(error.retry_after().unwrap() > Duration::from_secs(3590));
        assert!(error.hint().unwrap().contains("wait"));
    }
    assert_eq!(endpoint.hops(), [1], "no request before its time");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_token_goes_there() {
    let elsewhere = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    let location = format!("Location: {}/{TENANT}/oauth2/v2.0/token\r\n", elsewhere.base);
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let endpoint = Endpoint::start(move |_, _| Reply::json(status, &location, "")).await;
        let error = failed(endpoint.exchange().token(&graph()).await);
        assert_eq!(error.code(), "redirect_refused");
        assert_eq!(endpoint.hops(), [1]);
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_wrong_certificate_is_refused_clearly_and_at_once() {
    for (certificate, word) in [
        (Certificate::Expired, "expired"),
        (Certificate::WrongName, "another name"),
        (Certificate::UnknownAuthority, "authority"),
    ] {
        let endpoint = Endpoint::start_with(certificate, |seen, _| Reply::telling(seen)).await;
        let start = Instant::now();
        let error = failed(endpoint.exchange().token(&graph()).await);
        assert_eq!(error.code(), "tls_failed");
        assert!(error.hint().unwrap().contains(word), "{:?}", error.hint());
        assert!(start.elapsed() < Duration::from_secs(3), "not tried again");
        assert!(endpoint.seen().is_empty());
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let body = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "x".repeat(5 << 20));
    let endpoint = Endpoint::start(move |_, _| Reply::json(200, "", &body)).await;
    assert_eq!(failed(endpoint.exchange().token(&graph()).await).code(), "non_json_response");
    assert_eq!(endpoint.hops(), [1]);
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_deadline() {
    let Reply::Bytes(bytes) = Reply::token(&"x".repeat(2000), 3600) else { unreachable!() };
    let endpoint = Endpoint::start(move |_, _| Reply::Drip(bytes.clone())).await;
    let start = Instant::now();
    let error = failed(endpoint.exchange().token(&graph()).await);
    assert_eq!(error.code(), "timed_out");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[tokio::test]
async fn nobody_listening_is_named_with_its_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    drop(listener);
    let mut endpoint = Endpoint::start(|_, _| Reply::Cut).await;
    endpoint.base = base;
    let error = failed(endpoint.exchange().token(&graph()).await);
    assert_eq!((error.code(), error.host()), ("connection_failed", Some("localhost")));
    assert!(error.to_string().starts_with("token exchange failed at hop1:blueprint (localhost)"), "{error}");
}

#[tokio::test]
async fn after_a_refused_hop_3_the_next_call_starts_from_the_beginning() {
    let endpoint = Endpoint::start(|seen, number| {
        if number == 2 { Reply::json(400, "", r#"{"error":"invalid_grant"}"#) } else { Reply::telling(seen) }
    })
    .await;
    let exchange = endpoint.exchange();
    let error = failed(exchange.token(&graph()).await);
    assert_eq!((error.hop().as_str(), error.code()), ("hop3:agent_user", "invalid_grant"));
    exchange.token(&graph()).await.unwrap();
    assert_eq!(endpoint.hops(), [1, 2, 3, 1, 2, 3]);
}

#[tokio::test]
async fn a_dropped_call_disturbs_nobody() {
    let endpoint = Endpoint::start(|seen, _| Reply::telling(seen)).await;
    let exchange = endpoint.exchange();
    for _ in 0..20 {
        let call = tokio::time::timeout(Duration::from_millis(1), exchange.token(&graph())).await;
        drop(call);
    }
    exchange.token(&graph()).await.unwrap();
    assert_eq!(endpoint.hops(), [1, 2, 3]);
}

#[tokio::test]
async fn every_missing_setting_is_named_in_one_error() {
    let config = entrabot_identity::Config::from_variables([("ENTRABOT_TENANT_ID", TENANT)]).unwrap();
    let error = entrabot_identity::KeystoreSigner::from_config(&config).unwrap_err();
    assert_eq!(error.error_type(), "AgentIDNotAvailable");
    for name in ["BLUEPRINT_APP_ID", "BLUEPRINT_CERT_THUMBPRINT", "AGENT_ID", "AGENT_USER_ID"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(!error.to_string().contains("TENANT_ID"));
}

#[tokio::test]
async fn a_check_tells_of_each_hop_and_ends_at_the_first_that_fails() {
    let endpoint = Endpoint::start(|seen, _| match seen.hop() {
        2 => Reply::json(400, "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n", r#"{"error":"invalid_client"}"#),
        _ => Reply::telling(seen),
    })
    .await;
    let reports = endpoint.exchange().check(&graph()).await;
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0].outcome.as_ref().unwrap().lifetime, Some(Duration::from_secs(3600)));
    assert_eq!(reports[1].status, Some(400));
    assert!(reports[1].clock_skew_seconds.unwrap() < -1_000_000);
    assert!(!format!("{reports:?}").contains("t1."), "never a token");
}

/// Whatever a person may print of a token's way, the token is not in it.
#[tokio::test]
async fn no_debug_output_holds_a_secret() {
    let secret = "planted-secret-token";
    let endpoint = Endpoint::start(move |_, _| Reply::token(secret, 3600)).await;
    let config = endpoint.config(&[("ENTRABOT_PROXY", "http://user:planted-secret-proxy@127.0.0.1:9")]);
    let egress = entrabot_identity::Egress::from_config(&config).unwrap();
    let exchange = endpoint.exchange();
    let token = exchange.token(&graph()).await.unwrap();
    assert_eq!(token.expose_for(&graph()), Some(secret));
    let challenge = ClaimsChallenge::parse(r#"{"access_token":{"x":"planted-secret-claim"}}"#).unwrap();
    let response = entrabot_identity::parse_token_response(
        entrabot_identity::Hop::AgentUser,
        200,
        None,
        br#"{"access_token":"planted-secret-token","token_type":"Bearer"}"#,
    );
    let shown = format!(
        "{token:?} {token:#?} {exchange:?} {exchange:#?} {config:?} {egress:?} {challenge:?} {response:?} {:?} {:?}",
        exchange.check(&graph()).await,
        config.settings(),
    );
    assert!(!shown.contains("planted-secret"), "{shown}");
    let Some((_, key)) = shown.split_once("BEGIN") else { return };
    panic!("a key is shown: {key}");
}
