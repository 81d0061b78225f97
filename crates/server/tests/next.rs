//! `entrabot` alone names the next step from what is really there, and the manual comes out of the same program.

mod common;

use std::process::Command;

use common::{AGENT, Home};
use entrabot_keystore::private_keyring::Mode;
use serde_json::Value;

fn next(home: &Home) -> Value {
    home.run(&["--json"]).expect(0).json()
}

#[test]
fn each_state_has_its_own_next_step() {
    for mode in [Mode::NoProvider, Mode::Cleartext] {
        let insecure = next(&Home::with_directories(mode));
        assert_eq!(
            (&insecure["state"], &insecure["next"]),
            (&"keyring-insecure".into(), &"entrabot doctor".into())
        );
        assert!(insecure["why"].as_str().unwrap().contains("InsecureKeyringBackendError"), "{insecure}");
    }

    let mut home = Home::with_directories(Mode::Encrypted);
    let first = next(&home);
    assert_eq!(first["state"], "not-provisioned");
    assert!(first["next"].as_str().unwrap().starts_with("set ENTRABOT_TENANT_ID"), "{first}");
    home.set("ENTRABOT_TENANT_ID", AGENT).set("ENTRABOT_PROVISIONER_CLIENT_ID", AGENT);
    assert_eq!(next(&home)["next"], "entrabot provision");
    home.set("ENTRABOT_AGENT_ID", "PLANTED");
    let malformed = next(&home);
    assert_eq!(malformed["state"], "settings-malformed");
    assert!(malformed["why"].as_str().unwrap().contains("ENTRABOT_AGENT_ID"), "{malformed}");
    assert!(!home.path("audit").exists() && !home.path("data").exists(), "it only looks");
}

#[test]
fn an_agent_without_its_key_is_told_apart_from_one_that_is_ready() {
    // Nobody listens at that port: it asks no server.
    let home = Home::with_agent(Mode::Encrypted, 9);
    assert_eq!(next(&home)["state"], "key-missing");
    home.run_with(&["keystore", "set", "entrabot", "blueprint-private-key"], b"PLANTED").expect(0);
    let ready = next(&home);
    assert_eq!(ready["state"], "ready", "{ready}");
    let text = home.run(&[]).expect(0).text();
    assert!(text.contains("next: entrabot client add") && text.contains("entrabot help"), "{text}");
    assert!(!text.contains("PLANTED"), "{text}");
}

#[test]
fn the_manual_has_a_page_for_each_command_that_troff_takes() {
    let home = Home::new(Mode::NoProvider);
    let page = home.run(&["man"]).expect(0).text();
    assert!(page.starts_with(".ie") && page.contains("entrabot"), "{page}");
    home.run(&["man", "--dir", "man1"]).expect(0);
    for name in ["entrabot.1", "entrabot-audit-report.1", "entrabot-client-add.1", "entrabot-serve.1"] {
        assert!(home.path("man1").join(name).is_file(), "{name}");
    }
    let troff =
        Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(home.path("man1/entrabot.1")).output();
    let Ok(troff) = troff else {
        eprintln!("note: groff is not installed, so it was not asked");
        return;
    };
    let text = String::from_utf8_lossy(&troff.stdout);
    assert!(troff.status.success() && troff.stderr.is_empty(), "{troff:?}");
    assert!(text.contains("General Commands Manual") && text.contains("entrabot-audit(1)"), "{text}");
}
