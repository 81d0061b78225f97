//! A program on `keyring-core` that makes the guarded store its default is safe without another line.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::{keyring, surroundings};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{GuardedStore, KeystoreError, KeystorePolicy};
use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error};

fn store(keyring: &PrivateKeyring) -> Arc<GuardedStore> {
    GuardedStore::new(KeystorePolicy::default().in_surroundings(surroundings(keyring)))
}

#[test]
fn every_operation_of_an_entry_works() {
    let keyring = keyring(Mode::Encrypted);
    keyring_core::set_default_store(store(&keyring));
    let entry = Entry::new("entrabot-test", "me").unwrap();
    assert!(matches!(entry.get_password(), Err(Error::NoEntry)));
    assert!(matches!(entry.get_attributes(), Err(Error::NoEntry)));
    assert!(matches!(entry.get_credential(), Err(Error::NoEntry)));
    entry.set_password("pässword").unwrap();
    assert_eq!(entry.get_password().unwrap(), "pässword");
    assert_eq!(entry.get_attributes().unwrap()["username"], "me");
    assert_eq!(entry.get_specifiers(), Some(("entrabot-test".into(), "me".into())));
    assert_eq!(entry.get_credential().unwrap().get_secret().unwrap(), "pässword".as_bytes());
    assert!(matches!(
        entry.update_attributes(&HashMap::from([("label", "x")])),
        Err(Error::NotSupportedByStore(_))
    ));
    let found = Entry::search(&HashMap::from([("service", "entrabot-test"), ("username", "me")])).unwrap();
    assert_eq!(found[0].get_password().unwrap(), "pässword");
    assert!(
        Entry::search(&HashMap::from([("service", "entrabot-test"), ("username", "you")]))
            .unwrap()
            .is_empty()
    );
    entry.delete_credential().unwrap();
    assert!(matches!(entry.delete_credential(), Err(Error::NoEntry)));
    keyring_core::unset_default_store();
}

#[test]
fn a_value_that_is_no_text_does_not_end_up_in_the_error() {
    let keyring = keyring(Mode::Encrypted);
    let entry = store(&keyring).build("entrabot-test", "binary", None).unwrap();
    let planted = [b"planted-secret".as_slice(), &[0xff]].concat();
    entry.set_secret(&planted).unwrap();
    let error = entry.get_password().unwrap_err();
    let bytes = format!("{planted:?}");
    let shown = format!("{error} {error:?} {error:#?}");
    assert!(!shown.contains("planted-secret") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    assert_eq!(entry.get_secret().unwrap(), planted);
}

#[test]
fn an_insecure_keyring_is_refused_for_every_operation_search_and_update_included() {
    for mode in [Mode::Cleartext, Mode::NoProvider] {
        let keyring = keyring(mode);
        let store = store(&keyring);
        let entry = store.build("entrabot-test", "me", None).unwrap();
        let errors = [
            entry.set_password("x").unwrap_err(),
            entry.get_password().unwrap_err(),
            entry.get_secret().unwrap_err(),
            entry.delete_credential().unwrap_err(),
            entry.get_attributes().unwrap_err(),
            entry.update_attributes(&HashMap::new()).unwrap_err(),
            entry.get_credential().map(drop).unwrap_err(),
            store.search(&HashMap::from([("service", "entrabot-test")])).map(drop).unwrap_err(),
        ];
        for error in errors {
            let Error::NoStorageAccess(source) = error else { panic!("{error:?}") };
            assert!(matches!(source.downcast_ref(), Some(KeystoreError::Insecure(_))), "{source:?}");
        }
    }
}

#[test]
fn what_an_entry_cannot_be_is_refused_before_the_keyring_is_opened() {
    let keyring = keyring(Mode::NoProvider);
    let store = store(&keyring);
    assert!(matches!(store.build("", "me", None), Err(Error::Invalid(..))));
    assert!(matches!(store.build("a\0b", "me", None), Err(Error::Invalid(..))));
    let modifiers = HashMap::from([("target", "session")]);
    assert!(matches!(store.build("a", "b", Some(&modifiers)), Err(Error::NotSupportedByStore(_))));
    assert!(matches!(store.search(&HashMap::new()), Err(Error::Invalid(..))));
}
