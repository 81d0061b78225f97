//! `entrabot keystore`: every access goes through the guard; there is no other.

use std::io::Read;

use entrabot_keystore::{EntryName, Keystore, KeystoreError, SecretBytes};
use serde_json::json;

use super::YES;
use crate::cli::Entry;
use crate::failure::Failure;
use crate::terminal;

/// Longest value that is read: more than any provider takes.
const MAX_VALUE: u64 = 1 << 20;

fn open() -> Result<Keystore, Failure> {
    Ok(super::config()?.keystore_policy().open()?)
}

fn name(entry: Entry) -> Result<EntryName, Failure> {
    Ok(EntryName::new(entry.service, entry.username)?)
}

pub(crate) fn get(entry: Entry, reveal: bool) -> Result<u8, Failure> {
    let name = name(entry)?;
    if terminal::is_stdout_a_terminal() && !reveal {
        return Err(Failure::usage(
            "a secret is not shown on a terminal",
            "redirect stdout, or add --reveal",
        ));
    }
    let secret = open()?.get(&name)?;
    terminal::bytes(secret.expose())?;
    Ok(YES)
}

pub(crate) fn set(entry: Entry, json: bool) -> Result<u8, Failure> {
    let name = name(entry)?;
    let secret = read_secret()?;
    open()?.put(&name, &secret)?;
    if json {
        terminal::json(&json!({"stored": {"service": name.service(), "username": name.username()}}))?;
    }
    Ok(YES)
}

/// All of stdin. The buffer is as large as it can become, so that growing it leaves no copy behind.
fn read_secret() -> Result<SecretBytes, Failure> {
    let mut value = Vec::with_capacity(MAX_VALUE as usize + 1);
    let read = std::io::stdin().lock().take(MAX_VALUE + 1).read_to_end(&mut value);
    let secret = SecretBytes::new(value);
    read.map_err(|error| Failure::io("read the value from stdin", &error))?;
    if secret.expose().len() as u64 > MAX_VALUE {
        return Err(Failure::usage(
            "the value is longer than 1 MiB",
            "a keyring is for secrets, not for files",
        ));
    }
    Ok(secret)
}

pub(crate) fn delete(entry: Entry, json: bool) -> Result<u8, Failure> {
    let name = name(entry)?;
    open()?.delete(&name)?;
    if json {
        terminal::json(&json!({"deleted": {"service": name.service(), "username": name.username()}}))?;
    }
    Ok(YES)
}

pub(crate) fn list(service: &str, username: Option<String>, json: bool) -> Result<u8, Failure> {
    let mut entries = open()?.list(service)?;
    if let Some(username) = &username {
        entries.retain(|entry| entry.username() == username);
        if entries.is_empty() {
            return Err(KeystoreError::NoEntry.into());
        }
    }
    if json {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| json!({"service": entry.service(), "username": entry.username()}))
            .collect();
        terminal::json(&json!({"entries": entries}))?;
    } else {
        for entry in &entries {
            terminal::line(&crate::failure::cleaned(entry.username()))?;
        }
    }
    Ok(YES)
}

pub(crate) fn probe(json: bool) -> Result<u8, Failure> {
    let report = open()?.sanity_probe()?;
    let timings = report.timings();
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if json {
        terminal::json(&json!({
            "ok": true,
            "backend": report.backend().as_str(),
            "stored_bytes": report.stored_bytes(),
            "swept": report.swept(),
            "left_behind": report.left_behind().map(EntryName::username),
            "micros": {
                "guard": micros(timings.guard),
                "store": micros(timings.store),
                "read": micros(timings.read),
                "delete": micros(timings.delete),
            },
        }))?;
    } else {
        terminal::line(&format!(
            "{} kept {} bytes (guard {} us, store {} us, read {} us, delete {} us)",
            report.backend(),
            report.stored_bytes(),
            micros(timings.guard),
            micros(timings.store),
            micros(timings.read),
            micros(timings.delete),
        ))?;
    }
    Ok(YES)
}
