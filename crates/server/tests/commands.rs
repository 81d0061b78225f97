//! The command line, on a real keyring.

mod common;

use std::time::Duration;

use common::{AGENT, Home, files_below};
use entrabot_keystore::private_keyring::Mode;
use serde_json::{Value, json};

/// The longest that any command waits for the keyring.
const KEYRING_LIMIT: Duration = Duration::from_secs(3);

#[test]
fn wrong_usage_exits_with_2_and_says_so_in_json_too() {
    let home = Home::new(Mode::NoProvider);
    for arguments in [&["no-such-command"][..], &["audit", "append"], &["keystore", "get", "only-a-service"]]
    {
        home.run(arguments).expect(2);
    }
    let finished = home.run(&["audit", "append", "--json"]).expect(2);
    assert_eq!(finished.json()["error_type"], "UsageError");
    assert!(home.run(&["--version"]).expect(0).text().starts_with("entrabot "));
    assert!(home.run(&["help"]).expect(0).text().contains("doctor"));
}

#[test]
fn completions_are_there_for_every_shell() {
    let home = Home::new(Mode::NoProvider);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.run(&["completions", shell]).expect(0).text().contains("keystore"), "{shell}");
    }
}

#[test]
fn a_malformed_setting_is_named_and_exits_with_2() {
    let mut home = Home::new(Mode::NoProvider);
    home.set("ENTRABOT_AGENT_ID", "PLANTED");
    let finished = home.run(&["config", "show", "--json"]).expect(2);
    assert_eq!(finished.json()["error_type"], "ConfigError");
    assert!(finished.stderr.contains("ENTRABOT_AGENT_ID"), "{finished:?}");
    assert!(finished.stderr.contains("hint: "), "{finished:?}");
    assert!(!finished.stderr.contains("PLANTED"), "{finished:?}");
}

#[test]
fn the_settings_are_shown_with_their_origin_and_without_secrets() {
    let mut home = Home::with_directories(Mode::NoProvider);
    home.set("ENTRABOT_AGENT_ID", AGENT).set("ENTRABOT_PROXY", "https://user:PLANTED@proxy.example:8080");
    let finished = home.run(&["config", "show", "--json"]).expect(0);
    assert!(!finished.text().contains("PLANTED"));
    let settings = finished.json();
    let settings = settings["settings"].as_array().unwrap();
    let find = |name: &str| settings.iter().find(|setting| setting["name"] == name).unwrap();
    assert_eq!(find("ENTRABOT_AGENT_ID")["value"], AGENT);
    assert_eq!(find("ENTRABOT_AGENT_ID")["origin"], "environment");
    assert_eq!(find("ENTRABOT_CLOUD")["origin"], "default");
    let text = home.run(&["config", "show"]).expect(0).text();
    assert!(text.contains("ENTRABOT_AGENT_ID") && !text.contains("PLANTED"));
}

#[test]
fn a_manifest_is_checked_offline() {
    let home = Home::new(Mode::NoProvider);
    let lint = |text: &str| {
        std::fs::write(home.path("m.json"), text).unwrap();
        home.run(&["manifest", "lint", "m.json", "--json"])
    };
    let good = json!({"mcpServers": [{"mcpServerName": "mcp_WordServer", "mcpServerUniqueName": "mcp_WordServer",
        "scope": "McpServers.Word.All", "audience": "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1"}]});
    assert_eq!(lint(&good.to_string()).expect(0).json()["ok"], true);
    let bad = lint(
        &good.to_string().replace(r#""scope""#, r#""url":"https://evil.example/agents/servers/x","scope""#),
    );
    let report = bad.expect(1).json();
    assert_eq!(report["ok"], false);
    assert!(report["findings"][0]["field"].as_str().unwrap().contains("url"), "{report}");
    home.run(&["manifest", "lint", "there-is-none.json"]).expect(2);
}

#[test]
fn a_slip_of_the_fingers_is_answered_with_what_was_meant() {
    let home = Home::new(Mode::NoProvider);
    for (typed, meant) in
        [(&["docter"][..], "doctor"), (&["audit", "verfy"], "verify"), (&["doctor", "--ofline"], "--offline")]
    {
        let refused = home.run(&[typed, &["--json"]].concat()).expect(2);
        assert!(refused.stderr.contains(meant), "{refused:?}");
        let error = refused.json();
        assert_eq!(error["error_type"], "UsageError");
        assert!(
            error["hint"].as_str().is_some_and(|hint| hint.starts_with(&format!("is {meant} meant?"))),
            "{error}"
        );
    }
}

#[test]
fn a_sound_home_without_settings_passes_the_doctor_and_nothing_is_left_behind() {
    let home = Home::new(Mode::Encrypted);
    // The first probe may make the collection's file grow; what counts is what a second one leaves.
    home.run(&["doctor"]).expect(0);
    let before = files_below(&home.keyring.home());
    let finished = home.run(&["doctor", "--json"]).expect(0);
    assert!(finished.elapsed < KEYRING_LIMIT, "{:?}", finished.elapsed);
    let report = finished.json();
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["keystore"]["verdict"], "verified");
    assert_eq!(report["keystore"]["backend"], "secret-service:gnome-keyring");
    assert_eq!(report["keystore"]["stored_bytes"], 2048);
    for check in report["checks"].as_array().unwrap() {
        assert!(matches!(check["status"].as_str(), Some("pass" | "skip")), "{check}");
        assert!(check["status"] == "pass" || check["hint"].is_string(), "{check}");
    }
    let after = files_below(&home.keyring.home());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(home.run(&["keystore", "list", "entrabot-sanity"]).expect(0).stdout.is_empty());
}

#[test]
fn the_doctor_says_what_is_wrong_with_a_keyring_and_what_to_do() {
    for (mode, verdict) in [(Mode::NoProvider, "rejected"), (Mode::Cleartext, "rejected")] {
        let home = Home::new(mode);
        let finished = home.run(&["doctor", "--json"]).expect(1);
        assert!(finished.elapsed < KEYRING_LIMIT, "{:?}", finished.elapsed);
        let report = finished.json();
        assert_eq!(report["ok"], false);
        assert_eq!(report["keystore"]["verdict"], verdict, "{mode:?}: {report}");
        let keyring = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == "keyring")
            .unwrap()
            .clone();
        assert_eq!(keyring["status"], "fail");
        assert!(keyring["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{keyring}");
    }
}

#[test]
fn the_doctor_finds_a_key_that_python_left_in_a_file() {
    let home = Home::new(Mode::Encrypted);
    let dir = home.keyring.home().join(".local/share/python_keyring");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("keyring_pass.cfg"), "[entrabot]\nblueprint_2Dprivate_2Dkey = UExBTlRFRA==\n")
        .unwrap();
    let finished = home.run(&["doctor", "--json"]).expect(1);
    let text = finished.text();
    assert!(text.contains("keyring_pass.cfg") && text.contains("rotate now"), "{text}");
    assert!(!text.contains("UExBTlRFRA") && !text.contains("PLANTED"), "{text}");
}

#[test]
fn an_entry_goes_in_and_comes_out_byte_for_byte() {
    let home = Home::new(Mode::Encrypted);
    for value in [&b"plain"[..], b"", b"with\0nul\n", b"\xff\xfe\x00\x01", &vec![7; 64 * 1024]] {
        home.run_with(&["keystore", "set", "entrabot-test", "value"], value).expect(0);
        assert_eq!(home.run(&["keystore", "get", "entrabot-test", "value"]).expect(0).stdout, value);
    }
    assert_eq!(home.run(&["keystore", "list", "entrabot-test"]).expect(0).text(), "value\n");
    let listed = home.run(&["keystore", "list", "entrabot-test", "--json"]).expect(0).json();
    assert_eq!(listed["entries"][0]["username"], "value");
    home.run(&["keystore", "delete", "entrabot-test", "value"]).expect(0);
    for command in ["get", "delete"] {
        let absent = home.run(&["keystore", command, "entrabot-test", "value", "--json"]).expect(4);
        assert!(absent.stderr.starts_with("error: "), "{absent:?}");
        assert!(absent.json()["error_type"].is_string());
    }
    home.run_with(&["keystore", "set", "entrabot-test", "big"], &vec![0; (1 << 20) + 1]).expect(2);
    home.run(&["keystore", "get", "entrabot-test", "big"]).expect(4);
}

#[test]
fn each_unsafe_or_unusable_keyring_has_its_exit_code_and_none_hangs() {
    for (mode, code, error_type) in [
        (Mode::NoProvider, 3, "InsecureKeyringBackendError"),
        (Mode::Cleartext, 3, "InsecureKeyringBackendError"),
        (Mode::CleartextLocked, 3, "InsecureKeyringBackendError"),
        (Mode::Locked, 5, "KeyringLocked"),
    ] {
        let home = Home::new(mode);
        for arguments in [
            &["keystore", "get", "entrabot", "blueprint-private-key", "--json"][..],
            &["keystore", "set", "entrabot", "blueprint-private-key", "--json"],
            &["keystore", "delete", "entrabot", "blueprint-private-key", "--json"],
            &["keystore", "probe", "--json"],
        ] {
            let finished = home.run_with(arguments, b"PLANTED").expect(code);
            assert!(finished.elapsed < KEYRING_LIMIT, "{mode:?} {arguments:?}: {:?}", finished.elapsed);
            let told = finished.json();
            assert!(
                told["error_type"].as_str().is_some_and(|name| name.starts_with(error_type)),
                "{mode:?} {arguments:?}: {told}"
            );
            assert!(told["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{told}");
            assert!(!finished.stderr.contains("PLANTED"));
        }
    }
}

#[test]
fn an_unknown_or_insecure_backend_is_refused_by_its_name() {
    for name in ["keyrings.alt.file.PlaintextKeyring", "keyring.backends.null.Keyring", "no-such-backend"] {
        let mut home = Home::new(Mode::Encrypted);
        home.set("ENTRABOT_KEYRING_BACKEND", name);
        let finished = home.run(&["keystore", "get", "entrabot", "x", "--json"]).expect(3);
        assert_eq!(finished.json()["error_type"], "InsecureKeyringBackendError");
        assert!(finished.stderr.contains(name), "{finished:?}");
    }
}

fn agent_home() -> Home {
    let mut home = Home::with_directories(Mode::Encrypted);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    home
}

#[test]
fn append_prints_the_id_alone_and_the_log_verifies() {
    let home = agent_home();
    let id = home
        .run(&[
            "audit",
            "append",
            "--action",
            "a.b",
            "--resource",
            "r",
            "--outcome",
            "success",
            "--metadata",
            "k=v=w",
        ])
        .expect(0)
        .text();
    assert_eq!(id.trim_end().len(), 36);
    assert_eq!(id.lines().count(), 1);
    let report = home.run(&["audit", "verify", "--json"]).expect(0).json();
    assert_eq!((&report["ok"], &report["events"]), (&json!(true), &json!(1)));
    assert_eq!(report["level"], "anchored", "a clean exit seals: {report}");
    let tail = home.run(&["audit", "tail", "--json"]).expect(0).json();
    assert_eq!(tail["event_id"], id.trim_end());
    assert_eq!((&tail["agent_id"], &tail["metadata"]["k"]), (&json!(AGENT), &json!("v=w")));
    assert_eq!(tail["src"], "cli");
    let found = home.run(&["audit", "query", "--action", "a.b", "--json"]).expect(0).json();
    assert_eq!(found["event_id"], id.trim_end());
    assert!(home.run(&["audit", "query", "--action", "other"]).expect(0).stdout.is_empty());
    home.run(&["audit", "query", "--since", "yesterday"]).expect(2);
    assert_eq!(home.run(&["audit", "status", "--json"]).expect(0).json()["events"], 1);
}

#[test]
fn append_without_anybody_to_name_writes_nothing() {
    let home = Home::with_directories(Mode::Encrypted);
    let append = |attribution: &str| {
        home.run(&[
            "audit",
            "append",
            "--action",
            "a",
            "--resource",
            "r",
            "--outcome",
            "o",
            "--attribution",
            attribution,
            "--metadata",
            "a=b",
        ])
    };
    let refused = append("agent").expect(7);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("AuditAttributionError"), "{refused:?}");
    append("none").expect(0);
    append("delegated-human").expect(0);
    let events: Vec<Value> = home
        .run(&["audit", "tail", "--json"])
        .expect(0)
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["agent_id"] == "unknown"), "{events:?}");
}

#[test]
fn case_43_case_45_what_is_too_long_or_no_text_is_wrong_usage_and_nothing_is_written() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let home = agent_home();
    let append = |action: &OsStr, resource: &OsStr, metadata: &OsStr| {
        let mut command = home.command(&["audit", "append", "--outcome", "success"]);
        command.arg("--action").arg(action).arg("--resource").arg(resource).arg("--metadata").arg(metadata);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), output.stdout, said)
    };
    let plain = OsStr::new("k=v");
    let long = |count: usize| "x".repeat(count);
    let no_text = OsStr::from_bytes(b"\xff\xfe");
    let refused = [
        append(long(1025).as_ref(), "r".as_ref(), plain),
        append("a".as_ref(), long(8193).as_ref(), plain),
        append("a".as_ref(), "r".as_ref(), format!("k={}", long(17_000)).as_ref()),
        append(no_text, "r".as_ref(), plain),
        append("a".as_ref(), no_text, plain),
        append("a".as_ref(), "r".as_ref(), OsStr::from_bytes(b"k=\xff")),
    ];
    for (code, printed, said) in refused {
        assert!(code == Some(2) && printed.is_empty() && said.starts_with("error: "), "{code:?} {said}");
        assert!(!said.contains("xxx"), "{said}");
    }
    assert_eq!(append(long(1024).as_ref(), long(8192).as_ref(), plain).0, Some(0));
    assert_eq!(home.run(&["audit", "verify", "--json"]).expect(0).json()["events"], 1);
}

#[test]
fn append_stdin_keeps_the_good_lines_and_tells_the_bad_ones() {
    let home = agent_home();
    let good = r#"{"action":"a","resource":"r","outcome":"success","metadata":{"n":1}}"#;
    let input = format!(
        "{good}\nnonsense\n{good}\n{{\"action\":7}}\n[]\n{{\"action\":\"a\",\"resource\":\"r\",\"outcome\":\"o\",\"other\":1}}\n{{\"action\":\"{}\"}}\n{good}",
        "x".repeat(70_000),
    );
    let finished = home.run_with(&["audit", "append", "--stdin"], input.as_bytes()).expect(1);
    assert_eq!(finished.text().lines().count(), 3, "{finished:?}");
    for number in [2, 4, 5, 6, 7] {
        assert!(finished.stderr.contains(&format!("line {number}:")), "{number}: {}", finished.stderr);
    }
    assert_eq!(home.run(&["audit", "verify", "--json"]).expect(0).json()["events"], 3);

    let many = format!("{good}\n").repeat(1000);
    let finished = home.run_with(&["audit", "append", "--stdin"], many.as_bytes()).expect(0);
    let ids: std::collections::HashSet<_> = finished.text().lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 1000);
}

#[test]
fn each_id_is_printed_as_its_record_becomes_durable() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let home = agent_home();
    let mut child = home
        .command(&["audit", "append", "--stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..5 {
        writeln!(stdin, r#"{{"action":"a{number}","resource":"r","outcome":"success"}}"#).unwrap();
        let id = lines.next().unwrap().unwrap();
        assert_eq!(id.len(), 36, "the input is still open");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn verify_tells_tampered_from_unreadable() {
    let home = agent_home();
    for _ in 0..3 {
        home.run(&["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"]).expect(0);
    }
    let day = std::fs::read_dir(home.path("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    let mut bytes = std::fs::read(&day).unwrap();
    let sound = bytes.clone();
    // A torn tail is named with the word, and is no tampering.
    bytes.extend_from_slice(b"{\"event_id\"");
    std::fs::write(&day, &bytes).unwrap();
    assert!(home.run(&["audit", "verify"]).expect(0).text().contains("torn"));

    let mut changed = sound.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&day, &changed).unwrap();
    let report = home.run(&["audit", "verify", "--json"]).expect(1).json();
    assert_eq!(report["ok"], false);
    assert!(report["first_error"]["line"].as_u64().is_some(), "{report}");

    let last = sound[..sound.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    std::fs::write(&day, &sound[..last]).unwrap();
    assert_eq!(home.run(&["audit", "verify"]).expect(1).code, Some(1), "the anchor misses the last record");

    home.run(&["audit", "verify", "--dir", "/nonexistent/audit"]).expect(2);
}

#[test]
fn what_could_steer_a_terminal_is_shown_escaped() {
    let home = agent_home();
    home.run(&[
        "audit",
        "append",
        "--action",
        "a\u{1b}[2J\u{202e}",
        "--resource",
        "r",
        "--outcome",
        "success",
    ])
    .expect(0);
    let text = home.run(&["audit", "tail"]).expect(0).text();
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    assert!(text.contains("\\u001b[2J"), "{text:?}");
}

#[test]
fn case_11_a_limit_on_the_files_size_is_an_error_and_not_the_end_of_the_process() {
    use std::io::Write as _;

    let home = agent_home();
    home.run(&["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"]).expect(0);
    let inner = home.command(&["audit", "append", "--stdin"]);
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "ulimit -f 32; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for number in 0..200 {
        writeln!(stdin, r#"{{"action":"a{number}","resource":"r","outcome":"success"}}"#).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}: {said}", output.status);
    assert!(said.contains(".jsonl") && said.contains("File too large"), "{said}");
    let report = home.run(&["audit", "verify", "--json"]).expect(0).json();
    let acknowledged = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
    assert_eq!(
        (&report["events"], &report["torn_tail_bytes"]),
        (&json!(acknowledged + 1), &json!(0)),
        "{said}"
    );
}

#[test]
fn case_17_root_writes_to_another_users_log_only_when_told_to() {
    let home = agent_home();
    let append = ["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"];
    home.run(&append).expect(0);
    let owned = std::process::Command::new("chown").args(["-R", "65534"]).arg(home.path("audit")).status();
    if !owned.is_ok_and(|status| status.success()) {
        println!("skipped: only root can give files away");
        return;
    }
    let refused = home.run(&append).expect(7);
    assert!(refused.stderr.contains("--as-root") && refused.stdout.is_empty(), "{refused:?}");
    home.run(&[&append[..], &["--as-root"]].concat()).expect(0);
    assert_eq!(home.run(&["audit", "verify", "--json"]).expect(0).json()["events"], 2);
}

#[test]
fn case_55_a_closed_stdout_is_no_panic_and_the_record_stays() {
    let home = agent_home();
    let mut command =
        home.command(&["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"]);
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    // /dev/full takes no byte.
    command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    assert_eq!(home.run(&["audit", "verify", "--json"]).expect(0).json()["events"], 1);
}

#[test]
fn a_locked_keyring_does_not_keep_a_record_off_the_log() {
    let mut home = Home::with_directories(Mode::Locked);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    let finished =
        home.run(&["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"]).expect(0);
    assert_eq!(finished.text().trim_end().len(), 36);
    assert!(finished.stderr.contains("warning: no checkpoint"), "{finished:?}");
}

#[test]
fn status_and_whoami_say_what_is_missing() {
    let home = Home::with_directories(Mode::Encrypted);
    let status = home.run(&["status", "--json"]).expect(1).json();
    assert_eq!(status["can_sign_in"], false);
    assert!(status["missing"].as_str().unwrap().contains("ENTRABOT_"), "{status}");
    let who = home.run(&["whoami", "--json"]).expect(6).json();
    assert_eq!((&who["status"], &who["tenant_id"]), (&json!("not_authenticated"), &json!("not_configured")));
    assert_eq!(who["error_type"], "AgentIDNotAvailable");
    let failed = home.run(&["token", "check", "--json"]).expect(6);
    assert_eq!(failed.json()["error_type"], "AgentIDNotAvailable");
}
