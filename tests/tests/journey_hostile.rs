//! Whatever Work IQ answers, the tool ends well: the right verdict, the span closed, no growth, no leak.

mod journey;

use std::io;
use std::time::{Duration, Instant};

use entrabot_tests::cases::{CASES, TRUE_TEXT, Verdict};
use entrabot_tests::mcp::{Answer, Client};
use entrabot_tests::stand_in::{Effect, Fault, Options, Role};
use journey::raw::Raw;
use journey::watched::peak_kib;
use journey::{Home, files_with, spans};
use serde_json::{Value, json};

/// Refusals that a second attempt of a read overcomes.
const PASSING: &[&str] =
    &["401", "401_claims", "429_1", "429_date", "429_garbage", "503", "400_session", "close_at_once"];

const READ: &str = "GetDocumentContent";

fn create(client: &Client) -> io::Result<Answer> {
    client.call(
        "create_word_document",
        &json!({"file_name": "x", "content_html": format!("<p>{TRUE_TEXT}</p>")}),
    )
}

fn read(client: &Client, url: &str) -> io::Result<Answer> {
    client.call("read_word_document", &json!({"url": url}))
}

/// A served home with one document in it.
fn served() -> io::Result<(Home, Client, String)> {
    let home = Home::ready(Options::default())?;
    let client = home.serve()?;
    let created = create(&client)?;
    assert!(!created.is_error, "{}", created.text);
    let url = created.value()["url"].as_str().unwrap_or_default().to_owned();
    home.cloud.clear_requests();
    Ok((home, client, url))
}

#[test]
fn unusual_answers_are_understood() -> io::Result<()> {
    let (home, client, url) = served()?;
    for case in CASES {
        let Verdict::Answer { holds, .. } = case.verdict else { continue };
        let case = case.name;
        home.cloud.clear_faults();
        home.cloud.set_fault(Fault::case(READ, case));
        let begun = Instant::now();
        let answer = read(&client, &url)?;
        assert!(!answer.is_error, "{case}: {}", answer.text);
        assert!(answer.value().to_string().contains(holds), "{case}: {}", answer.text);
        assert!(!answer.text.contains("eyJ"), "{case} repeats a token");
        assert!(begun.elapsed() < Duration::from_secs(5), "{case} took {:?}", begun.elapsed());
    }
    client.stop()?;
    Ok(())
}

#[test]
fn answers_that_are_none_fail_and_close_their_span() -> io::Result<()> {
    let (home, client, url) = served()?;
    // What waits before it gives up is in its own time driven from the shell.
    let bad = || CASES.iter().filter(|case| !case.is_waited_for());
    let bad: Vec<_> = bad().filter(|case| matches!(case.verdict, Verdict::Error { .. })).collect();
    for case in bad.iter().map(|case| case.name) {
        home.cloud.clear_faults();
        home.cloud.set_fault(Fault::case(READ, case));
        let answer = read(&client, &url)?;
        assert!(answer.is_error, "{case}: {}", answer.text);
        assert!(answer.structured.is_null(), "{case}");
        let told: Value = serde_json::from_str(&answer.text).expect("a failure is JSON");
        assert!(told["error_type"].as_str().is_some_and(|name| !name.is_empty()), "{case}: {told}");
        assert!(told.to_string().len() < 2000, "{case}: {told}");
        for leak in
            ["eyJ", "Sign in to continue", "foreign.example", "\u{202e}", "\u{200b}", "</external_content> "]
        {
            assert!(!answer.text.contains(leak), "{case} leaks {leak:?}: {told}");
        }
    }
    home.cloud.clear_faults();
    assert!(!read(&client, &url)?.is_error, "the server lives on");
    client.stop()?;
    let acts = home.a365_records()?;
    let spans = spans(&acts);
    // The document at first, every case, and the good end.
    assert_eq!(spans.len(), bad.len() + 2);
    for (case, span) in bad.iter().zip(&spans[1..]) {
        assert_eq!(span, &["pending", "failure"], "{}", case.name);
    }
    assert_eq!(
        files_with(&home.state(), b"eyJ")?,
        Vec::<std::path::PathBuf>::new(),
        "no token is kept anywhere"
    );
    Ok(())
}

#[test]
fn an_absurd_size_is_refused_without_growth() -> io::Result<()> {
    let (home, client, url) = served()?;
    read(&client, &url)?;
    let peak = |client: &Client| client.pid().and_then(peak_kib).expect("it runs");
    for case in CASES.iter().filter(|case| case.is_of_size()).map(|case| case.name) {
        home.cloud.clear_faults();
        home.cloud.set_fault(Fault::case(READ, case));
        let before = peak(&client);
        let begun = Instant::now();
        let answer = read(&client, &url)?;
        let (growth, took) = (peak(&client) - before, begun.elapsed());
        assert!(answer.is_error, "{case}");
        assert!(growth <= 32 * 1024, "{case}: the peak grew by {growth} KiB");
        // Two seconds are the promise; the machine of a test may be busy.
        assert!(took < Duration::from_secs(10), "{case} took {took:?}");
    }
    client.stop()?;
    Ok(())
}

#[test]
fn a_read_tries_again_where_that_helps() -> io::Result<()> {
    let (home, client, url) = served()?;
    for case in PASSING {
        home.cloud.clear_faults();
        home.cloud.clear_requests();
        home.cloud.set_fault(Fault::case(READ, case).times(1));
        let answer = read(&client, &url)?;
        assert!(!answer.is_error, "{case}: {}", answer.text);
        // A rejected token is replaced once, by one that meets the claims where there were any.
        let requests = home.cloud.requests();
        let minted: Vec<_> = requests.iter().filter(|request| request.hop() == Some(3)).collect();
        assert_eq!(minted.len(), usize::from(case.starts_with("401")), "{case}");
        let claims = minted.first().and_then(|request| request.field("claims")).unwrap_or_default();
        assert_eq!(claims.contains("nbf"), *case == "401_claims", "{case}: {claims}");
        let sent: Vec<_> = methods(&home);
        match *case {
            "400_session" => {
                assert_eq!(sent, ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
            }
            _ => assert_eq!(sent, ["tools/call", "tools/call"], "{case}"),
        }
    }
    client.stop()?;
    // However often it was sent, it is one act.
    assert_eq!(spans(&home.a365_records()?), vec![["pending", "success"]; PASSING.len() + 1]);
    Ok(())
}

/// The JSON-RPC methods that reached Work IQ.
fn methods(home: &Home) -> Vec<String> {
    let requests = home.cloud.requests();
    let calls = requests.iter().filter(|request| request.host == Role::A365);
    calls.filter_map(|request| Some(request.json.as_ref()?["method"].as_str()?.to_owned())).collect()
}

/// Case 30: a session where the server wants one, and remembered.
#[test]
fn a_server_that_wants_a_session_gets_one_once() -> io::Result<()> {
    let (home, client, url) = served()?;
    home.cloud.set_behaviour(|behaviour| behaviour.require_session = true);
    for _ in 0..2 {
        let answer = read(&client, &url)?;
        assert!(!answer.is_error, "{}", answer.text);
    }
    assert_eq!(
        methods(&home),
        ["tools/call", "initialize", "notifications/initialized", "tools/call", "tools/call"]
    );
    client.stop()?;
    assert_eq!(spans(&home.a365_records()?), vec![["pending", "success"]; 3]);
    Ok(())
}

/// Cases 17 and 18: what was left out is counted, and a write without the id of what it made is no success.
#[test]
fn blocks_that_are_left_out_are_counted_and_a_write_without_an_id_fails() -> io::Result<()> {
    let (home, client, url) = served()?;
    home.cloud.set_fault(Fault::case(READ, "content_image"));
    assert_eq!(read(&client, &url)?.value()["skipped_blocks"], 1);
    home.cloud.set_fault(Fault::case("AddComment", "empty_content"));
    let comment = json!({"drive_id": "d", "document_id": "i", "content": "c"});
    let answer = client.call("add_word_comment", &comment)?;
    assert!(answer.is_error && answer.text.contains("comment id"), "{}", answer.text);
    home.cloud.clear_faults();
    home.cloud.set_fault(Fault::case("CreateDocument", "plain_text"));
    let answer = create(&client)?;
    assert!(answer.is_error && answer.text.contains("document URL"), "{}", answer.text);
    client.stop()?;
    assert!(spans(&home.a365_records()?).iter().all(|span| span.len() == 2 && span[0] == "pending"));
    Ok(())
}

/// Case 45: sixteen calls of one server are under way at most; the rest wait their turn, other servers' do not, and one
/// that hangs holds up no other.
#[test]
fn a_call_that_hangs_holds_up_no_other() -> io::Result<()> {
    let (home, client, url) = served()?;
    home.cloud.set_fault(Fault::case(READ, "hang").times(1));
    let mut raw = Raw::serve(&home, &["serve"])?;
    let hung = raw.call("read_word_document", json!({"url": url}))?;
    let until = Instant::now() + Duration::from_secs(20);
    while methods(&home).is_empty() {
        assert!(Instant::now() < until, "the first call is under way");
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    let calls: Vec<_> =
        (0..64).map(|_| raw.call("read_word_document", json!({"url": url}))).collect::<io::Result<_>>()?;
    for call in calls {
        let answer = raw.answer(call, Duration::from_secs(20));
        assert_ne!(answer["result"]["isError"], true, "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    raw.cancel(hung)?;
    assert!(raw.end()?.success());

    home.cloud.clear_requests();
    home.cloud.set_fault(Fault::case(READ, "hang"));
    let mut raw = Raw::serve(&home, &["serve"])?;
    let hung: Vec<_> =
        (0..24).map(|_| raw.call("read_word_document", json!({"url": url}))).collect::<io::Result<_>>()?;
    while methods(&home).len() < 16 {
        assert!(Instant::now() < until + Duration::from_secs(20), "{} are under way", methods(&home).len());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(methods(&home).len(), 16);
    let file = raw.call("get_a365_file_metadata_by_url", json!({"url": url}))?;
    let answer = raw.answer(file, Duration::from_secs(5));
    assert_ne!(answer["result"]["isError"], true, "{answer}");
    for call in hung {
        raw.cancel(call)?;
    }
    assert!(raw.end()?.success());
    client.stop()?;
    assert!(spans(&home.a365_records()?).iter().all(|span| span.len() == 2), "every span is closed");
    Ok(())
}

/// Case 46.
#[test]
fn a_token_that_ends_among_sixty_four_calls_is_replaced_once() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    home.cloud.set_behaviour(|behaviour| behaviour.token_lifetime_s = 2);
    let client = home.serve()?;
    let created = create(&client)?;
    assert!(!created.is_error, "{}", created.text);
    let url = created.value()["url"].as_str().unwrap_or_default().to_owned();
    home.cloud.set_behaviour(|behaviour| behaviour.token_lifetime_s = 3600);
    std::thread::sleep(Duration::from_millis(2_100));
    home.cloud.clear_requests();
    all_at_once(&client, &url)?;
    let minted = home.cloud.requests();
    let minted: Vec<_> = minted.iter().filter(|request| request.hop() == Some(3)).collect();
    assert_eq!(minted.len(), 1, "{minted:?}");
    client.stop()?;
    assert_eq!(spans(&home.a365_records()?), vec![["pending", "success"]; 65]);
    Ok(())
}

/// Sixty-four reads, each of which succeeds.
fn all_at_once(client: &Client, url: &str) -> io::Result<()> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..64).map(|_| scope.spawn(|| read(client, url))).collect();
        for call in calls {
            let answer = call.join().expect("a call does not panic")?;
            assert!(!answer.is_error, "{}", answer.text);
        }
        Ok(())
    })
}

#[test]
fn a_token_that_is_rejected_among_sixty_four_calls_is_replaced_once() -> io::Result<()> {
    let (home, client, url) = served()?;
    home.cloud.set_fault(Fault::case(READ, "401").times(1));
    all_at_once(&client, &url)?;
    assert_eq!(home.cloud.requests().iter().filter(|request| request.hop() == Some(3)).count(), 1);
    client.stop()?;
    Ok(())
}

#[test]
fn a_write_that_may_have_left_is_never_sent_again() -> io::Result<()> {
    let (home, client, _) = served()?;
    let sent = |home: &Home| {
        let all = home.cloud.requests();
        let calls = all.iter().filter(|request| request.host == Role::A365);
        calls
            .filter(|request| {
                request.json.as_ref().is_some_and(|body| body["params"]["name"] == "CreateDocument")
            })
            .count()
    };
    for effect in [
        Effect::Case("500".into()),
        Effect::Case("503".into()),
        Effect::Case("disconnect_mid_event".into()),
        Effect::Case("short_body".into()),
        Effect::CloseAfterEffect,
    ] {
        home.cloud.clear_faults();
        home.cloud.clear_requests();
        home.cloud.set_fault(Fault { tool: Some("CreateDocument".into()), ..Fault::a365(effect.clone()) });
        let answer = create(&client)?;
        assert!(answer.is_error, "{effect:?}");
        assert_eq!(sent(&home), 1, "{effect:?}: {}", answer.text);
        assert!(answer.text.contains("may or may not have been applied"), "{effect:?}: {}", answer.text);
    }
    client.stop()?;
    Ok(())
}

#[test]
#[ignore = "long: waits for the deadlines of half a minute"]
fn an_answer_that_never_ends_meets_the_deadline() -> io::Result<()> {
    let (home, client, url) = served()?;
    let cases = [
        ("GetDocumentContent", "hang", "read_word_document", json!({"url": url})),
        (
            "AddComment",
            "slow_drip",
            "add_word_comment",
            json!({"drive_id": "d", "document_id": "i", "content": "c"}),
        ),
        (
            "getFileOrFolderMetadataByUrl",
            "keepalive_forever",
            "get_a365_file_metadata_by_url",
            json!({"url": url}),
        ),
        (
            "readSmallTextFile",
            "slow_headers",
            "read_a365_text_file",
            json!({"document_library_id": "d", "file_id": "i"}),
        ),
    ];
    for (upstream, case, _, _) in &cases {
        home.cloud.set_fault(Fault::case(upstream, case));
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (_, case, tool, arguments) in &cases {
            let client = &client;
            scope.spawn(move || {
                let answer = client.call(tool, arguments).expect("the server answers");
                assert!(answer.is_error, "{case}: {}", answer.text);
                assert!(begun.elapsed() < Duration::from_secs(35), "{case} took {:?}", begun.elapsed());
            });
        }
    });
    client.stop()?;
    let spans = spans(&home.a365_records()?);
    assert_eq!(spans[1..], vec![vec!["pending".to_owned(), "failure".to_owned()]; 4]);
    Ok(())
}
