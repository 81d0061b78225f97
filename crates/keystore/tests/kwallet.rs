//! The same promises on KWallet, the third provider.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::io::Write as _;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA512, derive};
use common::{Peer, entry, expect_kept, keyring, open, refusal, secret, surroundings, timely};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{
    Allowlist, AtRest, BackendId, Candidate, Diagnose as _, Finding, KeystoreError, Verdict,
};
use rustix::io::{FdFlags, fcntl_setfd};

const DAEMON: &str = "/usr/bin/kwalletd5";
const SETTINGS: &str =
    "[Wallet]\nEnabled=true\nFirst Use=false\n[org.freedesktop.secrets]\napiEnabled=true\n";

fn installed() -> bool {
    let mut libraries = std::fs::read_dir("/usr/lib").unwrap();
    let encrypts =
        libraries.any(|folder| folder.unwrap().path().join("qca-qt5/crypto/libqca-ossl.so").exists());
    let installed = Path::new(DAEMON).exists() && encrypts;
    if !installed {
        println!(
            "not run: KWallet is not installed (apt-get install --no-install-recommends libkf5wallet-bin \
             libqca-qt5-2-plugins)"
        );
    }
    installed
}

/// The settings and the salt of a wallet that does not exist yet.
fn prepare(keyring: &PrivateKeyring) {
    let directory = keyring.home().join(".local/share/kwalletd");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("kdewallet.salt"), [7; 56]).unwrap();
    std::fs::write(keyring.home().join(".config/kwalletrc"), SETTINGS).unwrap();
}

/// Starts the daemon as `pam_kwallet5` does: it reads the key of the wallet from one descriptor, and the environment of
/// the session from another. Makes the wallet where there is none.
fn log_in(keyring: &PrivateKeyring, password: &[u8]) -> Peer {
    let mut key = [0; 56];
    derive(PBKDF2_HMAC_SHA512, NonZeroU32::new(50_000).unwrap(), &[7; 56], password, &mut key);
    let (key_end, key_source) = rustix::pipe::pipe().unwrap();
    std::fs::File::from(key_source).write_all(&key).unwrap();
    let path = keyring.home().join("pam");
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    for descriptor in [key_end.as_fd(), listener.as_fd()] {
        fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
    }
    let daemon = spawn(
        keyring,
        &["--pam-login", &key_end.as_raw_fd().to_string(), &listener.as_raw_fd().to_string()],
        path.to_str().unwrap(),
    );
    let mut session = UnixStream::connect(&path).unwrap();
    for (name, value) in keyring.env() {
        writeln!(session, "{name}={value}").unwrap();
    }
    daemon
}

fn spawn(keyring: &PrivateKeyring, arguments: &[&str], pam: &str) -> Peer {
    let pam = format!("PAM_KWALLET5_LOGIN={pam}");
    let all = [&["QT_QPA_PLATFORM=offscreen", pam.as_str(), DAEMON], arguments].concat();
    Peer(keyring.spawn(Path::new("env"), &all, None).unwrap())
}

/// Waits until the daemon has the wallet.
fn wait_for_wallet(keyring: &PrivateKeyring) -> Finding {
    let started = Instant::now();
    loop {
        if let Ok(found) = Candidate::detect_in(&surroundings(keyring))
            && found.finding().collection().is_some()
        {
            return found.finding().clone();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "KWallet did not get ready");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A wallet under this password, and no daemon. KWallet offers one to the Secret Service that was there when it started.
fn wallet(password: &[u8]) -> PrivateKeyring {
    let keyring = keyring(Mode::NoProvider);
    prepare(&keyring);
    let _first = log_in(&keyring, password);
    let file = keyring.home().join(".local/share/kwalletd/kdewallet.kwl");
    let started = Instant::now();
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < 60 {
        assert!(started.elapsed() < Duration::from_secs(20), "KWallet made no wallet");
        std::thread::sleep(Duration::from_millis(20));
    }
    keyring
}

#[test]
fn kwallet_is_verified_and_keeps_what_is_put_in_it() {
    if !installed() {
        return;
    }
    let keyring = wallet(b"password");
    let _daemon = log_in(&keyring, b"password");
    wait_for_wallet(&keyring);
    let keystore = open(&keyring).unwrap();
    assert_eq!(keystore.backend(), BackendId::KWallet);
    assert_eq!(keystore.finding().verdict(), Verdict::Verified);
    assert_eq!(keystore.finding().at_rest(), AtRest::Encrypted);
    assert_eq!(keystore.finding().collection(), Some("kdewallet"));

    expect_kept(&keyring, &keystore);
    assert_eq!(keystore.sanity_probe().unwrap().backend(), BackendId::KWallet);
}

#[test]
fn a_wallet_under_an_empty_password_is_refused_whatever_the_operator_lists() {
    if !installed() {
        return;
    }
    let keyring = wallet(b"");
    // Without the key from the login: the daemon itself opens such a wallet without asking anybody.
    let _daemon = spawn(&keyring, &[], "");
    wait_for_wallet(&keyring);
    for allowed in [Allowlist::default(), Allowlist::with("secret-service:unverified").unwrap()] {
        let found = Candidate::detect_in(&surroundings(&keyring)).unwrap();
        let error = refusal(found.validate(&allowed).map_err(KeystoreError::from));
        assert_eq!(
            (error.finding().verdict(), error.finding().at_rest()),
            (Verdict::Rejected, AtRest::Cleartext)
        );
        assert!(error.hint().unwrap().contains("KWalletManager"));
    }
    // That is no slander: the daemon opens it for whoever asks, without a password.
    let call = |path: &str, method: &str, argument: &str| {
        let sent = Command::new("dbus-send")
            .args([
                "--session",
                "--print-reply=literal",
                "--dest=org.freedesktop.secrets",
                path,
                method,
                argument,
            ])
            .envs(keyring.env())
            .output()
            .unwrap();
        String::from_utf8_lossy(&sent.stdout).trim().to_owned()
    };
    let wallet = "/org/freedesktop/secrets/collection/kdewallet";
    let unlock = "org.freedesktop.Secret.Service.Unlock";
    let answer = call("/org/freedesktop/secrets", unlock, &format!("array:objpath:{wallet}"));
    let prompt = answer.split_whitespace().last().unwrap();
    call(prompt, "org.freedesktop.Secret.Prompt.Prompt", "string:");
    let started = Instant::now();
    while Candidate::detect_in(&surroundings(&keyring)).unwrap().finding().is_locked() == Some(true) {
        assert!(started.elapsed() < Duration::from_secs(10), "KWallet asks for a password");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_wallet_that_is_not_open_is_locked_and_nobody_is_asked_to_open_it() {
    if !installed() {
        return;
    }
    let keyring = wallet(b"password");
    let _daemon = spawn(&keyring, &[], "");
    let finding = wait_for_wallet(&keyring);
    assert_eq!((finding.verdict(), finding.is_locked()), (Verdict::Verified, Some(true)));
    let keystore = open(&keyring).unwrap();
    let monitor = common::Monitor::start(&keyring);
    for result in [
        timely(|| keystore.get(&entry("a")).map(drop)),
        timely(|| keystore.put(&entry("a"), &secret("x"))),
        timely(|| keystore.delete(&entry("a"))),
    ] {
        assert!(matches!(result, Err(KeystoreError::Locked(_))), "{result:?}");
    }
    let seen = monitor.finish(&keyring);
    assert!(seen.contains("member=isOpen") && !seen.contains("member=Unlock"), "{seen}");
}

#[test]
fn a_wallet_whose_file_says_too_little_takes_the_operators_explicit_word() {
    if !installed() {
        return;
    }
    let keyring = wallet(b"password");
    let _daemon = log_in(&keyring, b"password");
    wait_for_wallet(&keyring);
    std::fs::remove_file(keyring.home().join(".local/share/kwalletd/kdewallet.salt")).unwrap();
    let error = refusal(open(&keyring));
    assert_eq!(
        (error.finding().verdict(), error.finding().at_rest()),
        (Verdict::Unverifiable, AtRest::Unknown)
    );
    assert!(error.hint().unwrap().contains("secret-service:unverified"));
}
