//! A provider that the system does not let its own user inspect.
//!
//! Some distributions give gnome-keyring the file capability `cap_ipc_lock`. The files under `/proc/PID` of such a
//! process are root's, so that its user learns neither its program nor its data home.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::{DAEMON, PEER};

const CAP_IPC_LOCK: u32 = 14;
const NOBODY: &str = "65534";

/// `struct vfs_cap_data`, revision 2 (capabilities(7)): one capability, permitted and effective.
fn file_capability(number: u32) -> Vec<u8> {
    const REVISION_2_EFFECTIVE: u32 = 0x0200_0001;
    [REVISION_2_EFFECTIVE, 1 << number, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Why the case cannot be made here, if it cannot.
fn obstacle() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root to give a file a capability");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let bounding = u64::from_str_radix(&value("CapBnd:"), 16).unwrap();
    if bounding & (1 << CAP_IPC_LOCK) == 0 {
        return Some("no process here may have cap_ipc_lock");
    }
    if value("NoNewPrivs:") != "0" {
        return Some("file capabilities are without effect here");
    }
    let mounts =
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    (!mounts).then_some("this process may not make a mount namespace")
}

#[test]
fn a_provider_that_may_not_be_inspected_is_unverifiable_and_takes_the_operators_explicit_word() {
    if let Some(why) = obstacle() {
        println!("not run: {why}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (daemon, peer) = (directory.path().join("gnome-keyring-daemon"), directory.path().join("peer"));
    std::fs::copy(DAEMON, &daemon).unwrap();
    std::fs::copy(PEER, &peer).unwrap();
    for path in [directory.path(), &daemon, &peer] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&daemon, "security.capability", &file_capability(CAP_IPC_LOCK), flags).unwrap();

    // In the mount namespace the copy is the installed daemon: by its path, its owner, its device and inode.
    let script = "mount --bind \"$1\" \"$2\" && exec setpriv --reuid \"$4\" --regid \"$4\" --clear-groups -- \
                  \"$3\" uninspectable";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([daemon.as_path(), DAEMON.as_ref(), peer.as_path()])
        .arg(NOBODY)
        .env_remove("HOME")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said} {complaint}");
    let line = |name: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no `{name}` in {said}")).to_owned()
    };

    assert_eq!(line("its executable"), "permission denied", "the case is made");
    assert_eq!(line("its environment"), "permission denied", "the case is made");
    assert_eq!(
        line("refused"),
        "InsecureKeyringBackendError unverifiable secret-service:unverified at rest unknown"
    );
    let (error, hint) = (line("error"), line("hint"));
    assert!(error.contains("the system does not let the provider be inspected"), "{error}");
    assert!(error.contains("expected one of: secret-service:gnome-keyring"), "{error}");
    assert!(hint.contains("setcap -r /usr/bin/gnome-keyring-daemon"), "{hint}");
    assert!(hint.contains("secret-service:unverified to ENTRABOT_KEYRING_BACKEND_ALLOWLIST"), "{hint}");
    // The id of the daemon that it probably is does not help: nobody looked.
    assert_eq!(line("with secret-service:gnome-keyring"), "refused");
    assert_eq!(line("with secret-service:unverified"), "kept, and 2048 bytes probed");
}
