//! The Provisioner app is made by an administrator who signs in, and then makes an agent.

mod journey;

use std::io;

use entrabot_tests::stand_in::{Effect, Fault, Options, Role};
use journey::provisioning::{assert_one_of_everything, changes, count, provision};
use journey::{Finished, Home, spans};
use serde_json::{Value, json};

const NAME: &str = "entrabot provisioner";

/// A machine where no Provisioner is known.
fn fresh(options: Options) -> io::Result<Home> {
    let mut home = Home::bare(options)?;
    home.unset("ENTRABOT_PROVISIONER_CLIENT_ID");
    Ok(home)
}

fn provisioner(home: &Home, words: &[&str]) -> io::Result<Finished> {
    home.run(&[&["provisioner"], words, &["--device-code", "--json"]].concat(), b"")
}

fn create(home: &Home) -> io::Result<Finished> {
    provisioner(home, &["create", "--yes"])
}

fn assert_complete(home: &Home, client_id: &Value) -> io::Result<()> {
    assert_eq!(count(home, "applications", "displayName", NAME), 1);
    assert_eq!(count(home, "servicePrincipals", "displayName", NAME), 1);
    let directory = home.cloud.directory();
    let ready = 17 + 2;
    let roles = directory["appRoleAssignments"].as_array().map_or(0, Vec::len);
    assert_eq!(roles, ready + 17, "{directory:#}");
    let settings = std::fs::read_to_string(home.state().join(".env"))?;
    assert!(
        settings.contains(&format!("ENTRABOT_PROVISIONER_CLIENT_ID={}", client_id.as_str().unwrap_or("?")))
    );
    Ok(())
}

#[test]
fn an_administrator_signs_in_once_and_from_then_on_the_app_makes_agents() -> io::Result<()> {
    let home = fresh(Options::default())?;
    let dry = provisioner(&home, &["create", "--dry-run"])?;
    assert_eq!(dry.assert_code(0).json()["changes"], true);
    assert!(dry.stdout.contains("AgentIdentityBlueprint.AddRemoveCreds.All"), "{dry:?}");
    assert!(changes(&home.cloud.requests()).is_empty());
    assert!(!home.audit_dir().exists() && !home.state().join(".env").exists(), "a dry run leaves nothing");
    let entries = home.run(&["keystore", "list", "entrabot-provisioner-cert", "--json"], b"")?;
    assert!(!entries.stdout.contains(&home.cloud.info().tenant_id), "{entries:?}");

    let made = create(&home)?;
    let made = made.assert_code(0).json();
    assert_complete(&home, &made["provisioner_client_id"])?;
    assert_eq!(made["warnings"], json!([]));
    // For one task: nothing is asked for, and nothing kept, that would let anybody act as this person later.
    for request in home.cloud.requests().iter().filter(|request| request.host == Role::Authority) {
        assert!(!request.field("scope").is_some_and(|scope| scope.contains("offline_access")), "{request:?}");
    }
    let kept = home.run(&["keystore", "list", "entrabot", "--json"], b"")?;
    assert!(!kept.stdout.contains("delegated-sign-in"), "{kept:?}");

    let records = home.records()?;
    let story: Vec<_> = records.iter().filter(|record| record["src"] == "provisioning").cloned().collect();
    // Key, app, principal, seventeen permissions, settings; each pending before it was done.
    assert_eq!(spans(&story), vec![["pending", "success"]; 21], "{story:#?}");
    for record in &story {
        assert_eq!(record["attribution_type"], "delegated-human", "{record}");
        assert_eq!(record["agent_id"], home.cloud.info().sponsor_id.as_str(), "{record}");
    }

    home.cloud.clear_requests();
    let again = create(&home)?;
    assert_eq!(again.assert_code(0).json()["changed"], false);
    assert_eq!(again.json()["provisioner_client_id"], made["provisioner_client_id"]);
    assert!(changes(&home.cloud.requests()).is_empty());

    provision(&home)?.assert_code(0);
    assert_one_of_everything(&home)
}

#[test]
fn cut_off_anywhere_the_next_run_completes_it_and_makes_no_second_app() -> io::Result<()> {
    let home = fresh(Options::default())?;
    home.cloud.set_behaviour(|behaviour| {
        behaviour.missing_permissions = vec!["AppRoleAssignment.ReadWrite.All".into()];
    });
    let refused = create(&home)?;
    let said = refused.assert_code(6).json();
    assert!(
        said["hint"].as_str().is_some_and(|hint| hint.contains("Privileged Role Administrator")),
        "{said}"
    );
    assert_eq!(count(&home, "applications", "displayName", NAME), 1);

    // The answer is lost although it was done: of the principal, then of a permission in the middle.
    home.cloud.set_behaviour(|behaviour| behaviour.missing_permissions.clear());
    lose(&home, "appRoleAssignments", 3);
    create(&home)?.assert_code(1);
    let made = create(&home)?;
    assert_complete(&home, &made.assert_code(0).json()["provisioner_client_id"])
}

#[test]
fn an_app_whose_making_was_not_answered_and_that_shows_late_is_not_made_twice() -> io::Result<()> {
    let home = fresh(Options::default())?;
    home.cloud.set_behaviour(|behaviour| behaviour.replication_delay_ms = 1_200);
    lose(&home, "/v1.0/applications", 0);
    lose(&home, "/v1.0/servicePrincipals", 0);
    let first = create(&home)?;
    assert_ne!(first.code, Some(0), "the principal's answer was lost: {first:?}");
    let made = create(&home)?;
    assert_complete(&home, &made.assert_code(0).json()["provisioner_client_id"])
}

/// Of the POSTs to such a path the one after `skip` others is done and not answered.
fn lose(home: &Home, path: &str, skip: u32) {
    let fault = Fault::graph(Effect::CloseAfterEffect).times(1);
    home.cloud.set_fault(Fault {
        path_contains: Some(path.into()),
        method: Some("POST".into()),
        skip,
        ..fault
    });
}

#[test]
fn an_app_of_that_name_that_is_not_ours_is_left_alone() -> io::Result<()> {
    let mut home = fresh(Options::default())?;
    let name = ["create", "--yes", "--name", "ready provisioner"];
    let refused = provisioner(&home, &name)?;
    assert!(refused.assert_code(1).stdout.contains("does not hold our certificate"), "{refused:?}");
    assert!(changes(&home.cloud.requests()).is_empty());

    // Named by its id it becomes ours: its own certificate stays beside ours.
    home.set("ENTRABOT_PROVISIONER_CLIENT_ID", home.cloud.info().provisioner_client_id.clone());
    let adopted = provisioner(&home, &name)?;
    assert_eq!(adopted.assert_code(0).json()["changed"], true);
    let directory = home.cloud.directory();
    let apps = directory["applications"].as_array().cloned().unwrap_or_default();
    let ready =
        apps.iter().find(|app| app["displayName"] == "ready provisioner").cloned().unwrap_or_default();
    assert_eq!(ready["certificates"], 2, "{ready}");
    provision(&home)?.assert_code(0);
    Ok(())
}

#[test]
fn it_is_removed_with_its_certificate_and_its_setting() -> io::Result<()> {
    let home = fresh(Options::default())?;
    create(&home)?.assert_code(0);
    let would = provisioner(&home, &["remove", "--dry-run"])?;
    assert_eq!(would.assert_code(0).json()["would_remove"].as_array().map(Vec::len), Some(3), "{would:?}");
    assert_eq!(count(&home, "applications", "displayName", NAME), 1);
    let unasked = provisioner(&home, &["remove"])?;
    assert!(unasked.assert_code(2).stdout.contains("nobody is there to be asked"), "{unasked:?}");

    provisioner(&home, &["remove", "--yes"])?.assert_code(0);
    assert_eq!(count(&home, "servicePrincipals", "displayName", NAME), 0);
    assert!(!std::fs::read_to_string(home.state().join(".env"))?.contains("PROVISIONER"));
    let tenant = home.cloud.info().tenant_id.clone();
    home.run(&["keystore", "get", "entrabot-provisioner-cert", &tenant], b"")?.assert_code(4);
    let again = provisioner(&home, &["remove", "--yes"])?;
    assert_eq!(again.assert_code(0).json()["removed"], json!([]));
    home.run(&["audit", "verify"], b"")?.assert_code(0);
    Ok(())
}

#[test]
fn nobody_is_asked_to_sign_in_where_the_key_would_have_no_safe_place() -> io::Result<()> {
    let mut home = fresh(Options::default())?;
    home.set("ENTRABOT_KEYRING_BACKEND", "secret-service:keepassxc");
    create(&home)?.assert_code(3);
    assert!(home.cloud.requests().is_empty());
    Ok(())
}
