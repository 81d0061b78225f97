//! Measures the keystore beside Python's `keyring`, on the keyring of this session, in one run; prints one JSON object.
//!
//! `cargo xtask bench keystore` runs it against a private keyring. Python is `$BENCH_PYTHON`, else one made for the
//! purpose with pip; where that cannot be, its side is null.
#![allow(clippy::print_stdout, reason = "it prints its result")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_keystore::{EntryName, KeystorePolicy, SecretBytes};

type Failure = Box<dyn Error>;
const ROUNDS: usize = 60;
const ONE_SHOTS: usize = 12;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("one-shot") => one_shot(),
        _ => compare(),
    }
}

/// What a command does: open, read, end.
fn one_shot() -> Result<(), Failure> {
    let keystore = KeystorePolicy::default().open()?;
    keystore.get(&EntryName::new("entrabot-bench", "key")?)?;
    Ok(())
}

fn compare() -> Result<(), Failure> {
    let mut ours = Figures::default();
    // As long as a 2048-bit RSA key in PEM.
    let value = || SecretBytes::new(vec![b'x'; 1704]);
    let entry = EntryName::new("entrabot-bench", "key")?;

    for _ in 0..ROUNDS / 2 {
        let started = Instant::now();
        let keystore = KeystorePolicy::default().open()?;
        ours.add("guard_cold", started.elapsed());
        drop(keystore);
        ours.add("bus_connect", bare_connection()?);
    }
    let keystore = KeystorePolicy::default().open()?;
    keystore.put(&entry, &value())?;
    for _ in 0..ROUNDS {
        ours.time("guard_warm", || keystore.check())?;
    }
    #[cfg(target_os = "linux")]
    let provider = provider::Provider::connect()?;
    for _ in 0..ROUNDS {
        ours.time("set", || keystore.put(&entry, &value()))?;
        ours.time("get", || keystore.get(&entry).map(drop))?;
        ours.time("delete", || keystore.delete(&entry))?;
        #[cfg(target_os = "linux")]
        {
            keystore.put(&entry, &value())?;
            ours.add("delete_floor", provider.delete(&entry)?);
        }
    }
    for _ in 0..5 {
        ours.time("probe", || keystore.sanity_probe().map(drop))?;
    }
    let resident = resident_kib()?;

    keystore.put(&entry, &value())?;
    let program = std::env::current_exe()?;
    for _ in 0..ONE_SHOTS {
        ours.time("one_shot_get", || run(Command::new(&program).arg("one-shot")))?;
    }
    keystore.delete(&entry)?;

    let python = python(&value())?;
    println!(
        "{{\"unit\": \"milliseconds, median\", \"ours\": {}, \"ours_resident_kib\": {resident}, \"python\": {python}}}",
        ours.json()
    );
    Ok(())
}

/// Connecting to the bus and no more: what any client pays.
fn bare_connection() -> Result<Duration, Failure> {
    #[cfg(target_os = "linux")]
    {
        let started = Instant::now();
        let connection = zbus::block_on(zbus::Connection::session())?;
        let elapsed = started.elapsed();
        drop(connection);
        Ok(elapsed)
    }
    #[cfg(not(target_os = "linux"))]
    Err("there is no session bus here".into())
}

/// What the provider itself takes: its one call, on a connection that is open, to an item that was found, with nothing
/// checked. No client can be faster.
#[cfg(target_os = "linux")]
mod provider {
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    use entrabot_keystore::EntryName;
    use zbus::OwnedObjectPath;

    use super::Failure;

    const NAME: Option<&str> = Some("org.freedesktop.secrets");
    const COLLECTION: &str = "/org/freedesktop/secrets/aliases/default";

    pub(super) struct Provider(zbus::Connection);

    impl Provider {
        pub(super) fn connect() -> Result<Self, Failure> {
            Ok(Self(zbus::block_on(zbus::Connection::session())?))
        }

        /// How long it takes to delete an entry that is there.
        pub(super) fn delete(&self, entry: &EntryName) -> Result<Duration, Failure> {
            let wanted = (HashMap::from([("service", entry.service()), ("username", entry.username())]),);
            let interface = Some("org.freedesktop.Secret.Collection");
            let search = self.0.call_method(NAME, COLLECTION, interface, "SearchItems", &wanted);
            let (items,): (Vec<OwnedObjectPath>,) = zbus::block_on(search)?.body().deserialize()?;
            let item = items.first().ok_or("the entry is not there")?;
            let interface = Some("org.freedesktop.Secret.Item");
            let started = Instant::now();
            zbus::block_on(self.0.call_method(NAME, item.as_str(), interface, "Delete", &()))?;
            Ok(started.elapsed())
        }
    }
}

/// The same operations by Python's `keyring`; a JSON object, or null where it is not installed.
fn python(value: &SecretBytes) -> Result<String, Failure> {
    let Some(python) = find_python() else { return Ok("null".to_owned()) };
    let command = |script: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", script]).env("PYTHON_KEYRING_BACKEND", "keyring.backends.SecretService.Keyring");
        command
    };
    let script = format!(
        "import json, statistics, time, keyring
def timed(into, act):
    started = time.perf_counter(); act(); into.append((time.perf_counter() - started) * 1000)
s, g, d = [], [], []
for _ in range({ROUNDS}):
    timed(s, lambda: keyring.set_password('entrabot-bench', 'key', 'x' * {length}))
    timed(g, lambda: keyring.get_password('entrabot-bench', 'key'))
    timed(d, lambda: keyring.delete_password('entrabot-bench', 'key'))
resident = next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS'))
m = statistics.median
print(json.dumps({{'set': round(m(s), 3), 'get': round(m(g), 3), 'delete': round(m(d), 3), 'resident_kib': int(resident)}}))
keyring.set_password('entrabot-bench', 'key', 'x' * {length})",
        length = value.expose().len()
    );
    let output = command(&script).stderr(Stdio::inherit()).output()?;
    let mut figures = String::from_utf8(output.stdout)?.trim_end().trim_end_matches('}').to_owned();
    let mut one_shots = Figures::default();
    for _ in 0..ONE_SHOTS {
        let get = "import keyring; keyring.get_password('entrabot-bench', 'key')";
        one_shots.time("one_shot_get", || run(&mut command(get)))?;
    }
    run(&mut command("import keyring; keyring.delete_password('entrabot-bench', 'key')"))?;
    write!(figures, ", {}", one_shots.json().trim_start_matches('{'))?;
    Ok(figures)
}

/// A Python that has `keyring`, made in a temporary directory if there is none.
fn find_python() -> Option<PathBuf> {
    let has_keyring =
        |python: &Path| run(Command::new(python).args(["-c", "import keyring, secretstorage"])).is_ok();
    let given = std::env::var_os("BENCH_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    if has_keyring(&given) {
        return Some(given);
    }
    let home = std::env::temp_dir().join("entrabot-bench-python");
    let python = home.join("bin/python");
    if !has_keyring(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&home)).ok()?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "keyring", "secretstorage"])).ok()?;
    }
    has_keyring(&python).then_some(python)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("a command ended with {status}").into()) }
}

fn resident_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Times by name, in the order of their first appearance.
#[derive(Default)]
struct Figures(Vec<(&'static str, Vec<Duration>)>);

impl Figures {
    fn add(&mut self, name: &'static str, time: Duration) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, times)) => times.push(time),
            None => self.0.push((name, vec![time])),
        }
    }

    fn time<E: Into<Failure>>(
        &mut self,
        name: &'static str,
        act: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        act().map_err(Into::into)?;
        self.add(name, started.elapsed());
        Ok(())
    }

    fn json(&self) -> String {
        let medians = self.0.iter().map(|(name, times)| {
            let mut times = times.clone();
            times.sort();
            format!("\"{name}\": {:.3}", times[times.len() / 2].as_secs_f64() * 1000.0)
        });
        format!("{{{}}}", medians.collect::<Vec<_>>().join(", "))
    }
}
