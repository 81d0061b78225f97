//! The whole keystore, guard and all, on the stores of other systems.

use std::time::{Duration, Instant};

use super::scripted::{Script, Scripted};
use crate::{
    Allowlist, AtRest, Candidate, Diagnose as _, EntryName, InsecureKeyringBackendError, Keystore,
    KeystoreError, SecretBytes, Surroundings, Verdict,
};

const IDS: &str = "macos-keychain,windows-credential-manager";

fn open(store: &Scripted) -> Result<Keystore, KeystoreError> {
    let around = Surroundings::default().with_system(store.system());
    Ok(Candidate::detect_in(&around)?.validate(&Allowlist::with(IDS).unwrap())?)
}

fn entry(user: &str) -> EntryName {
    EntryName::new("entrabot", user).unwrap()
}

fn secret(bytes: impl Into<Vec<u8>>) -> SecretBytes {
    SecretBytes::new(bytes.into())
}

/// One operation of each kind that reads, writes or deletes.
fn each(keystore: &Keystore) -> [Result<(), KeystoreError>; 5] {
    [
        keystore.get(&entry("a")).map(drop),
        keystore.put(&entry("a"), &secret("planted-secret")),
        keystore.delete(&entry("a")),
        keystore.list("entrabot").map(drop),
        keystore.contains(&entry("a")).map(drop),
    ]
}

fn refusal<T: std::fmt::Debug>(result: Result<T, KeystoreError>) -> InsecureKeyringBackendError {
    match result {
        Err(KeystoreError::Insecure(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// PEM of a key of 2,048 bits and a certificate, as the Provisioner's entry holds them.
fn bundle() -> String {
    let block = |label: &str, der: &[u8]| {
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let lines: Vec<_> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let key = [&[0x30, 0x82, 0x04, 0xbd, 0x02, 0x01, 0x00][..], &[0xa5; 1_210]].concat();
    let certificate = [&[0x30, 0x82, 0x03, 0x20, 0x30, 0x82, 0x02, 0x08][..], &[0x5a; 796]].concat();
    block("CERTIFICATE", &certificate) + &block("PRIVATE KEY", &key)
}

#[test]
fn every_operation_works_on_both_stores() {
    for store in [Scripted::keychain(), Scripted::credential_manager()] {
        let keystore = open(&store).unwrap();
        assert_eq!(
            (keystore.finding().verdict(), keystore.finding().at_rest()),
            (Verdict::Verified, AtRest::Encrypted)
        );
        assert!(matches!(keystore.get(&entry("a")), Err(KeystoreError::NoEntry)));
        assert!(!keystore.contains(&entry("a")).unwrap());
        for value in
            [Vec::new(), vec![0, 0xff, b'\n'], b"text".to_vec(), vec![0xa5; 2_560], bundle().into_bytes()]
        {
            keystore.put(&entry("a"), &secret(value.clone())).unwrap();
            assert!(
                open(&store).unwrap().get(&entry("a")).unwrap().expose() == value,
                "{} bytes",
                value.len()
            );
        }
        keystore.put(&entry("b"), &secret("other")).unwrap();
        keystore.put(&EntryName::new("elsewhere", "c").unwrap(), &secret("other")).unwrap();
        assert_eq!(keystore.list("entrabot").unwrap(), [entry("a"), entry("b")]);
        assert_eq!(keystore.sanity_probe().unwrap().backend(), keystore.backend());
        keystore.delete(&entry("a")).unwrap();
        assert!(matches!(keystore.delete(&entry("a")), Err(KeystoreError::NoEntry)));
        assert_eq!(store.targets(), ["b@entrabot", "c@elsewhere"]);
    }
}

#[test]
fn no_store_is_used_that_the_operator_did_not_choose() {
    let around = Surroundings::default().with_system(Scripted::keychain().system());
    let result = Candidate::detect_in(&around)
        .unwrap()
        .validate(&Allowlist::with("secret-service:unverified").unwrap());
    assert!(result.unwrap_err().to_string().contains("macos-keychain is not on the allowlist"));
}

#[test]
fn a_mock_and_a_store_that_forgets_are_refused_and_not_touched() {
    for script in [Script::Impostor, Script::Forgets] {
        for store in [Scripted::keychain(), Scripted::credential_manager()] {
            store.play(script);
            assert_eq!(refusal(open(&store)).finding().verdict(), Verdict::Rejected);
            assert_eq!(store.calls(), ["open"]);
        }
    }
}

/// The store passed once; that does not count for the next operation.
#[test]
fn the_guard_is_asserted_before_each_read_write_and_deletion() {
    for script in [Script::Impostor, Script::Forgets] {
        for store in [Scripted::keychain(), Scripted::credential_manager()] {
            let keystore = open(&store).unwrap();
            keystore.put(&entry("a"), &secret("kept")).unwrap();
            store.play(script);
            store.calls();
            for result in each(&keystore) {
                refusal(result);
            }
            let calls = store.calls();
            assert!(calls.iter().all(|call| call == "open"), "looked at anew, and nothing else: {calls:?}");
            store.play(Script::Works);
            assert_eq!(keystore.get(&entry("a")).unwrap().expose(), b"kept", "no restart of ours is needed");
        }
    }
}

#[test]
fn a_store_that_is_locked_or_refuses_is_told_from_an_absent_entry() {
    let store = Scripted::keychain();
    let keystore = open(&store).unwrap();
    store.play(Script::Fails(-25_308));
    for result in each(&keystore) {
        assert!(matches!(result, Err(KeystoreError::Locked(_))), "{result:?}");
    }
    store.play(Script::Fails(-34_018));
    let error = keystore.get(&entry("a")).unwrap_err();
    assert!(matches!(error, KeystoreError::Provider(_)), "{error:?}");
    assert!(error.to_string().ends_with("the store refused, error -34018"), "{error}");
    // After that the store is opened anew, and not even that works.
    refusal(keystore.get(&entry("a")));
    assert!(refusal(open(&store)).to_string().contains("cannot be opened (error -34018)"));
}

#[test]
fn a_person_who_does_not_answer_does_not_hold_us() {
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    store.play(Script::Hangs);
    let started = Instant::now();
    assert!(matches!(keystore.get(&entry("a")), Err(KeystoreError::TimedOut(_))));
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
    store.play(Script::Works);
    keystore.put(&entry("a"), &secret("kept")).unwrap();
}

#[test]
fn what_a_store_says_of_a_value_stays_out_of_our_errors() {
    for script in [Script::BadEncoding, Script::Fails(5)] {
        for store in [Scripted::keychain(), Scripted::credential_manager()] {
            let keystore = open(&store).unwrap();
            keystore.put(&entry("a"), &secret("planted-secret")).unwrap();
            store.play(script);
            let error = keystore.get(&entry("a")).unwrap_err();
            let bytes = format!("{:?}", b"planted-secret");
            let shown = format!("{error} {error:?} {:?}", error.hint());
            assert!(!shown.contains("planted") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
        }
    }
}

#[test]
fn a_private_key_lies_in_the_credential_manager_as_der_and_on_this_machine_alone() {
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    let text = bundle();
    assert!(text.encode_utf16().count() * 2 > 2_560, "as Python writes it, it does not fit");
    keystore.put(&entry("a"), &secret(text.clone())).unwrap();
    let held = store.held("a@entrabot").unwrap();
    assert_eq!((held.blob.len(), held.blob[0]), (804 + 1_217, 0x30));
    assert_eq!((held.persistence.as_str(), held.user.as_str()), ("Local", "a"));
    assert_eq!(keystore.get(&entry("a")).unwrap().expose(), text.as_bytes());
}

#[test]
fn what_does_not_fit_the_credential_manager_is_refused_before_it_is_written() {
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    store.calls();
    let error = keystore.put(&entry("a"), &secret(vec![b'x'; 2_561])).unwrap_err();
    assert_eq!(error.to_string(), "a value of 2561 bytes does not fit: the limit is 2560");
    let error = keystore.put(&entry("a"), &secret(vec![0x30, 3, 2, 1, 0])).unwrap_err();
    assert!(error.to_string().contains("store it as PEM"), "{error}");
    assert!(store.calls().is_empty() && store.targets().is_empty());
}

#[test]
fn a_credential_that_would_roam_is_taken_back() {
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    store.play(Script::Roams);
    let error = keystore.put(&entry("a"), &secret("value")).unwrap_err();
    assert!(error.to_string().contains("not kept on this machine alone"), "{error}");
    assert!(store.targets().is_empty());
}

#[test]
fn what_python_wrote_to_the_credential_manager_is_read_replaced_and_deleted() {
    // The only user of a service has its name; a second one has `user@service`.
    for target in ["entrabot", "a@entrabot"] {
        let store = Scripted::credential_manager();
        let keystore = open(&store).unwrap();
        store.python_writes(target, "a", "schlüssel");
        assert_eq!(keystore.get(&entry("a")).unwrap().expose(), "schlüssel".as_bytes());
        assert!(keystore.contains(&entry("a")).unwrap());
        assert_eq!(keystore.list("entrabot").unwrap(), [entry("a")]);
        assert!(matches!(keystore.get(&entry("b")), Err(KeystoreError::NoEntry)), "that is another user's");

        keystore.put(&entry("a"), &secret(bundle())).unwrap();
        assert_eq!(store.targets(), ["a@entrabot"]);
        assert_eq!(store.held("a@entrabot").unwrap().persistence, "Local");
        assert_eq!(keystore.get(&entry("a")).unwrap().expose(), bundle().as_bytes());

        // Python writes again: that is newer, and both go with a deletion.
        store.python_writes("entrabot", "a", "newer");
        assert_eq!(keystore.get(&entry("a")).unwrap().expose(), b"newer");
        assert_eq!(keystore.list("entrabot").unwrap(), [entry("a")]);
        keystore.delete(&entry("a")).unwrap();
        assert!(store.targets().is_empty());
    }
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    store.python_writes("entrabot", "b", "another's");
    keystore.put(&entry("a"), &secret("ours")).unwrap();
    keystore.delete(&entry("a")).unwrap();
    assert_eq!(store.targets(), ["entrabot"], "what belongs to another user stays");
}

#[test]
fn the_new_value_is_there_before_the_old_one_goes() {
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    store.python_writes("entrabot", "a", "old");
    store.calls();
    keystore.put(&entry("a"), &secret("new")).unwrap();
    let calls = store.calls();
    let position = |wanted: &str| calls.iter().position(|call| call == wanted).unwrap();
    assert!(position("set a@entrabot") < position("delete entrabot"), "{calls:?}");
}

#[test]
fn two_entries_that_would_share_a_credential_are_ambiguous() {
    let store = Scripted::credential_manager();
    let keystore = open(&store).unwrap();
    keystore.put(&EntryName::new("c", "a@b").unwrap(), &secret("one")).unwrap();
    let other = EntryName::new("b@c", "a").unwrap();
    for result in [
        keystore.get(&other).map(drop),
        keystore.put(&other, &secret("two")),
        keystore.delete(&other),
        keystore.contains(&other).map(drop),
    ] {
        assert!(matches!(result, Err(KeystoreError::Ambiguous(_))), "{result:?}");
    }
    assert_eq!(store.held("a@b@c").unwrap().blob, b"one");
}
