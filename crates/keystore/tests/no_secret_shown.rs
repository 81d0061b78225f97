//! Nothing that can be printed holds a secret.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use common::{entry, keyring, open, secret, surroundings};
use entrabot_keystore::private_keyring::Mode;
use entrabot_keystore::{
    Allowlist, Candidate, CertificateThumbprint, Diagnose, GuardedStore, KeystorePolicy, PemSigner,
    SecretBytes, leak_scan,
};
use keyring_core::api::CredentialStoreApi as _;

const PLANTED: &str = "planted-7f3a9c";

/// Everything that was printed in this test.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn value(&mut self, value: &dyn std::fmt::Debug) {
        write!(self.0, "{value:?} {value:#?}").unwrap();
    }

    fn error(&mut self, error: &(impl Diagnose + 'static)) {
        let mut cause: Option<&dyn Error> = Some(error);
        while let Some(error) = cause {
            write!(self.0, "{error} {error:?} {error:#?}").unwrap();
            cause = error.source();
        }
        write!(self.0, "{} {:?} {:?}", error.error_type(), error.hint(), error.class()).unwrap();
    }
}

#[test]
fn no_public_type_and_no_error_shows_a_secret() {
    let mut shown = Shown::default();
    let planted = || secret(format!("-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----"));
    let thumbprint = CertificateThumbprint::of_der(b"certificate");
    shown.value(&planted());
    shown.error(&PemSigner::from_pkcs8_pem(&planted(), thumbprint.clone()).unwrap_err());
    shown.value(&thumbprint);
    let key = throw_away_key();
    shown.value(&PemSigner::from_pkcs8_pem(&key, thumbprint).unwrap());
    let body: String = String::from_utf8_lossy(key.expose()).lines().nth(1).unwrap().to_owned();

    let keyring = Arc::new(Mutex::new(keyring(Mode::Encrypted)));
    let around = surroundings(&keyring.lock().unwrap());
    let candidate = Candidate::detect_in(&around).unwrap();
    shown.value(&candidate);
    shown.value(candidate.finding());
    let keystore = candidate.validate(&Allowlist::default()).unwrap();
    keystore.put(&entry("a"), &planted()).unwrap();
    shown.value(&keystore);
    shown.value(&keystore.get(&entry("a")).unwrap());
    shown.value(&keystore.list("entrabot-test").unwrap());
    shown.value(&keystore.sanity_probe().unwrap());
    shown.value(&Allowlist::default());
    shown.value(&KeystorePolicy::default());

    let store = GuardedStore::new(KeystorePolicy::default().in_surroundings(around.clone()));
    let other = store.build("entrabot-test", "a", None).unwrap();
    assert!(other.get_password().unwrap().contains(PLANTED));
    shown.value(&store);
    shown.value(&other);

    let folder = keyring.lock().unwrap().home().join(".local/share/python_keyring");
    std::fs::create_dir(&folder).unwrap();
    let leak = format!("[entrabot]\nblueprint_2dprivate_2dkey = \n\t{PLANTED}\n");
    std::fs::write(folder.join("keyring_pass.cfg"), leak).unwrap();
    shown.value(&leak_scan::scan(&around));

    // Every kind of failure, with the secret in hand.
    let large = secret([PLANTED.as_bytes(), &[b'x'; 70_000]].concat());
    shown.error(&keystore.put(&entry("a"), &large).unwrap_err());
    shown.error(&keystore.get(&entry("absent")).unwrap_err());
    let (killer, once) = (Arc::clone(&keyring), Mutex::new(true));
    keystore.between_guard_and_act(move || {
        if std::mem::take(&mut *once.lock().unwrap()) {
            killer.lock().unwrap().kill_provider().unwrap();
        }
    });
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    shown.error(&keystore.sanity_probe().unwrap_err());
    keyring.lock().unwrap().restart_provider().unwrap();
    keyring.lock().unwrap().lock().unwrap();
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    let refused = KeystorePolicy::from_settings(Some("mock"), None).in_surroundings(around);
    shown.error(&refused.open().unwrap_err());

    assert!(shown.0.contains("InsecureKeyringBackendError") && shown.0.contains("KeyringLockedError"));
    assert!(shown.0.contains("rotate the blueprint key now"));
    for planted in [PLANTED.to_owned(), format!("{:?}", PLANTED.as_bytes()).replace(['[', ']'], ""), body] {
        assert!(!shown.0.contains(&planted), "{planted} is shown");
    }
}

#[test]
fn a_second_open_after_a_failure_shows_nothing_either() {
    let keyring = keyring(Mode::Locked);
    let error = open(&keyring).unwrap().put(&entry("a"), &secret(PLANTED)).unwrap_err();
    let mut shown = Shown::default();
    shown.error(&error);
    assert!(!shown.0.contains(PLANTED));
}

/// A throw-away P-256 key, PKCS#8 PEM.
fn throw_away_key() -> SecretBytes {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    secret(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"))
}
