//! The keyring, and what Python's may have left elsewhere.

use entrabot_identity::{AuditSigning, Config, Diagnose, Mode};
use entrabot_keystore::leak_scan::{self, LeakStorage};
use entrabot_keystore::{Finding, Keystore, KeystoreError, KeystorePolicy, Surroundings};
use serde_json::{Map, Value, json};

use super::check::{Check, Group, Report, Status};
use crate::failure::cleaned;

/// What the settings keep in the keyring, opened; `None` where nothing is kept there, or it did not pass.
pub(super) fn of_settings(config: &Config, report: &mut Report) -> Option<Keystore> {
    if !opens_no_keyring(config) {
        return keyring(config.keystore_policy(), report);
    }
    report.keystore.insert("verdict".into(), "not opened".into());
    let detail = "not opened: neither the blueprint's key nor the audit's is in it";
    report.add(Group::Keyring, Check::skip("keyring", detail, "nothing to do"));
    None
}

/// Neither the blueprint nor the audit has a key in one, and no person's sign-in lies in it.
fn opens_no_keyring(config: &Config) -> bool {
    config.needs_no_keystore()
        && *config.audit_signing() != AuditSigning::Keystore
        && config.mode() != Mode::Delegated
        && !config.allows_delegated_fallback()
}

/// Guard and probe.
pub(super) fn keyring(policy: &KeystorePolicy, report: &mut Report) -> Option<Keystore> {
    let keystore = match policy.open() {
        Ok(keystore) => keystore,
        Err(error) => {
            if let KeystoreError::Insecure(error) = &error {
                report.keystore = finding_as_json(error.finding());
            } else {
                report.keystore.insert("verdict".into(), "unverifiable".into());
                report.keystore.insert("backend".into(), Value::Null);
                report.keystore.insert("reason".into(), cleaned(&error.to_string()).into());
            }
            report.keystore.insert("error_type".into(), error.error_type().into());
            report.add(Group::Keyring, Check::failed("keyring", &error.into()));
            report.add(
                Group::Keyring,
                Check::skip(
                    "keyring probe",
                    "nothing is written to a keyring that did not pass",
                    "see keyring",
                ),
            );
            return None;
        }
    };
    report.keystore = finding_as_json(keystore.finding());
    report.add(Group::Keyring, Check::pass("keyring", keystore.finding().to_string()));
    match keystore.sanity_probe() {
        Ok(probe) => {
            report.keystore.insert("stored_bytes".into(), probe.stored_bytes().into());
            let detail = format!("{} bytes went in and came out as they were", probe.stored_bytes());
            report.add(
                Group::Keyring,
                match probe.left_behind() {
                    None => Check::pass("keyring probe", detail),
                    Some(entry) => Check::new(
                        "keyring probe",
                        Status::Warn,
                        format!("{detail}; {} could not be removed", entry.username()),
                        Some("the next probe removes it"),
                    ),
                },
            );
            Some(keystore)
        }
        Err(error) => {
            report.add(Group::Keyring, Check::failed("keyring probe", &error.into()));
            None
        }
    }
}

fn finding_as_json(finding: &Finding) -> Map<String, Value> {
    let value = json!({
        "verdict": finding.verdict().to_string(),
        "backend": finding.backend().map(|id| id.as_str()),
        "reason": cleaned(finding.reason()),
        "remedy": cleaned(finding.remedy()),
        "executable": finding.executable().map(|path| path.display().to_string()),
        "collection": finding.collection(),
        "at_rest": finding.at_rest().to_string(),
        "locked": finding.is_locked(),
    });
    value.as_object().cloned().unwrap_or_default()
}

/// Python's `keyring` may have put the key into a file.
pub(super) fn leaks(report: &mut Report) {
    const NAME: &str = "leaked keys";
    let scan = leak_scan::scan(&Surroundings::from_env());
    for leak in scan.findings() {
        let names: Vec<_> =
            leak.entries().iter().map(|entry| format!("{}/{}", entry.service(), entry.username())).collect();
        let how =
            if leak.storage() == LeakStorage::Cleartext { "in clear text" } else { "behind a password" };
        let detail = format!("{} holds {} {how}", leak.file().display(), names.join(", "));
        let hint = if leak.holds_blueprint_key() {
            "rotate now: give the blueprint a new certificate, remove the old one from it, then delete the file"
        } else {
            "delete the file, and replace what was in it"
        };
        let status = if leak.holds_blueprint_key() { Status::Fail } else { Status::Warn };
        report.add(Group::Keyring, Check::new(NAME, status, detail, Some(hint)));
    }
    for path in scan.unreadable() {
        let detail = format!("{} cannot be read, and may hold anything", path.display());
        report.add(Group::Keyring, Check::new(NAME, Status::Warn, detail, Some("look at it as its owner")));
    }
    if scan.findings().is_empty() && scan.unreadable().is_empty() {
        report.add(Group::Keyring, Check::pass(NAME, "Python's keyring left none in a file"));
    }
}
