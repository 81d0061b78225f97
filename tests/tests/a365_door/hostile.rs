//! Each hostile answer by its name: what comes of it, how the record ends, how long it takes, what is sent again.

use std::time::{Duration, Instant};

use entrabot_a365::{A365Error, CallFailure, Diagnose as _, Fate};
use entrabot_tests::cases::{CASES, Case, Verdict};
use entrabot_tests::stand_in::Fault;

use crate::harness::Door;

const READ: &str = "GetDocumentContent";
const WRITE: &str = "CreateDocument";

/// The cases that end by themselves, whatever they are an answer to.
fn that_end() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|case| matches!(case.verdict, Verdict::Answer { .. } | Verdict::Error { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_back_to_a_read_is_an_answer_or_a_named_error() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    let mut wrong = Vec::new();
    for Case { name: case, verdict, .. } in that_end() {
        door.cloud.clear_faults();
        door.cloud.set_fault(Fault::case(READ, case));
        let started = Instant::now();
        let result = door.read(&url).await;
        let took = started.elapsed();
        // Some waits are the server's wish.
        let limit = if case.starts_with("429") { 10 } else { 3 };
        if took > Duration::from_secs(limit) {
            wrong.push(format!("{case}: took {took:?}"));
        }
        match (verdict, result) {
            (Verdict::Answer { holds, .. }, Ok(read)) if read.reply.content_html.contains(holds) => {}
            (Verdict::Error { says, .. }, Err(error)) if error.to_string().contains(says) => {
                let shown = format!("{error} {error:?}");
                if shown.contains("eyJ") {
                    wrong.push(format!("{case}: a token is shown"));
                }
                if error.to_string().contains("may or may not") {
                    wrong.push(format!("{case}: a read has no effect that could be in doubt"));
                }
            }
            (_, Ok(answered)) => wrong.push(format!("{case}: {:?}", answered.reply)),
            (_, Err(error)) => wrong.push(format!("{case}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(door.all_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_sent_once_and_its_doubt_is_said() {
    let door = Door::open();
    let mut wrong = Vec::new();
    for Case { name: case, .. } in that_end() {
        door.cloud.clear_faults();
        door.cloud.clear_requests();
        door.cloud.set_fault(Fault::case(WRITE, case));
        let result = door.create("x").await;
        let sent = door
            .work_iq()
            .iter()
            .filter(|request| request.json.as_ref().is_some_and(|json| json["method"] == "tools/call"))
            .count();
        // Sent again only where the server said that it had done nothing, or the revision was refused.
        let most = match *case {
            "401" | "401_claims" | "only_2026" => 2,
            "400_session" | "429_1" | "429_date" | "429_garbage" | "429_negative" | "429_none" => 3,
            _ => 1,
        };
        if sent > most {
            wrong.push(format!("{case}: sent {sent} times"));
        }
        let doubtful = matches!(
            *case,
            "500"
                | "502"
                | "503"
                | "504"
                | "disconnect_mid_event"
                | "short_body"
                | "close_at_once"
                | "sse_empty"
                | "html_200"
                | "id_mismatch"
                | "body_100mb"
                | "gzip_bomb"
                | "empty_202"
                | "batch"
                | "duplicate_keys"
                | "is_error_string"
        );
        let certain = matches!(
            *case,
            "401"
                | "403_scope"
                | "403_html"
                | "404"
                | "400_tenant"
                | "429_3600"
                | "redirect_302"
                | "rpc_error"
                | "is_error_true"
        );
        if let Err(A365Error::Call { error, .. }) = &result {
            let unknown = error.fate() == Fate::Unknown;
            if (doubtful && !unknown) || (certain && unknown) {
                wrong.push(format!("{case}: {error}"));
            }
            if unknown != error.to_string().contains("may or may not have been applied") {
                wrong.push(format!("{case}: the doubt is not said: {error}"));
            }
        } else if doubtful || certain {
            wrong.push(format!("{case}: {result:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(door.all_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_stable_names() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    for (case, name) in [
        ("403_scope", "A365ConsentMissingError"),
        ("403_policy", "A365ForbiddenError"),
        ("404", "A365TenantNotActivatedError"),
        ("400_tenant", "A365EndpointInvalidError"),
        ("429_3600", "A365RateLimitedError"),
        ("500", "A365McpCallError"),
        ("401", "A365McpCallError"),
        ("rpc_error", "A365McpCallError"),
        ("is_error_true", "A365McpCallError"),
    ] {
        door.cloud.clear_faults();
        door.cloud.set_fault(Fault::case(READ, case));
        let error = door.read(&url).await.unwrap_err();
        assert_eq!(error.error_type(), name, "{case}: {error}");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{case}");
        assert!(error.to_string().starts_with("mcp_WordServer.GetDocumentContent at localhost:"), "{error}");
        assert!(error.recorded().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_does_not_hold_the_answer_back() {
    let door = Door::open();
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.set_fault(Fault::case(READ, "sse_then_open"));
    let started = Instant::now();
    door.read(&url).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_goes_round_in_a_circle_ends() {
    let door = Door::open();
    door.cloud.set_fault(Fault {
        tool: Some("tools/list".into()),
        ..Fault::a365(entrabot_tests::stand_in::Effect::Case("cursor_loop".into()))
    });
    let word = entrabot_a365::ServerName::parse("mcp_WordServer").unwrap();
    let error = door.provider.list_tools(&word).await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    assert!(door.work_iq().len() <= 10);
}

/// Half a minute, so that 30 s is really the end; the four cases wait at the same time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: waits for deadlines of 15 and 30 s"]
async fn what_never_ends_ends_at_its_deadline() {
    let slow = CASES.iter().filter(|case| case.verdict == Verdict::Timeout);
    let waits = slow.map(|Case { name: case, .. }| async move {
        let door = Door::open();
        let url = door.create("x").await.unwrap().reply.url;
        door.cloud.set_fault(Fault::case(READ, case));
        let started = Instant::now();
        let error = door.read(&url).await.unwrap_err();
        let took = started.elapsed();
        assert!(took < Duration::from_millis(31_000), "{case}: {took:?}");
        let failure = error.call_error().unwrap().failure();
        assert!(matches!(failure, CallFailure::Timeout { .. }), "{case}: {error}");
        assert!(door.all_closed(), "{case}");
    });
    let tasks: Vec<_> = waits.map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_that_hangs_holds_up_no_other() {
    let door = std::sync::Arc::new(Door::open());
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.set_fault(Fault::case(READ, "hang").times(1));
    let hung = {
        let (door, url) = (std::sync::Arc::clone(&door), url.clone());
        tokio::spawn(async move { door.read(&url).await.is_err() })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let (door, url) = (std::sync::Arc::clone(&door), url.clone());
            tokio::spawn(async move { door.read(&url).await.is_ok() })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    hung.abort();
}
