use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use zbus::{DynamicType, OwnedObjectPath, OwnedVariant, Type};

use super::at_rest::{self, Description, Store};
use super::bus::{Bus, BusError, NoBus};
use super::provider::{Program, ToldBy, data_home, program_of};
use super::session::Session;
use crate::deadline::Deadline;
use crate::error::{KeyringTimeout, ProviderFault, ProviderGone};
use crate::platform::{Detected, Touch};
use crate::{
    Allowlist, AtRest, BackendId, Finding, InsecureKeyringBackendError, KeystoreError, Surroundings, Verdict,
};

const NAME: &str = "org.freedesktop.secrets";
const SERVICE_PATH: &str = "/org/freedesktop/secrets";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const COLLECTIONS: &str = "/org/freedesktop/secrets/collection/";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

const GET_A_KEYRING: &str = "install and unlock a keyring: on a desktop, log in again after `apt install gnome-keyring` \
     (or enable the Secret Service in KeePassXC's settings); on a headless machine, start one in a session bus: \
     `dbus-run-session -- sh -c 'gnome-keyring-daemon --unlock --components=secrets; exec entrabot serve'` with the \
     keyring's password on standard input";
const SET_A_PASSWORD: &str = "give the keyring a password: in Passwords and Keys (seahorse), right-click the keyring, \
     Change Password, and choose one that is not empty; then rotate what was stored in it, because it was readable on \
     the disk";
const NOT_OURS: &str = "end the program that took the name org.freedesktop.secrets and find out why it runs; then start \
     the distribution's own keyring (log out and in again)";
const DECLARE: &str = "let entrabot inspect the provider (for example `setcap -r /usr/bin/gnome-keyring-daemon` where the \
     distribution gave it a file capability, then log in again); or, knowing that its state is not checked, add \
     secret-service:unverified to ENTRABOT_KEYRING_BACKEND_ALLOWLIST";

/// What differs among KWallet's daemons. From KDE Frameworks 6.14 on `ksecretd` keeps the wallets, and `kwalletd6` only
/// hands on to it.
#[derive(Debug)]
pub(super) struct KWallet {
    program: &'static str,
    /// The object and the interface through which it speaks of its wallets.
    pub(super) wallets: (&'static str, &'static str),
    /// Debian's package of what its Qt encrypts with.
    pub(super) plugin: &'static str,
}

const KWALLETS: &[KWallet] = &[
    KWallet {
        program: "ksecretd",
        wallets: ("/ksecretd", "org.kde.kwalletcompat"),
        plugin: "libqca-qt6-plugins",
    },
    KWallet {
        program: "kwalletd6",
        wallets: ("/modules/kwalletd6", "org.kde.KWallet"),
        plugin: "libqca-qt6-plugins",
    },
    KWallet {
        program: "kwalletd5",
        wallets: ("/modules/kwalletd5", "org.kde.KWallet"),
        plugin: "libqca-qt5-2-plugins",
    },
];

/// One provider and one collection on one connection. Everything said to it goes to its unique name, which the bus
/// gives to no other connection: whoever takes the well-known name over receives nothing.
#[derive(Debug)]
pub(crate) struct Pinned {
    bus: Bus,
    owner: String,
    process: u32,
    program: Program,
    backend: BackendId,
    collection: OwnedObjectPath,
    store: Store,
    at_rest: AtRest,
    session: Mutex<Option<Arc<Session>>>,
}

/// Looks for the keyring of these surroundings, without touching a secret.
pub(crate) fn detect(surroundings: &Surroundings, deadline: Deadline) -> Result<Detected, KeystoreError> {
    let bus = Bus::connect(surroundings, deadline).map_err(no_bus)?;
    let Some(owner) = find_provider(&bus, deadline)? else {
        let reason = "nobody provides org.freedesktop.secrets on the session bus";
        return Ok(Detected::rejected(Finding::rejected(reason, GET_A_KEYRING)));
    };
    let mut finding = Finding::rejected("", "");
    let Some(process) = process_of(&bus, &owner, deadline)? else {
        finding.reason = "the provider's process is another user's or cannot be told".into();
        finding.remedy = NOT_OURS.into();
        return Ok(Detected::rejected(finding));
    };
    let program = program_of(process);
    let backend = match &program {
        Program::Known { backend, path, .. } => {
            finding.executable = Some(path.clone());
            *backend
        }
        Program::Unreadable { .. } => BackendId::Unverified,
        Program::Foreign { path, why } => {
            finding.executable.clone_from(path);
            finding.reason = format!("the provider is not to be trusted: {why}").into();
            finding.remedy = NOT_OURS.into();
            return Ok(Detected::rejected(finding));
        }
        Program::Replaced { path } => {
            finding.executable.clone_from(path);
            finding.reason = "the provider's program was replaced while it ran".into();
            finding.remedy =
                "log out and in again, so that the keyring daemon of the installed version runs".into();
            return Ok(Detected::rejected(finding));
        }
    };
    finding.backend = Some(backend);

    let collection = match find_collection(&bus, &owner, backend, deadline)? {
        Ok(collection) => collection,
        Err(reason) => {
            finding.reason = reason.into();
            finding.remedy =
                "create a keyring (in seahorse or KeePassXC), unlock it and make it the default one".into();
            return Ok(Detected::rejected(finding));
        }
    };
    finding.collection = Some(last_element(collection.as_str()).to_owned());
    let mut pinned = Pinned {
        bus,
        owner,
        process,
        program,
        backend,
        collection,
        store: Store::Unknown,
        at_rest: AtRest::Unknown,
        session: Mutex::new(None),
    };
    pinned.store = pinned.find_store(surroundings, deadline)?;
    pinned.at_rest = pinned.look_at_rest();
    let (verdict, reason, remedy) = pinned.judge();
    finding.verdict = verdict;
    finding.reason = reason;
    finding.remedy = remedy.into();
    finding.at_rest = pinned.at_rest;
    finding.locked = Some(pinned.is_locked(deadline)?);
    Ok(Detected { provider: Some(Arc::new(pinned)), finding })
}

impl Pinned {
    pub(crate) fn backend(&self) -> BackendId {
        self.backend
    }

    pub(crate) fn collection(&self) -> &str {
        self.collection.as_str()
    }

    pub(crate) fn collection_name(&self) -> &str {
        last_element(self.collection())
    }

    /// Which of KWallet's daemons this is, if it is one.
    pub(super) fn kwallet(&self) -> Option<&'static KWallet> {
        let Program::Known { backend: BackendId::KWallet, path, .. } = &self.program else { return None };
        let name = path.file_name()?.to_str()?;
        KWALLETS.iter().find(|daemon| daemon.program == name)
    }

    /// Checks before an act that nothing changed since the guard: the owner of the name, its program, and its file.
    pub(super) fn touch(&self, deadline: Deadline) -> Result<Touch, KeystoreError> {
        let step = "checking the provider";
        let same_owner = match owner_of_name(&self.bus, deadline) {
            Ok(owner) => owner == self.owner,
            Err(BusError::Gone | BusError::Refused(_)) => false,
            Err(error) => return Err(self.failure(step, error)),
        };
        let same = same_owner && program_of(self.process) == self.program && self.still_sound();
        Ok(if same { Touch::Same } else { Touch::Changed })
    }

    /// Whether the values still lie on the disk as they did when the guard looked.
    fn still_sound(&self) -> bool {
        self.look_at_rest() == self.at_rest
    }

    /// Whether they lie there less safely since.
    pub(super) fn is_exposed(&self) -> bool {
        let now = self.look_at_rest();
        now != self.at_rest && now != AtRest::Encrypted
    }

    pub(crate) fn is_locked(&self, deadline: Deadline) -> Result<bool, KeystoreError> {
        self.property("Locked", "asking whether the collection is locked", deadline)
    }

    /// A property of the collection, asked for each time.
    fn property<T: TryFrom<OwnedVariant>>(
        &self,
        name: &str,
        step: &'static str,
        deadline: Deadline,
    ) -> Result<T, KeystoreError> {
        let answer = self.call(self.collection(), (PROPERTIES, "Get"), &(COLLECTION, name), deadline);
        let (value,): (OwnedVariant,) = answer.map_err(|error| self.failure(step, error))?;
        T::try_from(value)
            .map_err(|_| ProviderFault { step, code: "an answer that cannot be read".to_owned() }.into())
    }

    /// Where the collection lies. A provider that does not let us see its data home has its own word compared with what
    /// the keyring file in ours says; an encrypted file of the same name is not enough.
    fn find_store(&self, surroundings: &Surroundings, deadline: Deadline) -> Result<Store, KeystoreError> {
        let Program::Known { told_by, .. } = &self.program else { return Ok(Store::Unknown) };
        let collection = self.collection_name();
        let keyrings = |data_home: &Path| data_home.join("keyrings");
        let home = || data_home(self.process);
        Ok(match (self.backend, told_by) {
            (BackendId::KeePassXc, _) => Store::Kdbx,
            (BackendId::GnomeKeyring, ToldBy::ItsFile) => {
                home().map_or(Store::Unknown, |home| Store::of_gnome_keyring(&keyrings(&home), collection))
            }
            (BackendId::GnomeKeyring, ToldBy::ItsCapability) => {
                let step = "asking what the collection is";
                let described = Description::new(
                    self.property("Label", step, deadline)?,
                    self.property("Created", step, deadline)?,
                    self.property("Modified", step, deadline)?,
                );
                let ours: Vec<_> = surroundings.data_homes().iter().map(|home| keyrings(home)).collect();
                at_rest::directory_of(&ours, collection, &described)
                    .map_or(Store::Unknown, |directory| Store::of_gnome_keyring(&directory, collection))
            }
            (BackendId::KWallet, ToldBy::ItsFile) => {
                home().map_or(Store::Unknown, |home| Store::of_kwallet(&home, collection))
            }
            (BackendId::Oo7, ToldBy::ItsFile) => {
                home().map_or(Store::Unknown, |home| Store::of_oo7(&home, collection))
            }
            _ => Store::Unknown,
        })
    }

    /// One call to the provider that passed the guard, by its unique name.
    pub(super) fn call<B, R>(
        &self,
        path: &str,
        method: (&str, &str),
        body: &B,
        deadline: Deadline,
    ) -> Result<R, BusError>
    where
        B: Serialize + DynamicType,
        R: for<'de> Deserialize<'de> + Type,
    {
        self.bus.call(&self.owner, path, method, body, deadline)
    }

    /// The session of this connection, opened at the first need of one.
    pub(super) fn session_or_open(
        &self,
        open: impl FnOnce() -> Result<Session, KeystoreError>,
    ) -> Result<Arc<Session>, KeystoreError> {
        let lock = || self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*lock() {
            return Ok(Arc::clone(session));
        }
        // Two threads may both get here; both sessions are good, and the provider drops them with the connection.
        let session = Arc::new(open()?);
        *lock() = Some(Arc::clone(&session));
        Ok(session)
    }

    fn look_at_rest(&self) -> AtRest {
        self.store.state()
    }

    /// The verdict, why, and what to do about it.
    fn judge(&self) -> (Verdict, Cow<'static, str>, &'static str) {
        let Program::Known { told_by, .. } = &self.program else {
            let why = match &self.program {
                Program::Unreadable { why } => why,
                _ => "is not one that we know",
            };
            let reason = format!("the system does not let the provider be inspected, and {why}");
            return (Verdict::Unverifiable, reason.into(), DECLARE);
        };
        let (verdict, reason, remedy) = match (self.at_rest, told_by) {
            (AtRest::Cleartext, _) => (
                Verdict::Rejected,
                "the keyring lies in clear text on the disk: it has no password",
                set_a_password(self.backend),
            ),
            (AtRest::Encrypted, ToldBy::ItsFile) => {
                (Verdict::Verified, "an installed provider whose collection is encrypted on the disk", "")
            }
            (AtRest::Encrypted, ToldBy::ItsCapability) => (
                Verdict::Verified,
                "an installed provider, told by the capability that only its file gives, whose collection is \
                 encrypted on the disk",
                "",
            ),
            (AtRest::Unknown, ToldBy::ItsFile) => (
                Verdict::Unverifiable,
                "an installed provider; how its values lie on the disk cannot be told",
                unknown_at_rest(self.backend),
            ),
            (AtRest::Unknown, ToldBy::ItsCapability) => (
                Verdict::Unverifiable,
                "an installed provider whose data home the system does not show, and no keyring file in ours is the \
                 one that it describes",
                DECLARE,
            ),
        };
        (verdict, reason.into(), remedy)
    }
}

fn set_a_password(backend: BackendId) -> &'static str {
    match backend {
        BackendId::KWallet => {
            "give the wallet a password: in KWalletManager, Change Password, and choose one that is not empty; then \
             rotate what was stored in it, because it was readable on the disk"
        }
        BackendId::Oo7 => {
            "give the keyring a password: log in with one that pam_oo7 hands on, or start oo7-daemon with --login; then \
             rotate what was stored in it, because it was readable on the disk"
        }
        _ => SET_A_PASSWORD,
    }
}

/// What helps where the file of an installed provider was not found, or says too little.
fn unknown_at_rest(backend: BackendId) -> &'static str {
    match backend {
        BackendId::KWallet => {
            "use a wallet that is encrypted by a password (Blowfish, not GPG), in KDE Frameworks 5.97 or later; or, \
             knowing that its state is not checked, add secret-service:unverified to \
             ENTRABOT_KEYRING_BACKEND_ALLOWLIST"
        }
        BackendId::Oo7 => {
            "an empty keyring does not show whether it has a password: store any harmless entry in it first (`secret-tool \
             store --label=first entrabot first`); or, knowing that its state is not checked, add \
             secret-service:unverified to ENTRABOT_KEYRING_BACKEND_ALLOWLIST"
        }
        _ => DECLARE,
    }
}

fn no_bus(fault: NoBus) -> KeystoreError {
    let remedy = "start entrabot from a desktop session, or under `dbus-run-session`; as a service, set \
                  DBUS_SESSION_BUS_ADDRESS to unix:path=/run/user/UID/bus";
    let reason = match fault {
        NoBus::TimedOut => return KeyringTimeout { step: "connecting to the session bus" }.into(),
        NoBus::NotSet => "there is no D-Bus session bus".to_owned(),
        NoBus::NotLocal => "DBUS_SESSION_BUS_ADDRESS names no local socket".to_owned(),
        NoBus::Unreachable(why) => format!("the D-Bus session bus cannot be used: {why}"),
        NoBus::Foreign(uid) => format!("the D-Bus session bus belongs to another user (uid {uid})"),
    };
    InsecureKeyringBackendError::new(Finding::rejected(reason, remedy), &Allowlist::of_this_system()).into()
}

fn owner_of_name(bus: &Bus, deadline: Deadline) -> Result<String, BusError> {
    bus.call(BUS, BUS_PATH, (BUS, "GetNameOwner"), &(NAME,), deadline).map(|(owner,)| owner)
}

/// The unique name of the provider; where a service file promises one, the bus starts it.
fn find_provider(bus: &Bus, deadline: Deadline) -> Result<Option<String>, KeystoreError> {
    let step = "looking for a keyring provider";
    match owner_of_name(bus, deadline) {
        Ok(owner) => return Ok(Some(owner)),
        Err(BusError::Gone) => {}
        Err(error) => return Err(before_pin(step, error)),
    }
    let (names,): (Vec<String>,) = bus
        .call(BUS, BUS_PATH, (BUS, "ListActivatableNames"), &(), deadline)
        .map_err(|error| before_pin(step, error))?;
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let step = "waiting for the bus to start the keyring provider";
    match bus.call::<_, (u32,)>(BUS, BUS_PATH, (BUS, "StartServiceByName"), &(NAME, 0_u32), deadline) {
        Ok(_) => {}
        // It could not be started: nobody provides the name.
        Err(BusError::Refused(_) | BusError::Gone) => return Ok(None),
        Err(error) => return Err(before_pin(step, error)),
    }
    match owner_of_name(bus, deadline) {
        Ok(owner) => Ok(Some(owner)),
        Err(BusError::Gone) => Ok(None),
        Err(error) => Err(before_pin(step, error)),
    }
}

/// The process behind a unique name, if it is this user's. The bus took both from the kernel when it connected.
fn process_of(bus: &Bus, owner: &str, deadline: Deadline) -> Result<Option<u32>, KeystoreError> {
    let step = "asking the bus who the provider is";
    let (credentials,): (HashMap<String, OwnedVariant>,) = bus
        .call(BUS, BUS_PATH, (BUS, "GetConnectionCredentials"), &(owner,), deadline)
        .map_err(|error| before_pin(step, error))?;
    let number = |name: &str| credentials.get(name).and_then(|value| u32::try_from(value).ok());
    let ours = number("UnixUserID") == Some(rustix::process::geteuid().as_raw());
    Ok(number("ProcessID").filter(|_| ours))
}

/// The collection that entries belong in: the default one, never the session's, which is memory only.
fn find_collection(
    bus: &Bus,
    owner: &str,
    backend: BackendId,
    deadline: Deadline,
) -> Result<Result<OwnedObjectPath, &'static str>, KeystoreError> {
    let step = "looking for the default collection";
    let alias = |name: &str| -> Result<OwnedObjectPath, KeystoreError> {
        bus.call(owner, SERVICE_PATH, (SERVICE, "ReadAlias"), &(name,), deadline)
            .map(|(path,)| path)
            .map_err(|error| before_pin(step, error))
    };
    let mut chosen = alias("default")?;
    if chosen.as_str() == "/" && backend == BackendId::KeePassXc {
        // KeePassXC has a default collection only where the user chose one; a single open database leaves no choice.
        let answer = bus.call(owner, SERVICE_PATH, (PROPERTIES, "Get"), &(SERVICE, "Collections"), deadline);
        let (value,): (OwnedVariant,) = answer.map_err(|error| before_pin(step, error))?;
        let mut all = Vec::<OwnedObjectPath>::try_from(value)
            .map_err(|_| ProviderFault { step, code: "an answer that cannot be read".to_owned() })?;
        match (all.pop(), all.len()) {
            (Some(only), 0) => chosen = only,
            (Some(_), _) => return Ok(Err("there are several collections and none is the default one")),
            (None, _) => {}
        }
    }
    if chosen.as_str() == "/" {
        return Ok(Err("there is no default collection"));
    }
    let session_only = chosen == alias("session")? || last_element(chosen.as_str()) == "session";
    if session_only {
        return Ok(Err("the default collection is `session`, which is lost when the session ends"));
    }
    if !chosen.as_str().starts_with(COLLECTIONS) {
        return Ok(Err("the default collection is not where collections are"));
    }
    Ok(Ok(chosen))
}

fn before_pin(step: &'static str, error: BusError) -> KeystoreError {
    match error {
        BusError::TimedOut => KeyringTimeout { step }.into(),
        BusError::Gone => ProviderGone { step }.into(),
        BusError::Malformed => {
            ProviderFault { step, code: "an answer that cannot be read".to_owned() }.into()
        }
        BusError::Refused(code) => ProviderFault { step, code }.into(),
    }
}

fn last_element(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}
