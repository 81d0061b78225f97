//! Python's `keyring` and we read, overwrite and delete each other's entries.
#![cfg(all(target_os = "linux", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{entry, keyring, open, secret};
use entrabot_keystore::KeystoreError;
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};

/// A Python with `keyring` and `secretstorage`, made once for all tests; `None`, with the reason printed, where pip
/// cannot install them.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-keyring");
            let program = home.join("bin/python");
            let ready = || {
                let imports = Command::new(&program).args(["-c", "import keyring, secretstorage"]).output();
                imports.is_ok_and(|output| output.status.success())
            };
            if !ready() {
                // Made aside and moved, so that test processes that run at the same time do not see half of it.
                let mine = home.with_extension(std::process::id().to_string());
                let made = Command::new("python3").args(["-m", "venv"]).arg(&mine).output();
                let pip = ["-m", "pip", "install", "-q", "keyring==25.7.0", "secretstorage==3.5.0"];
                let installed = Command::new(mine.join("bin/python")).args(pip).output();
                for step in [made, installed] {
                    match step {
                        Ok(output) if output.status.success() => {}
                        Ok(output) => {
                            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                            println!("not run: pip cannot install Python's keyring: {reason}");
                            return None;
                        }
                        Err(error) => {
                            println!("not run: there is no python3: {error}");
                            return None;
                        }
                    }
                }
                std::fs::rename(&mine, &home).ok();
            }
            ready().then_some(program)
        })
        .as_deref()
}

/// Runs a script against the private keyring; what it printed.
#[track_caller]
fn run(python: &Path, keyring: &PrivateKeyring, script: &str) -> String {
    let output = Command::new(python)
        .args(["-c", script])
        .envs(keyring.env())
        .env("PYTHON_KEYRING_BACKEND", "keyring.backends.SecretService.Keyring")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// How many items there are under the name of an entry, with their labels and applications.
const ITEMS: &str = "import secretstorage as s
c = s.get_default_collection(s.dbus_init())
for i in c.search_items({'service': 'entrabot-test', 'username': 'a'}):
    print(i.get_label(), '|', i.get_attributes()['application'], '|', i.get_secret().decode())";

#[test]
fn python_reads_overwrites_and_deletes_ours() {
    let Some(python) = python() else { return };
    let keyring = keyring(Mode::Encrypted);
    let keystore = open(&keyring).unwrap();
    keystore.put(&entry("a"), &secret("von uns: schlüssel")).unwrap();
    assert_eq!(
        run(python, &keyring, ITEMS),
        "Password for 'a' on 'entrabot-test' | Python keyring library | von uns: schlüssel"
    );
    let get = "import keyring; print(keyring.get_password('entrabot-test', 'a'))";
    assert_eq!(run(python, &keyring, get), "von uns: schlüssel");

    run(python, &keyring, "import keyring; keyring.set_password('entrabot-test', 'a', 'from python')");
    assert_eq!(
        run(python, &keyring, ITEMS),
        "Password for 'a' on 'entrabot-test' | Python keyring library | from python",
        "one item, not two"
    );
    assert_eq!(keystore.get(&entry("a")).unwrap().expose(), b"from python");

    run(python, &keyring, "import keyring; keyring.delete_password('entrabot-test', 'a')");
    assert!(matches!(keystore.get(&entry("a")), Err(KeystoreError::NoEntry)));
}

#[test]
fn we_read_overwrite_and_delete_pythons() {
    let Some(python) = python() else { return };
    let keyring = keyring(Mode::Encrypted);
    run(python, &keyring, "import keyring; keyring.set_password('entrabot-test', 'a', 'from python ß')");
    let keystore = open(&keyring).unwrap();
    assert_eq!(keystore.get(&entry("a")).unwrap().expose(), "from python ß".as_bytes());
    assert_eq!(keystore.list("entrabot-test").unwrap(), [entry("a")]);
    keystore.put(&entry("a"), &secret("ours")).unwrap();
    assert_eq!(
        run(python, &keyring, ITEMS),
        "Password for 'a' on 'entrabot-test' | Python keyring library | ours"
    );
    keystore.delete(&entry("a")).unwrap();
    assert_eq!(
        run(python, &keyring, "import keyring; print(keyring.get_password('entrabot-test', 'a'))"),
        "None"
    );
}

#[test]
fn duplicates_are_reported_and_never_guessed_between() {
    let Some(python) = python() else { return };
    let keyring = keyring(Mode::Encrypted);
    run(
        python,
        &keyring,
        "import secretstorage as s
c = s.get_default_collection(s.dbus_init())
for app in ('one', 'other'):
    c.create_item('x', {'service': 'entrabot-test', 'username': 'a', 'application': app}, app.encode())",
    );
    let keystore = open(&keyring).unwrap();
    for error in [
        keystore.get(&entry("a")).unwrap_err(),
        keystore.put(&entry("a"), &secret("x")).unwrap_err(),
        keystore.delete(&entry("a")).unwrap_err(),
        keystore.contains(&entry("a")).unwrap_err(),
    ] {
        assert!(matches!(error, KeystoreError::Ambiguous(_)), "{error:?}");
        assert_eq!(error.to_string(), "2 entries are named entrabot-test/a");
    }
    assert_eq!(keystore.list("entrabot-test").unwrap(), [entry("a")]);
}
