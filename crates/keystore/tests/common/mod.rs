//! What the tests on real daemons share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{
    Allowlist, Candidate, Diagnose as _, EntryName, InsecureKeyringBackendError, Keystore, KeystoreError,
    SecretBytes, Surroundings,
};
use rustix::process::{Pid, Signal, kill_process};

pub const PEER: &str = env!("CARGO_BIN_EXE_keystore-test-peer");
pub const DAEMON: &str = "/usr/bin/gnome-keyring-daemon";

/// A private keyring. A test that cannot have one fails: one that did not run must not look passed.
pub fn keyring(mode: Mode) -> PrivateKeyring {
    PrivateKeyring::start(mode).expect("a private keyring (`cargo xtask test` installs what it needs)")
}

pub fn surroundings(keyring: &PrivateKeyring) -> Surroundings {
    Surroundings::from_vars(&keyring.env())
}

pub fn open(keyring: &PrivateKeyring) -> Result<Keystore, KeystoreError> {
    open_in(&surroundings(keyring))
}

pub fn open_in(surroundings: &Surroundings) -> Result<Keystore, KeystoreError> {
    Ok(Candidate::detect_in(surroundings)?.validate(&Allowlist::default())?)
}

pub fn entry(username: &str) -> EntryName {
    EntryName::new("entrabot-test", username).expect("a name")
}

pub fn secret(bytes: impl Into<Vec<u8>>) -> SecretBytes {
    SecretBytes::new(bytes.into())
}

/// Values that a store of text, of C strings or of short blobs would not give back.
pub fn odd_values() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0],
        b"nul\0inside".to_vec(),
        vec![0xff, 0xfe, 0x80],
        "schlüssel\r\n\ttab <&>\u{1}\u{fffe}".as_bytes().to_vec(),
        " leading and trailing space \n".as_bytes().to_vec(),
        (0..=255).collect(),
        vec![b'x'; 64 << 10],
        vec![0xa5; 64 << 10],
    ]
}

/// Whatever is put in comes out as it was, from another connection; and is listed, and goes when it is deleted.
#[track_caller]
pub fn expect_kept(keyring: &PrivateKeyring, keystore: &Keystore) {
    let absent = keystore.get(&entry("a"));
    assert!(matches!(absent, Err(KeystoreError::NoEntry)), "{absent:?}");
    for value in odd_values() {
        keystore.put(&entry("a"), &secret(value.clone())).expect("kept");
        let read = open(keyring).expect("sound").get(&entry("a")).expect("there");
        assert!(read.expose() == value, "{} bytes", value.len());
    }
    keystore.put(&entry("b"), &secret("other")).expect("kept");
    assert_eq!(keystore.list("entrabot-test").expect("listed"), [entry("a"), entry("b")]);
    keystore.delete(&entry("a")).expect("deleted");
    assert!(matches!(keystore.delete(&entry("a")), Err(KeystoreError::NoEntry)));
}

/// The refusal, which says what was found and what to do.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, KeystoreError>) -> InsecureKeyringBackendError {
    match result {
        Err(KeystoreError::Insecure(error)) => {
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no remedy: {error}");
            assert!(error.to_string().contains("expected one of: secret-service:gnome-keyring"), "{error}");
            error
        }
        other => panic!("not refused as insecure: {other:?}"),
    }
}

/// Runs it, and holds it to the promise that nothing waits for a keyring longer than 2.5 s.
#[track_caller]
pub fn timely<T>(act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = act();
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
    result
}

/// The keyring daemon's process.
pub fn provider(keyring: &PrivateKeyring) -> Pid {
    let number = keyring.provider_pid().and_then(|number| i32::try_from(number).ok());
    number.and_then(Pid::from_raw).expect("a provider runs")
}

pub fn signal(keyring: &PrivateKeyring, signal: Signal) {
    kill_process(provider(keyring), signal).expect("the provider is there");
}

/// Whether this process may make a mount namespace; says so where it may not.
pub fn can_mount() -> bool {
    let can = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        println!("not run: this process may not make a mount namespace");
    }
    can
}

/// A child process that ends with its test.
pub struct Peer(pub Child);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

/// A command in which signals do what they do by default, also where this test runs in the background of a shell.
pub fn peer(keyring: &PrivateKeyring, arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT,TERM", PEER]);
    command.args(arguments).envs(keyring.env());
    command
}

/// Everything that goes over the bus, as `dbus-monitor` writes it down.
pub struct Monitor {
    _process: Peer,
    record: PathBuf,
}

impl Monitor {
    pub fn start(keyring: &PrivateKeyring) -> Self {
        let record = keyring.home().join("monitor");
        let file = std::fs::File::create(&record).expect("a file");
        let process = Command::new("dbus-monitor").arg("--session").envs(keyring.env()).stdout(file).spawn();
        let monitor = Self { _process: Peer(process.expect("dbus-monitor starts")), record };
        monitor.wait_for("NameAcquired");
        monitor
    }

    /// All of it up to now.
    pub fn finish(self, keyring: &PrivateKeyring) -> String {
        let marker = ["--session", "--type=signal", "/marker", "entrabot.test.Marker"];
        let sent = Command::new("dbus-send").args(marker).envs(keyring.env()).status();
        assert!(sent.expect("dbus-send runs").success());
        self.wait_for("entrabot.test")
    }

    fn wait_for(&self, what: &str) -> String {
        let started = Instant::now();
        loop {
            let seen = std::fs::read(&self.record).expect("the record");
            let seen = String::from_utf8_lossy(&seen).into_owned();
            if seen.contains(what) {
                return seen;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the monitor sees no {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A process that waits for the provider's name, or has it; and the file of the calls it received.
pub struct Rogue {
    process: Peer,
    record: PathBuf,
}

impl Rogue {
    /// Started from this program, which may be a copy of the peer's under another name.
    pub fn start(keyring: &PrivateKeyring, program: &Path, expected: &str) -> Self {
        let record = keyring.home().join("rogue");
        let mut process = Command::new(program)
            .arg("rogue")
            .arg(&record)
            .envs(keyring.env())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the rogue starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), expected);
        Self { process: Peer(process), record }
    }

    pub fn process(&self) -> u32 {
        self.process.0.id()
    }

    pub fn received(&self) -> String {
        std::fs::read_to_string(&self.record).expect("the record")
    }
}
