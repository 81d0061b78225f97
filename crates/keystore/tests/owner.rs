//! The provider's name changes hands while nothing else changes: the process, its program and its file stay.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{PEER, Rogue, entry, keyring, open, provider, refusal, secret, signal, timely};
use entrabot_keystore::KeystoreError;
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

/// Ends the daemon's connection to the bus from outside. The daemon, which is stopped, does not notice.
fn cut_from_the_bus(keyring: &PrivateKeyring) -> Result<(), Errno> {
    let process = provider(keyring);
    let daemon = pidfd_open(process, PidfdFlags::empty())?;
    for descriptor in std::fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).unwrap() {
        let descriptor = descriptor.unwrap();
        let target = std::fs::read_link(descriptor.path()).unwrap();
        if target.to_string_lossy().starts_with("socket:") {
            let number = descriptor.file_name().to_str().unwrap().parse().unwrap();
            let socket = pidfd_getfd(&daemon, number, PidfdGetfdFlags::empty())?;
            match rustix::net::shutdown(&socket, Shutdown::Both) {
                // One that listens has no connection to end.
                Ok(()) | Err(Errno::NOTCONN | Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Waits until the bus has given the provider's name to this process.
fn wait_for_owner(keyring: &PrivateKeyring, process: u32) {
    let started = Instant::now();
    loop {
        let asked = Command::new("dbus-send")
            .args(["--session", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/"])
            .args(["org.freedesktop.DBus.GetConnectionUnixProcessID", "string:org.freedesktop.secrets"])
            .envs(keyring.env())
            .output()
            .unwrap();
        if String::from_utf8_lossy(&asked.stdout).trim().ends_with(&format!("uint32 {process}")) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "the name did not change hands");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_owner_that_changed_is_guarded_anew_though_the_old_ones_process_is_as_it_was() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    let rogue = Rogue::start(&keyring, Path::new(PEER), "InQueue");
    signal(&keyring, Signal::STOP);
    if let Err(error) = cut_from_the_bus(&keyring) {
        assert!(matches!(error, Errno::PERM | Errno::NOSYS), "{error}");
        println!("not run: this process may not take another's descriptors ({error})");
        return;
    }
    wait_for_owner(&keyring, rogue.process());

    // Without a look at the owner this would be `ProviderGone`: the call would go to the connection that ended.
    let result: Result<_, KeystoreError> = timely(|| keystore.get(&entry("a")));
    assert_eq!(refusal(result).finding().executable(), Some(Path::new(PEER)));
    let result = timely(|| keystore.put(&entry("a"), &secret("value that must not leave")));
    assert_eq!(refusal(result).finding().executable(), Some(Path::new(PEER)));
    assert_eq!(rogue.received(), "");
}
