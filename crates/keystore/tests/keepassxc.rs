//! The same promises on KeePassXC, the second provider.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Peer, expect_kept, keyring, open, refusal, surroundings};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{Allowlist, AtRest, BackendId, Candidate, KeystorePolicy, Verdict};

/// A database whose root group is open to the Secret Service, as its settings dialog would make it.
const DATABASE: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<KeePassFile><Meta><Generator>KeePassXC</Generator><DatabaseName>agent</DatabaseName>
<RecycleBinEnabled>False</RecycleBinEnabled><CustomData><Item><Key>FDO_SECRETS_EXPOSED_GROUP</Key>
<Value>{00010203-0405-0607-0809-0a0b0c0d0e0f}</Value></Item></CustomData></Meta><Root><Group>
<UUID>AAECAwQFBgcICQoLDA0ODw==</UUID><Name>Root</Name></Group><DeletedObjects/></Root></KeePassFile>"#;
const SETTINGS: &str = "[General]\nConfigVersion=2\nUpdateCheckMessageShown=true\n[FdoSecrets]\nEnabled=true\n\
                        ShowNotification=false\nConfirmAccessItem=false\nConfirmDeleteItem=false\n\
                        [GUI]\nCheckForUpdates=false\n";

fn installed() -> bool {
    let installed = Path::new("/usr/bin/keepassxc").exists();
    if !installed {
        println!("not run: KeePassXC is not installed (apt-get install --no-install-recommends keepassxc)");
    }
    installed
}

fn start(keyring: &PrivateKeyring) -> Peer {
    let home = keyring.home();
    let (database, settings) = (home.join("agent.kdbx"), home.join("keepassxc.ini"));
    std::fs::write(home.join("agent.xml"), DATABASE).unwrap();
    std::fs::write(&settings, SETTINGS).unwrap();
    let mut import = Command::new("keepassxc-cli")
        .args(["import", "--quiet", "--set-password"])
        .arg(home.join("agent.xml"))
        .arg(&database)
        .envs(keyring.env())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(b"password\npassword\n").unwrap();
    assert!(import.wait().unwrap().success());

    // It runs once for each temporary directory.
    let temporary = format!("TMPDIR={}", home.display());
    let arguments = [
        temporary.as_str(),
        "QT_QPA_PLATFORM=offscreen",
        "keepassxc",
        "--config",
        settings.to_str().unwrap(),
        "--pw-stdin",
    ];
    let arguments = [&arguments[..], &[database.to_str().unwrap()]].concat();
    let process = Peer(keyring.spawn(Path::new("env"), &arguments, Some(b"password\n")).unwrap());
    let started = Instant::now();
    let unlocked = || {
        let found = Candidate::detect_in(&surroundings(keyring));
        found.is_ok_and(|found| found.finding().is_locked() == Some(false))
    };
    while !unlocked() {
        assert!(started.elapsed() < Duration::from_secs(20), "KeePassXC did not open its database");
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

#[test]
fn keepassxc_is_verified_and_keeps_what_is_put_in_it() {
    if !installed() {
        return;
    }
    let keyring = keyring(Mode::NoProvider);
    let _process = start(&keyring);
    let keystore = open(&keyring).unwrap();
    assert_eq!(keystore.backend(), BackendId::KeePassXc);
    assert_eq!(keystore.finding().verdict(), Verdict::Verified);
    assert_eq!(keystore.finding().at_rest(), AtRest::Encrypted);
    assert_eq!(keystore.finding().collection(), Some("agent"));

    expect_kept(&keyring, &keystore);
    assert_eq!(keystore.sanity_probe().unwrap().backend(), BackendId::KeePassXc);
}

#[test]
fn what_the_operator_did_not_choose_is_refused_though_it_is_sound() {
    if !installed() {
        return;
    }
    let keyring = keyring(Mode::NoProvider);
    let _process = start(&keyring);
    let only = KeystorePolicy::from_settings(Some("secret-service:gnome-keyring"), None);
    let result = only.in_surroundings(surroundings(&keyring)).open();
    let error = refusal(result);
    assert!(error.to_string().contains("secret-service:keepassxc is not on the allowlist"), "{error}");
    assert!(Candidate::detect_in(&surroundings(&keyring)).unwrap().validate(&Allowlist::default()).is_ok());
}
