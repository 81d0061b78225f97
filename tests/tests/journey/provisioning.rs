//! Provisioning as these tests do it, and what must be true afterwards.

use std::fs;
use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use entrabot_tests::stand_in::{Options, RecordedRequest, Role};
use serde_json::json;

use super::{Finished, Home, spans};

pub(crate) const UPN: &str = "demo@contoso.example";

/// A bare home whose keyring holds the Provisioner's certificate.
pub(crate) fn administered(options: Options) -> io::Result<Home> {
    let home = Home::bare(options)?;
    let info = home.cloud.info();
    let bundle = fs::read(&info.provisioner_cert_pem)?;
    home.run(&["keystore", "set", "entrabot-provisioner-cert", &info.tenant_id], &bundle)?.assert_code(0);
    Ok(home)
}

pub(crate) fn provision_arguments(home: &Home) -> Vec<String> {
    let sponsor = home.cloud.info().sponsor_id.clone();
    let words = ["provision", "--new", "--name", "demo", "--agent-user-upn", UPN, "--sponsor", &sponsor];
    let more = ["--with-a365-work-iq", "--yes", "--json"];
    words.iter().chain(&more).map(|word| (*word).to_owned()).collect()
}

pub(crate) fn run(home: &Home, arguments: &[String]) -> io::Result<Finished> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    home.run(&words, &[])
}

pub(crate) fn provision(home: &Home) -> io::Result<Finished> {
    run(home, &provision_arguments(home))
}

pub(crate) fn teardown(home: &Home, more: &[&str]) -> io::Result<Finished> {
    home.run(&[&["teardown", "--agent-user-upn", UPN, "--yes", "--json"], more].concat(), &[])
}

pub(crate) fn changes(requests: &[RecordedRequest]) -> Vec<String> {
    let changing = requests.iter().filter(|request| request.host == Role::Graph && request.method != "GET");
    changing.map(|request| format!("{} {}", request.method, request.path)).collect()
}

/// How many objects of the directory's collection look like ours.
pub(crate) fn count(home: &Home, collection: &str, member: &str, value: &str) -> usize {
    let directory = home.cloud.directory();
    let list = directory[collection].as_array().cloned().unwrap_or_default();
    list.iter().filter(|entry| entry[member] == value).count()
}

/// One of everything, a key that the blueprint knows, and nothing left open in the record.
#[track_caller]
pub(crate) fn assert_one_of_everything(home: &Home) -> io::Result<()> {
    assert_eq!(count(home, "applications", "displayName", "demo"), 1, "{:#}", home.cloud.directory());
    assert_eq!(count(home, "servicePrincipals", "displayName", "demo"), 1, "the blueprint's principal");
    assert_eq!(
        count(home, "servicePrincipals", "type", "#microsoft.graph.agentIdentity"),
        3,
        "ours and the ready two"
    );
    assert_eq!(count(home, "users", "userPrincipalName", UPN), 1);
    let directory = home.cloud.directory();
    let apps = directory["applications"].as_array().cloned().unwrap_or_default();
    let ours = apps.iter().find(|app| app["displayName"] == "demo").cloned().unwrap_or_default();
    assert_eq!(ours["certificates"], 1, "{ours}");
    home.run(&["cert", "verify"], &[])?.assert_code(0);
    home.run(&["token", "check", "--json"], &[])?.assert_code(0);
    home.run(&["audit", "verify"], &[])?.assert_code(0);
    Ok(())
}

/// The record tells all of it: nothing is open but what a kill cut off, and everything that is there was asked for.
#[track_caller]
pub(crate) fn assert_the_record_tells_it(home: &Home, kills: usize) -> io::Result<()> {
    let records = home.records()?;
    let story: Vec<_> = records.iter().filter(|record| record["src"] == "provisioning").cloned().collect();
    let open = spans(&story).into_iter().filter(|span| span.len() != 2).count();
    assert!(open <= kills, "{open} spans are open after {kills} kills: {story:#?}");
    for action in [
        "blueprint.create",
        "principal.create",
        "key.create",
        "certificate.add",
        "identity.create",
        "user.create",
    ] {
        let action = format!("provision.{action}");
        let asked = story.iter().filter(|record| record["action"] == action.as_str());
        assert!(asked.clone().any(|record| record["outcome"] == "pending"), "{action}: {story:#?}");
    }
    Ok(())
}

/// Kills a run with SIGKILL as soon as its `number`th request has been answered; false when it ended before.
pub(crate) fn killed_after(home: &Home, number: usize) -> io::Result<bool> {
    let arguments = provision_arguments(home);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child =
        home.command(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let begun = Instant::now();
    loop {
        if home.cloud.requests().len() >= number {
            child.kill()?;
            child.wait()?;
            return Ok(true);
        }
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the run hangs before request {number}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server that runs while the key is rotated goes on, without one call that fails.
pub(crate) fn expect_server_to_follow(home: &Home, rotation: &[&str]) -> io::Result<()> {
    // So short a life that no token outlives the rotation.
    home.cloud.set_behaviour(|behaviour| behaviour.token_lifetime_s = 6);
    let client = home.serve()?;
    let create =
        || client.call("create_word_document", &json!({"file_name": "a", "content_html": "<p>x</p>"}));
    let before = create()?;
    assert!(!before.is_error, "{}", before.text);
    home.run(rotation, &[])?.assert_code(0);
    std::thread::sleep(Duration::from_millis(6500));
    home.cloud.clear_requests();
    // It still has the assertion that was signed for the old certificate, and shows another when that is refused.
    let after = create()?;
    assert!(!after.is_error, "{}", after.text);
    let proofs = home.cloud.requests().iter().filter(|request| request.hop() == Some(1)).count();
    assert!(proofs > 0, "a new token was asked for");
    client.stop().map(drop)
}
