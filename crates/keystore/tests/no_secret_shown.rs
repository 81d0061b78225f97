//! Nothing that can be printed holds a secret.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use common::{entry, keyring, open, secret, signal, surroundings};
use entrabot_keystore::private_keyring::Mode;
use entrabot_keystore::{
    Allowlist, Candidate, CertificateThumbprint, Diagnose, EntryName, GuardedStore, KeystorePolicy,
    PemSigner, SecretBytes, SignatureAlgorithm, Signer as _, ThisProcess, leak_scan,
};
use keyring_core::api::CredentialStoreApi as _;
use rustix::process::Signal;

const PLANTED: &str = "planted-7f3a9c";

/// Everything that was printed in this test.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn value<T: std::fmt::Debug>(&mut self, value: &T) {
        write!(self.0, "{} {value:?} {value:#?}", std::any::type_name::<T>()).unwrap();
    }

    fn error<T: Diagnose + 'static>(&mut self, error: &T) {
        self.0.push_str(std::any::type_name::<T>());
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
    let signer = PemSigner::from_pkcs8_pem(&key, thumbprint).unwrap();
    shown.value(&signer);
    shown.error(&signer.sign(SignatureAlgorithm::Ps256, PLANTED.as_bytes()).unwrap_err());
    let body: String = String::from_utf8_lossy(key.expose()).lines().nth(1).unwrap().to_owned();

    let keyring = Arc::new(Mutex::new(keyring(Mode::Encrypted)));
    let around = surroundings(&keyring.lock().unwrap());
    let candidate = Candidate::detect_in(&around).unwrap();
    shown.value(&candidate);
    shown.value(candidate.finding());
    let keystore = candidate.validate(&Allowlist::default()).unwrap();
    keystore.put(&entry("a"), &planted()).unwrap();
    shown.value(&keystore);
    shown.value(&keystore.backend());
    shown.value(&keystore.finding().verdict());
    shown.value(&keystore.finding().at_rest());
    shown.value(&SignatureAlgorithm::Ps256);
    shown.value(&keystore.get(&entry("absent")).unwrap_err().class());
    shown.value(&keystore.get(&entry("a")).unwrap());
    shown.value(&keystore.list("entrabot-test").unwrap());
    let report = keystore.sanity_probe().unwrap();
    shown.value(&report);
    shown.value(&report.timings());
    shown.value(&around);
    shown.value(&Allowlist::default());
    shown.value(&Allowlist::with("*").unwrap_err());
    shown.error(&EntryName::new("a\0b", PLANTED).unwrap_err());
    shown.value(&KeystorePolicy::default());
    shown.value(&ThisProcess::new());

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
    signal(&keyring.lock().unwrap(), Signal::STOP);
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    signal(&keyring.lock().unwrap(), Signal::CONT);
    shown.error(&keystore.get(&entry("absent")).unwrap_err());
    let (killer, once) = (Arc::clone(&keyring), Mutex::new(true));
    keystore.between_guard_and_act(move || {
        if std::mem::take(&mut *once.lock().unwrap()) {
            killer.lock().unwrap().kill_provider().unwrap();
        }
    });
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    let fault = keystore.sanity_probe().unwrap_err();
    shown.value(fault.fault());
    shown.error(&fault);
    keyring.lock().unwrap().restart_provider().unwrap();
    keyring.lock().unwrap().lock().unwrap();
    shown.error(&keystore.put(&entry("a"), &planted()).unwrap_err());
    let refused = KeystorePolicy::from_settings(Some("mock"), None).in_surroundings(around);
    shown.error(&refused.open().unwrap_err());

    let with_a_chip = chip(&mut shown);
    for name in public_types() {
        assert!(shown.0.contains(&name) || (name.starts_with("Tpm") && !with_a_chip), "{name} was not shown");
    }
    assert!(shown.0.contains("InsecureKeyringBackendError") && shown.0.contains("KeyringLockedError"));
    assert!(shown.0.contains("rotate the blueprint key now"));
    for planted in [PLANTED.to_owned(), format!("{:?}", PLANTED.as_bytes()).replace(['[', ']'], ""), body] {
        assert!(!shown.0.contains(&planted), "{planted} is shown");
    }
}

/// What a TPM adds; whether there is one.
#[cfg(feature = "tpm2")]
fn chip(shown: &mut Shown) -> bool {
    use entrabot_keystore::software_tpm::SoftwareTpm;
    use entrabot_keystore::{Tpm, TpmKey};
    let planted = format!("-----BEGIN TSS2 PRIVATE KEY-----\n{PLANTED}\n-----END TSS2 PRIVATE KEY-----");
    let malformed = TpmKey::from_pem(&planted).unwrap_err();
    shown.value(&malformed.kind());
    shown.error(&malformed);
    if !SoftwareTpm::is_installed() {
        return false;
    }
    let directory = tempfile::tempdir().unwrap();
    let software = SoftwareTpm::start(directory.path()).unwrap();
    let tpm = Tpm::at(software.socket());
    let key = tpm.create_key().unwrap();
    shown.value(&tpm);
    shown.value(&key);
    let signer = tpm.signer(key, CertificateThumbprint::of_der(b"certificate"));
    shown.value(&signer);
    drop(software);
    shown.error(&signer.sign(SignatureAlgorithm::Rs256, PLANTED.as_bytes()).unwrap_err());
    true
}

#[cfg(not(feature = "tpm2"))]
fn chip(_: &mut Shown) -> bool {
    false
}

/// The types of the crate's public interface, as its root exports them.
fn public_types() -> Vec<String> {
    // Two traits, and two errors that take a provider which breaks the protocol or holds duplicates: neither has a place
    // for a value.
    let others = ["Diagnose", "Signer", "AmbiguousEntry", "ProviderFault"];
    let root = include_str!("../src/lib.rs");
    let exports = root.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let words = exports.flat_map(|export| export.split(|c: char| !c.is_alphanumeric()));
    let types = words.filter(|word| word.starts_with(char::is_uppercase) && !others.contains(word));
    let types: Vec<_> = types.map(str::to_owned).collect();
    assert!(types.len() > 20, "{types:?}");
    types
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
