//! The report of whole logs, and the page in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use entrabot_audit::{Query, Report, VerifyOptions};
use entrabot_tests::written_log::{Entry, WrittenLog, working_days};
use serde_json::json;

fn report_of(log: &WrittenLog, directory: &Path) -> (Report, String) {
    log.save(directory).expect("a log");
    let report = Report::collect(directory, &Query::new(), &VerifyOptions::new()).expect("a report");
    let page = report.to_html();
    (report, page)
}

#[test]
fn a_long_log_makes_a_page_of_bounded_size_that_says_what_it_leaves_out() {
    long_log(2, 2_000, (8_005, 4_002));
}

#[test]
#[ignore = "long: a hundred thousand events"]
fn a_hundred_thousand_events_make_a_page_of_bounded_size() {
    long_log(25, 2_000, (100_074, 50_025));
}

fn long_log(days: i64, calls: i64, (events, whole_calls): (u64, u64)) {
    let directory = tempfile::tempdir().expect("a directory");
    let (report, page) = report_of(&working_days(days, calls), directory.path());
    assert!(report.is_intact());
    assert_eq!((report.events(), report.calls()), (events, whole_calls));
    assert!(page.len() < 600_000, "{} bytes", page.len());
    let grouped = format!("{},{:03} calls", whole_calls / 1_000, whole_calls % 1_000);
    for text in [&grouped, &format!("The last 200 of {grouped}"), "The last 100 of"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_log_full_of_different_names_makes_no_larger_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = WrittenLog::new();
    for number in 0..4_000 {
        let mut entry = Entry {
            time: 1_783_843_200_000_000 + number * 1_000,
            agent: format!("agent {number}"),
            attribution: "agent",
            action: format!("a365.server{number}.{}", "x".repeat(900)),
            outcome: "pending",
            metadata: json!({"error_type": format!("Error{number}")}),
            source: "transport",
            call: number.unsigned_abs(),
        };
        log.add(&entry);
        entry.outcome = "failure";
        log.add(&entry);
    }
    let (report, page) = report_of(&log, directory.path());
    assert_eq!(report.calls(), 4_000);
    assert!(page.len() < 600_000, "{} bytes", page.len());
    assert!(page.contains("too many to tell apart"));
}

const HOSTILE: &[&str] = &[
    "<script>document.title='owned'</script>",
    "\"><img src=https://example.invalid/x onerror=alert(1)>",
    "</style><iframe src=javascript:alert(1)></iframe>",
    "<base href=https://example.invalid/><form action=x><input autofocus onfocus=alert(1)>",
];

#[test]
#[ignore = "long: needs Chromium"]
fn a_browser_shows_the_page_and_finds_nothing_to_run_or_to_load() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = working_days(1, 40);
    for (number, text) in HOSTILE.iter().enumerate() {
        log.add(&Entry {
            time: 1_783_929_600_000_000,
            agent: (*text).to_owned(),
            attribution: "agent",
            action: (*text).to_owned(),
            outcome: "failure",
            metadata: json!({"error_type": text}),
            source: "transport",
            call: 900_000 + number as u64,
        });
    }
    let (_, page) = report_of(&log, directory.path());
    let file = directory.path().join("hostile.html");
    fs::write(&file, page).expect("a page");
    let output = chromium(&file, &["--dump-dom", "--enable-logging=stderr"]);
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("<title>Agent activity report</title>") && dom.ends_with("</html>\n"), "{dom}");
    for element in ["<script", "<img", "<iframe", "<base", "<form", "<input", "<a ", "<link", "<object"] {
        assert!(!dom.contains(element), "{element} came out of a record");
    }
    // The browser complains on its console about what a policy stops: there was nothing to stop.
    let console = String::from_utf8_lossy(&output.stderr);
    assert!(!console.contains("Content Security Policy") && !console.contains("CONSOLE"), "{console}");
}

#[test]
#[ignore = "long: needs Chromium and pdftotext"]
fn the_page_is_drawn_on_light_and_dark_screens_and_on_paper() {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&pictures).expect("a directory");
    let mut one = WrittenLog::new();
    let mut entry = Entry {
        time: 1_783_843_200_000_000,
        agent: "3f0c9a52-7d1e-4c2b-9a51-6f2f0f6a9d11".to_owned(),
        attribution: "agent",
        action: "a365.mcp_WordServer.CreateDocument".to_owned(),
        outcome: "pending",
        metadata: json!({}),
        source: "transport",
        call: 1,
    };
    one.add(&entry);
    (entry.time, entry.outcome) = (entry.time + 1_400_000, "success");
    one.add(&entry);
    let logs = [
        ("empty", WrittenLog::new()),
        ("one", one),
        ("week", working_days(5, 180)),
        ("many", working_days(25, 2_000)),
    ];
    for (name, log) in logs {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, page) = report_of(&log, directory.path());
        let file = pictures.join(format!("{name}.html"));
        fs::write(&file, page).expect("a page");
        let dark = ["--blink-settings=preferredColorScheme=0"];
        for (scheme, flags) in [("light", &[][..]), ("dark", &dark[..])] {
            let picture = pictures.join(format!("{name}-{scheme}.png"));
            let screenshot = format!("--screenshot={}", picture.display());
            let window = ["--window-size=1180,2600", "--hide-scrollbars", screenshot.as_str()];
            chromium(&file, &[&window[..], flags].concat());
            let size = fs::metadata(&picture).expect("a picture").len();
            assert!(size > 20_000, "{name}-{scheme}: a picture of nothing, {size} bytes");
        }
        let paper = pictures.join(format!("{name}.pdf"));
        chromium(&file, &["--no-pdf-header-footer", &format!("--print-to-pdf={}", paper.display())]);
        let text = run(Command::new("pdftotext").arg("-layout").arg(&paper).arg("-"));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        for heading in ["Agent activity report", "Who acted, and for whom", "Latest calls", "Evidence"] {
            assert!(text.contains(heading), "{name} on paper lacks {heading}: {text}");
        }
    }
}

fn chromium(page: &Path, flags: &[&str]) -> Output {
    let profile = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(format!("file://{}", absolute(page).display()));
    run(&mut command)
}

fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).expect("the page")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask test --long` installs what it needs")
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
