//! The audit log for a collector: every record, at least once, whatever the collector or the process does.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_tests::built;
use entrabot_tests::collector::{Behaviour, Collector, Encoding, Received, Transport, text_of};
use entrabot_tests::written_log::working_days;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

const SECRET: &str = "planted-api-key";
const LONG: Duration = Duration::from_secs(30);

/// A home with a log in it.
struct Home {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Home {
    /// `days` days of `calls` calls each.
    fn with_a_log(days: i64, calls: i64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        working_days(days, calls).save(&dir.path().join("audit")).expect("a log");
        Self { dir, env: Vec::new() }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
    fn to(mut self, collector: &Collector) -> Self {
        self.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        if let Some(bundle) = collector.ca_bundle() {
            self.set("ENTRABOT_CA_BUNDLE", &bundle.display().to_string());
        }
        self
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built::entrabot());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ENTRABOT_AUDIT_DIR", self.path("audit"))
            .env("ENTRABOT_DATA_DIR", self.path("data"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path());
        command
    }
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }
    /// Sends what there is; gives how many records that were.
    fn follow(&self, code: i32, more: &[&str]) -> serde_json::Value {
        let output = self.run(&[&["audit", "export", "--follow", "--once", "--json"], more].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(!said(&output).contains(SECRET), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
    /// The event ids on the log, in order.
    fn ids(&self) -> Vec<String> {
        let mut days: Vec<PathBuf> = fs::read_dir(self.path("audit"))
            .expect("a log")
            .map(|entry| entry.expect("a file").path())
            .collect();
        days.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        days.sort();
        let text: String = days.iter().map(|path| fs::read_to_string(path).expect("text")).collect();
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["event_id"].as_str().expect("an id").to_owned()
        };
        text.lines().map(id).collect()
    }
    fn cursor(&self) -> PathBuf {
        let files =
            fs::read_dir(self.path("data")).expect("a directory").map(|entry| entry.expect("a file").path());
        files.into_iter().find(|path| path.to_string_lossy().contains("/audit-cursor-")).expect("a cursor")
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn id_of(record: &LogRecord) -> Option<String> {
    text_of(&record.attributes, "entrabot.audit.event_id")
}

/// The ids that arrived, checkpoints left out.
fn arrived(collector: &Collector) -> Vec<String> {
    collector.logs().iter().filter_map(id_of).collect()
}

fn signing_file(home: &mut Home) {
    let key = entrabot_audit::generate_signing_key().expect("a key");
    fs::write(home.path("key.pem"), key.expose()).expect("a file");
    let setting = format!("file:{}", home.path("key.pem").display());
    home.set("ENTRABOT_AUDIT_SIGNING", &setting)
        .set("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222");
}

fn append(home: &Home) {
    let output =
        home.run(&["audit", "append", "--action", "later", "--resource", "r", "--outcome", "success"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn every_record_arrives_once_and_in_order_and_the_next_run_sends_what_came_since() {
    let collector = Collector::start(Transport::Tls).expect("a collector");
    let mut home = Home::with_a_log(2, 300).to(&collector);
    home.set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test");
    signing_file(&mut home);
    let first = home.follow(0, &[]);
    assert_eq!(arrived(&collector), home.ids());
    assert_eq!(first["records"], home.ids().len());
    let received = collector.received();
    assert!(received.len() > 2 && received.iter().all(|one| one.encoding == Encoding::Protobuf));
    let resource = received[0].resource();
    assert_eq!(text_of(&resource, "service.name").as_deref(), Some("entrabot"));
    assert_eq!(text_of(&resource, "deployment.environment").as_deref(), Some("test"));
    assert_eq!(home.follow(0, &[])["records"], 0);
    append(&home);
    // The new record, and the checkpoint that its command signed.
    assert_eq!(home.follow(0, &[])["records"], 1);
    assert_eq!(arrived(&collector), home.ids());
    let last = collector.logs().pop().expect("a record");
    assert_eq!(last.event_name, "entrabot.audit.checkpoint");
    let Some(Value::StringValue(note)) = last.body.and_then(|body| body.value) else { panic!("a note") };
    let checkpoint = home.run(&["audit", "export", "--format", "checkpoint"]);
    assert_eq!(note.as_bytes(), checkpoint.stdout);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(home.cursor()).expect("a cursor").permissions().mode() & 0o777, 0o600);
}

#[test]
fn either_encoding_says_the_same() {
    let home = |collector: &Collector, protocol: &str| {
        let mut home = Home::with_a_log(1, 40).to(collector);
        home.set("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        home.follow(0, &[]);
        collector.logs()
    };
    let (one, other) = (
        Collector::start(Transport::Plain).expect("a collector"),
        Collector::start(Transport::Plain).expect("a collector"),
    );
    let (binary, json) = (home(&one, "http/protobuf"), home(&other, "http/json"));
    assert!(binary.len() > 70 && binary[0].trace_id.len() == 16 && binary[0].time_unix_nano > 0);
    assert_eq!(binary, json);
}

#[test]
fn a_collector_that_is_busy_gone_or_breaks_off_gets_every_record_in_the_end() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let home = Home::with_a_log(1, 600).to(&collector);
    collector.behave([
        Behaviour::Status(503),
        Behaviour::RetryAfter(429, 1),
        Behaviour::Accept,
        Behaviour::TakenAndCut,
    ]);
    assert_eq!(home.follow(0, &[])["rejected"], 0);
    let mut ids = arrived(&collector);
    assert!(ids.len() > home.ids().len(), "what was taken without an answer came again");
    let sizes: Vec<usize> = collector.received().iter().map(|one| one.logs().len()).collect();
    assert_eq!(sizes[1], sizes[2], "the same batch: {sizes:?}");
    ids.dedup();
    let all: BTreeSet<_> = ids.iter().collect();
    assert_eq!(all.len(), home.ids().len());
    assert_eq!(collector.refused(), 2);
}

#[test]
fn a_batch_that_is_too_large_is_sent_in_smaller_ones_down_to_one_record() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let mut home = Home::with_a_log(1, 300).to(&collector);
    signing_file(&mut home);
    append(&home);
    collector.take_at_most(100);
    assert_eq!(home.follow(0, &[])["records"], home.ids().len());
    assert_eq!(arrived(&collector), home.ids(), "each once, in order");
    assert_eq!(collector.logs().last().expect("a record").event_name, "entrabot.audit.checkpoint");
    let sizes: Vec<usize> = collector.received().iter().map(|one| one.logs().len()).collect();
    assert_eq!(sizes[0], 64, "512 in half and in half: {sizes:?}");
    assert!(sizes.iter().any(|size| *size > 64), "larger again as they are taken: {sizes:?}");
    // One at a time, where it must be; the checkpoint is one as well.
    collector.take_at_most(1);
    let before = collector.received().len();
    append(&home);
    assert_eq!(home.follow(0, &[])["records"], 1);
    assert_eq!(collector.received().len(), before + 2);
    // What cannot be made smaller ends the run, and is not passed over.
    collector.take_at_most(0);
    append(&home);
    let answer = home.follow(2, &[]);
    assert_eq!(answer["error_type"], "OtlpExportError");
    assert!(answer["error"].as_str().is_some_and(|error| error.ends_with("answered 413")), "{answer}");
    assert!(answer["hint"].as_str().is_some_and(|hint| hint.contains("max_request_body_size")), "{answer}");
    collector.take_at_most(1);
    assert_eq!(home.follow(0, &[])["records"], 1);
    assert_eq!(arrived(&collector), home.ids());
}

#[test]
fn what_a_collector_will_never_take_is_told_and_not_sent_again() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let home = Home::with_a_log(1, 20).to(&collector);
    collector.behave([Behaviour::Partial(3, "too old".into())]);
    assert_eq!(home.follow(1, &[])["rejected"], 3);
    assert_eq!(home.follow(0, &[])["records"], 0);
    assert_eq!(collector.received().len(), 1);
}

#[test]
fn a_refusal_that_does_not_pass_ends_the_run_and_moves_nothing() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let home = Home::with_a_log(1, 20).to(&collector);
    for behaviour in [
        Behaviour::Status(401),
        Behaviour::Status(400),
        Behaviour::Redirect("https://elsewhere.example/v1/logs".into()),
    ] {
        collector.behave([behaviour]);
        let answer = home.follow(2, &[]);
        assert_eq!(answer["error_type"], "OtlpExportError");
    }
    assert_eq!(home.follow(0, &[])["records"], home.ids().len());
    // Where it may go is settled before anything is sent.
    for endpoint in
        ["http://collector.example/v1/logs", "ftp://localhost/", "https://user:pw@localhost/v1/logs"]
    {
        assert_eq!(home.follow(2, &["--endpoint", endpoint])["error_type"], "ConfigError", "{endpoint}");
    }
    let mut nowhere = Home::with_a_log(1, 1);
    assert_eq!(nowhere.follow(2, &[])["error_type"], "UsageError");
    nowhere.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    for wrong in [&["--format", "jsonl"][..], &["--outcome", "failure"], &["--cursor", "../x"]] {
        nowhere.follow(2, wrong);
    }
}

fn start(home: &Home) -> Child {
    let mut command = home.command(&["audit", "export", "--follow"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_no_record_out() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let mut home = Home::with_a_log(1, 1_500).to(&collector);
    home.set("OTEL_EXPORTER_OTLP_TIMEOUT", "500");
    // Before it is sent, while it is under way, and after it was taken but before the cursor knows.
    for (taken, next) in [(0, Behaviour::Hang), (1, Behaviour::Hang), (2, Behaviour::TakenAndCut)] {
        collector.behave(std::iter::repeat_n(Behaviour::Accept, taken).chain([next]));
        let before = collector.received().len();
        let mut child = start(&home);
        let came = |received: &[Received]| received.len() >= before + taken;
        assert!(collector.wait_until(LONG, came), "{taken} batches arrive");
        std::thread::sleep(Duration::from_millis(150));
        child.kill().expect("a running process");
        child.wait().expect("it ends");
    }
    collector.behave([]);
    let left = home.follow(0, &[]);
    let ids = arrived(&collector);
    let all: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(all, home.ids().into_iter().collect());
    assert!(left["records"].as_u64().expect("a number") > 0, "{left}");
}

#[test]
fn records_are_sent_as_they_are_written_over_a_day_that_begins() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let mut home = Home::with_a_log(1, 10).to(&collector);
    signing_file(&mut home);
    let mut child = start(&home);
    let before = home.ids().len();
    let records = |received: &[Received]| {
        received.iter().flat_map(Received::logs).filter_map(|one| id_of(&one)).count()
    };
    assert!(collector.wait_until(LONG, |received| records(received) == before), "what was there");
    append(&home);
    assert!(collector.wait_until(LONG, |received| records(received) == before + 1), "what came");
    // One process for each cursor.
    assert_eq!(home.follow(2, &[])["error_type"], "AuditLockTimeoutError");
    child.kill().expect("a running process");
    child.wait().expect("it ends");
    assert_eq!(arrived(&collector), home.ids());
}

#[test]
fn its_headers_come_from_a_file_or_the_keyring_and_are_shown_nowhere() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let keyring = PrivateKeyring::start(Mode::Encrypted).expect("a keyring");
    let mut home = Home::with_a_log(1, 5);
    home.env.extend(keyring.env());
    let endpoint = format!("{}/v1/logs", collector.endpoint());
    fs::write(home.path("headers"), format!("x-api-key={SECRET}\n")).expect("a file");
    home.follow(0, &["--endpoint", &endpoint, "--headers-file", "headers"]);
    fs::remove_file(home.path("headers")).expect("a file");
    let mut set = home.command(&["keystore", "set", "entrabot", "otlp-headers"]);
    let mut child = set.stdin(Stdio::piped()).spawn().expect("the program starts");
    let header = format!("authorization=Bearer%20{SECRET}");
    child.stdin.take().expect("a pipe").write_all(header.as_bytes()).expect("written");
    assert!(child.wait().expect("it ends").success());
    home.follow(0, &["--endpoint", &endpoint, "--headers-from-keyring", "--from", "start"]);
    let received = collector.received();
    assert_eq!(received[0].header("x-api-key"), Some(SECRET));
    assert_eq!(received[1].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert!(!found_below(home.dir.path(), SECRET));
    // A header that is none is refused without being told.
    fs::write(home.path("headers"), SECRET).expect("a file");
    let answer = home.follow(2, &["--endpoint", &endpoint, "--headers-file", "headers"]);
    assert_eq!(answer["error_type"], "ConfigError");
    // One that is cut short would be another.
    fs::write(home.path("headers"), format!("x-api-key={}", SECRET.repeat(1100))).expect("a file");
    let answer = home.follow(2, &["--endpoint", &endpoint, "--headers-file", "headers"]);
    assert_eq!(answer["error_type"], "ConfigError");
    let said = answer["error"].as_str().expect("a text");
    assert!(said.contains("headers, holds more than 16384 bytes"), "{said}");
    assert_eq!(collector.received().len(), 2);
}

fn found_below(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return found_below(&path, text);
        }
        fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    })
}

#[test]
fn no_day_is_pruned_before_it_is_sent() {
    let collector = Collector::start(Transport::Plain).expect("a collector");
    let mut home = Home::with_a_log(3, 20).to(&collector);
    signing_file(&mut home);
    append(&home);
    // One batch is taken, with the first days in it, and no more.
    let prune = |home: &Home, code: i32| {
        let output = home.run(&["audit", "prune", "--before", "2026-07-20", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    home.follow(0, &["--from", "start"]);
    let cursor = fs::read_to_string(home.cursor()).expect("a cursor");
    let all = cursor.split(' ').nth(1).expect("a day").to_owned();
    fs::write(home.cursor(), cursor.replace(&all, "2026-07-13")).expect("a file");
    let kept = prune(&home, 1);
    assert_eq!(kept["days"], serde_json::json!(["2026-07-12"]));
    assert!(kept["kept"].as_str().expect("a reason").contains("has not sent it yet"), "{kept}");
    // That cursor fits no line of that day: nothing is left out unseen.
    assert_eq!(home.follow(1, &[])["error_type"], "AuditExportError");
    home.follow(0, &["--from", "start"]);
    assert_eq!(prune(&home, 0)["days"].as_array().expect("days").len(), 2);
    home.follow(0, &[]);
    let verified = home.run(&["audit", "verify", "--json"]);
    assert!(verified.status.success(), "{verified:?}");
}
