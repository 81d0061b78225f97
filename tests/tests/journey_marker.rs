//! Whatever becomes of a call, nothing of its arguments is in the audit, the log, stderr or an error: no value and no key.

mod journey;

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use entrabot_tests::stand_in::{Effect, Fault, Options};
use journey::raw::Raw;
use journey::{Home, files_with};
use serde_json::{Value, json};

const MARKER: &str = "MARKER7f3a";
const PATIENCE: Duration = Duration::from_secs(30);

fn marked(what: &str) -> String {
    format!("{MARKER}{what}")
}

/// Every tool that takes arguments which are not for the record, with the marker in each of them, and the upstream tool
/// behind it. The exposed one takes keys of any name.
fn calls() -> Vec<(&'static str, &'static str, Value)> {
    let url = format!("https://contoso.sharepoint.com/{MARKER}/{MARKER}.docx");
    let (drive, id, text) = (marked("drive"), marked("id"), marked("text"));
    let event = json!({"subject": text, "start": text, "end": text, marked("key"): {marked("deep"): [text]}});
    vec![
        ("read_word_document", "GetDocumentContent", json!({"url": url})),
        ("create_word_document", "CreateDocument", json!({"file_name": text, "content_html": text})),
        ("add_word_comment", "AddComment", json!({"drive_id": drive, "document_id": id, "content": text})),
        (
            "reply_to_word_comment",
            "ReplyToComment",
            json!({"drive_id": drive, "document_id": id, "comment_id": marked("comment"), "content": text}),
        ),
        ("get_a365_file_metadata_by_url", "getFileOrFolderMetadataByUrl", json!({"url": url})),
        ("read_a365_text_file", "readSmallTextFile", json!({"document_library_id": drive, "file_id": id})),
        (
            "read_a365_binary_file",
            "readSmallBinaryFile",
            json!({"document_library_id": drive, "file_id": id}),
        ),
        ("mcp_CalendarTools__CreateEvent", "CreateEvent", event),
    ]
}

/// Makes each upstream tool end so.
fn set(home: &Home, effect: impl Fn(&Value) -> Effect) {
    home.cloud.clear_faults();
    for (_, upstream, arguments) in calls() {
        home.cloud.set_fault(Fault { tool: Some(upstream.into()), ..Fault::a365(effect(&arguments)) });
    }
}

fn text(text: &Value) -> Value {
    json!({"content": [{"type": "text", "text": text.to_string()}]})
}

struct Checked {
    home: Home,
    server: Option<Raw>,
    errors: usize,
}

impl Checked {
    fn server(&mut self) -> &mut Raw {
        self.server.as_mut().expect("it runs")
    }

    /// Runs every tool to its end.
    fn run_all(&mut self, succeeds: bool) -> io::Result<()> {
        for (tool, _, arguments) in calls() {
            let id = self.server().call(tool, arguments)?;
            let answer = self.server().answer(id, PATIENCE);
            let failed = answer["result"]["isError"] == true;
            assert_eq!(failed, !succeeds, "{tool}: {answer}");
            if failed {
                self.errors += 1;
                assert!(!answer.to_string().contains(MARKER), "{tool}: {answer}");
            }
        }
        Ok(())
    }

    /// Calls every tool and waits until each call is on record and under way.
    fn begin_all(&mut self) -> io::Result<Vec<u64>> {
        let before = self.home.a365_records()?.len();
        let mut ids = Vec::new();
        for (tool, _, arguments) in calls() {
            ids.push(self.server().call(tool, arguments)?);
        }
        let started = Instant::now();
        while self.home.a365_records()?.len() < before + ids.len() {
            assert!(started.elapsed() < PATIENCE, "the calls are under way");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Let the requests themselves leave.
        std::thread::sleep(Duration::from_millis(300));
        Ok(ids)
    }
}

#[test]
fn the_marker_in_every_argument_is_found_nowhere_whatever_becomes_of_the_call() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.set("ENTRABOT_LOG_LEVEL", "DEBUG");
    let server = Some(Raw::serve(&home, &["serve", "--expose", "mcp_CalendarTools"])?);
    let mut all = Checked { home, server, errors: 0 };

    // Success.
    let good = json!({"content": "c", "url": "https://x.example/", "id": "1", "commentId": "1"});
    let file = json!({"content": "aGVsbG8=", "id": "1", "url": "https://x.example/"});
    set(&all.home, |_| Effect::Result(text(&good)));
    let binary =
        Fault { tool: Some("readSmallBinaryFile".into()), ..Fault::a365(Effect::Result(text(&file))) };
    all.home.cloud.clear_faults();
    all.home.cloud.set_fault(binary);
    for (_, upstream, _) in calls() {
        let effect = Effect::Result(text(&good));
        all.home.cloud.set_fault(Fault { tool: Some(upstream.into()), ..Fault::a365(effect) });
    }
    all.run_all(true)?;

    // Errors that repeat everything that was sent.
    let echo = |arguments: &Value| format!("cannot do it with {arguments}");
    for status in [400, 403, 404, 500] {
        set(&all.home, |arguments| Effect::Respond {
            status,
            headers: Vec::new(),
            body: json!({"error": {"code": "X", "message": echo(arguments)}}).to_string(),
        });
        all.run_all(false)?;
    }
    set(&all.home, |arguments| {
        let content = json!([{"type": "text", "text": echo(arguments)}]);
        Effect::Result(json!({"isError": true, "content": content}))
    });
    all.run_all(false)?;
    // Arguments that are refused before anything: one too many, and the right one with a wrong type.
    for (tool, _, arguments) in calls() {
        for wrong in [json!({marked("key"): marked("value")}), {
            let mut wrong = arguments.clone();
            wrong
                .as_object_mut()
                .into_iter()
                .flatten()
                .for_each(|(_, value)| *value = json!([marked("value")]));
            wrong
        }] {
            let id = all.server().call(tool, wrong)?;
            let answer = all.server().answer(id, PATIENCE);
            assert!(answer["result"]["isError"] == true, "{tool}: {answer}");
            assert!(!answer.to_string().contains(MARKER), "{tool}: {answer}");
        }
    }

    // Cancelled by the client.
    set(&all.home, |_| Effect::Hang);
    let before = all.home.a365_records()?.len();
    for id in all.begin_all()? {
        all.server().cancel(id)?;
    }
    let started = Instant::now();
    while all.home.a365_records()?.len() < before + 2 * calls().len() {
        assert!(started.elapsed() < PATIENCE, "every span is closed");
        std::thread::sleep(Duration::from_millis(10));
    }

    // Killed in mid call.
    all.begin_all()?;
    all.server.take().expect("it runs").kill()?;

    // From the shell; the arguments come over stdin, because a process's arguments are for all to see.
    set(&all.home, |arguments| {
        Effect::Result(json!({"isError": true, "content": [{"type": "text", "text": echo(arguments)}]}))
    });
    for (_, upstream, arguments) in calls().into_iter().filter(|(_, upstream, _)| *upstream == "CreateEvent")
    {
        let failed = all
            .home
            .run(&["call", "mcp_CalendarTools", upstream, "--args", "-"], arguments.to_string().as_bytes())?;
        failed.assert_code(1);
        assert!(!failed.stderr.contains(MARKER) && !failed.stdout.contains(MARKER), "{failed:?}");
    }

    assert!(all.errors >= 5 * calls().len());
    assert_eq!(files_with(&all.home.state(), MARKER.as_bytes())?, Vec::<std::path::PathBuf>::new());
    assert!(!fs::read_to_string(all.home.serve_log())?.contains(MARKER), "stderr");
    // The search would have found something: the calls are there by their tools' names.
    assert!(!files_with(&all.home.audit_dir(), b"a365.mcp_CalendarTools.CreateEvent")?.is_empty());
    assert!(!files_with(&all.home.state().join("logs"), b"entrabot")?.is_empty());
    Ok(())
}
