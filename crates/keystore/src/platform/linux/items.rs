use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::bus::BusError;
use super::guard::{KWallet, Pinned};
use super::session::{ALGORITHM, KeyAgreement, Session};
use crate::deadline::Deadline;
use crate::error::{AmbiguousEntry, KeyringLocked, KeyringTimeout, ProviderFault, ProviderGone};
use crate::platform::{Provider, Touch};
use crate::{BackendId, EntryName, KeystoreError, SecretBytes};

/// What Python's `keyring` puts on its items, and what libsecret-based tools show.
const APPLICATION: &str = "Python keyring library";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const ITEM: &str = "org.freedesktop.Secret.Item";
const PROMPT: &str = "org.freedesktop.Secret.Prompt";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SERVICE_PATH: &str = "/org/freedesktop/secrets";

/// A value as it travels: session, parameters, encrypted value, content type.
type SealedSecret = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

/// The items of the pinned collection. Every call goes to the unique name that passed the guard.
impl Provider for Pinned {
    fn touch(&self, deadline: Deadline) -> Result<Touch, KeystoreError> {
        self.touch(deadline)
    }

    fn is_exposed(&self) -> bool {
        self.is_exposed()
    }

    /// The collection's own word, read from the provider each time.
    fn expect_unlocked(&self, deadline: Deadline) -> Result<(), KeystoreError> {
        if self.is_locked(deadline)? && !self.is_open_in_kwallet(deadline)? {
            return Err(self.locked());
        }
        Ok(())
    }

    fn get(&self, entry: &EntryName, deadline: Deadline) -> Result<SecretBytes, KeystoreError> {
        let step = "reading an entry";
        loop {
            let item = self.find(entry, deadline)?.ok_or(KeystoreError::NoEntry)?;
            let session = self.session(deadline)?;
            let path = object_path(session.path(), step)?;
            match self.call::<_, (SealedSecret,)>(
                item.as_str(),
                (ITEM, "GetSecret"),
                &(path.clone(),),
                deadline,
            ) {
                Ok(((answered, vector, sealed, _),)) if answered == path => {
                    return session
                        .open(&vector, sealed)
                        .map_err(|_| fault(step, "the value does not decrypt"));
                }
                Ok(_) => return Err(fault(step, "the value belongs to another session")),
                // Replaced or deleted since it was found: the next search tells.
                Err(BusError::Refused(name)) if is_vanished(&name) => {}
                Err(error) => return Err(self.failure(step, error)),
            }
        }
    }

    fn put(&self, entry: &EntryName, value: &SecretBytes, deadline: Deadline) -> Result<(), KeystoreError> {
        let step = "writing an entry";
        loop {
            let found = self.find(entry, deadline)?;
            let session = self.session(deadline)?;
            let (vector, sealed) =
                session.seal(value).map_err(|_| fault(step, "the value cannot be encrypted"))?;
            let kind = content_type(value.expose());
            let secret = (object_path(session.path(), step)?, vector, sealed, kind);
            let Some(item) = found else { return self.create(entry, secret, deadline) };
            match self.call::<_, ()>(item.as_str(), (ITEM, "SetSecret"), &(secret,), deadline) {
                Ok(()) => return Ok(()),
                Err(BusError::Refused(name)) if is_vanished(&name) => {}
                Err(error) => return Err(self.failure(step, error)),
            }
        }
    }

    fn delete(&self, entry: &EntryName, deadline: Deadline) -> Result<(), KeystoreError> {
        let step = "deleting an entry";
        loop {
            let item = self.find(entry, deadline)?.ok_or(KeystoreError::NoEntry)?;
            match self.call::<_, (OwnedObjectPath,)>(item.as_str(), (ITEM, "Delete"), &(), deadline) {
                Ok((prompt,)) => {
                    return self.conclude(&prompt, || Ok(self.find(entry, deadline)?.is_none()), deadline);
                }
                Err(BusError::Refused(name)) if is_vanished(&name) => {}
                Err(error) => return Err(self.failure(step, error)),
            }
        }
    }

    fn contains(&self, entry: &EntryName, deadline: Deadline) -> Result<bool, KeystoreError> {
        self.find(entry, deadline).map(|item| item.is_some())
    }

    fn list(&self, service: &str, deadline: Deadline) -> Result<Vec<EntryName>, KeystoreError> {
        let mut names = self.names(service, |_| true, deadline)?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn older_than(
        &self,
        age: Duration,
        service: &str,
        prefix: &str,
        deadline: Deadline,
    ) -> Result<Vec<EntryName>, KeystoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let old = |created: Option<u64>| {
            created.is_some_and(|created| created.saturating_add(age.as_secs()) <= now)
        };
        let mut names = self.names(service, old, deadline)?;
        names.retain(|name| name.username().starts_with(prefix));
        Ok(names)
    }
}

impl Pinned {
    /// The names of a service's entries whose time of creation (seconds since 1970) is `wanted`.
    fn names(
        &self,
        service: &str,
        wanted: impl Fn(Option<u64>) -> bool,
        deadline: Deadline,
    ) -> Result<Vec<EntryName>, KeystoreError> {
        let step = "listing the entries";
        let mut names = Vec::new();
        for item in self.search(HashMap::from([("service", service)]), deadline)? {
            let answer = self.call(item.as_str(), (PROPERTIES, "GetAll"), &(ITEM,), deadline);
            let (mut properties,): (HashMap<String, OwnedVariant>,) = match answer {
                Ok(properties) => properties,
                Err(BusError::Refused(name)) if is_vanished(&name) => continue,
                Err(error) => return Err(self.failure(step, error)),
            };
            let created = properties.get("Created").and_then(|value| u64::try_from(value).ok());
            let attributes = properties.remove("Attributes").map(HashMap::<String, String>::try_from);
            let Some(Ok(attributes)) = attributes else {
                return Err(fault(step, "attributes that are none"));
            };
            // Entries of other programs may have no user name, or one that is no name for us.
            if let Some(username) = attributes.get("username").filter(|_| wanted(created)) {
                names.extend(EntryName::new(service, username.as_str()).ok());
            }
        }
        Ok(names)
    }

    /// The one item of this name. Locked is not absent: an empty answer counts only from an unlocked collection.
    fn find(&self, entry: &EntryName, deadline: Deadline) -> Result<Option<OwnedObjectPath>, KeystoreError> {
        let attributes = HashMap::from([("service", entry.service()), ("username", entry.username())]);
        let mut items = self.search(attributes, deadline)?;
        match items.len() {
            0 => {
                self.expect_unlocked(deadline)?;
                Ok(None)
            }
            1 => Ok(items.pop()),
            count => Err(AmbiguousEntry { count, entry: entry.clone() }.into()),
        }
    }

    fn search(
        &self,
        attributes: HashMap<&str, &str>,
        deadline: Deadline,
    ) -> Result<Vec<OwnedObjectPath>, KeystoreError> {
        let step = "searching the collection";
        let found = self.call(self.collection(), (COLLECTION, "SearchItems"), &(attributes,), deadline);
        let (items,): (Vec<OwnedObjectPath>,) = found.map_err(|error| self.failure(step, error))?;
        Ok(items)
    }

    fn create(
        &self,
        entry: &EntryName,
        secret: (OwnedObjectPath, Vec<u8>, Vec<u8>, &str),
        deadline: Deadline,
    ) -> Result<(), KeystoreError> {
        let label = format!("Password for '{}' on '{}'", entry.username(), entry.service());
        let attributes = HashMap::from([
            ("service", entry.service()),
            ("username", entry.username()),
            ("application", APPLICATION),
        ]);
        let properties = HashMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::new(label)),
            ("org.freedesktop.Secret.Item.Attributes", Variant::new(attributes)),
        ]);
        let replace = true;
        let created: Result<(OwnedObjectPath, OwnedObjectPath), _> = self.call(
            self.collection(),
            (COLLECTION, "CreateItem"),
            &(properties, secret, replace),
            deadline,
        );
        let (_, prompt) = created.map_err(|error| self.failure("writing an entry", error))?;
        self.conclude(&prompt, || Ok(self.find(entry, deadline)?.is_some()), deadline)
    }

    /// An answer that names a prompt did nothing yet. Such a prompt is never called, for nobody may be there to answer
    /// it and it may ask for a password: the collection counts as locked.
    ///
    /// KeePassXC is the exception. It answers every creation and deletion so, also in an unlocked database, where its
    /// prompt asks for no password and, unless its user wants to confirm deletions, for nothing. Without the call it
    /// would do nothing at all. So the call is made, with the deadline of the operation, and taken back after it.
    fn conclude(
        &self,
        prompt: &OwnedObjectPath,
        done: impl Fn() -> Result<bool, KeystoreError>,
        deadline: Deadline,
    ) -> Result<(), KeystoreError> {
        if prompt.as_str() == "/" {
            return Ok(());
        }
        if self.backend() != BackendId::KeePassXc || self.is_locked(deadline)? {
            return Err(self.locked());
        }
        self.carry_out(prompt, "waiting for KeePassXC to carry out the change", done, deadline)
    }

    /// KWallet is the other exception: before `ksecretd` it calls a wallet that was opened at login locked until somebody
    /// unlocked it through the Secret Service, which then asks for no password. So the daemon is asked first whether the
    /// wallet is open; one that is not stays locked.
    fn is_open_in_kwallet(&self, deadline: Deadline) -> Result<bool, KeystoreError> {
        let step = "waiting for KWallet to unlock its open wallet";
        let Some(daemon) = self.kwallet() else { return Ok(false) };
        let (object, interface) = daemon.wallets;
        let asked: Result<(bool,), _> =
            self.call(object, (interface, "isOpen"), &(self.collection_name(),), deadline);
        match asked {
            Ok((true,)) => {}
            Ok((false,)) => return Ok(false),
            // Its settings may turn this interface off (`[Wallet] apiEnabled=false`): then it stays locked.
            Err(BusError::Refused(name))
                if is_vanished(&name) || name == "org.freedesktop.DBus.Error.UnknownInterface" =>
            {
                return Ok(false);
            }
            Err(error) => return Err(self.failure(step, error)),
        }
        let collections = vec![object_path(self.collection(), step)?];
        let unlocked = self.call(SERVICE_PATH, (SERVICE, "Unlock"), &(collections,), deadline);
        let (_, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) =
            unlocked.map_err(|error| self.failure(step, error))?;
        if prompt.as_str() != "/" {
            self.carry_out(&prompt, step, || Ok(!self.is_locked(deadline)?), deadline)?;
        }
        Ok(!self.is_locked(deadline)?)
    }

    /// Calls a prompt that asks for nothing, and takes it back at the deadline.
    fn carry_out(
        &self,
        prompt: &OwnedObjectPath,
        step: &'static str,
        done: impl Fn() -> Result<bool, KeystoreError>,
        deadline: Deadline,
    ) -> Result<(), KeystoreError> {
        let () = self
            .call(prompt.as_str(), (PROMPT, "Prompt"), &("",), deadline)
            .map_err(|error| self.failure(step, error))?;
        loop {
            match done() {
                Ok(true) => return Ok(()),
                Ok(false) if !deadline.remaining().is_zero() => std::thread::sleep(Duration::from_millis(5)),
                unfinished => {
                    // Its dialog, if there is one, shall not stay behind.
                    let soon = Deadline::within(Duration::from_millis(100));
                    drop(self.call::<_, ()>(prompt.as_str(), (PROMPT, "Dismiss"), &(), soon));
                    return unfinished.and(Err(KeyringTimeout { step }.into()));
                }
            }
        }
    }

    fn session(&self, deadline: Deadline) -> Result<std::sync::Arc<Session>, KeystoreError> {
        self.session_or_open(|| {
            let step = "opening an encrypted session";
            // Two in a row that do not agree are one in 65,536; a provider that never agrees is broken.
            for _ in 0..4 {
                let ours = KeyAgreement::new().map_err(|_| fault(step, "no random numbers"))?;
                let body = (ALGORITHM, Variant::new(ours.public()));
                let opened = self.call(SERVICE_PATH, (SERVICE, "OpenSession"), &body, deadline);
                let (theirs, path): (OwnedVariant, OwnedObjectPath) =
                    opened.map_err(|error| match error {
                        // What KWallet says when it can encrypt nothing: it would still speak `plain`.
                        BusError::Refused(name) if name.ends_with(".InvalidArgs") => match self.kwallet() {
                            Some(KWallet { plugin, .. }) => {
                                let remedy = "install QCA's OpenSSL plugin and log in again";
                                fault(step, &format!("{name}; {remedy} (Debian: {plugin})"))
                            }
                            None => fault(step, &name),
                        },
                        error => self.failure(step, error),
                    })?;
                let theirs = Vec::<u8>::try_from(theirs).map_err(|_| fault(step, "a key that is none"))?;
                let agreed = ours.agree(&theirs, path.to_string());
                if let Some(session) = agreed.map_err(|_| fault(step, "a key that is none"))? {
                    return Ok(session);
                }
            }
            Err(fault(step, "no key could be agreed on"))
        })
    }

    fn locked(&self) -> KeystoreError {
        KeyringLocked { backend: self.backend(), collection: self.collection_name().to_owned() }.into()
    }

    pub(super) fn failure(&self, step: &'static str, error: BusError) -> KeystoreError {
        match error {
            BusError::TimedOut => KeyringTimeout { step }.into(),
            BusError::Gone => ProviderGone { step }.into(),
            BusError::Malformed => fault(step, "an answer that cannot be read"),
            BusError::Refused(name) if name == "org.freedesktop.Secret.Error.IsLocked" => self.locked(),
            BusError::Refused(name) => fault(step, &name),
        }
    }
}

/// KeePassXC keeps text in XML, which holds no control characters and folds line ends; bytes it keeps as they are.
fn content_type(value: &[u8]) -> &'static str {
    let plain =
        |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\n' | '\t');
    match std::str::from_utf8(value) {
        Ok(text) if text.chars().all(plain) => "text/plain",
        _ => "application/octet-stream",
    }
}

/// How the providers say that an object is not there (any more).
fn is_vanished(error_name: &str) -> bool {
    matches!(
        error_name,
        "org.freedesktop.Secret.Error.NoSuchObject"
            | "org.freedesktop.DBus.Error.UnknownObject"
            | "org.freedesktop.DBus.Error.UnknownMethod"
    )
}

fn object_path(text: &str, step: &'static str) -> Result<OwnedObjectPath, KeystoreError> {
    OwnedObjectPath::try_from(text).map_err(|_| fault(step, "an object path that is none"))
}

fn fault(step: &'static str, code: &str) -> KeystoreError {
    ProviderFault { step, code: code.to_owned() }.into()
}
