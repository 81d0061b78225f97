//! The macOS Keychain: a generic password by service and account, whose value is the bytes as they are. So does Python's
//! `keyring`, and either side reads, overwrites and deletes the other's.

use std::collections::HashMap;

use keyring_core::api::CredentialStore;
use keyring_core::{Entry, Result};

use super::Refusal;
use crate::{EntryName, SecretBytes};

pub(super) fn get(store: &CredentialStore, entry: &EntryName) -> std::result::Result<SecretBytes, Refusal> {
    Ok(SecretBytes::new(item(store, entry)?.get_secret()?))
}

pub(super) fn put(
    store: &CredentialStore,
    entry: &EntryName,
    value: &SecretBytes,
) -> std::result::Result<(), Refusal> {
    Ok(item(store, entry)?.set_secret(value.expose())?)
}

pub(super) fn delete(store: &CredentialStore, entry: &EntryName) -> std::result::Result<(), Refusal> {
    Ok(item(store, entry)?.delete_credential()?)
}

pub(super) fn exists(store: &CredentialStore, entry: &EntryName) -> std::result::Result<(), Refusal> {
    Ok(item(store, entry)?.get_credential().map(drop)?)
}

pub(super) fn list(store: &CredentialStore, service: &str) -> std::result::Result<Vec<EntryName>, Refusal> {
    let found = store.search(&HashMap::from([("service", service)]))?;
    let specifiers = found.iter().filter_map(Entry::get_specifiers);
    // The search is the store's own: what it gives beside the service does not count, nor what is no name for us.
    Ok(specifiers
        .filter(|(found, _)| found == service)
        .filter_map(|(_, user)| EntryName::new(service, user).ok())
        .collect())
}

fn item(store: &CredentialStore, entry: &EntryName) -> Result<Entry> {
    store.build(entry.service(), entry.username(), None)
}
