//! The sanity probe on a real keyring: what it leaves behind, whatever happens in the middle.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{keyring, open, peer};
use entrabot_keystore::private_keyring::Mode;
use entrabot_keystore::{BackendId, EntryName, KeystoreError, ProbeFault};

const SERVICE: &str = "entrabot-sanity";
/// guard, sweep, put, read on a new connection, remove.
const STEPS: usize = 5;

#[test]
fn a_sound_keyring_passes_and_is_left_as_it_was() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    let report = keystore.sanity_probe().unwrap();
    assert_eq!((report.backend(), report.stored_bytes()), (BackendId::GnomeKeyring, 2048));
    assert!(report.timings().store > Duration::ZERO && report.timings().read > Duration::ZERO);
    assert!(report.left_behind().is_none());
    assert_eq!(keystore.list(SERVICE).unwrap(), []);
}

#[test]
fn the_value_is_read_back_on_another_connection_than_it_was_stored_on() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    let monitor = common::Monitor::start(&keyring);
    keystore.sanity_probe().unwrap();
    let record = monitor.finish(&keyring);
    let senders = |member: &str| -> Vec<String> {
        let calls = record.lines().filter(|line| line.ends_with(&format!("member={member}")));
        calls
            .map(|line| line.split_once("sender=").unwrap().1.split(' ').next().unwrap().to_owned())
            .collect()
    };
    let (stored, read) = (senders("CreateItem"), senders("GetSecret"));
    assert_eq!((stored.len(), read.len()), (1, 1));
    assert_ne!(stored, read);
}

#[test]
fn a_locked_keyring_is_not_written_to() {
    let keyring = keyring(Mode::Locked);
    let error = open(&keyring).unwrap().sanity_probe().unwrap_err();
    assert!(matches!(error.fault(), ProbeFault::Guard(KeystoreError::Locked(_))), "{error:?}");
}

#[test]
fn a_probe_that_is_killed_at_any_step_is_swept_by_the_next() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    for step in 1..=STEPS {
        let status = peer(&keyring, &["probe", &step.to_string(), "KILL"]).status().unwrap();
        assert_eq!(status.signal(), Some(9), "step {step}");
        let left = keystore.list(SERVICE).unwrap().len();
        assert_eq!(left, usize::from(step > 3), "step {step}");
        let report = keystore.sanity_probe_sweeping(Duration::ZERO).unwrap();
        assert_eq!(report.swept(), left);
        assert_eq!(keystore.list(SERVICE).unwrap(), []);
    }
}

#[test]
fn a_probe_that_is_asked_to_end_cleans_up_and_ends() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    for (name, number) in [("TERM", 15), ("INT", 2)] {
        for step in 3..=STEPS {
            let output = peer(&keyring, &["probe", &step.to_string(), name]).output().unwrap();
            assert_eq!(output.status.signal(), Some(number), "{name} at step {step}");
            assert_eq!(keystore.list(SERVICE).unwrap(), [], "{name} at step {step}");
        }
    }
}

#[test]
fn a_provider_that_dies_in_between_is_told_apart_and_its_leftover_is_swept_later() {
    let keyring = Arc::new(Mutex::new(keyring(Mode::Encrypted)));
    let keystore = open(&keyring.lock().unwrap()).unwrap();
    let (killer, operations) = (Arc::clone(&keyring), Mutex::new(0));
    keystore.between_guard_and_act(move || {
        let mut operations = operations.lock().unwrap();
        *operations += 1;
        if *operations == 4 {
            killer.lock().unwrap().kill_provider().unwrap();
        }
    });
    let error = keystore.sanity_probe().unwrap_err();
    assert!(matches!(error.fault(), ProbeFault::ReadFailed(_)), "{error:?}");
    assert!(error.left_behind().is_some());
    keyring.lock().unwrap().restart_provider().unwrap();
    let left = keystore.list(SERVICE).unwrap();
    assert_eq!(left.first(), error.left_behind());
    assert_eq!(keystore.sanity_probe_sweeping(Duration::ZERO).unwrap().swept(), 1);
    assert_eq!(keystore.list(SERVICE).unwrap(), []);
}

#[test]
fn a_running_probe_of_another_process_is_not_swept() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    let running = EntryName::new(SERVICE, "roundtrip-probe-0123456789abcdef").unwrap();
    keystore.put(&running, &common::secret("x")).unwrap();
    assert_eq!(keystore.sanity_probe().unwrap().swept(), 0);
    assert_eq!(keystore.list(SERVICE).unwrap(), [running]);
}

#[test]
fn probes_at_the_same_time_do_not_disturb_each_other() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    std::thread::scope(|scope| {
        let probes: Vec<_> = (0..4).map(|_| scope.spawn(|| keystore.sanity_probe())).collect();
        for probe in probes {
            assert!(probe.join().unwrap().unwrap().left_behind().is_none());
        }
    });
    assert_eq!(keystore.list(SERVICE).unwrap(), []);
}
