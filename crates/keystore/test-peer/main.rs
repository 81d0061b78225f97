//! The other side in the keystore's tests: a process of its own, started by them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of tests: it panics, and prints for them"
)]

#[cfg(target_os = "linux")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["rogue", record, disguise @ ..] => linux::rogue(record, disguise),
        ["probe", step, signal] => linux::probe(step.parse().unwrap(), signal),
        ["contend", own, rounds] => linux::contend(own, rounds.parse().unwrap()),
        ["get", service, username] => linux::get(service, username),
        ["reopen", provider] => linux::reopen(provider.parse().unwrap()),
        ["hardened"] => linux::hardened(),
        ["oo7", password, planted @ ..] => linux::oo7(password, planted),
        ["uninspectable", program, "rogue", disguise @ ..] => linux::uninspectable_rogue(program, disguise),
        ["uninspectable", program, home] => linux::uninspectable(program, home),
        other => panic!("no such role: {other:?}"),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write as _;
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
    use entrabot_keystore::{
        Allowlist, Candidate, Diagnose as _, EntryName, Keystore, KeystoreError, SecretBytes, Surroundings,
    };
    use rustix::process::{DumpableBehavior, Signal, getpid, kill_process, set_dumpable_behavior};
    use zbus::export::futures_core::Stream as _;
    use zbus::fdo::RequestNameFlags;

    fn open() -> Keystore {
        Candidate::detect().unwrap().validate(&Allowlist::default()).unwrap()
    }

    /// Takes the provider's name where nobody has it, else waits in the queue for it, and writes down every call that
    /// it receives. Disguised, it may not be inspected, or has all capabilities of a namespace of its own.
    pub(super) fn rogue(record: &str, disguise: &[&str]) {
        if disguise.contains(&"namespace") {
            entrabot_keystore::enter_own_user_namespace().unwrap();
        }
        if disguise.contains(&"uninspectable") {
            set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
        }
        let mut record = std::fs::File::options().create(true).append(true).open(record).unwrap();
        zbus::block_on(async {
            let connection = zbus::Connection::session().await.unwrap();
            let mut messages = Box::pin(zbus::MessageStream::from(&connection));
            let reply = connection
                .request_name_with_flags("org.freedesktop.secrets", RequestNameFlags::empty())
                .await
                .unwrap();
            println!("{reply:?}");
            loop {
                let message =
                    std::future::poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await;
                let message = message.unwrap().unwrap();
                if message.message_type() == zbus::message::Type::MethodCall {
                    let header = message.header();
                    let member = header.member().unwrap();
                    writeln!(record, "{member}").unwrap();
                    // In disguise it does what a provider does, as far as it is looked at.
                    match member.as_str() {
                        "ReadAlias" if !disguise.is_empty() => {
                            let (alias,): (String,) = message.body().deserialize().unwrap();
                            let login = "/org/freedesktop/secrets/collection/login";
                            let path = if alias == "default" { login } else { "/" };
                            let path = zbus::OwnedObjectPath::try_from(path).unwrap();
                            connection.reply(&header, &path).await.unwrap();
                        }
                        "Get" if !disguise.is_empty() => {
                            connection.reply(&header, &zbus::Variant::new(false)).await.unwrap();
                        }
                        _ => {}
                    }
                }
            }
        });
    }

    /// Probes, and gets a signal between the guard and the act of the given operation.
    pub(super) fn probe(step: usize, signal: &str) {
        let signal = match signal {
            "KILL" => Signal::KILL,
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            other => panic!("no such signal here: {other}"),
        };
        let keystore = open();
        let operations = AtomicUsize::new(0);
        keystore.between_guard_and_act(move || {
            if operations.fetch_add(1, Ordering::SeqCst) + 1 == step {
                kill_process(getpid(), signal).unwrap();
            }
        });
        println!("{:?}", keystore.sanity_probe().map(|report| report.stored_bytes()));
    }

    /// Writes its own value to the one entry that others write to, and reads some writer's whole value each time.
    pub(super) fn contend(own: &str, rounds: usize) {
        let keystore = open();
        let entry = EntryName::new("entrabot-test", "contended").unwrap();
        for _ in 0..rounds {
            keystore.put(&entry, &SecretBytes::new(own.repeat(500).into_bytes())).unwrap();
            let read = keystore.get(&entry).unwrap();
            let first = read.expose()[0];
            assert!(read.expose().len() == 500 && read.expose().iter().all(|byte| *byte == first));
        }
    }

    pub(super) fn get(service: &str, username: &str) {
        let value = open().get(&EntryName::new(service, username).unwrap()).unwrap();
        std::io::stdout().write_all(value.expose()).unwrap();
    }

    /// Opens the keyring often, also while the provider is stopped, and says how many descriptors and threads that took.
    pub(super) fn reopen(provider: i32) {
        let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        let entry = EntryName::new("entrabot-test", "a").unwrap();
        drop(open().get(&entry));
        let all = || (count("fd"), count("task"));
        let settled = |wanted| {
            let started = std::time::Instant::now();
            while all() != wanted && started.elapsed() < std::time::Duration::from_secs(5) {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            all()
        };
        let before = settled((all().0, 1));
        for _ in 0..20 {
            drop(open().get(&entry));
        }
        let keystore = open();
        let provider = rustix::process::Pid::from_raw(provider).unwrap();
        kill_process(provider, Signal::STOP).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| keystore.get(&entry).unwrap_err());
                scope.spawn(|| Candidate::detect().unwrap_err());
            }
        });
        drop(keystore);
        let after = settled(before);
        kill_process(provider, Signal::CONT).unwrap();
        println!("{before:?} {after:?}");
    }

    /// Says what a debugger, and the kernel on a crash, may do to this process.
    pub(super) fn hardened() {
        entrabot_keystore::harden_process().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        println!("{} {dumpable:?}", core.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" "));
    }

    /// Starts oo7-daemon, which must be installed, with this password, and says what the guard makes of its keyring: a
    /// new one, or the planted file.
    pub(super) fn oo7(password: &str, planted: &[&str]) {
        let keyring = PrivateKeyring::start(Mode::NoProvider).unwrap();
        let directory = keyring.home().join(".local/share/keyrings/v1");
        for file in planted {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::copy(file, directory.join("login.keyring")).unwrap();
        }
        let daemon = Path::new("/usr/libexec/oo7-daemon");
        let mut daemon = keyring.spawn(daemon, &["--login"], Some(password.as_bytes())).unwrap();
        let around = Surroundings::from_vars(&keyring.env());
        wait_for("the daemon", || {
            Candidate::detect_in(&around).is_ok_and(|found| found.finding().collection().is_some())
        });
        say_what_becomes_of_oo7(&around, !planted.is_empty());
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    fn say_what_becomes_of_oo7(around: &Surroundings, planted: bool) {
        let (first, second) = ("first", "second");
        let entry = |name: &str| EntryName::new("entrabot-test", name).unwrap();
        let open = |id: &str| {
            let allowed = if id.is_empty() { Allowlist::default() } else { Allowlist::with(id).unwrap() };
            Candidate::detect_in(around).and_then(|found| Ok(found.validate(&allowed)?))
        };
        let tell = |what: &str, result: Result<(), KeystoreError>| match result {
            Ok(()) => println!("{what}: ok"),
            Err(KeystoreError::Insecure(error)) => {
                let finding = error.finding();
                println!("{what}: {}, at rest {}", finding.verdict(), finding.at_rest());
                println!("{what}, hint: {}", error.hint().unwrap());
            }
            Err(error) => println!("{what}: {error}"),
        };
        tell("as it is", open("").map(drop));
        if planted {
            return tell("with the operator's word", open("secret-service:unverified").map(drop));
        }
        let unverified = open("secret-service:unverified").unwrap();
        tell("first value", unverified.put(&entry(first), &SecretBytes::new(b"value".to_vec())));
        let keystore = match open("") {
            Ok(keystore) => keystore,
            Err(error) => return tell("with an item", Err(error)),
        };
        println!("with an item: {}, at rest {}", keystore.finding().verdict(), keystore.finding().at_rest());
        for value in [Vec::new(), vec![0, 0xff, b'\n'], vec![0xa5; 64 << 10], b"text".to_vec()] {
            keystore.put(&entry(second), &SecretBytes::new(value.clone())).unwrap();
            assert!(
                open("").unwrap().get(&entry(second)).unwrap().expose() == value,
                "{} bytes",
                value.len()
            );
        }
        assert_eq!(keystore.list("entrabot-test").unwrap(), [entry(first), entry(second)]);
        keystore.delete(&entry(second)).unwrap();
        assert!(matches!(keystore.get(&entry(second)), Err(KeystoreError::NoEntry)));
        println!("probed: {} bytes", keystore.sanity_probe().unwrap().stored_bytes());
    }

    fn wait_for(what: &str, there: impl Fn() -> bool) {
        let started = std::time::Instant::now();
        while !there() {
            assert!(started.elapsed() < std::time::Duration::from_secs(20), "{what} did not get ready");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Starts a keyring of its own, whose daemon may not be inspected, and says what the guard makes of it. `home` is
    /// the one that the guard's side looks into: the daemon's `own`, an `other`, or its own with a file in `clear` text.
    pub(super) fn uninspectable(program: &str, home: &str) {
        let mode = if home == "clear" { Mode::Cleartext } else { Mode::Encrypted };
        let keyring = PrivateKeyring::start_with_provider(mode, Path::new(program)).unwrap();
        // Keyrings made in the same second have the same times.
        std::thread::sleep(std::time::Duration::from_millis(if home == "other" { 1_100 } else { 0 }));
        let other = PrivateKeyring::start_with_provider(Mode::Encrypted, Path::new(program)).unwrap();
        let around = if home == "other" { &other } else { &keyring };
        let around = Surroundings::from_vars(&around.env()).with_bus_address(keyring.bus_address());
        let ids = ["", "secret-service:gnome-keyring", "secret-service:unverified"];
        say_what_the_guard_makes_of(keyring.provider_pid().unwrap(), &around, &ids);
    }

    /// The same of a rogue in the daemon's place.
    pub(super) fn uninspectable_rogue(program: &str, disguise: &[&str]) {
        let keyring = PrivateKeyring::start(Mode::NoProvider).unwrap();
        let record = keyring.home().join("rogue");
        let arguments = [&["rogue", record.to_str().unwrap()], disguise].concat();
        let mut rogue = keyring.spawn(Path::new(program), &arguments, None).unwrap();
        let around = Surroundings::from_vars(&keyring.env());
        wait_for("the rogue", || {
            Candidate::detect_in(&around).is_ok_and(|found| found.finding().backend().is_some())
        });
        say_what_the_guard_makes_of(rogue.id(), &around, &["", "secret-service:gnome-keyring"]);
        println!("received: {}", std::fs::read_to_string(&record).unwrap().replace('\n', " "));
        rogue.kill().unwrap();
        rogue.wait().unwrap();
    }

    fn say_what_the_guard_makes_of(process: u32, around: &Surroundings, ids: &[&str]) {
        let looked = |what: &str| match std::fs::File::open(format!("/proc/{process}/{what}")) {
            Ok(_) => "readable".to_owned(),
            Err(error) => error.kind().to_string(),
        };
        println!("its executable: {}", looked("exe"));
        println!("its environment: {}", looked("environ"));

        for id in ids {
            let allowed = if id.is_empty() { Allowlist::default() } else { Allowlist::with(id).unwrap() };
            let said = match Candidate::detect_in(around).and_then(|found| Ok(found.validate(&allowed)?)) {
                Err(KeystoreError::Insecure(error)) => {
                    if id.is_empty() {
                        println!("error: {error}");
                        println!("hint: {}", error.hint().unwrap());
                    }
                    let finding = error.finding();
                    format!("refused as {}, at rest {}", finding.verdict(), finding.at_rest())
                }
                Err(error) => format!("failed: {error}"),
                Ok(keystore) => {
                    let entry = EntryName::new("entrabot-test", "a").unwrap();
                    keystore.put(&entry, &SecretBytes::new(b"value".to_vec())).unwrap();
                    assert_eq!(keystore.get(&entry).unwrap().expose(), b"value");
                    let probed = keystore.sanity_probe().unwrap().stored_bytes();
                    let finding = keystore.finding();
                    format!("{} as {}, {probed} bytes probed", finding.verdict(), finding.backend().unwrap())
                }
            };
            println!("allowed [{id}]: {said}");
        }
    }
}
