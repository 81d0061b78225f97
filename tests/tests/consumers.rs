//! Four programs outside the workspace, each taking exactly one crate with its default features, build and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

/// Builds the consumer with the versions of our lock file, so that it is the code that we test.
fn build(name: &str) -> PathBuf {
    let package = root().join("tests/consumer").join(name);
    std::fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).expect("the lock file is copied");
    let target = target_dir();
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "consumer {name}: {}", String::from_utf8_lossy(&output.stderr));
    target.join("debug").join(format!("consumer-{name}"))
}

/// The directory of the running test: dependencies that were built for the workspace are built already.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its file");
    test.ancestors().nth(3).expect("target/debug/deps/test").to_owned()
}

fn succeeded(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn keystore_alone_keeps_a_secret_or_refuses_by_name() {
    let program = build("keystore");
    let keyring = PrivateKeyring::start(Mode::Encrypted).expect("a private keyring");
    let printed = succeeded(Command::new(&program).envs(keyring.env()).output().expect("it runs"));
    assert_eq!(printed.trim(), "kept and removed in secret-service:gnome-keyring");

    let cleartext = PrivateKeyring::start(Mode::Cleartext).expect("a private keyring");
    let output = Command::new(&program).envs(cleartext.env()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("InsecureKeyringBackendError: "));
}

#[test]
fn identity_alone_says_who_acts() {
    let printed = succeeded(Command::new(build("identity")).output().expect("it runs"));
    assert_eq!(printed.trim(), "22222222-2222-2222-2222-222222222222 acts, known by agent_id");
}

#[test]
fn audit_alone_puts_a_call_on_record_and_verifies_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let printed = succeeded(Command::new(build("audit")).arg(directory.path()).output().expect("it runs"));
    assert_eq!(printed.trim(), "4 events, chain intact");
}

#[test]
fn a365_alone_refuses_a_host_that_is_not_on_the_allowlist() {
    let printed = succeeded(Command::new(build("a365")).output().expect("it runs"));
    assert_eq!(printed.trim(), "refused: another host");
}
