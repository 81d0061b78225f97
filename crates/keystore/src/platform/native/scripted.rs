//! A store of `keyring-core` that does what the real ones do, and what a test tells it to.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyring_core::api::{
    Credential, CredentialApi, CredentialPersistence, CredentialStore, CredentialStoreApi,
};
use keyring_core::{Entry, Error, Result};

use super::{Dialect, System};
use crate::BackendId;

const LARGEST: usize = 2_560;

/// What a credential of the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) user: String,
    pub(super) comment: String,
    pub(super) persistence: String,
    pub(super) blob: Vec<u8>,
}

/// What the store does from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Works,
    /// Each call, opening too, fails with this number of the system's.
    Fails(i64),
    /// Each call waits for a person who does not come.
    Hangs,
    /// The store is another one: a mock, say.
    Impostor,
    /// The store is lost with the process.
    Forgets,
    /// What is written roams with the user's profile.
    Roams,
    /// A value comes back in an error.
    BadEncoding,
}

#[derive(Debug)]
struct State {
    held: BTreeMap<String, Held>,
    script: Script,
    calls: Vec<String>,
}

/// A handle to the one store of a test.
#[derive(Clone, Debug)]
pub(super) struct Scripted {
    windows: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct Refused(i64);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("planted-secret in the system's own words")
    }
}

impl std::error::Error for Refused {}

impl Scripted {
    pub(super) fn keychain() -> Self {
        Self::new(false)
    }

    pub(super) fn credential_manager() -> Self {
        Self::new(true)
    }

    fn new(windows: bool) -> Self {
        let state = State { held: BTreeMap::new(), script: Script::Works, calls: Vec::new() };
        Self { windows, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn system(&self) -> System {
        let store = self.clone();
        System {
            backend: if self.windows {
                BackendId::WindowsCredentialManager
            } else {
                BackendId::MacosKeychain
            },
            vendor: "Scripted store",
            dialect: if self.windows { Dialect::CredentialManager } else { Dialect::Keychain },
            open: Arc::new(move || {
                store.called("open")?;
                Ok(Arc::new(store.clone()) as Arc<CredentialStore>)
            }),
            code: |error| error.downcast_ref::<Refused>().map(|refused| refused.0),
            locked: &[-25_308],
        }
    }

    pub(super) fn play(&self, script: Script) {
        self.state.lock().unwrap().script = script;
    }

    /// The calls since the last time.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    pub(super) fn held(&self, target: &str) -> Option<Held> {
        self.state.lock().unwrap().held.get(target).cloned()
    }

    pub(super) fn targets(&self) -> Vec<String> {
        self.state.lock().unwrap().held.keys().cloned().collect()
    }

    /// As Python's `keyring` leaves it.
    pub(super) fn python_writes(&self, target: &str, user: &str, text: &str) {
        let held = Held {
            user: user.to_owned(),
            comment: "Stored using python-keyring".to_owned(),
            persistence: "Enterprise".to_owned(),
            blob: text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        };
        self.state.lock().unwrap().held.insert(target.to_owned(), held);
    }

    fn called(&self, what: &str) -> Result<()> {
        let script = {
            let mut state = self.state.lock().unwrap();
            state.calls.push(what.to_owned());
            state.script
        };
        match script {
            Script::Fails(number) => Err(Error::PlatformFailure(Box::new(Refused(number)))),
            Script::Hangs => {
                std::thread::sleep(Duration::from_secs(30));
                Ok(())
            }
            Script::BadEncoding if what.starts_with("get") => {
                Err(Error::BadDataFormat(b"planted-secret".to_vec(), Box::new(Refused(1))))
            }
            _ => Ok(()),
        }
    }
}

impl CredentialStoreApi for Scripted {
    fn vendor(&self) -> String {
        match self.state.lock().unwrap().script {
            Script::Impostor => "In-memory mock".to_owned(),
            _ => "Scripted store, for tests".to_owned(),
        }
    }

    fn id(&self) -> String {
        "1".to_owned()
    }

    fn build(&self, service: &str, user: &str, modifiers: Option<&HashMap<&str, &str>>) -> Result<Entry> {
        let modifier = |name: &str| modifiers.and_then(|all| all.get(name)).map(|value| (*value).to_owned());
        let target = modifier("target");
        Ok(Entry::new_with_credential(Arc::new(One {
            store: self.clone(),
            user: if target.is_some() { String::new() } else { user.to_owned() },
            target: target.unwrap_or_else(|| format!("{user}@{service}")),
            specifiers: (service.to_owned(), user.to_owned()),
            persistence: modifier("persistence").unwrap_or_else(|| "Enterprise".to_owned()),
        })))
    }

    fn search(&self, spec: &HashMap<&str, &str>) -> Result<Vec<Entry>> {
        self.called("search")?;
        if self.windows && spec.keys().any(|key| *key != "pattern") {
            return Err(Error::Invalid("spec".to_owned(), "only a pattern".to_owned()));
        }
        let targets = self.targets();
        let entry = |target: String| {
            let (user, service) = target.split_once('@').unwrap_or(("", &target));
            Entry::new_with_credential(Arc::new(One {
                store: self.clone(),
                user: user.to_owned(),
                specifiers: (service.to_owned(), user.to_owned()),
                persistence: "Local".to_owned(),
                target: target.clone(),
            }))
        };
        Ok(targets.into_iter().map(entry).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn persistence(&self) -> CredentialPersistence {
        match self.state.lock().unwrap().script {
            Script::Forgets => CredentialPersistence::ProcessOnly,
            _ => CredentialPersistence::UntilDelete,
        }
    }

    fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

struct One {
    store: Scripted,
    target: String,
    user: String,
    specifiers: (String, String),
    persistence: String,
}

impl One {
    fn held(&self, what: &str) -> Result<Held> {
        self.store.called(&format!("{what} {}", self.target))?;
        self.store.held(&self.target).ok_or(Error::NoEntry)
    }
}

impl CredentialApi for One {
    fn set_secret(&self, secret: &[u8]) -> Result<()> {
        self.store.called(&format!("set {}", self.target))?;
        if self.store.windows && secret.len() > LARGEST {
            return Err(Error::TooLong("secret".to_owned(), 2_560));
        }
        let mut state = self.store.state.lock().unwrap();
        let roams = state.script == Script::Roams;
        let held = state
            .held
            .entry(self.target.clone())
            .or_insert_with(|| Held { user: self.user.clone(), ..Held::default() });
        held.persistence = if roams { "Enterprise".to_owned() } else { self.persistence.clone() };
        held.blob = secret.to_vec();
        Ok(())
    }

    fn get_secret(&self) -> Result<Vec<u8>> {
        Ok(self.held("get")?.blob)
    }

    fn get_password(&self) -> Result<String> {
        let blob = self.held("get")?.blob;
        let units: Vec<u16> = blob.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16(&units).map_err(|_| Error::BadEncoding(blob))
    }

    fn get_attributes(&self) -> Result<HashMap<String, String>> {
        let held = self.held("look at")?;
        let attributes = [
            ("target_name", self.target.clone()),
            ("username", held.user),
            ("comment", held.comment),
            ("persistence", held.persistence),
        ];
        Ok(attributes.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn update_attributes(&self, attributes: &HashMap<&str, &str>) -> Result<()> {
        let mut held = self.held("update")?;
        held.comment = attributes["comment"].to_owned();
        self.store.state.lock().unwrap().held.insert(self.target.clone(), held);
        Ok(())
    }

    fn delete_credential(&self) -> Result<()> {
        self.held("delete")?;
        self.store.state.lock().unwrap().held.remove(&self.target);
        Ok(())
    }

    fn get_credential(&self) -> Result<Option<Arc<Credential>>> {
        self.held("find").map(|_| None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        Some(self.specifiers.clone())
    }

    fn as_any(&self) -> &dyn Any {
        &self.store
    }

    fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("One")
    }
}
