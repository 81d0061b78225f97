//! An agent whose blueprint's key moves from the keyring into the machine's TPM, on a real software TPM.

#![cfg(target_os = "linux")]

mod journey;

use std::fs;
use std::io;
use std::path::PathBuf;

use entrabot_keystore::software_tpm::SoftwareTpm;
use entrabot_tests::stand_in::Options;
use journey::provisioning::{administered, count, expect_server_to_follow, provision};
use journey::{Home, spans};
use serde_json::json;

/// A provisioned agent on a machine with a TPM.
fn with_tpm() -> io::Result<Option<(Home, SoftwareTpm)>> {
    if !SoftwareTpm::is_installed() {
        return Ok(None);
    }
    let mut home = administered(Options::default())?;
    provision(&home)?.assert_code(0);
    let tpm = SoftwareTpm::start(&home.scratch().join("tpm"))?;
    home.set("ENTRABOT_TPM_DEVICE", tpm.socket().display().to_string());
    Ok(Some((home, tpm)))
}

fn key_files(home: &Home) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(home.state().join("data/tpm-keys"))?.map(|entry| Ok(entry?.path())).collect()
}

/// The blueprint holds one certificate, that of the one key in the chip, and nothing is left of the others.
fn assert_only_the_chip_signs(home: &Home) -> io::Result<()> {
    home.run(&["cert", "verify"], b"")?.assert_code(0);
    home.run(&["token", "check", "--json"], b"")?.assert_code(0);
    home.run(&["keystore", "get", "entrabot", "blueprint-private-key"], b"")?.assert_code(4);
    let held = home.run(&["cert", "list", "--json"], b"")?.json();
    assert_eq!(held["certificates"].as_array().map(Vec::len), Some(1), "{held}");
    assert_eq!(held["certificates"][0]["ours"], true, "{held}");
    let files = key_files(home)?;
    assert_eq!(files.len(), 1, "{files:?}");
    let named = files[0].file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    assert_eq!(held["certificates"][0]["thumbprint"], named.as_str());
    assert!(fs::read_to_string(&files[0])?.starts_with("-----BEGIN TSS2 PRIVATE KEY-----\n"));
    Ok(())
}

#[test]
fn the_key_moves_into_the_chip_and_is_renewed_there() -> io::Result<()> {
    let Some((home, tpm)) = with_tpm()? else { return Ok(()) };
    home.run(&["cert", "rotate", "--tpm"], b"")?.assert_code(0);
    assert_only_the_chip_signs(&home)?;
    let settings = fs::read_to_string(home.state().join(".env"))?;
    assert!(settings.contains("ENTRABOT_BLUEPRINT_CREDENTIAL=tpm"), "{settings}");
    let first = key_files(&home)?;

    home.run(&["cert", "rotate"], b"")?.assert_code(0);
    assert_only_the_chip_signs(&home)?;
    assert_ne!(key_files(&home)?, first);

    let client = home.serve()?;
    let created =
        client.call("create_word_document", &json!({"file_name": "x.docx", "content_html": "<p>x</p>"}))?;
    assert!(!created.is_error, "{}", created.text);
    drop(client);
    let doctor = home.run(&["doctor", "--json"], b"")?.json();
    let checks = doctor["checks"].as_array().cloned().unwrap_or_default();
    let key = checks.iter().find(|check| check["name"] == "blueprint key").cloned().unwrap_or_default();
    assert!(key["detail"].as_str().is_some_and(|detail| detail.contains("in the TPM")), "{doctor}");
    let records = home.records()?;
    let rotations = records
        .iter()
        .filter(|record| record["action"].as_str().is_some_and(|action| action.starts_with("cert.")));
    let story: Vec<_> = rotations.cloned().collect();
    assert!(spans(&story).iter().all(|span| *span == ["pending", "success"]), "{story:#?}");

    // A chip that is gone, or another one in its place, is told by its name.
    drop(tpm);
    let gone = home.run(&["whoami", "--json"], b"")?;
    assert_eq!(gone.assert_code(6).json()["error_type"], "TpmError", "{gone:?}");
    fs::remove_dir_all(home.scratch().join("tpm"))?;
    let _other = SoftwareTpm::start(&home.scratch().join("tpm"))?;
    let other = home.run(&["whoami", "--json"], b"")?;
    assert!(other.assert_code(6).stdout.contains("another chip's"), "{other:?}");
    Ok(())
}

#[test]
fn a_running_server_follows_its_key_into_the_chip() -> io::Result<()> {
    let Some((home, _tpm)) = with_tpm()? else { return Ok(()) };
    expect_server_to_follow(&home, &["cert", "rotate", "--tpm"])?;
    assert_only_the_chip_signs(&home)
}

#[test]
fn a_rotation_that_was_cut_off_leaves_the_old_key_in_use_and_is_finished_by_the_next() -> io::Result<()> {
    let Some((home, _tpm)) = with_tpm()? else { return Ok(()) };
    home.cloud.set_behaviour(|behaviour| {
        let all = ["AgentIdentityBlueprint.AddRemoveCreds.All", "AgentIdentityBlueprint.ReadWrite.All"];
        behaviour.missing_permissions = all.map(str::to_owned).to_vec();
    });
    home.run(&["cert", "rotate", "--tpm"], b"")?.assert_code(6);
    home.run(&["token", "check", "--json"], b"")?.assert_code(0);
    home.cloud.set_behaviour(|behaviour| behaviour.missing_permissions.clear());
    home.run(&["cert", "rotate", "--tpm"], b"")?.assert_code(0);
    assert_only_the_chip_signs(&home)?;

    // Provisioning would make a second key beside it; removing the agent removes what is left of the chip's.
    assert!(provision(&home)?.assert_code(2).stdout.contains("TPM"));
    home.run(&["teardown", "--agent-user-upn", journey::provisioning::UPN, "--yes"], b"")?.assert_code(0);
    assert_eq!(key_files(&home)?, Vec::<PathBuf>::new());
    assert!(!fs::read_to_string(home.state().join(".env"))?.contains("CREDENTIAL"));
    assert_eq!(count(&home, "applications", "displayName", "demo"), 0);
    Ok(())
}
