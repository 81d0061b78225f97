//! The Windows Credential Manager: generic credentials of this machine.
//!
//! Python's `keyring` names a credential by its service alone while one user has it, and by `user@service` once a second
//! one comes; its values are UTF-16, which doubles them. A credential holds 2,560 bytes, so a private key in PEM does not
//! fit that way. Ours are always `user@service`, with local persistence (Python's roam with the user's profile), and
//! their bytes are the value's own, or the DER of what was PEM. What Python wrote is found, read and replaced.

use std::collections::HashMap;

use keyring_core::api::CredentialStore;
use keyring_core::{Entry, Error, Result};

use super::{Refusal, packed};
use crate::{EntryName, SecretBytes};

/// `CRED_MAX_CREDENTIAL_BLOB_SIZE`.
const LARGEST: usize = 2_560;
/// `CRED_PERSIST_LOCAL_MACHINE`.
const LOCAL: (&str, &str) = ("persistence", "Local");
/// What Python's `keyring` writes as the comment of a credential.
const PYTHON: &str = "Stored using python-keyring";
const OURS: &str = "entrabot";

/// The credential of an entry, with its attributes.
struct Found {
    credential: Entry,
    attributes: HashMap<String, String>,
}

pub(super) fn get(store: &CredentialStore, entry: &EntryName) -> std::result::Result<SecretBytes, Refusal> {
    let found = find(store, entry)?;
    if found.is("comment", PYTHON) {
        return Ok(SecretBytes::new(found.credential.get_password()?.into_bytes()));
    }
    Ok(packed::unpack(SecretBytes::new(found.credential.get_secret()?)))
}

pub(super) fn put(
    store: &CredentialStore,
    entry: &EntryName,
    value: &SecretBytes,
) -> std::result::Result<(), Refusal> {
    let packed = packed::pack(value).map_err(|packed::NotPem| {
        Refusal::Ours(
            "a private key or certificate in DER: store it as PEM, which is how it would be read back",
        )
    })?;
    let bytes = packed.expose().len();
    if bytes > LARGEST {
        return Err(Refusal::TooLarge { bytes, limit: LARGEST });
    }
    own(store, entry)?;
    let credential = credential(store, entry)?;
    credential.set_secret(packed.expose())?;
    let attributes = credential.get_attributes()?;
    if attributes.get(LOCAL.0).is_none_or(|persistence| persistence != LOCAL.1) {
        // One that roams would leave the machine. The value was not to be kept like that.
        credential.delete_credential()?;
        return Err(Refusal::Ours("the credential is not kept on this machine alone"));
    }
    if attributes.get("comment").is_none_or(|comment| comment != OURS) {
        credential.update_attributes(&HashMap::from([("comment", OURS)]))?;
    }
    // After the new value is there: a process that dies in between leaves the old one to be found, and not none.
    match of_python(store, entry)? {
        Some(old) => Ok(old.credential.delete_credential()?),
        None => Ok(()),
    }
}

pub(super) fn delete(store: &CredentialStore, entry: &EntryName) -> std::result::Result<(), Refusal> {
    let both = [of_python(store, entry)?, own(store, entry)?];
    if both.iter().all(Option::is_none) {
        return Err(Error::NoEntry.into());
    }
    both.iter().flatten().try_for_each(|found| Ok(found.credential.delete_credential()?))
}

pub(super) fn exists(store: &CredentialStore, entry: &EntryName) -> std::result::Result<(), Refusal> {
    find(store, entry).map(drop)
}

pub(super) fn list(store: &CredentialStore, service: &str) -> std::result::Result<Vec<EntryName>, Refusal> {
    let mut names = Vec::new();
    for credential in store.search(&HashMap::new())? {
        // One that was deleted since it was found is none.
        let attributes = look_at(credential)?.map(|found| found.attributes).unwrap_or_default();
        let (Some(target), Some(user)) = (attributes.get("target_name"), attributes.get("username")) else {
            continue;
        };
        if *target == service || *target == format!("{user}@{service}") {
            names.extend(EntryName::new(service, user.as_str()).ok());
        }
    }
    Ok(names)
}

/// Python's, where it is newer than ours: Python looks there first, too.
fn find(store: &CredentialStore, entry: &EntryName) -> std::result::Result<Found, Refusal> {
    match of_python(store, entry)? {
        Some(found) => Ok(found),
        None => own(store, entry)?.ok_or_else(|| Error::NoEntry.into()),
    }
}

/// `user@service`, where there is one. User `a` of service `b@c` and user `a@b` of service `c` have one name: neither gets
/// the other's.
fn own(store: &CredentialStore, entry: &EntryName) -> std::result::Result<Option<Found>, Refusal> {
    match look_at(credential(store, entry)?)? {
        Some(found) if !found.is("username", entry.username()) => Err(Refusal::Ambiguous(entry.clone())),
        found => Ok(found),
    }
}

fn credential(store: &CredentialStore, entry: &EntryName) -> Result<Entry> {
    store.build(entry.service(), entry.username(), Some(&HashMap::from([LOCAL])))
}

/// The credential that has the service's name, if it is this user's.
fn of_python(store: &CredentialStore, entry: &EntryName) -> Result<Option<Found>> {
    let modifiers = HashMap::from([LOCAL, ("target", entry.service())]);
    let found = look_at(store.build(entry.service(), entry.username(), Some(&modifiers))?)?;
    Ok(found.filter(|found| found.is("username", entry.username())))
}

fn look_at(credential: Entry) -> Result<Option<Found>> {
    match credential.get_attributes() {
        Ok(attributes) => Ok(Some(Found { credential, attributes })),
        Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Found {
    fn is(&self, attribute: &str, value: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|found| found == value)
    }
}
