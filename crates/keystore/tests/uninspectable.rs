//! A provider that the system does not let its own user inspect.
//!
//! Some distributions give gnome-keyring the file capability `cap_ipc_lock`. The files under `/proc/PID` of such a
//! process are root's, so that its user learns neither its program nor its data home.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{DAEMON, PEER};

const CAP_IPC_LOCK: u32 = 14;
const CAP_NET_RAW: u32 = 13;
const NOBODY: u32 = 65_534;

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
    if std::fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().ne(["0", "0", "4294967295"])
    {
        return Some("root here is not root of the system");
    }
    let mounts =
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    (!mounts).then_some("this process may not make a mount namespace")
}

/// Programs in a directory that everybody may enter.
struct Programs(tempfile::TempDir);

impl Programs {
    /// `None` where the cases cannot be made; it says why.
    fn new() -> Option<Self> {
        if let Some(why) = obstacle() {
            println!("not run: {why}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self(directory))
    }

    /// A copy that runs under the daemon's name.
    fn copy(&self, program: &str, place: &str) -> PathBuf {
        let directory = self.0.path().join(place);
        std::fs::create_dir(&directory).unwrap();
        let copy = directory.join("gnome-keyring-daemon");
        std::fs::copy(program, &copy).unwrap();
        for path in [&directory, &copy] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        copy
    }

    fn copy_with_capability(&self, program: &str, place: &str, number: u32) -> PathBuf {
        let copy = self.copy(program, place);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&copy, "security.capability", &file_capability(number), flags).unwrap();
        copy
    }

    /// What an ordinary user's guard says where `installed` is the daemon's file, by its path, its owner, its device
    /// and inode. `role` are the peer's arguments.
    fn with_installed(&self, installed: &Path, role: &[&str]) -> Said {
        let peer = self.0.path().join("peer");
        std::fs::copy(PEER, &peer).unwrap();
        let script = "mount --bind \"$1\" \"$2\" && user=\"$3\" && shift 3 && exec setpriv --reuid \"$user\" \
                      --regid \"$user\" --clear-groups -- \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([installed.as_os_str(), DAEMON.as_ref(), NOBODY.to_string().as_ref(), peer.as_os_str()])
            .arg("uninspectable")
            .args(role)
            .env_remove("HOME")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said} {complaint}");
        let said = Said(said);
        assert_eq!(said.line("its executable"), "permission denied", "the case is made");
        assert_eq!(said.line("its environment"), "permission denied", "the case is made");
        said
    }
}

/// The lines `name: value` that the peer printed.
struct Said(String);

impl Said {
    #[track_caller]
    fn line(&self, name: &str) -> &str {
        let found = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no `{name}` in {}", self.0))
    }

    /// Refused as one that cannot be verified, because of `why`; the operator's word for the daemon does not help.
    #[track_caller]
    fn expect_unverifiable(&self, why: &str) {
        for id in ["", "secret-service:gnome-keyring"] {
            assert_eq!(self.line(&format!("allowed [{id}]")), "refused as unverifiable, at rest unknown");
        }
        let (error, hint) = (self.line("error"), self.line("hint"));
        assert!(
            error.contains(why) && error.contains("expected one of: secret-service:gnome-keyring"),
            "{error}"
        );
        assert!(hint.contains("setcap -r /usr/bin/gnome-keyring-daemon"), "{hint}");
        assert!(hint.contains("secret-service:unverified to ENTRABOT_KEYRING_BACKEND_ALLOWLIST"), "{hint}");
    }

    /// The same of a rogue, which was asked what a guard asks and nothing else.
    #[track_caller]
    fn expect_unmasked(&self, why: &str) {
        self.expect_unverifiable(why);
        let mut received: Vec<_> = self.line("received").split_whitespace().collect();
        received.sort_unstable();
        received.dedup();
        assert_eq!(received, ["Get", "ReadAlias"]);
    }
}

#[test]
fn a_provider_told_by_the_capability_that_only_its_file_gives_is_verified() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let said = programs.with_installed(&daemon, &[DAEMON, "own"]);
    for id in ["", "secret-service:gnome-keyring", "secret-service:unverified"] {
        let line = said.line(&format!("allowed [{id}]")).to_owned();
        assert_eq!(line, "verified as secret-service:gnome-keyring, 2048 bytes probed");
    }
}

#[test]
fn a_keyring_file_that_the_provider_does_not_describe_proves_nothing_of_its_own() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let said = programs.with_installed(&daemon, &[DAEMON, "other"]);
    said.expect_unverifiable("no keyring file in ours is the one that it describes");
    // The program is known all the same, so the operator's word is about the state of its file alone.
    let kept = "unverifiable as secret-service:gnome-keyring, 2048 bytes probed";
    assert_eq!(said.line("allowed [secret-service:unverified]"), kept);
}

#[test]
fn clear_text_is_refused_whatever_the_provider_shows_of_itself() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let said = programs.with_installed(&daemon, &[DAEMON, "clear"]);
    for id in ["", "secret-service:gnome-keyring", "secret-service:unverified"] {
        assert_eq!(said.line(&format!("allowed [{id}]")), "refused as rejected, at rest clear text");
    }
    assert!(said.line("hint").contains("Change Password"));
}

#[test]
fn who_hides_itself_under_the_daemons_name_without_the_capability_is_not_the_daemon() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let rogue = programs.copy(PEER, "rogue");
    let said = programs.with_installed(&daemon, &[rogue.to_str().unwrap(), "rogue", "uninspectable"]);
    said.expect_unmasked("does not hold the capability that the installed program gives");
}

#[test]
fn another_capability_is_not_the_daemons() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let rogue = programs.copy_with_capability(PEER, "rogue", CAP_NET_RAW);
    let said = programs.with_installed(&daemon, &[rogue.to_str().unwrap(), "rogue", "obliging"]);
    said.expect_unmasked("does not hold the capability that the installed program gives");
}

#[test]
fn all_capabilities_of_a_namespace_of_its_own_do_not_make_a_rogue_the_daemon() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let rogue = programs.copy(PEER, "rogue");
    let role = [rogue.to_str().unwrap(), "rogue", "namespace", "uninspectable"];
    let said = programs.with_installed(&daemon, &role);
    said.expect_unmasked("in a user namespace other than the system's");
}

#[test]
fn a_copy_with_the_capability_is_not_the_installed_daemon() {
    let Some(programs) = Programs::new() else { return };
    // The installed file gives no capability, so it cannot be what this process runs.
    let copy = programs.copy_with_capability(DAEMON, "elsewhere", CAP_IPC_LOCK);
    let installed = programs.copy(DAEMON, "installed");
    let said = programs.with_installed(&installed, &[copy.to_str().unwrap(), "own"]);
    said.expect_unverifiable("has no capability that would explain it");

    // Whoever owns the file can put anything into it.
    let theirs = programs.copy_with_capability(DAEMON, "theirs", CAP_IPC_LOCK);
    std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    // The change of owner took the capability away.
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&theirs, "security.capability", &file_capability(CAP_IPC_LOCK), flags).unwrap();
    let said = programs.with_installed(&theirs, &[DAEMON, "own"]);
    said.expect_unverifiable("can be changed by others than root");
}

#[test]
fn the_right_capability_under_another_name_is_not_the_daemon() {
    let Some(programs) = Programs::new() else { return };
    let daemon = programs.copy_with_capability(DAEMON, "installed", CAP_IPC_LOCK);
    let rogue = programs.copy_with_capability(PEER, "rogue", CAP_IPC_LOCK);
    let renamed = rogue.with_file_name("elsewise");
    std::fs::rename(&rogue, &renamed).unwrap();
    let said = programs.with_installed(&daemon, &[renamed.to_str().unwrap(), "rogue", "obliging"]);
    said.expect_unmasked("its name is not that of an installed keyring program");
}
