//! What a keystore promises, on a real gnome-keyring.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{entry, keyring, open, peer, secret};
use entrabot_keystore::private_keyring::Mode;
use entrabot_keystore::{AtRest, BackendId, KeystoreError, Verdict};

#[test]
fn a_value_goes_in_and_comes_out_and_goes() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    assert_eq!(keystore.backend(), BackendId::GnomeKeyring);
    assert_eq!(keystore.finding().verdict(), Verdict::Verified);
    assert_eq!(keystore.finding().at_rest(), AtRest::Encrypted);

    assert!(matches!(keystore.get(&entry("a")), Err(KeystoreError::NoEntry)));
    keystore.put(&entry("a"), &secret("first")).unwrap();
    keystore.put(&entry("a"), &secret("second")).unwrap();
    keystore.put(&entry("b"), &secret("other")).unwrap();
    assert_eq!(open(&keyring).unwrap().get(&entry("a")).unwrap().expose(), b"second");
    assert_eq!(keystore.list("entrabot-test").unwrap(), [entry("a"), entry("b")]);
    assert_eq!(keystore.list("entrabot").unwrap(), []);

    keystore.delete(&entry("a")).unwrap();
    assert!(matches!(keystore.delete(&entry("a")), Err(KeystoreError::NoEntry)));
    assert!(matches!(keystore.get(&entry("a")), Err(KeystoreError::NoEntry)));
    assert_eq!(keystore.get(&entry("b")).unwrap().expose(), b"other");
}

#[test]
fn any_bytes_up_to_64_kib_come_back_as_they_were() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    for value in common::odd_values() {
        keystore.put(&entry("bytes"), &secret(value.clone())).unwrap();
        assert!(keystore.get(&entry("bytes")).unwrap().expose() == value, "{} bytes", value.len());
    }
    let too_large = keystore.put(&entry("large"), &secret(vec![1; (64 << 10) + 1]));
    assert!(matches!(too_large, Err(KeystoreError::TooLarge(_))));
    assert!(matches!(keystore.get(&entry("large")), Err(KeystoreError::NoEntry)));
}

#[test]
fn eight_processes_on_one_entry_leave_one_entry_and_never_a_mixed_value() {
    let keyring = keyring(Mode::Encrypted);
    let mut writers: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .map(|own| peer(&keyring, &["contend", own, "10"]).spawn().unwrap())
        .collect();
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let keystore = open(&keyring).unwrap();
    assert_eq!(keystore.get(&entry("contended")).unwrap().expose().len(), 500);
    keystore.delete(&entry("contended")).unwrap();
    assert!(!keystore.contains(&entry("contended")).unwrap(), "one entry, and it is gone");
}

#[test]
fn threads_share_a_keystore() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let keystore = &keystore;
            scope.spawn(move || {
                let name = entry(&format!("thread-{thread}"));
                for round in 0..5 {
                    let value = format!("{thread}-{round}");
                    keystore.put(&name, &secret(value.clone())).unwrap();
                    assert_eq!(keystore.get(&name).unwrap().expose(), value.as_bytes());
                }
            });
        }
    });
    assert_eq!(keystore.list("entrabot-test").unwrap().len(), 8);
}

#[test]
fn a_hardened_process_leaves_no_core() {
    let keyring = keyring(Mode::NoProvider);
    let output = peer(&keyring, &["hardened"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "0 0 NotDumpable");
}

/// What an eavesdropper on the bus sees: no value, no prompt, and no call to the name that another could take over.
#[test]
fn on_the_bus_goes_no_value_no_prompt_and_nothing_to_the_well_known_name() {
    for mode in [Mode::Encrypted, Mode::Locked] {
        let keyring = keyring(mode);
        let monitor = common::Monitor::start(&keyring);
        let keystore = open(&keyring).unwrap();
        let sound = mode == Mode::Encrypted;
        assert_eq!(keystore.put(&entry("a"), &secret("planted-secret-value")).is_ok(), sound);
        assert_eq!(keystore.put(&entry("a"), &secret("planted-secret-value")).is_ok(), sound);
        assert_eq!(keystore.get(&entry("a")).is_ok(), sound);
        assert_eq!(keystore.sanity_probe().is_ok(), sound);
        assert_eq!(keystore.delete(&entry("a")).is_ok(), sound);
        let record = monitor.finish(&keyring);
        for never in ["planted-secret-value", "member=Prompt", "member=Unlock", "string \"plain\""] {
            assert!(!record.contains(never), "{never}");
        }
        assert!(!record.contains("destination=org.freedesktop.secrets"));
        assert_eq!(record.contains("dh-ietf1024-sha256-aes128-cbc-pkcs7"), sound);
        assert!(record.contains("interface=org.freedesktop.DBus.Properties; member=Get"));
    }
}
