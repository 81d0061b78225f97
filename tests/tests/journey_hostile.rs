//! Whatever Work IQ answers, the tool ends well: the right verdict, the span closed, no growth, no leak.

mod journey;

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use entrabot_tests::cases::{CASES, TRUE_TEXT, Verdict};
use entrabot_tests::mcp::{Answer, Client};
use entrabot_tests::stand_in::{Effect, Fault, Options, Role};
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

/// Memory of a process, KiB: a line of its status.
fn memory(client: &Client, line: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", client.pid().unwrap_or_default()))?;
    let value = status.lines().find_map(|text| text.strip_prefix(line));
    let number = value.and_then(|text| text.trim_matches([':', '\t', ' ']).split(' ').next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {line} in {status}")))
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
    for case in CASES.iter().filter(|case| case.is_of_size()).map(|case| case.name) {
        home.cloud.clear_faults();
        home.cloud.set_fault(Fault::case(READ, case));
        let before = memory(&client, "VmHWM")?;
        let begun = Instant::now();
        let answer = read(&client, &url)?;
        let (growth, took) = (memory(&client, "VmHWM")? - before, begun.elapsed());
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
        home.cloud.set_fault(Fault::case(READ, case).times(1));
        let answer = read(&client, &url)?;
        assert!(!answer.is_error, "{case}: {}", answer.text);
    }
    client.stop()?;
    Ok(())
}

#[test]
fn a_token_that_is_rejected_among_sixty_four_calls_is_replaced_once() -> io::Result<()> {
    let (home, client, url) = served()?;
    home.cloud.set_fault(Fault::case(READ, "401").times(1));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..64).map(|_| scope.spawn(|| read(&client, &url))).collect();
        for call in calls {
            let answer = call.join().expect("a call does not panic")?;
            assert!(!answer.is_error, "{}", answer.text);
        }
        Ok::<(), io::Error>(())
    })?;
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
