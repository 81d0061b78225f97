//! What holds a tool to its definition: the digest that was seen first, in the data directory, sealed in the keyring.

mod file;
mod seal;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrabot_keystore::KeystoreError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use seal::of_config;
pub use seal::{KeyringSeal, PinSeal};

use crate::definitions::hex;
use crate::strict_json;
use file::{Access, Locked, PinFile};

/// The only form of the file so far.
const VERSION: u32 = 1;
/// In the seal: there is no file.
const ABSENT: &str = "none";

/// `host/server/tool` → digest, as on disk. The host is part of it, so that one cloud's pins say nothing of another's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    version: u32,
    tools: BTreeMap<String, String>,
}

impl Pins {
    fn none() -> Self {
        Self { version: VERSION, tools: BTreeMap::new() }
    }
}

/// What a check of a definition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinState {
    /// Never seen: to be trusted and recorded.
    New,
    /// As it was pinned.
    Same,
    /// Not as it was pinned.
    Changed,
}

/// Why nothing can be said of a definition. Never taken for "not pinned".
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    /// The pins are not what was left: somebody else changed, removed or rolled them back.
    #[error("{0}")]
    Broken(&'static str),
    /// The file cannot be read or written.
    #[error("{}", .0.kind())]
    Io(#[from] io::Error),
    /// The keyring cannot be asked.
    #[error(transparent)]
    Keyring(#[from] KeystoreError),
}

const DAMAGED: PinError = PinError::Broken("the file is damaged");

/// The pins of one data directory, shared by every process that uses it.
#[derive(Debug)]
pub(crate) struct PinStore {
    file: PinFile,
    seal: Option<Arc<dyn PinSeal>>,
    /// As read last. A tool that is not in here may have been pinned by another process meanwhile.
    pins: Mutex<Option<Pins>>,
}

impl PinStore {
    pub(crate) fn new(data_dir: &Path, seal: Option<Arc<dyn PinSeal>>) -> Self {
        Self { file: PinFile::new(data_dir), seal, pins: Mutex::new(None) }
    }

    /// Whether the tool is pinned. Blocks.
    pub(crate) fn is_pinned(&self, key: &str) -> Result<bool, PinError> {
        let mut cached = self.cached();
        let known = |pins: &Option<Pins>| pins.as_ref().is_some_and(|pins| pins.tools.contains_key(key));
        if !known(&cached) {
            *cached = Some(self.read()?);
        }
        Ok(known(&cached))
    }

    /// How a definition compares. Blocks.
    pub(crate) fn state(&self, key: &str, sha256: &str) -> Result<PinState, PinError> {
        let mut cached = self.cached();
        let compare = |pins: &Option<Pins>| match pins.as_ref().and_then(|pins| pins.tools.get(key)) {
            None => PinState::New,
            Some(pinned) if pinned == sha256 => PinState::Same,
            Some(_) => PinState::Changed,
        };
        if compare(&cached) != PinState::Same {
            // Pinned, or accepted by the operator, in another process.
            *cached = Some(self.read()?);
        }
        Ok(compare(&cached))
    }

    /// Pins the definitions that have no pin yet, and gives the keys of those that have another. Blocks.
    pub(crate) fn pin_new(&self, definitions: &[(String, String)]) -> Result<Vec<String>, PinError> {
        let mut cached = self.cached();
        let all_same =
            |pins: &Pins| definitions.iter().all(|(key, sha256)| pins.tools.get(key) == Some(sha256));
        if cached.as_ref().is_some_and(all_same) {
            return Ok(Vec::new());
        }
        let locked = self.file.lock(Access::Exclusive)?;
        let (mut pins, before) = self.read_under(&locked)?;
        let mut changed = Vec::new();
        let mut added = false;
        for (key, sha256) in definitions {
            match pins.tools.get(key) {
                Some(pinned) if pinned == sha256 => {}
                Some(_) => changed.push(key.clone()),
                None => {
                    pins.tools.insert(key.clone(), sha256.clone());
                    added = true;
                }
            }
        }
        if added {
            self.write(&locked, &pins, &before)?;
        }
        *cached = Some(pins);
        Ok(changed)
    }

    /// Pins the definitions whatever was pinned before. Pins that are broken are dropped, all of them, because none
    /// can be relied on; then the answer is true. Blocks.
    pub(crate) fn trust(&self, definitions: &[(String, String)]) -> Result<bool, PinError> {
        let mut cached = self.cached();
        let locked = self.file.lock(Access::Exclusive)?;
        let (mut pins, before, anew) = match self.read_under(&locked) {
            Ok((pins, before)) => (pins, before, false),
            Err(PinError::Broken(_)) => {
                (Pins::none(), digest_of(locked.read().ok().flatten().as_deref()), true)
            }
            Err(error) => return Err(error),
        };
        pins.tools.extend(definitions.iter().cloned());
        self.write(&locked, &pins, &before)?;
        *cached = Some(pins);
        Ok(anew)
    }

    fn cached(&self) -> MutexGuard<'_, Option<Pins>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Pins, PinError> {
        let locked = self.file.lock(Access::Shared)?;
        Ok(self.read_under(&locked)?.0)
    }

    /// The pins, and the digest of the file they came from. What is there and cannot be relied on is an error:
    /// starting anew would trust whatever is served now.
    fn read_under(&self, locked: &Locked<'_>) -> Result<(Pins, String), PinError> {
        let bytes = match locked.read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(DAMAGED),
            Err(error) => return Err(error.into()),
        };
        let digest = digest_of(bytes.as_deref());
        if let Some(seal) = &self.seal {
            check_seal(seal.kept()?.as_deref(), &digest)?;
        }
        let Some(bytes) = bytes else { return Ok((Pins::none(), digest)) };
        let value = strict_json::parse(&bytes).map_err(|_| DAMAGED)?;
        let pins: Pins = serde_json::from_value(value).map_err(|_| DAMAGED)?;
        if pins.version == VERSION { Ok((pins, digest)) } else { Err(DAMAGED) }
    }

    /// Seal, file, seal: cut anywhere, what lies there fits one of the two digests of the seal.
    fn write(&self, locked: &Locked<'_>, pins: &Pins, before: &str) -> Result<(), PinError> {
        let mut text = serde_json::to_vec_pretty(pins).map_err(io::Error::other)?;
        text.push(b'\n');
        let after = digest_of(Some(&text));
        if let Some(seal) = &self.seal {
            seal.keep(&format!("{before} {after}"))?;
        }
        locked.replace(&text)?;
        if let Some(seal) = &self.seal {
            seal.keep(&after)?;
        }
        Ok(())
    }
}

/// SHA-256 of the file, lower-case hex.
fn digest_of(file: Option<&[u8]>) -> String {
    file.map_or_else(|| ABSENT.to_owned(), |bytes| hex(&Sha256::digest(bytes)))
}

fn check_seal(kept: Option<&str>, digest: &str) -> Result<(), PinError> {
    match kept {
        // Nothing was ever pinned here.
        None if digest == ABSENT => Ok(()),
        None => {
            Err(PinError::Broken("the file is not the one that the keyring vouches for: it vouches for none"))
        }
        Some(line) if line.split_whitespace().any(|sealed| sealed == digest) => Ok(()),
        Some(_) if digest == ABSENT => {
            Err(PinError::Broken("the file is gone, and the keyring knows that there was one"))
        }
        Some(_) => Err(PinError::Broken("the file is not the one that the keyring vouches for")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A seal in memory, and how often it may still be written.
    #[derive(Debug, Default)]
    struct InMemory {
        line: Mutex<Option<String>>,
        refuse: Mutex<bool>,
    }

    impl PinSeal for InMemory {
        fn kept(&self) -> Result<Option<String>, KeystoreError> {
            Ok(self.line.lock().unwrap().clone())
        }
        fn keep(&self, line: &str) -> Result<(), KeystoreError> {
            if *self.refuse.lock().unwrap() {
                return Err(KeystoreError::NoEntry);
            }
            *self.line.lock().unwrap() = Some(line.to_owned());
            Ok(())
        }
    }

    struct Place {
        directory: tempfile::TempDir,
        seal: Arc<InMemory>,
    }

    impl Place {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap(), seal: Arc::default() }
        }
        /// As a process of its own has it.
        fn store(&self) -> PinStore {
            PinStore::new(self.directory.path(), Some(Arc::clone(&self.seal) as _))
        }
        fn file(&self) -> PathBuf {
            self.directory.path().join("a365-pins.json")
        }
    }

    fn pin(key: &str, sha256: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), sha256.to_owned())]
    }

    #[test]
    fn the_first_definition_is_trusted_and_another_one_is_not() {
        let place = Place::new();
        let store = place.store();
        assert!(!store.is_pinned("h/s/t").unwrap());
        assert_eq!(store.state("h/s/t", "a").unwrap(), PinState::New);
        assert_eq!(store.pin_new(&pin("h/s/t", "a")).unwrap(), [] as [&str; 0]);
        assert_eq!(store.pin_new(&pin("h/s/t", "b")).unwrap(), ["h/s/t"]);
        let again = place.store();
        assert!(again.is_pinned("h/s/t").unwrap());
        assert_eq!(again.state("h/s/t", "a").unwrap(), PinState::Same);
        assert_eq!(again.state("h/s/t", "b").unwrap(), PinState::Changed);
        assert!(!again.trust(&pin("h/s/t", "b")).unwrap());
        // The other one learns of it.
        assert_eq!(store.state("h/s/t", "b").unwrap(), PinState::Same);
    }

    #[test]
    fn what_another_process_pinned_is_pinned() {
        let place = Place::new();
        let (one, two) = (place.store(), place.store());
        assert!(!one.is_pinned("a").unwrap());
        two.pin_new(&pin("a", "1")).unwrap();
        assert!(one.is_pinned("a").unwrap());
        assert_eq!(one.state("a", "2").unwrap(), PinState::Changed);
    }

    #[test]
    fn a_pin_file_that_was_changed_removed_or_rolled_back_is_noticed() {
        let place = Place::new();
        place.store().pin_new(&pin("a", "1")).unwrap();
        let early = std::fs::read_to_string(place.file()).unwrap();
        place.store().pin_new(&pin("b", "2")).unwrap();
        let late = std::fs::read_to_string(place.file()).unwrap();
        let broken = |what: &str| {
            let store = place.store();
            assert!(matches!(store.is_pinned("a"), Err(PinError::Broken(_))), "{what}");
            assert!(matches!(store.state("b", "2"), Err(PinError::Broken(_))), "{what}");
            assert!(matches!(store.pin_new(&pin("c", "3")), Err(PinError::Broken(_))), "{what}");
        };
        std::fs::write(place.file(), late.replace("\"2\"", "\"3\"")).unwrap();
        broken("changed");
        std::fs::write(place.file(), &early).unwrap();
        broken("rolled back");
        std::fs::remove_file(place.file()).unwrap();
        broken("removed");
        std::fs::write(place.file(), &late).unwrap();
        assert!(place.store().is_pinned("a").unwrap());
        *place.seal.line.lock().unwrap() = None;
        broken("of another installation");
    }

    #[test]
    fn trusting_again_starts_from_nothing_where_nothing_can_be_relied_on() {
        let place = Place::new();
        place.store().pin_new(&[pin("a", "1"), pin("b", "2")].concat()).unwrap();
        std::fs::write(place.file(), "{").unwrap();
        assert!(place.store().trust(&pin("a", "1")).unwrap());
        let store = place.store();
        assert_eq!(store.state("a", "1").unwrap(), PinState::Same);
        assert_eq!(store.state("b", "evil").unwrap(), PinState::New, "nothing of the broken file is left");
    }

    #[test]
    fn cut_between_seal_and_file_the_old_pins_hold() {
        let place = Place::new();
        place.store().pin_new(&pin("a", "1")).unwrap();
        // Cut after the first seal: the file is still the old one.
        let kept = place.seal.line.lock().unwrap().clone().unwrap();
        *place.seal.line.lock().unwrap() = Some(format!("{kept} {}", "0".repeat(64)));
        assert!(place.store().is_pinned("a").unwrap());
        // The very first pin, cut likewise.
        let first = Place::new();
        *first.seal.line.lock().unwrap() = Some(format!("none {}", "0".repeat(64)));
        assert!(!first.store().is_pinned("a").unwrap());
    }

    #[test]
    fn without_the_seal_nothing_is_pinned() {
        let place = Place::new();
        *place.seal.refuse.lock().unwrap() = true;
        assert!(matches!(place.store().pin_new(&pin("a", "1")), Err(PinError::Keyring(_))));
        assert!(!place.file().exists());
    }

    #[test]
    fn a_damaged_pin_file_is_not_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        for damage in
            ["", "{", "[]", r#"{"version":2,"tools":{}}"#, r#"{"version":1,"tools":{"a":"x","a":"y"}}"#]
        {
            std::fs::write(directory.path().join("a365-pins.json"), damage).unwrap();
            let store = PinStore::new(directory.path(), None);
            assert!(matches!(store.is_pinned("k"), Err(PinError::Broken(_))), "{damage:?}");
        }
    }

    #[test]
    fn pinning_at_the_same_time_loses_nothing() {
        let place = Place::new();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = place.store();
                scope.spawn(move || {
                    for at in 0..8 {
                        store.pin_new(&pin(&format!("{thread}/{at}"), "x")).unwrap();
                    }
                });
            }
        });
        let store = place.store();
        for thread in 0..8 {
            for at in 0..8 {
                assert_eq!(store.state(&format!("{thread}/{at}"), "x").unwrap(), PinState::Same);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        PinStore::new(&data, None).pin_new(&pin("k", "d")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data), 0o700);
        for file in ["a365-pins.json", "a365-pins.lock"] {
            assert_eq!(mode(&data.join(file)), 0o600, "{file}");
        }
    }
}
