//! Every hostile answer through the real binary: the answer or the error, exit code, record, time and memory.

mod journey;

use std::fs;
use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_tests::cases::{CASES, Case, TRUE_TEXT, Verdict};
use entrabot_tests::stand_in::{Effect, Fault, Options};
use journey::{Home, spans};
use serde_json::{Value, json};

const READ: &str = "GetDocumentContent";
const MOST_GROWTH_KIB: u64 = 32 * 1024;

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    peak_kib: u64,
    took: Duration,
}

/// Runs a command and watches its memory.
fn watched(mut command: Command) -> io::Result<Ended> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let code = loop {
        let high = fs::read_to_string(&status).ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        });
        peak_kib = high.unwrap_or(0).max(peak_kib);
        if let Some(status) = child.try_wait()? {
            break status.code();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = started.elapsed();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut stdout)?;
    child.stderr.take().expect("piped").read_to_string(&mut stderr)?;
    Ok(Ended { code, stdout, stderr, peak_kib, took })
}

/// A home with a document in it, and what reading it costs when nothing is wrong.
struct Reader {
    home: Home,
    arguments: String,
    ordinary: Ended,
}

impl Reader {
    fn new() -> io::Result<Self> {
        let home = Home::ready(Options::default())?;
        let document = json!({"fileName": "x", "contentInHtml": format!("<p>{TRUE_TEXT}</p>")}).to_string();
        let created = home.run(&["call", "mcp_WordServer", "CreateDocument", "--args", &document], b"")?;
        let link = created.assert_code(0).json()["content"]["webUrl"].as_str().unwrap_or_default().to_owned();
        let link = link.split(['<', '>']).nth(2).unwrap_or_default().to_owned();
        let arguments = json!({"url": link}).to_string();
        let ordinary = watched(home.command(&["call", "mcp_WordServer", READ, "--args", &arguments]))?;
        assert_eq!(ordinary.code, Some(0), "{}", ordinary.stderr);
        assert!(ordinary.peak_kib > 0);
        Ok(Self { home, arguments, ordinary })
    }

    /// One read under a case; the answer is what is wrong.
    fn drive(&self, driven: &Case) -> io::Result<Vec<String>> {
        let Case { number, name: case, verdict, .. } = driven;
        self.home.cloud.clear_faults();
        self.home.cloud.set_fault(Fault::case(READ, case));
        let before = self.home.a365_records()?.len();
        let ended = watched(self.home.command(&["call", "mcp_WordServer", READ, "--args", &self.arguments]))?;
        let records = self.home.a365_records()?;
        let read: Vec<Value> =
            records[before..].iter().filter(|record| record["metadata"]["tool"] == READ).cloned().collect();
        let (code, outcome) = expected(driven);
        let mut wrong = Vec::new();
        if ended.code != Some(code) {
            wrong.push(format!("exit {:?}, not {code}: {}", ended.code, ended.stderr));
        }
        match verdict {
            Verdict::Answer { holds, .. } => {
                let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
                let content = answer["content"].to_string();
                if !(content.contains("<external_content source=") && content.contains(holds)) {
                    wrong.push(format!("not the answer: {answer}"));
                }
                if answer["skipped_blocks"] != u64::from(*number == "17") {
                    wrong.push(format!("not what was left out: {answer}"));
                }
            }
            _ => {
                let says = match verdict {
                    Verdict::Error { says, .. } => says,
                    _ => "timed out after",
                };
                if !(ended.stderr.contains("error: ") && ended.stderr.contains(says)) {
                    wrong.push(format!("not {says:?}: {}", ended.stderr));
                }
                if !(ended.stderr.contains("hint: ") && ended.stdout.is_empty()) {
                    wrong.push(format!("no hint, or something on stdout: {}", ended.stderr));
                }
            }
        }
        if ended.stderr.contains("panicked") || ended.stderr.contains("eyJ") {
            wrong.push(ended.stderr.clone());
        }
        if spans(&read) != [["pending", outcome]] {
            wrong.push(format!("on record as {:?}", spans(&read)));
        }
        let growth = ended.peak_kib.saturating_sub(self.ordinary.peak_kib);
        if growth > MOST_GROWTH_KIB {
            wrong.push(format!("{growth} KiB more than an ordinary call"));
        }
        // The service's own waits, and retries, are part of some cases; size is to be seen at once.
        let longest = match verdict {
            Verdict::Timeout => 31,
            _ if driven.is_of_size() => 2,
            _ => 6,
        };
        if ended.took > self.ordinary.took + Duration::from_secs(longest) {
            wrong.push(format!("took {:?}", ended.took));
        }
        if driven.is_of_size() {
            tell(&format!(
                "{case}: {growth} KiB more, {:?} (ordinary: {:?})",
                ended.took, self.ordinary.took
            ));
        }
        Ok(wrong.into_iter().map(|wrong| format!("case {number}, {case}: {wrong}")).collect())
    }
}

#[expect(clippy::print_stderr, reason = "the figures of the large cases are worth a look")]
fn tell(figure: &str) {
    eprintln!("{figure}");
}

/// Exit code and outcome.
fn expected(case: &Case) -> (i32, &'static str) {
    match (case.verdict, case.number) {
        (Verdict::Answer { .. }, _) => (0, "success"),
        (Verdict::Timeout, _) => (5, "failure"),
        (_, "29b") => (2, "failure"),
        (_, "29") => (4, "failure"),
        (_, "25" | "26") => (6, "failure"),
        _ => (1, "failure"),
    }
}

fn drive(wanted: impl Fn(&Case) -> bool) -> io::Result<()> {
    let reader = Reader::new()?;
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| wanted(case)) {
        wrong.extend(reader.drive(case)?);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn no_answer_fills_the_memory_or_leaves_a_span_open() -> io::Result<()> {
    drive(|case| case.is_of_size() || ["echo_token", "is_error_true", "500", "401"].contains(&case.name))
}

#[test]
#[ignore = "long: each case starts the binary anew"]
fn every_case_ends_well_through_the_binary() -> io::Result<()> {
    drive(|case| matches!(case.verdict, Verdict::Answer { .. } | Verdict::Error { of_size: false, .. }))
}

/// Each in a home of its own, at the same time.
#[test]
#[ignore = "long: waits for deadlines of 15 and 30 s"]
fn what_never_ends_ends_at_its_deadline_with_exit_5() -> io::Result<()> {
    std::thread::scope(|scope| {
        let slow = CASES.iter().filter(|case| case.verdict == Verdict::Timeout);
        let waits: Vec<_> = slow.map(|case| scope.spawn(|| Reader::new()?.drive(case))).collect();
        for wait in waits {
            let wrong = wait.join().expect("no panic")?;
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
        Ok(())
    })
}

#[test]
fn a_listing_without_end_ends() -> io::Result<()> {
    let home = Home::ready(Options::default())?;
    for case in CASES {
        let Verdict::Listing(says) = case.verdict else { continue };
        let effect = Effect::Case(case.name.to_owned());
        home.cloud.set_fault(Fault { tool: Some("tools/list".into()), ..Fault::a365(effect) });
        let ended = home.run(&["tools", "mcp_WordServer"], b"")?;
        ended.assert_code(1);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
    assert_eq!(spans(&home.a365_records()?), [["pending", "failure"]]);
    Ok(())
}
