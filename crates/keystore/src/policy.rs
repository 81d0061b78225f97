use std::path::PathBuf;

use crate::allowlist::printable;
use crate::leak_scan::leaked_blueprint_keys;
use crate::{
    Allowlist, BackendId, Candidate, Finding, InsecureKeyringBackendError, InvalidAllowlist, Keystore,
    KeystoreError, Surroundings,
};

/// Which backends may be used, as the operator set it. Opening goes through detection, guard and pin each time.
///
/// A malformed setting does not fail here: it is kept, and [`KeystorePolicy::open`] refuses with
/// `InsecureKeyringBackendError`, so that a server can start and refuse each call by name.
#[derive(Clone, Debug)]
pub struct KeystorePolicy {
    allowlist: Result<Allowlist, InvalidAllowlist>,
    choice: Choice,
    surroundings: Option<Surroundings>,
}

#[derive(Clone, Debug)]
enum Choice {
    /// Whatever the system has.
    Any,
    OneOf(&'static [BackendId]),
    /// A backend that is none of ours, by its printable name.
    Foreign(String),
}

impl KeystorePolicy {
    /// From the raw values of `ENTRABOT_KEYRING_BACKEND` (or `PYTHON_KEYRING_BACKEND`) and
    /// `ENTRABOT_KEYRING_BACKEND_ALLOWLIST`; `None` means "not set".
    #[must_use]
    pub fn from_settings(backend: Option<&str>, allowlist: Option<&str>) -> Self {
        let choice = match backend.map(str::trim) {
            None => Choice::Any,
            Some(name) => {
                BackendId::named(name).map_or_else(|| Choice::Foreign(printable(name)), Choice::OneOf)
            }
        };
        let allowlist = allowlist.map_or_else(|| Ok(Allowlist::of_this_system()), Allowlist::with);
        Self { allowlist, choice, surroundings: None }
    }

    /// With these surroundings instead of those of the process.
    #[must_use]
    pub fn in_surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = Some(surroundings);
        self
    }

    /// [`Candidate::detect`], then [`Candidate::validate`]: at most 2 s, never a prompt. The refusal names the
    /// clear-text files that the blueprint key was found in.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn open(&self) -> Result<Keystore, KeystoreError> {
        let surroundings = self.surroundings.clone().unwrap_or_else(Surroundings::from_env);
        self.open_in(&surroundings).map_err(|error| match error {
            KeystoreError::Insecure(refusal) => {
                let files: Vec<PathBuf> = leaked_blueprint_keys(&surroundings);
                KeystoreError::Insecure(refusal.with_leaks(files))
            }
            other => other,
        })
    }

    /// The backends that a keystore may be opened on.
    ///
    /// # Errors
    /// When a setting names what is no safe backend.
    pub fn allowlist(&self) -> Result<Allowlist, InsecureKeyringBackendError> {
        let refuse = |reason: String, remedy: &'static str, list: &Allowlist| {
            InsecureKeyringBackendError::new(Finding::rejected(reason, remedy), list)
        };
        let list = match &self.allowlist {
            Ok(list) => list,
            Err(invalid) => {
                let remedy = "unset ENTRABOT_KEYRING_BACKEND_ALLOWLIST, or list exact backend ids separated by \
                              commas, e.g. secret-service:unverified";
                return Err(refuse(invalid.to_string(), remedy, &Allowlist::of_this_system()));
            }
        };
        let remedy =
            "unset ENTRABOT_KEYRING_BACKEND and PYTHON_KEYRING_BACKEND, or name one of the expected ids";
        match &self.choice {
            Choice::Any => Ok(list.clone()),
            Choice::Foreign(name) => {
                Err(refuse(format!("insecure backend selected: `{name}`"), remedy, list))
            }
            Choice::OneOf(ids) => {
                let narrowed = list.narrowed_to(ids);
                if narrowed.ids().is_empty() {
                    let names: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
                    let reason = format!("the selected backend {} is not on the allowlist", names.join(", "));
                    return Err(refuse(reason, remedy, list));
                }
                Ok(narrowed)
            }
        }
    }

    fn open_in(&self, surroundings: &Surroundings) -> Result<Keystore, KeystoreError> {
        let allowlist = self.allowlist()?;
        Ok(Candidate::detect_in(surroundings)?.validate(&allowlist)?)
    }
}

impl Default for KeystorePolicy {
    fn default() -> Self {
        Self::from_settings(None, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(backend: Option<&str>, allowlist: Option<&str>) -> String {
        match KeystorePolicy::from_settings(backend, allowlist).open() {
            Err(KeystoreError::Insecure(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_foreign_backend_is_refused_by_its_name_before_anything_is_looked_at() {
        let error = refusal(Some("keyrings.alt.file.PlaintextKeyring"), None);
        assert!(error.contains("insecure backend selected: `keyrings.alt.file.PlaintextKeyring`"), "{error}");
        assert!(error.contains("secret-service:gnome-keyring"), "{error}");
        assert!(refusal(Some(""), None).contains("insecure backend selected: ``"));
    }

    #[test]
    fn a_malformed_allowlist_refuses_every_open() {
        assert!(refusal(None, Some("")).contains("empty part"));
        assert!(refusal(None, Some("*")).contains("wildcard"));
    }

    #[test]
    fn a_choice_does_not_widen_the_allowlist() {
        let error = refusal(Some("secret-service:unverified"), None);
        assert!(error.contains("secret-service:unverified is not on the allowlist"), "{error}");
        let unverified = "secret-service:unverified";
        let both = KeystorePolicy::from_settings(Some(unverified), Some(unverified));
        assert_eq!(both.allowlist().unwrap().ids(), [BackendId::Unverified]);
    }

    #[test]
    fn the_class_path_of_the_original_chooses_any_verifiable_secret_service() {
        let policy = KeystorePolicy::from_settings(Some("keyring.backends.SecretService.Keyring"), None);
        assert_eq!(policy.allowlist().unwrap().ids(), BackendId::of_this_system());
    }
}
