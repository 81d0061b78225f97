use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use keyring_core::api::{Credential, CredentialApi, CredentialPersistence, CredentialStoreApi};
use keyring_core::{Entry, Error, Result};

use crate::{EntryName, Keystore, KeystoreError, KeystorePolicy, SecretBytes};

/// The guarded keyring as a store of [`keyring-core`](https://docs.rs/keyring-core): any program that uses that crate
/// can make it the default store, and is safe from then on without another line.
///
/// ```
/// use entrabot_keystore::{GuardedStore, KeystorePolicy};
///
/// keyring_core::set_default_store(GuardedStore::new(KeystorePolicy::default()));
/// let entry = keyring_core::Entry::new("my-tool", "me")?;
/// // entry.get_password()? and the like now pass the guard, each time, or fail with `NoStorageAccess`.
/// # Ok::<(), keyring_core::Error>(())
/// ```
///
/// Nothing is opened before the first use of an entry. Creation-time modifiers and attribute updates are refused.
pub struct GuardedStore {
    opener: Arc<Opener>,
}

impl GuardedStore {
    /// A store that opens the keyring under this policy.
    #[must_use]
    pub fn new(policy: KeystorePolicy) -> Arc<Self> {
        Arc::new(Self { opener: Arc::new(Opener { policy, keystore: Mutex::new(None) }) })
    }
}

impl fmt::Debug for GuardedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStore").field("policy", &self.opener.policy).finish_non_exhaustive()
    }
}

impl CredentialStoreApi for GuardedStore {
    fn vendor(&self) -> String {
        "entrabot-keystore, guarded".to_owned()
    }

    fn id(&self) -> String {
        format!("entrabot-keystore {}", env!("CARGO_PKG_VERSION"))
    }

    fn build(&self, service: &str, user: &str, modifiers: Option<&HashMap<&str, &str>>) -> Result<Entry> {
        if modifiers.is_some_and(|modifiers| !modifiers.is_empty()) {
            return Err(Error::NotSupportedByStore(
                "an entry is a service and a user, nothing more".to_owned(),
            ));
        }
        Ok(self.opener.entry(name(service, user)?))
    }

    fn search(&self, spec: &HashMap<&str, &str>) -> Result<Vec<Entry>> {
        let service = *spec
            .get("service")
            .ok_or_else(|| Error::Invalid("service".to_owned(), "a search names a service".to_owned()))?;
        let user = spec.get("username").or_else(|| spec.get("user"));
        if spec.keys().any(|key| !matches!(*key, "service" | "username" | "user")) {
            return Err(Error::Invalid(
                "spec".to_owned(),
                "only service and username can be searched".to_owned(),
            ));
        }
        let found = self.opener.with(|keystore| keystore.list(service))?;
        let wanted = found.into_iter().filter(|entry| user.is_none_or(|user| entry.username() == *user));
        Ok(wanted.map(|entry| self.opener.entry(entry)).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn persistence(&self) -> CredentialPersistence {
        CredentialPersistence::UntilDelete
    }

    fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Opens the keyring at the first use, and keeps it.
struct Opener {
    policy: KeystorePolicy,
    keystore: Mutex<Option<Arc<Keystore>>>,
}

impl Opener {
    fn entry(self: &Arc<Self>, name: EntryName) -> Entry {
        Entry::new_with_credential(Arc::new(GuardedCredential { opener: Arc::clone(self), name }))
    }

    fn with<T>(&self, act: impl FnOnce(&Keystore) -> std::result::Result<T, KeystoreError>) -> Result<T> {
        let keystore = self.keystore().map_err(translate)?;
        act(&keystore).map_err(translate)
    }

    fn keystore(&self) -> std::result::Result<Arc<Keystore>, KeystoreError> {
        let slot = || self.keystore.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*slot() {
            return Ok(Arc::clone(open));
        }
        let opened = Arc::new(self.policy.open()?);
        *slot() = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

struct GuardedCredential {
    opener: Arc<Opener>,
    name: EntryName,
}

impl fmt::Debug for GuardedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedCredential").field(&self.name).finish()
    }
}

impl CredentialApi for GuardedCredential {
    fn set_secret(&self, secret: &[u8]) -> Result<()> {
        self.opener.with(|keystore| keystore.put(&self.name, &SecretBytes::new(secret.to_vec())))
    }

    /// The default of the trait puts the secret's bytes into the error when they are not UTF-8.
    fn get_password(&self) -> Result<String> {
        let secret = self.opener.with(|keystore| keystore.get(&self.name))?;
        match std::str::from_utf8(secret.expose()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::BadStoreFormat("the value is not UTF-8; read it as bytes".to_owned())),
        }
    }

    fn get_secret(&self) -> Result<Vec<u8>> {
        self.opener.with(|keystore| keystore.get(&self.name)).map(|secret| secret.expose().to_vec())
    }

    fn get_attributes(&self) -> Result<HashMap<String, String>> {
        self.exists()?;
        Ok(HashMap::from([
            ("service".to_owned(), self.name.service().to_owned()),
            ("username".to_owned(), self.name.username().to_owned()),
        ]))
    }

    fn update_attributes(&self, _: &HashMap<&str, &str>) -> Result<()> {
        self.exists()?;
        Err(Error::NotSupportedByStore("the attributes are the entry's name and cannot change".to_owned()))
    }

    fn delete_credential(&self) -> Result<()> {
        self.opener.with(|keystore| keystore.delete(&self.name))
    }

    fn get_credential(&self) -> Result<Option<Arc<Credential>>> {
        self.exists()?;
        // A name finds the one entry there is, now and later: the specifier is its own wrapper.
        Ok(None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        Some((self.name.service().to_owned(), self.name.username().to_owned()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl GuardedCredential {
    fn exists(&self) -> Result<()> {
        if self.opener.with(|keystore| keystore.contains(&self.name))? { Ok(()) } else { Err(Error::NoEntry) }
    }
}

fn name(service: &str, user: &str) -> Result<EntryName> {
    EntryName::new(service, user)
        .map_err(|error| Error::Invalid("service or user".to_owned(), error.to_string()))
}

fn translate(error: KeystoreError) -> Error {
    match error {
        KeystoreError::NoEntry => Error::NoEntry,
        // The entries have one name, so there is nothing to tell them apart by.
        KeystoreError::Ambiguous(_) => Error::Ambiguous(Vec::new()),
        KeystoreError::TooLarge(_) => Error::TooLong("secret".to_owned(), 64 << 10),
        KeystoreError::Provider(_) => Error::PlatformFailure(Box::new(error)),
        other => Error::NoStorageAccess(Box::new(other)),
    }
}
