//! Every case that the guard must tell apart, on real daemons.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{
    DAEMON, PEER, Rogue, entry, keyring, open, open_in, refusal, secret, signal, surroundings, timely,
};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{
    Allowlist, AtRest, Candidate, Diagnose as _, ErrorClass, Keystore, KeystoreError, Surroundings, Verdict,
};
use rustix::process::Signal;

/// One operation on the entry `a`.
type Act = fn(&Keystore) -> Result<(), KeystoreError>;

#[track_caller]
fn expect_timeout<T: std::fmt::Debug>(result: Result<T, KeystoreError>) {
    match result {
        Err(error @ KeystoreError::TimedOut(_)) => assert_eq!(error.class(), ErrorClass::Unavailable),
        other => panic!("no timeout: {other:?}"),
    }
}

/// A program of its own in a directory of the test.
fn copy_of(program: &str, keyring: &PrivateKeyring) -> PathBuf {
    let copy = keyring.home().join("gnome-keyring-daemon");
    std::fs::copy(program, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn a_keyring_in_clear_text_is_refused_whether_it_looks_locked_or_not() {
    for mode in [Mode::Cleartext, Mode::CleartextLocked] {
        let keyring = keyring(mode);
        let error = refusal(open(&keyring));
        let finding = error.finding();
        assert_eq!((finding.verdict(), finding.at_rest()), (Verdict::Rejected, AtRest::Cleartext));
        assert_eq!(finding.collection(), Some("login"));
        assert_eq!(finding.executable(), Some(Path::new(DAEMON)));
        assert_eq!(finding.is_locked(), Some(mode == Mode::CleartextLocked));
        assert!(error.hint().unwrap().contains("Change Password"));
    }
}

#[test]
fn the_providers_data_home_counts_and_not_ours() {
    let (keyring, decoy) = (keyring(Mode::Cleartext), keyring(Mode::Encrypted));
    let mut variables = keyring.env();
    for (name, value) in decoy.env() {
        if matches!(name.as_str(), "HOME" | "XDG_DATA_HOME") {
            variables.retain(|(other, _)| *other != name);
            variables.push((name, value));
        }
    }
    assert_eq!(refusal(open_in(&Surroundings::from_vars(&variables))).finding().at_rest(), AtRest::Cleartext);
}

#[test]
fn locked_is_not_absent_and_never_prompts() {
    let keyring = keyring(Mode::Locked);
    let keystore = open(&keyring).unwrap();
    assert_eq!(keystore.finding().is_locked(), Some(true));
    let started = Instant::now();
    let errors = [
        keystore.get(&entry("a")).unwrap_err(),
        keystore.put(&entry("a"), &secret("x")).unwrap_err(),
        keystore.delete(&entry("a")).unwrap_err(),
        keystore.list("entrabot-test").unwrap_err(),
        keystore.contains(&entry("a")).unwrap_err(),
        keystore.check().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, KeystoreError::Locked(_)), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Unavailable);
        assert!(error.to_string().contains("\"login\""), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "nothing waited for an answer to a prompt");
}

#[test]
fn a_keyring_that_is_locked_while_open_is_locked_and_one_that_is_unlocked_again_works() {
    let mut keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    keyring.lock().unwrap();
    assert!(matches!(keystore.get(&entry("a")), Err(KeystoreError::Locked(_))));
    keyring.restart_provider().unwrap();
    assert_eq!(keystore.get(&entry("a")).unwrap().expose(), b"kept", "no restart of ours was needed");
}

#[test]
fn no_bus_and_no_provider_are_refused_by_name() {
    let nothing = Surroundings::from_vars(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let no_socket = format!("unix:path={}", file.path().display());
    assert!(refusal(open_in(&nothing)).to_string().contains("there is no D-Bus session bus"));
    for (address, says) in [
        ("garbage", "names no local socket"),
        ("", "names no local socket"),
        ("tcp:host=127.0.0.1,port=9", "names no local socket"),
        ("unix:path=/nonexistent/bus", "there is no socket at its address"),
        (no_socket.as_str(), "nobody listens at its address"),
    ] {
        let error = refusal(open_in(&nothing.clone().with_bus_address(address)));
        assert!(error.to_string().contains(says), "{address}: {error}");
        assert!(error.hint().unwrap().contains("dbus-run-session"));
    }
    let keyring = keyring(Mode::NoProvider);
    let error = refusal(open(&keyring));
    assert!(error.to_string().contains("nobody provides org.freedesktop.secrets"), "{error}");
    assert!(error.hint().unwrap().contains("gnome-keyring"));
}

#[test]
fn a_bus_that_answers_nothing_does_not_hold_us() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let _mute = UnixListener::bind(&path).unwrap();
    let mute = Surroundings::from_vars(&[]).with_bus_address(format!("unix:path={}", path.display()));
    expect_timeout(timely(|| open_in(&mute)));
    // Its queue of connections fills up, so that not even connecting succeeds.
    let fillers: Vec<_> = std::iter::repeat_with(|| {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let connected = rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap());
        connected.is_ok().then_some(socket)
    })
    .map_while(|socket| socket)
    .collect();
    assert!(!fillers.is_empty());
    expect_timeout(timely(|| open_in(&mute)));
}

#[test]
fn what_speaks_no_dbus_is_no_bus() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        }
    });
    let odd = Surroundings::from_vars(&[]).with_bus_address(format!("unix:path={}", path.display()));
    assert!(refusal(timely(|| open_in(&odd))).to_string().contains("does not speak D-Bus"));
}

#[test]
fn a_provider_that_never_comes_does_not_hold_us() {
    let keyring = keyring(Mode::NeverActivates);
    expect_timeout(timely(|| open(&keyring)));
}

#[test]
fn a_stopped_provider_does_not_hold_us() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    signal(&keyring, Signal::STOP);
    expect_timeout(timely(|| open(&keyring)));
    expect_timeout(timely(|| keystore.get(&entry("a"))));
    signal(&keyring, Signal::CONT);
    assert_eq!(
        keystore.get(&entry("a")).unwrap().expose(),
        b"kept",
        "a new connection is opened after a timeout"
    );
}

#[test]
fn a_provider_that_stops_in_the_middle_does_not_hold_us() {
    let acts: [Act; 4] = [
        |keystore| keystore.get(&entry("a")).map(drop),
        |keystore| keystore.put(&entry("a"), &secret("other")),
        |keystore| keystore.delete(&entry("a")),
        |keystore| keystore.list("entrabot-test").map(drop),
    ];
    let stopped_before_the_act = || {
        let keyring = Arc::new(keyring(Mode::Encrypted));
        let keystore = open(&keyring).unwrap();
        keystore.put(&entry("a"), &secret("kept")).unwrap();
        let stopper = Arc::clone(&keyring);
        keystore.between_guard_and_act(move || signal(&stopper, Signal::STOP));
        (keyring, keystore)
    };
    std::thread::scope(|scope| {
        for act in acts {
            scope.spawn(move || {
                let (_keyring, keystore) = stopped_before_the_act();
                expect_timeout(timely(|| act(&keystore)));
            });
        }
        scope.spawn(|| {
            let (_keyring, keystore) = stopped_before_the_act();
            assert!(timely(|| keystore.sanity_probe()).is_err());
        });
    });
}

#[test]
fn connections_that_were_thrown_away_hold_nothing() {
    let keyring = keyring(Mode::Encrypted);
    let output =
        common::peer(&keyring, &["reopen", &keyring.provider_pid().unwrap().to_string()]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (before, after) = printed.trim().split_once(") (").expect("two counts of descriptors and threads");
    assert_eq!(before.trim_matches('('), after.trim_matches(')'));
}

#[test]
fn who_takes_the_name_over_between_guard_and_act_receives_nothing() {
    for act in [
        (|keystore| keystore.get(&entry("a")).map(drop)) as Act,
        |keystore| keystore.put(&entry("a"), &secret("value that must not leave")),
        |keystore| keystore.delete(&entry("a")),
        |keystore| keystore.list("entrabot-test").map(drop),
    ] {
        let keyring = Arc::new(Mutex::new(keyring(Mode::Encrypted)));
        let keystore = open(&keyring.lock().unwrap()).unwrap();
        keystore.put(&entry("a"), &secret("kept")).unwrap();
        let rogue = Rogue::start(&keyring.lock().unwrap(), Path::new(PEER), "InQueue");
        let killer = Arc::clone(&keyring);
        keystore.between_guard_and_act(move || killer.lock().unwrap().kill_provider().unwrap());

        let result = timely(|| act(&keystore));
        assert!(matches!(result, Err(KeystoreError::ProviderGone(_))), "{result:?}");
        let error = refusal(act(&keystore));
        assert!(error.finding().executable().is_some_and(|path| path == Path::new(PEER)), "{error}");
        assert_eq!(rogue.received(), "");
    }
}

#[test]
fn a_rogue_with_the_right_name_is_refused_and_receives_nothing() {
    let keyring = keyring(Mode::NoProvider);
    let rogue = Rogue::start(&keyring, &copy_of(PEER, &keyring), "PrimaryOwner");
    let error = refusal(open(&keyring));
    assert!(error.to_string().contains("the provider is not to be trusted"), "{error}");
    assert!(error.finding().executable().unwrap().ends_with("gnome-keyring-daemon"));
    assert_eq!(rogue.received(), "");
}

#[test]
fn a_copy_of_the_daemon_is_not_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("gnome-keyring-daemon");
    std::fs::copy(DAEMON, &copy).unwrap();
    let keyring = PrivateKeyring::start_with_provider(Mode::Encrypted, &copy).unwrap();
    assert_eq!(refusal(open(&keyring)).finding().executable(), Some(copy.as_path()));
    drop(keyring);

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&copy, Some(65_534), Some(65_534)).unwrap();
        let keyring = PrivateKeyring::start_with_provider(Mode::Encrypted, &copy).unwrap();
        assert!(refusal(open(&keyring)).to_string().contains("it is not root's"));
    } else {
        println!("the case of a daemon that is not root's was not run: it takes root to make one");
    }
}

#[test]
fn a_daemon_that_was_upgraded_while_it_ran_says_to_log_in_again() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("gnome-keyring-daemon");
    std::fs::copy(DAEMON, &copy).unwrap();
    let keyring = PrivateKeyring::start_with_provider(Mode::Encrypted, &copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(refusal(open(&keyring)).hint().unwrap().contains("log out and in again"));
    } else {
        refusal(open(&keyring));
    }
}

/// What the link says is not enough: in a mount namespace of its own, any program can be at the daemon's path.
#[test]
fn a_rogue_under_a_bind_mount_is_refused() {
    let keyring = keyring(Mode::NoProvider);
    let copy = copy_of(DAEMON, &keyring);
    let script = format!(
        "mount --bind {} {DAEMON} && exec {DAEMON} --foreground --components=secrets --unlock",
        copy.display()
    );
    let can = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        println!("the case of a bind mount was not run: this process may not make a mount namespace");
        return;
    }
    let mut rogue =
        keyring.spawn(Path::new("unshare"), &["--mount", "sh", "-c", &script], Some(b"password")).unwrap();
    let started = Instant::now();
    let error = loop {
        let error = refusal(open(&keyring));
        if error.finding().executable().is_some() || started.elapsed() > Duration::from_secs(10) {
            break error;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    rogue.kill().unwrap();
    rogue.wait().unwrap();
    assert_eq!(error.finding().executable(), Some(Path::new(DAEMON)), "the link says what it should not");
    assert!(error.to_string().contains("no keyring program that we know"), "{error}");
}

#[test]
fn a_file_that_turns_to_clear_text_under_a_warm_connection_is_refused() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    std::fs::write(keyring.keyring_file(), "[keyring]\ndisplay-name=Login\n").unwrap();
    for result in [
        keystore.get(&entry("a")).map(drop),
        keystore.put(&entry("a"), &secret("other")),
        keystore.delete(&entry("a")),
        keystore.list("entrabot-test").map(drop),
    ] {
        assert_eq!(refusal(result).finding().at_rest(), AtRest::Cleartext);
    }
}

#[test]
fn a_file_that_turns_to_clear_text_while_a_value_is_written_is_reported() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    let file = keyring.keyring_file();
    keystore.after_write(move || std::fs::write(&file, "[keyring]\n").unwrap());
    let error = refusal(keystore.put(&entry("b"), &secret("value")));
    assert!(error.to_string().contains("turned to clear text while the value was written"), "{error}");
    assert!(error.hint().unwrap().contains("rotate"));
}

#[test]
fn a_new_provider_is_guarded_anew_and_used() {
    let mut keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    keyring.kill_provider().unwrap();
    assert!(refusal(keystore.get(&entry("a"))).to_string().contains("nobody provides"));
    keyring.restart_provider().unwrap();
    assert_eq!(keystore.get(&entry("a")).unwrap().expose(), b"kept");
}

#[test]
fn a_bus_that_dies_is_an_error_and_not_an_absent_entry() {
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    drop(keyring);
    for _ in 0..2 {
        let result = timely(|| keystore.get(&entry("a")));
        assert!(
            matches!(result, Err(KeystoreError::ProviderGone(_) | KeystoreError::Insecure(_))),
            "{result:?}"
        );
    }
}

#[test]
fn the_session_collection_is_not_a_place_for_a_key() {
    let keyring = keyring(Mode::Encrypted);
    let status = Command::new("dbus-send")
        .args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"])
        .args(["org.freedesktop.Secret.Service.SetAlias", "string:default"])
        .arg("objpath:/org/freedesktop/secrets/collection/session")
        .envs(keyring.env())
        .output()
        .unwrap();
    assert!(status.status.success());
    assert!(refusal(open(&keyring)).to_string().contains("lost when the session ends"));
}

#[test]
fn a_state_that_cannot_be_told_takes_the_operators_explicit_word() {
    let keyring = keyring(Mode::NoProvider);
    let home = keyring.home();
    std::fs::create_dir_all(home.join("relative/keyrings")).unwrap();
    // A data home that depends on the daemon's working directory is not one that its environment tells.
    let directory = format!("--chdir={}", home.display());
    let daemon = [DAEMON, "--foreground", "--components=secrets", "--unlock"];
    let arguments = [&[directory.as_str(), "XDG_DATA_HOME=relative"], &daemon[..]].concat();
    let _daemon = common::Peer(keyring.spawn(Path::new("env"), &arguments, Some(b"password")).unwrap());
    let started = Instant::now();
    let error = loop {
        let error = refusal(open(&keyring));
        if error.finding().collection().is_some() {
            break error;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(
        (error.finding().verdict(), error.finding().at_rest()),
        (Verdict::Unverifiable, AtRest::Unknown)
    );
    assert!(error.hint().unwrap().contains("secret-service:unverified"));

    let candidate = Candidate::detect_in(&surroundings(&keyring)).unwrap();
    let keystore = candidate.validate(&Allowlist::with("secret-service:unverified").unwrap()).unwrap();
    assert_eq!(keystore.finding().verdict(), Verdict::Unverifiable);
    keystore.put(&entry("a"), &secret("kept")).unwrap();
    assert_eq!(keystore.get(&entry("a")).unwrap().expose(), b"kept");
}

#[test]
fn a_refusal_says_to_rotate_a_key_that_lies_in_a_clear_text_file() {
    let keyring = keyring(Mode::NoProvider);
    let folder = keyring.home().join(".local/share/python_keyring");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("keyring_pass.cfg");
    std::fs::write(&file, "[entrabot]\nblueprint_2dprivate_2dkey = \n\tcGxhbnRlZC1zZWNyZXQ=\n").unwrap();
    let policy = entrabot_keystore::KeystorePolicy::default().in_surroundings(surroundings(&keyring));
    let error = refusal(policy.open());
    let hint = error.hint().unwrap();
    assert!(hint.contains("rotate the blueprint key now") && hint.contains(file.to_str().unwrap()), "{hint}");
    assert!(!format!("{error} {error:?} {hint}").contains("cGxhbnRlZC1zZWNyZXQ"));
}
