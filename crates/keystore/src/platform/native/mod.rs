//! The credential stores of macOS and Windows, through the traits of `keyring-core`.
//!
//! All there is to them is here and tested on Linux with a scripted store, but for one constructor per system
//! (`macos.rs`, `windows.rs`), which names the real store and the numbers of its errors.
#![cfg_attr(not(test), allow(dead_code, reason = "each system uses its own part"))]

mod credential_manager;
mod keychain;
#[cfg(target_os = "macos")]
mod macos;
mod packed;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
#[cfg(windows)]
mod windows;

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use keyring_core::api::{CredentialPersistence, CredentialStore};
use keyring_core::{Error, Result};
use zeroize::Zeroize as _;

use super::{Detected, Provider, Touch};
use crate::deadline::Deadline;
use crate::error::{AmbiguousEntry, KeyringLocked, KeyringTimeout, ProviderFault, ValueTooLarge};
use crate::{AtRest, BackendId, EntryName, Finding, KeystoreError, SecretBytes, Verdict};

/// The credential store of an operating system.
#[derive(Clone)]
pub(crate) struct System {
    backend: BackendId,
    /// How the store that is meant calls itself, up to its version. Any other, a mock above all, is refused.
    vendor: &'static str,
    dialect: Dialect,
    open: Arc<dyn Fn() -> Result<Arc<CredentialStore>> + Send + Sync>,
    /// The system's own number of an error.
    code: fn(&(dyn StdError + Send + Sync + 'static)) -> Option<i64>,
    /// The numbers that mean: locked, or nobody is there to be asked.
    locked: &'static [i64],
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// How entries are named and values laid out in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Keychain,
    CredentialManager,
}

/// `None` on systems that have no such store.
pub(crate) fn of_this_system() -> Option<System> {
    #[cfg(target_os = "macos")]
    return Some(macos::keychain());
    #[cfg(windows)]
    return Some(windows::credential_manager());
    #[cfg(not(any(target_os = "macos", windows)))]
    None
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn none_of_this_system() -> Detected {
    let reason = "no keyring of this operating system can be verified";
    Detected::rejected(Finding::rejected(reason, "run entrabot on Linux, macOS or Windows"))
}

/// Opens the store and looks at what it is, without touching an entry.
pub(crate) fn detect(system: &System, deadline: Deadline) -> std::result::Result<Detected, KeystoreError> {
    let step = "opening the system's credential store";
    let open = Arc::clone(&system.open);
    let store = match within(deadline, step, move || open())? {
        Ok(store) => store,
        Err(error) => {
            let code = code_of(system, &error).map_or_else(String::new, |code| format!(" (error {code})"));
            wipe(error);
            let reason = format!("the system's credential store cannot be opened{code}");
            let remedy = "log in to the system as the user that entrabot runs as, and try again";
            return Ok(Detected::rejected(Finding::rejected(reason, remedy)));
        }
    };
    let native = Native { id: store.id(), store, system: system.clone() };
    if let Err(why) = native.assert() {
        let remedy = "use a build of entrabot that has the store of this operating system";
        return Ok(Detected::rejected(Finding::rejected(why, remedy)));
    }
    let mut finding = Finding::new(
        Verdict::Verified,
        "the credential store of this system, which encrypts by the user's login",
        "",
    );
    finding.backend = Some(system.backend);
    finding.at_rest = AtRest::Encrypted;
    Ok(Detected { finding, provider: Some(Arc::new(native)) })
}

/// The store that passed.
#[derive(Debug)]
struct Native {
    store: Arc<CredentialStore>,
    id: String,
    system: System,
}

impl Native {
    /// That the store is the system's, and keeps what it is given.
    fn assert(&self) -> std::result::Result<(), &'static str> {
        if !self.store.vendor().starts_with(self.system.vendor) {
            return Err("the credential store is not the system's own");
        }
        if !matches!(self.store.persistence(), CredentialPersistence::UntilDelete) {
            return Err("the credential store does not keep what it is given");
        }
        Ok(())
    }

    /// Runs `act` on the store with the deadline.
    fn call<T: Send + 'static>(
        &self,
        step: &'static str,
        deadline: Deadline,
        act: impl FnOnce(&Calls) -> std::result::Result<T, Refusal> + Send + 'static,
    ) -> std::result::Result<T, KeystoreError> {
        let calls = Calls { store: Arc::clone(&self.store), dialect: self.system.dialect };
        within(deadline, step, move || act(&calls))?.map_err(|refusal| self.failure(step, refusal))
    }

    /// What a store says of an error may hold anything, the value too: only its number gets into ours.
    fn failure(&self, step: &'static str, refusal: Refusal) -> KeystoreError {
        let error = match refusal {
            Refusal::Store(error) => error,
            Refusal::TooLarge { bytes, limit } => return ValueTooLarge { bytes, limit }.into(),
            Refusal::Ours(code) => return ProviderFault { step, code: code.to_owned() }.into(),
            Refusal::Ambiguous(entry) => return AmbiguousEntry { count: 2, entry }.into(),
        };
        let code = code_of(&self.system, &error);
        if code.is_some_and(|code| self.system.locked.contains(&code)) {
            return KeyringLocked { backend: self.system.backend, collection: "login".to_owned() }.into();
        }
        let kind = match &error {
            Error::NoEntry => return KeystoreError::NoEntry,
            Error::NoStorageAccess(_) => "no access to the store",
            Error::PlatformFailure(_) => "the store refused",
            Error::BadEncoding(_) | Error::BadDataFormat(..) | Error::BadStoreFormat(_) => {
                "a value that is none"
            }
            Error::TooLong(..) => "a name or value that is too long",
            Error::Invalid(..) => "a name that the store does not take",
            _ => "something that the store does not do",
        };
        wipe(error);
        let code = code.map_or_else(|| kind.to_owned(), |code| format!("{kind}, error {code}"));
        ProviderFault { step, code }.into()
    }
}

impl Provider for Native {
    fn touch(&self, _: Deadline) -> std::result::Result<Touch, KeystoreError> {
        let same = self.assert().is_ok() && self.store.id() == self.id;
        Ok(if same { Touch::Same } else { Touch::Changed })
    }

    fn is_exposed(&self) -> bool {
        false
    }

    fn expect_unlocked(&self, _: Deadline) -> std::result::Result<(), KeystoreError> {
        // Each call says for itself that the store is locked.
        Ok(())
    }

    fn get(&self, entry: &EntryName, deadline: Deadline) -> std::result::Result<SecretBytes, KeystoreError> {
        let entry = entry.clone();
        self.call("reading an entry", deadline, move |calls| calls.get(&entry))
    }

    fn put(
        &self,
        entry: &EntryName,
        value: &SecretBytes,
        deadline: Deadline,
    ) -> std::result::Result<(), KeystoreError> {
        let (entry, value) = (entry.clone(), SecretBytes::new(value.expose().to_vec()));
        self.call("writing an entry", deadline, move |calls| calls.put(&entry, &value))
    }

    fn delete(&self, entry: &EntryName, deadline: Deadline) -> std::result::Result<(), KeystoreError> {
        let entry = entry.clone();
        self.call("deleting an entry", deadline, move |calls| calls.delete(&entry))
    }

    fn contains(&self, entry: &EntryName, deadline: Deadline) -> std::result::Result<bool, KeystoreError> {
        let entry = entry.clone();
        self.call("looking for an entry", deadline, move |calls| calls.contains(&entry))
    }

    fn list(&self, service: &str, deadline: Deadline) -> std::result::Result<Vec<EntryName>, KeystoreError> {
        let service = service.to_owned();
        let mut names = self.call("listing the entries", deadline, move |calls| calls.list(&service))?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn older_than(
        &self,
        _: Duration,
        _: &str,
        _: &str,
        _: Deadline,
    ) -> std::result::Result<Vec<EntryName>, KeystoreError> {
        // Neither store says when an entry was made.
        Ok(Vec::new())
    }
}

/// The calls to the store, each on a thread of its own: the system may ask a person before it answers.
struct Calls {
    store: Arc<CredentialStore>,
    dialect: Dialect,
}

/// Why a call was not done.
#[derive(Debug)]
enum Refusal {
    Store(Error),
    TooLarge {
        bytes: usize,
        limit: usize,
    },
    /// Something that we do not accept of the store.
    Ours(&'static str),
    Ambiguous(EntryName),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Calls {
    fn get(&self, entry: &EntryName) -> std::result::Result<SecretBytes, Refusal> {
        match self.dialect {
            Dialect::Keychain => keychain::get(&*self.store, entry),
            Dialect::CredentialManager => credential_manager::get(&*self.store, entry),
        }
    }

    fn put(&self, entry: &EntryName, value: &SecretBytes) -> std::result::Result<(), Refusal> {
        match self.dialect {
            Dialect::Keychain => keychain::put(&*self.store, entry, value),
            Dialect::CredentialManager => credential_manager::put(&*self.store, entry, value),
        }
    }

    fn delete(&self, entry: &EntryName) -> std::result::Result<(), Refusal> {
        match self.dialect {
            Dialect::Keychain => keychain::delete(&*self.store, entry),
            Dialect::CredentialManager => credential_manager::delete(&*self.store, entry),
        }
    }

    fn contains(&self, entry: &EntryName) -> std::result::Result<bool, Refusal> {
        let found = match self.dialect {
            Dialect::Keychain => keychain::exists(&*self.store, entry),
            Dialect::CredentialManager => credential_manager::exists(&*self.store, entry),
        };
        match found {
            Ok(()) => Ok(true),
            Err(Refusal::Store(Error::NoEntry)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, service: &str) -> std::result::Result<Vec<EntryName>, Refusal> {
        match self.dialect {
            Dialect::Keychain => keychain::list(&*self.store, service),
            Dialect::CredentialManager => credential_manager::list(&*self.store, service),
        }
    }
}

fn code_of(system: &System, error: &Error) -> Option<i64> {
    match error {
        Error::PlatformFailure(source) | Error::NoStorageAccess(source) => (system.code)(source.as_ref()),
        _ => None,
    }
}

/// Two of the errors carry the value.
fn wipe(error: Error) {
    if let Error::BadEncoding(mut bytes) | Error::BadDataFormat(mut bytes, _) = error {
        bytes.zeroize();
    }
}

/// Runs `act` on another thread, and waits no longer than to the deadline. What comes after it is dropped there.
fn within<T: Send + 'static>(
    deadline: Deadline,
    step: &'static str,
    act: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, KeystoreError> {
    let (answer, result) = mpsc::sync_channel(1);
    let run = move || {
        // Nobody waits any more when this fails.
        drop(answer.send(act()));
    };
    if std::thread::Builder::new().name("keyring".to_owned()).spawn(run).is_err() {
        return Err(ProviderFault { step, code: "no thread".to_owned() }.into());
    }
    match result.recv_timeout(deadline.remaining()) {
        Ok(result) => Ok(result),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(KeyringTimeout { step }.into()),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(ProviderFault { step, code: "the store's own code panicked".to_owned() }.into())
        }
    }
}
