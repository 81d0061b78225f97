//! Tool definitions as servers advertise them, and the pins that hold them to what was seen first.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::strict_json;
use crate::xpia::Wrapping;

/// Most tools of one server.
pub(crate) const MAX_TOOLS: usize = 500;
const MAX_PIN_FILE_BYTES: u64 = 4 * 1024 * 1024;
const PIN_FILE: &str = "a365-pins.json";

/// A tool as its server describes it. The texts are untrusted: cleaned, and in envelopes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ToolDefinition {
    /// The tool's name.
    pub name: String,
    /// What the server says it does (untrusted, enveloped).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of its arguments, as advertised: for programs, not for a model.
    pub input_schema: Value,
    /// SHA-256 of name, description and schema in canonical form, lower-case hex: what is pinned.
    pub sha256: String,
}

/// A definition as it came.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) name: String,
    description: Option<String>,
    pub(crate) input_schema: Value,
    pub(crate) sha256: String,
}

impl Definition {
    /// From one entry of `tools/list`; `None` for an entry without a usable name.
    pub(crate) fn read(entry: Value) -> Option<Self> {
        let Value::Object(mut entry) = entry else { return None };
        let Some(Value::String(name)) = entry.remove("name") else { return None };
        crate::ToolName::parse(&name).ok()?;
        let description = match entry.remove("description") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let input_schema = entry.remove("inputSchema").unwrap_or(Value::Null);
        let sha256 = digest(&name, description.as_deref(), &input_schema);
        Some(Self { name, description, input_schema, sha256 })
    }

    pub(crate) fn shown(self, source: &str, wrapping: Wrapping) -> ToolDefinition {
        ToolDefinition {
            name: self.name,
            description: self.description.map(|text| wrapping.wrap(source, &cut(&text))),
            input_schema: self.input_schema,
            sha256: self.sha256,
        }
    }
}

/// A description is for reading; what is longer than this is an essay.
fn cut(text: &str) -> String {
    text.chars().take(2000).collect()
}

/// SHA-256 over the canonical JSON of `{description, inputSchema, name}`: keys sorted, no white space.
fn digest(name: &str, description: Option<&str>, input_schema: &Value) -> String {
    let mut canonical = Map::new();
    canonical.insert("description".into(), description.map_or(Value::Null, Value::from));
    canonical.insert("inputSchema".into(), sorted(input_schema));
    canonical.insert("name".into(), name.into());
    let text = Value::Object(canonical).to_string();
    hex(&Sha256::digest(text.as_bytes()))
}

/// With every object's keys in order, whatever map serde_json was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut keys: Vec<&String> = entries.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&entries[key]))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `host/server/tool` → digest, as on disk. The host is part of it, so that one cloud's pins say nothing of another's.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    version: u32,
    tools: BTreeMap<String, String>,
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

/// The pins of one data directory. Read at first use; written whole and atomically.
#[derive(Debug)]
pub(crate) struct PinStore {
    path: PathBuf,
    pins: Mutex<Option<Pins>>,
}

impl PinStore {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(PIN_FILE), pins: Mutex::new(None) }
    }

    /// Whether the tool is pinned. Blocks on the file at first use.
    pub(crate) fn is_pinned(&self, key: &str) -> io::Result<bool> {
        Ok(self.loaded()?.as_ref().is_some_and(|pins| pins.tools.contains_key(key)))
    }

    /// How a definition compares. Blocks on the file.
    pub(crate) fn state(&self, key: &str, sha256: &str) -> io::Result<PinState> {
        let mut pins = self.loaded()?;
        let compare = |pins: &Option<Pins>| match pins.as_ref().and_then(|pins| pins.tools.get(key)) {
            None => PinState::New,
            Some(pinned) if pinned == sha256 => PinState::Same,
            Some(_) => PinState::Changed,
        };
        if compare(&pins) == PinState::Changed {
            // The operator may have accepted the change meanwhile, in another process.
            *pins = Some(self.read()?);
        }
        Ok(compare(&pins))
    }

    /// Pins definitions: those that have no pin yet, or, to re-pin, all of them. Blocks on the file.
    pub(crate) fn pin(&self, definitions: &[(String, String)], replace: bool) -> io::Result<()> {
        let mut guard = self.loaded()?;
        // Another process may have pinned meanwhile: what is on disk goes before what is in memory.
        let mut pins = self.read()?;
        let mut changed = false;
        for (key, sha256) in definitions {
            match pins.tools.get(key) {
                Some(pinned) if !replace || pinned == sha256 => {}
                _ => {
                    pins.tools.insert(key.clone(), sha256.clone());
                    changed = true;
                }
            }
        }
        if changed {
            self.write(&pins)?;
        }
        *guard = Some(pins);
        Ok(())
    }

    fn loaded(&self) -> io::Result<MutexGuard<'_, Option<Pins>>> {
        let mut guard = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some(self.read()?);
        }
        Ok(guard)
    }

    /// A file that is there and cannot be understood is an error: starting anew would trust whatever is served now.
    fn read(&self) -> io::Result<Pins> {
        use std::io::Read as _;
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Pins { version: 1, ..Pins::default() });
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_PIN_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file of a sensible size"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_PIN_FILE_BYTES).read_to_end(&mut bytes)?;
        let value =
            strict_json::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let pins: Pins = serde_json::from_value(value)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a file of pins"))?;
        if pins.version == 1 {
            Ok(pins)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a file of pins of another version"))
        }
    }

    fn write(&self, pins: &Pins) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        create_private_directory(directory)?;
        let temporary = directory.join(format!("{PIN_FILE}.{}", std::process::id()));
        let mut file = private_file(&temporary)?;
        let mut text = serde_json::to_vec_pretty(pins).map_err(io::Error::other)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }
}

#[cfg(unix)]
fn create_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    // A file of a process that died in between is in the way; it is never linked to from anywhere.
    drop(std::fs::remove_file(path));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(not(unix))]
fn create_private_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    drop(std::fs::remove_file(path));
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_is_of_the_meaning_and_not_of_the_spelling() {
        let read = |text: &str| Definition::read(serde_json::from_str(text).unwrap()).unwrap().sha256;
        let a = read(r#"{"name":"T","description":"d","inputSchema":{"type":"object","required":["a"]}}"#);
        assert_eq!(
            a,
            read(r#"{"inputSchema":{"required":["a"],"type":"object"},"description":"d","name":"T","x":1}"#)
        );
        assert_ne!(
            a,
            read(r#"{"name":"T","description":"D","inputSchema":{"type":"object","required":["a"]}}"#)
        );
        assert_ne!(
            a,
            read(r#"{"name":"T","description":"d","inputSchema":{"type":"object","required":["b"]}}"#)
        );
        assert_ne!(
            a,
            read(r#"{"name":"U","description":"d","inputSchema":{"type":"object","required":["a"]}}"#)
        );
        // What anybody can compute with other tools.
        assert_eq!(
            digest("T", None, &json!({"b": 1, "a": 2})),
            hex(&Sha256::digest(br#"{"description":null,"inputSchema":{"a":2,"b":1},"name":"T"}"#))
        );
    }

    #[test]
    fn the_first_definition_is_trusted_and_another_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = PinStore::new(dir.path());
        let key = "h/s/t".to_owned();
        assert!(!store.is_pinned(&key).unwrap());
        assert_eq!(store.state(&key, "a").unwrap(), PinState::New);
        store.pin(&[(key.clone(), "a".into())], false).unwrap();
        store.pin(&[(key.clone(), "b".into())], false).unwrap();
        let again = PinStore::new(dir.path());
        assert!(again.is_pinned(&key).unwrap());
        assert_eq!(again.state(&key, "a").unwrap(), PinState::Same);
        assert_eq!(again.state(&key, "b").unwrap(), PinState::Changed);
        again.pin(&[(key.clone(), "b".into())], true).unwrap();
        assert_eq!(PinStore::new(dir.path()).state(&key, "b").unwrap(), PinState::Same);
    }

    #[test]
    fn a_damaged_pin_file_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        for damage in
            ["", "{", "[]", r#"{"version":2,"tools":{}}"#, r#"{"version":1,"tools":{"a":"x","a":"y"}}"#]
        {
            std::fs::write(dir.path().join(PIN_FILE), damage).unwrap();
            assert!(PinStore::new(dir.path()).is_pinned("k").is_err(), "{damage:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_pin_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        PinStore::new(&data).pin(&[("k".into(), "d".into())], false).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&data.join(PIN_FILE)), 0o600);
    }
}
