//! The same promises on oo7-daemon, the fourth provider.
//!
//! No distribution that we test on has it: `cargo xtask test --long` compiles it.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use common::PEER;

/// What the peer says where `/usr/libexec`, in a mount namespace, holds the daemon. `None` where that cannot be.
fn with_daemon(arguments: &[&str]) -> Option<String> {
    let daemon = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oo7/bin/oo7-daemon");
    if !daemon.exists() {
        println!("not run: there is no {} (cargo install oo7-daemon --root)", daemon.display());
        return None;
    }
    if !common::can_mount() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let installed = directory.path().join("oo7-daemon");
    std::fs::copy(daemon, &installed).unwrap();
    std::fs::set_permissions(&installed, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount --bind \"$1\" /usr/libexec && shift && exec \"$@\"", "sh"])
        .arg(directory.path())
        .args([PEER, "oo7"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

#[test]
#[ignore = "oo7-daemon takes minutes to compile"]
fn oo7_is_verified_once_it_holds_an_item_and_keeps_what_is_put_in_it() {
    let Some(said) = with_daemon(&["correct horse battery staple"]) else { return };
    for line in [
        "as it is: unverifiable, at rest unknown",
        "first value: ok",
        "with an item: verified, at rest encrypted",
        "probed: 2048 bytes",
    ] {
        assert!(said.lines().any(|found| found == line), "no `{line}` in {said}");
    }
    assert!(said.contains("an empty keyring does not show whether it has a password"), "{said}");
}

#[test]
#[ignore = "oo7-daemon takes minutes to compile"]
fn a_keyring_of_oo7_that_lies_in_clear_is_refused_whatever_the_operator_lists() {
    let plain = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/oo7-plain.keyring");
    let Some(said) = with_daemon(&["correct horse battery staple", plain]) else { return };
    for line in ["as it is", "with the operator's word"] {
        assert!(said.lines().any(|found| found == format!("{line}: rejected, at rest clear text")), "{said}");
    }
}

#[test]
#[ignore = "oo7-daemon takes minutes to compile"]
fn oo7_itself_stores_nothing_under_an_empty_password() {
    let Some(said) = with_daemon(&[""]) else { return };
    assert!(said.contains("first value: the keyring provider failed while writing an entry"), "{said}");
    assert!(said.contains("with an item: unverifiable, at rest unknown"), "{said}");
}
