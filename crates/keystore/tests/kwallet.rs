//! The same promises on KWallet, the third provider, in each of its three daemons.
//!
//! On whichever this machine has; `cargo xtask test --long` runs them again in roots of later Debian releases.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::io::Write as _;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA512, derive};
use common::{Peer, entry, expect_kept, keyring, open, refusal, secret, surroundings, timely};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{
    Allowlist, AtRest, BackendId, Candidate, Diagnose as _, Finding, Keystore, KeystoreError, Verdict,
};
use rustix::io::{FdFlags, fcntl_setfd};

/// The daemons, newest first, and the plugin of the Qt that each is built with, which lets it encrypt what travels.
const DAEMONS: &[(&str, &str)] =
    &[("ksecretd", "qca-qt6"), ("kwalletd6", "qca-qt6"), ("kwalletd5", "qca-qt5")];
const SERVICE: &str = "/org/freedesktop/secrets";
const WALLET: &str = "array:objpath:/org/freedesktop/secrets/collection/kdewallet";
const SETTINGS: &str =
    "[Wallet]\nEnabled=true\nFirst Use=false\n[org.freedesktop.secrets]\napiEnabled=true\n";

/// The newest daemon that is installed with its plugin.
fn daemon() -> Option<PathBuf> {
    let has_plugin = |qca: &str| {
        let mut libraries = std::fs::read_dir("/usr/lib").unwrap();
        libraries.any(|folder| folder.unwrap().path().join(qca).join("crypto/libqca-ossl.so").exists())
    };
    let installed = |name: &str| Some(Path::new("/usr/bin").join(name)).filter(|path| path.exists());
    DAEMONS.iter().find_map(|(name, qca)| installed(name).filter(|_| has_plugin(qca)))
}

fn installed() -> bool {
    let daemon = daemon();
    match &daemon {
        Some(daemon) => println!("with {}", daemon.display()),
        None => println!(
            "not run: KWallet is not installed (apt-get install --no-install-recommends libkf5wallet-bin \
             libqca-qt5-2-plugins)"
        ),
    }
    daemon.is_some()
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
    log_in_with(keyring, password, &[])
}

/// The same with more in its environment.
fn log_in_with(keyring: &PrivateKeyring, password: &[u8], environment: &[&str]) -> Peer {
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
    let pam = format!("PAM_KWALLET5_LOGIN={}", path.to_str().unwrap());
    let daemon = spawn(
        keyring,
        &[environment, &[pam.as_str()]].concat(),
        &["--pam-login", &key_end.as_raw_fd().to_string(), &listener.as_raw_fd().to_string()],
    );
    let mut session = UnixStream::connect(&path).unwrap();
    for (name, value) in keyring.env() {
        writeln!(session, "{name}={value}").unwrap();
    }
    daemon
}

fn spawn(keyring: &PrivateKeyring, environment: &[&str], arguments: &[&str]) -> Peer {
    let daemon = daemon().unwrap();
    let daemon = ["QT_QPA_PLATFORM=offscreen", daemon.to_str().unwrap()];
    Peer(keyring.spawn(Path::new("env"), &[environment, &daemon, arguments].concat(), None).unwrap())
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

/// A wallet that the login opened, and its daemon.
fn logged_in() -> (PrivateKeyring, Peer) {
    let keyring = wallet(b"password");
    let daemon = log_in(&keyring, b"password");
    wait_for_wallet(&keyring);
    (keyring, daemon)
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

/// Any client's call to the Secret Service, and what it printed.
fn call(keyring: &PrivateKeyring, path: &str, method: &str, argument: &str) -> String {
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
}

#[test]
fn kwallet_is_verified_and_keeps_what_is_put_in_it() {
    if !installed() {
        return;
    }
    let (keyring, _daemon) = logged_in();
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
    let _daemon = spawn(&keyring, &[], &[]);
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
    let answer = call(&keyring, SERVICE, "org.freedesktop.Secret.Service.Unlock", WALLET);
    let prompt = answer.split_whitespace().last().unwrap();
    call(&keyring, prompt, "org.freedesktop.Secret.Prompt.Prompt", "string:");
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
    let _daemon = spawn(&keyring, &[], &[]);
    let finding = wait_for_wallet(&keyring);
    assert_eq!((finding.verdict(), finding.is_locked()), (Verdict::Verified, Some(true)));
    let keystore = open(&keyring).unwrap();
    expect_locked(&keyring, &keystore);
}

#[test]
fn a_wallet_that_was_locked_again_is_locked_though_the_login_opened_it() {
    if !installed() {
        return;
    }
    let (keyring, _daemon) = logged_in();
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    call(&keyring, SERVICE, "org.freedesktop.Secret.Service.Lock", WALLET);
    expect_locked(&keyring, &keystore);
}

/// Nothing is read or written, and nobody is asked to unlock it.
#[track_caller]
fn expect_locked(keyring: &PrivateKeyring, keystore: &Keystore) {
    let monitor = common::Monitor::start(keyring);
    for result in [
        timely(|| keystore.get(&entry("a")).map(drop)),
        timely(|| keystore.put(&entry("a"), &secret("x"))),
        timely(|| keystore.delete(&entry("a"))),
    ] {
        assert!(matches!(result, Err(KeystoreError::Locked(_))), "{result:?}");
    }
    let seen = monitor.finish(keyring);
    assert!(seen.contains("member=isOpen") && !seen.contains("member=Unlock"), "{seen}");
}

#[test]
fn a_wallet_whose_file_says_too_little_takes_the_operators_explicit_word() {
    if !installed() {
        return;
    }
    let (keyring, _daemon) = logged_in();
    std::fs::remove_file(keyring.home().join(".local/share/kwalletd/kdewallet.salt")).unwrap();
    let error = refusal(open(&keyring));
    assert_eq!(
        (error.finding().verdict(), error.finding().at_rest()),
        (Verdict::Unverifiable, AtRest::Unknown)
    );
    assert!(error.hint().unwrap().contains("secret-service:unverified"));
}

#[test]
fn a_daemon_that_cannot_encrypt_what_travels_is_sent_nothing_and_the_remedy_is_named() {
    if !installed() {
        return;
    }
    let keyring = wallet(b"password");
    let _daemon = log_in_with(&keyring, b"password", &["QCA_NO_PLUGINS=1"]);
    wait_for_wallet(&keyring);
    let keystore = open(&keyring).unwrap();
    let monitor = common::Monitor::start(&keyring);
    let error = keystore.put(&entry("a"), &secret("x")).unwrap_err().to_string();
    let qt5 = daemon().unwrap().ends_with("kwalletd5");
    let package = if qt5 { "libqca-qt5-2-plugins" } else { "libqca-qt6-plugins" };
    assert!(error.contains(&format!("(Debian: {package})")), "{error}");
    let seen = monitor.finish(&keyring);
    assert!(seen.contains("member=OpenSession") && !seen.contains("member=CreateItem"), "{seen}");
}

/// What this program says of its own tests in the root of a Debian release that has another daemon.
#[track_caller]
fn expect_all_in_root_of(release: &str, daemon: &str) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kwallet").join(release);
    if !root.join("usr/bin").join(daemon).exists() {
        println!("not run: there is no {daemon} in {} (`cargo xtask test --long` makes it)", root.display());
        return;
    }
    if !common::can_mount() {
        return;
    }
    const ENTER: &str = "cd \"$1\" && mkdir -p proc && mount --rbind /proc proc && mount --rbind /dev dev && \
                         mount -t tmpfs tmpfs tmp && \
                         cp /etc/passwd etc && touch tmp/tests && mount --bind \"$2\" tmp/tests && \
                         exec chroot . /tmp/tests --nocapture --test-threads=1";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", ENTER, "sh"])
        .arg(&root)
        .arg(std::env::current_exe().unwrap())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let all = said.contains("test result: ok.") && !said.contains("not run");
    let with = format!("with /usr/bin/{daemon}");
    assert!(all && said.contains(&with), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs the root of a Debian release, which takes half a minute to make"]
fn kwalletd6_of_debian_13_keeps_every_promise() {
    expect_all_in_root_of("trixie", "kwalletd6");
}

#[test]
#[ignore = "needs the root of a Debian release, which takes half a minute to make"]
fn ksecretd_of_the_debian_after_that_keeps_every_promise() {
    expect_all_in_root_of("forky", "ksecretd");
}
