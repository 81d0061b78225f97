//! The signing key in a real, private, encrypted keyring.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Home, entry};
use entrabot_audit::{AuditLog, SigningPolicy, VerifyLevel, VerifyOptions, VerifyReport, verify_with};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{EntryName, KeystorePolicy, Surroundings};

struct Keyed {
    home: Home,
    keyring: PrivateKeyring,
}

impl Keyed {
    fn new() -> Self {
        Self { home: Home::new(), keyring: PrivateKeyring::start(Mode::Encrypted).unwrap() }
    }
    fn policy(&self) -> KeystorePolicy {
        KeystorePolicy::default().in_surroundings(Surroundings::from_vars(&self.keyring.env()))
    }
    fn open(&self) -> AuditLog {
        let options = self.home.options().with_signing(SigningPolicy::Keystore(self.policy()));
        AuditLog::open(options, common::who()).unwrap()
    }
    fn verify(&self) -> VerifyReport {
        verify_with(&self.home.audit(), &VerifyOptions::new().with_data_dir(&self.home.data())).unwrap()
    }
    fn vkeys(&self) -> usize {
        std::fs::read_to_string(self.home.data().join("audit-vkeys")).unwrap().lines().count()
    }
}

#[test]
fn the_key_is_made_on_first_use_and_by_one_of_many() {
    let keyed = Keyed::new();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let keyed = &keyed;
            scope.spawn(move || {
                let log = keyed.open();
                log.log_event(entry(n)).unwrap();
                log.checkpoint().unwrap();
            });
        }
    });
    let report = keyed.verify();
    assert_eq!(
        (report.ok, report.level, report.sealed_lines),
        (true, VerifyLevel::Anchored, 4),
        "{report:?}"
    );
    assert_eq!(keyed.vkeys(), 1);
    let stored = keyed.policy().open().unwrap().get(&EntryName::audit_signing_key()).unwrap();
    assert!(stored.expose().starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    // Nothing of it lies in either directory.
    let secret = String::from_utf8(stored.expose()[30..90].to_vec()).unwrap();
    for dir in [keyed.home.audit(), keyed.home.data()] {
        for file in
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            assert!(!std::fs::read_to_string(&file).unwrap().contains(&secret), "{}", file.display());
        }
    }
}

#[test]
fn case_37_the_key_is_rotated_with_a_checkpoint_signed_by_both() {
    let keyed = Keyed::new();
    let log = keyed.open();
    log.log_event(entry(0)).unwrap();
    log.checkpoint().unwrap();
    let sealed = log.rotate_signing_key().unwrap().unwrap();
    assert_eq!(sealed.note.unwrap().matches("\u{2014} ").count(), 2);
    log.log_event(entry(1)).unwrap();
    assert_eq!(log.checkpoint().unwrap().unwrap().note.unwrap().matches("\u{2014} ").count(), 1);
    drop(log);
    keyed.open().log_event(entry(2)).unwrap();
    keyed.open().checkpoint().unwrap();
    let report = keyed.verify();
    assert_eq!((report.ok, report.level), (true, VerifyLevel::Anchored), "{report:?}");
    assert_eq!(keyed.vkeys(), 2);
    assert!(keyed.home.lines().iter().any(|line| line["action"] == "audit.key_rotated"));
    let stored = keyed.policy().open().unwrap().get(&EntryName::audit_signing_key()).unwrap();
    assert_eq!(String::from_utf8_lossy(stored.expose()).matches("BEGIN").count(), 1);
}

#[test]
fn case_38_a_locked_keyring_stops_the_seals_and_not_the_log() {
    let keyed = Keyed::new();
    let log = keyed.open();
    log.log_event(entry(0)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    keyed.keyring.lock().unwrap();
    let log = keyed.open();
    log.log_event(entry(1)).unwrap();
    assert!(log.checkpoint().is_err());
    let report = keyed.verify();
    assert_eq!((report.ok, report.events, report.sealed_lines), (true, 2, 1));
}

#[test]
fn case_38_a_lost_key_is_never_replaced_in_silence() {
    let keyed = Keyed::new();
    let log = keyed.open();
    log.log_event(entry(0)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    keyed.policy().open().unwrap().delete(&EntryName::audit_signing_key()).unwrap();
    let log = keyed.open();
    log.log_event(entry(1)).unwrap();
    let error = log.checkpoint().unwrap_err().to_string();
    assert!(error.contains("gone"), "{error}");
    assert_eq!(keyed.vkeys(), 1);
    assert!(keyed.verify().ok);
}

#[test]
fn an_insecure_keyring_makes_no_key() {
    let home = Home::new();
    let keyring = PrivateKeyring::start(Mode::NoProvider).unwrap();
    let policy = KeystorePolicy::default().in_surroundings(Surroundings::from_vars(&keyring.env()));
    let log =
        AuditLog::open(home.options().with_signing(SigningPolicy::Keystore(policy)), common::who()).unwrap();
    log.log_event(entry(0)).unwrap();
    let error = log.checkpoint().unwrap_err();
    assert_eq!(entrabot_audit::Diagnose::error_type(&error), "InsecureKeyringBackendError");
}
