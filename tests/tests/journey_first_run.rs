//! From nothing to a working agent and back, by the real calls, cut anywhere.

mod journey;

use std::fs;
use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use entrabot_keystore::private_keyring::Mode;
use entrabot_tests::stand_in::{Effect, Fault, Options, Role};
use journey::provisioning::{
    UPN, administered, assert_one_of_everything, assert_the_record_tells_it, changes, count, killed_after,
    provision, provision_arguments, run, teardown,
};
use journey::{Home, spans};
use serde_json::{Value, json};

#[test]
fn provision_serve_write_and_tear_down() -> io::Result<()> {
    let home = administered(Options { without_work_iq: true, ..Options::default() })?;
    let finished = provision(&home)?;
    finished.assert_code(0);
    finished.json();
    assert_one_of_everything(&home)?;
    let settings = fs::read_to_string(home.state().join(".env"))?;
    for name in ["BLUEPRINT_APP_ID", "BLUEPRINT_CERT_THUMBPRINT", "AGENT_ID", "AGENT_USER_ID", "AGENT_UPN"] {
        assert!(settings.contains(&format!("ENTRABOT_{name}=")), "{name}: {settings}");
    }

    let client = home.serve()?;
    let who = client.call("whoami", &json!({}))?.value();
    assert_eq!((&who["agent_upn"], &who["status"]), (&json!(UPN), &json!("authenticated")), "{who}");
    let created =
        client.call("create_word_document", &json!({"file_name": "a", "content_html": "<p>x</p>"}))?;
    assert!(!created.is_error, "{}", created.text);
    client.stop()?;

    // Every change was on record before, nobody acting yet, no address in it.
    let records = home.records()?;
    let set_up: Vec<Value> =
        records.iter().filter(|record| record["src"] == "provisioning").cloned().collect();
    assert!(!set_up.is_empty());
    for record in &set_up {
        assert_eq!(record["attribution_type"], "none", "{record}");
        assert!(!record.to_string().contains('@'), "{record}");
    }
    for span in spans(&set_up) {
        assert_eq!(span, ["pending", "success"]);
    }

    teardown(&home, &["--preserve-provisioner"])?.assert_code(0);
    for (collection, member, value) in [
        ("applications", "displayName", "demo"),
        ("servicePrincipals", "displayName", "demo"),
        ("users", "userPrincipalName", UPN),
    ] {
        assert_eq!(count(&home, collection, member, value), 0, "{collection}");
    }
    assert!(home.audit_dir().exists(), "the record stays");
    home.run(&["audit", "verify"], &[])?.assert_code(0);
    home.run(&["keystore", "get", "entrabot", "blueprint-private-key"], &[])?.assert_code(4);
    teardown(&home, &[])?.assert_code(0);
    // That one took the Provisioner's certificate out too; there is nothing left to sign in for, and what was not looked
    // for is said.
    home.run(&["teardown", "--yes", "--json"], &[])?.assert_code(0);
    let again = teardown(&home, &[])?;
    again.assert_code(0);
    assert!(again.json()["remains"].to_string().contains(UPN), "{again:?}");
    Ok(())
}

#[test]
fn teardown_without_a_yes_changes_nothing() -> io::Result<()> {
    let home = administered(Options::default())?;
    provision(&home)?.assert_code(0);
    home.cloud.clear_requests();
    home.run(&["teardown", "--agent-user-upn", UPN], &[])?;
    assert_eq!(changes(&home.cloud.requests()), Vec::<String>::new());
    assert_one_of_everything(&home)
}

#[test]
fn the_same_run_again_changes_nothing() -> io::Result<()> {
    let home = administered(Options::default())?;
    provision(&home)?.assert_code(0);
    home.cloud.clear_requests();
    provision(&home)?.assert_code(0);
    assert_eq!(changes(&home.cloud.requests()), Vec::<String>::new());
    assert_one_of_everything(&home)
}

#[test]
fn a_dry_run_only_looks() -> io::Result<()> {
    let home = administered(Options::default())?;
    let mut arguments = provision_arguments(&home);
    arguments.retain(|word| word != "--yes");
    arguments.push("--dry-run".into());
    let finished = run(&home, &arguments)?;
    finished.assert_code(0);
    let plan = finished.json().to_string().to_lowercase();
    for step in ["blueprint", "principal", "certificate", "identity", "user", "grant", "licence"] {
        assert!(plan.contains(step), "{step}: {plan}");
    }
    assert_eq!(changes(&home.cloud.requests()), Vec::<String>::new());
    assert!(!home.state().join(".env").exists());
    let records = home.records()?;
    assert_eq!(records, Vec::<Value>::new());
    home.run(&["keystore", "get", "entrabot", "blueprint-private-key"], &[])?.assert_code(4);
    Ok(())
}

#[test]
fn an_insecure_keyring_asks_nothing_of_anybody() -> io::Result<()> {
    let mut home = Home::bare(Options::default())?;
    home.keyring = entrabot_keystore::private_keyring::PrivateKeyring::start(Mode::Cleartext)?;
    provision(&home)?.assert_code(3);
    teardown(&home, &[])?.assert_code(3);
    assert_eq!(home.cloud.requests().len(), 0);
    assert!(!home.state().join(".env").exists());
    Ok(())
}

#[test]
fn a_missing_permission_is_named() -> io::Result<()> {
    let home = administered(Options::default())?;
    home.cloud.set_behaviour(|behaviour| {
        behaviour.missing_permissions =
            vec!["AgentIdentity.Create.All".into(), "AgentIdentity.ReadWrite.All".into()];
    });
    let refused = provision(&home)?;
    refused.assert_code(6);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("AgentIdentity.Create.All"), "{refused:?}");
    home.cloud.set_behaviour(|behaviour| behaviour.missing_permissions.clear());
    provision(&home)?.assert_code(0);
    assert_one_of_everything(&home)
}

#[test]
fn a_slow_and_busy_directory_of_a_thousand_apps_is_waited_for() -> io::Result<()> {
    let options = Options { other_apps: 1000, ..Options::default() };
    let home = administered(options)?;
    home.cloud.set_behaviour(|behaviour| {
        behaviour.replication_delay_ms = 700;
        behaviour.certificate_delay_ms = 700;
    });
    let busy = Effect::Respond {
        status: 429,
        headers: vec![("Retry-After".into(), "1".into())],
        body: r#"{"error":{"code":"TooManyRequests","message":"Too many requests."}}"#.into(),
    };
    home.cloud.set_fault(Fault { method: Some("POST".into()), ..Fault::graph(busy) }.times(2));
    provision(&home)?.assert_code(0);
    home.cloud.set_behaviour(|behaviour| {
        behaviour.replication_delay_ms = 0;
        behaviour.certificate_delay_ms = 0;
    });
    // What was made last shows only after its own delay.
    std::thread::sleep(Duration::from_millis(800));
    assert_one_of_everything(&home)?;
    // Nothing was asked of Graph before its Retry-After was over.
    let requests = home.cloud.requests();
    for (at, request) in requests.iter().enumerate().filter(|(_, request)| request.status == 429) {
        let next = requests[at + 1..].iter().find(|next| next.host == Role::Graph).expect("it went on");
        assert!(next.first_byte_ns >= request.answered_ns + 990_000_000, "{} came too early", next.path);
    }
    Ok(())
}

#[test]
fn without_free_seats_it_warns_and_goes_on() -> io::Result<()> {
    let home = administered(Options { free_seats: Some(0), ..Options::default() })?;
    let finished = provision(&home)?;
    finished.assert_code(0);
    assert!(
        format!("{}{}", finished.stdout, finished.stderr).to_lowercase().contains("licence"),
        "{finished:?}"
    );
    Ok(())
}

#[test]
fn of_two_runs_at_once_one_is_refused_at_once() -> io::Result<()> {
    let home = administered(Options::default())?;
    home.cloud.clear_requests();
    home.cloud
        .set_fault(Fault { method: Some("POST".into()), ..Fault::graph(Effect::DelayMs(4000)) }.times(1));
    let arguments = provision_arguments(&home);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut first =
        home.command(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let begun = Instant::now();
    while changes(&home.cloud.requests()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first run makes no change");
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    provision(&home)?.assert_code(5);
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    assert!(first.wait()?.success());
    assert_one_of_everything(&home)
}

fn resumes_after_a_kill_at(number: usize) -> io::Result<bool> {
    let home = administered(Options::default())?;
    home.cloud.clear_requests();
    let killed = killed_after(&home, number)?;
    provision(&home)?.assert_code(0);
    assert_one_of_everything(&home)?;
    assert_the_record_tells_it(&home, 1)?;
    Ok(killed)
}

#[test]
fn a_killed_run_is_resumed_by_the_next() -> io::Result<()> {
    for number in [6, 9, 12] {
        resumes_after_a_kill_at(number)?;
    }
    Ok(())
}

#[test]
#[ignore = "long: one run for every request of a provisioning"]
fn a_run_killed_at_any_request_is_resumed_by_the_next() -> io::Result<()> {
    let mut number = 1;
    while resumes_after_a_kill_at(number)? {
        number += 1;
    }
    assert!(number > 10, "a run makes more requests than {number}");
    Ok(())
}
