//! The log in other people's formats, read by other people's programs.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use entrabot_audit::{ExportFormat, Exported, Query, SigningPolicy, export, generate_signing_key};
use entrabot_tests::collector::text_of;
use entrabot_tests::peers::Python;
use entrabot_tests::written_log::{Entry, WrittenLog, working_days};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::{Value, json};

/// Calls that ended well and badly, one that never ended, statements, and text that needs every escape.
fn log() -> WrittenLog {
    let mut log = working_days(1, 420);
    let mut entry = Entry {
        time: 1_783_929_600_000_000,
        agent: "agent of another kind \u{1F600}\u{fb33}".to_owned(),
        attribution: "delegated-human",
        action: "odd \"quoted\" \\ \u{8}\u{c}\n\t\u{1b}\u{7f}\u{2028}é".to_owned(),
        outcome: "thought about",
        metadata: json!({"number": 1.5e300, "nested": {"b": [1, null], "a": "\u{20ac}"}}),
        source: "cli",
        call: 900_000,
    };
    log.add(&entry);
    (entry.outcome, entry.source, entry.call) = ("failure", "tool", 900_001);
    log.add(&entry);
    log
}

fn exported(directory: &Path, format: &ExportFormat) -> Vec<String> {
    let mut lines = Vec::new();
    export(directory, &Query::new(), format, |piece| {
        match piece {
            Exported::Line(line) => lines.push(line),
            other => panic!("{other:?}"),
        }
        ControlFlow::Continue(())
    })
    .expect("an export");
    lines
}

fn saved() -> (tempfile::TempDir, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    log().save(directory.path()).expect("a log");
    let lines = fs::read_dir(directory.path())
        .expect("files")
        .map(|file| fs::read_to_string(file.expect("a file").path()).expect("text").lines().count())
        .sum();
    (directory, lines)
}

fn python() -> Python {
    Python::ready(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a Python with the pinned packages")
}

#[test]
fn every_record_is_an_ocsf_event_that_the_published_schema_takes() {
    const PROGRAM: &str = r#"
import json, sys, jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.6.0")).get_class_schema("api_activity")
validator = jsonschema.Draft202012Validator(schema)
count = 0
for line in open(sys.argv[1]):
    event = json.loads(line)
    errors = [f"{list(error.path)}: {error.message}"[:300] for error in validator.iter_errors(event)]
    assert not errors, errors
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"], event
    count += 1
broken = json.loads(line)
del broken["actor"]
assert list(validator.iter_errors(broken)), "the validator validates"
print(count)
"#;
    let (directory, count) = saved();
    let lines = exported(directory.path(), &ExportFormat::Ocsf);
    assert_eq!(lines.len(), count);
    let file = directory.path().join("ocsf.txt");
    fs::write(&file, lines.join("\n")).expect("a file");
    let answer = python().run(PROGRAM, &[&file.display().to_string()], &[]).expect("the schema takes it");
    assert_eq!(answer.trim(), count.to_string());
    let failed: Value = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|event| event["status_code"] == "GraphApiError")
        .expect("the reason of a failure is its status code");
    assert_eq!((&failed["status_id"], &failed["severity_id"]), (&json!(2), &json!(2)));
}

#[test]
fn a_trail_is_verified_offline_by_a_program_that_only_has_the_public_key() {
    const PROGRAM: &str = r#"
import base64, json, sys
from aat import core
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization
lines = open(sys.argv[1], "rb").read().split(b"\n")
records = [json.loads(line) for line in lines]
# The key comes from the line of audit-vkeys, as an auditor has it.
spki = base64.b64decode(sys.argv[2])
key = serialization.load_der_public_key(spki)
kid = core.kid_for(key)
ok, issues = core.verify_chain(records, {kid: key})
assert ok, issues[:5]
for line, record in zip(lines, records):
    assert core.jcs(record) == line, "each line is canonical as it stands"
    assert set(core.MANDATORY) <= set(record) and record["signature"], record
    assert record["action_type"] in core.ACTION_TYPES and record["outcome"] in core.OUTCOMES, record
    assert record["trust_level"] in core.TRUST_LEVELS and record["record_phase"] in core.PHASES, record
    assert record["signer_kid"] == kid
    assert int.from_bytes(core._b64url_d(record["signature"])[32:], "big") <= core._P256_N // 2, "low S"
assert records[0]["record_phase"] == "concurrent" and records[0]["action_detail"]["event"] == "session_start"
assert records[-1]["action_detail"] == {"event": "session_end", "records_before": len(records) - 1}
calls = {r["record_id"] for r in records if r["action_type"] == "tool_call"}
parents = [r["action_detail"]["parent_call_id"] for r in records if r["action_type"] == "tool_response"]
assert parents and set(parents) <= calls and len(set(parents)) == len(parents)
# What the verifier must see: a change, a gap, another key.
changed = json.loads(json.dumps(records)); changed[5]["agent_id"] = "somebody else"
assert not core.verify_chain(changed, {kid: key})[0]
assert not core.verify_chain(records[:5] + records[6:], {kid: key})[0]
assert not core.verify_chain(records, {kid: core.gen_key().public_key()})[0]
print(len(records))
"#;
    let (directory, count) = saved();
    let key = directory.path().join("signing-key.pem");
    fs::write(&key, generate_signing_key().expect("a key").expose()).expect("a file");
    let lines = exported(directory.path(), &ExportFormat::Aat(SigningPolicy::File(key)));
    assert_eq!(lines.len(), count + 2, "with a beginning and an end");
    let genesis: Value = serde_json::from_str(&lines[0]).expect("JSON");
    let file = directory.path().join("aat.txt");
    fs::write(&file, lines.join("\n")).expect("a file");
    let spki = spki_of(&genesis["action_detail"]["signer_public_key"]);
    let answer = python().run(PROGRAM, &[&file.display().to_string(), &spki], &[]).expect("it verifies");
    assert_eq!(answer.trim(), (count + 2).to_string());
}

/// SubjectPublicKeyInfo in base64, of a JWK on P-256.
fn spki_of(jwk: &Value) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("text")).expect("base64url");
    let prefix = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE").expect("base64");
    STANDARD.encode([prefix, part("x"), part("y")].concat())
}

#[test]
fn a_trail_without_a_key_is_refused_and_none_is_made() {
    let (directory, _) = saved();
    let mut lines = 0;
    let missing = ExportFormat::Aat(SigningPolicy::File(directory.path().join("missing.pem")));
    for format in [missing, ExportFormat::Aat(SigningPolicy::Off)] {
        export(directory.path(), &Query::new(), &format, |_| {
            lines += 1;
            ControlFlow::Continue(())
        })
        .expect_err("no key");
    }
    assert_eq!(lines, 0);
}

#[test]
fn otlp_logs_are_what_the_published_protobufs_mean() {
    let (directory, count) = saved();
    let lines = exported(directory.path(), &ExportFormat::OtlpJson);
    assert_eq!(lines.len(), count.div_ceil(512), "in batches");
    let mut records = Vec::new();
    for line in &lines {
        let request: ExportLogsServiceRequest = serde_json::from_str(line).expect("the published protobufs");
        // What they do not know they pass over, so that what they know must be all there is.
        assert_eq!(
            serde_json::from_str::<Value>(line).expect("JSON")["resourceLogs"].as_array().map(Vec::len),
            Some(1)
        );
        for resource in request.resource_logs {
            let attributes = &resource.resource.as_ref().expect("a resource").attributes;
            assert!(attributes.iter().any(|attribute| attribute.key == "service.name"));
            records.extend(resource.scope_logs.into_iter().flat_map(|scope| scope.log_records));
        }
    }
    assert_eq!(records.len(), count);
    let text = |record: &LogRecord, key: &str| text_of(&record.attributes, key);
    let first = &records[0];
    assert_eq!(text(first, "entrabot.audit.outcome").as_deref(), Some("pending"));
    assert_eq!(text(first, "entrabot.audit.seq").as_deref(), Some("0"));
    assert!(text(first, "gen_ai.tool.name").is_some() && text(first, "gen_ai.agent.id").is_some());
    assert_eq!(first.trace_id, records[1].trace_id, "a call's records share a trace");
    assert_eq!((first.trace_id.len(), first.span_id.len()), (16, 0));
    let (began, ended) = (first.time_unix_nano, records[1].time_unix_nano);
    assert!(began > 1_783_843_200_000_000_000 && ended > began && ended - began < 60_000_000_000);
    let failure = records.iter().find(|record| record.severity_number == 13).expect("a failure is a warning");
    assert!(text(failure, "error.type").is_some());
}

#[test]
fn jsonl_is_the_log_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    working_days(1, 20).save(directory.path()).expect("a log");
    let stored: String = fs::read_dir(directory.path())
        .expect("files")
        .map(|file| fs::read_to_string(file.expect("a file").path()).expect("text"))
        .collect();
    assert_eq!(exported(directory.path(), &ExportFormat::Jsonl).join("\n") + "\n", stored);
}

#[test]
fn an_export_ends_when_its_reader_has_enough_and_of_no_log_there_is_none() {
    let (directory, _) = saved();
    let mut lines = 0;
    export(directory.path(), &Query::new(), &ExportFormat::Ocsf, |_| {
        lines += 1;
        if lines == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .expect("an export");
    assert_eq!(lines, 3);
    let nowhere = directory.path().join("nowhere");
    export(&nowhere, &Query::new(), &ExportFormat::Jsonl, |_| panic!("a line")).expect_err("no log");
}
