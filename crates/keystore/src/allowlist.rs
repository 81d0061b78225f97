use std::fmt;
use std::str::FromStr;

use crate::BackendId;

/// The backends that secrets may be put in: the defaults of this system and what the operator added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowlist {
    ids: Vec<BackendId>,
}

impl Allowlist {
    /// The backends whose safety this system lets us verify; nothing added.
    #[must_use]
    pub fn of_this_system() -> Self {
        Self { ids: BackendId::of_this_system().to_vec() }
    }

    /// The defaults and the ids in `added`, separated by commas. Spaces around an id do not count.
    ///
    /// ```
    /// use entrabot_keystore::{Allowlist, BackendId};
    ///
    /// assert!(Allowlist::with("secret-service:unverified")?.contains(BackendId::Unverified));
    /// assert!(Allowlist::with("*").is_err());
    /// # Ok::<(), entrabot_keystore::InvalidAllowlist>(())
    /// ```
    ///
    /// # Errors
    /// When it is empty, holds an empty part or a wildcard, or names a backend that does not exist or can never be
    /// listed (mock, in-memory, kernel keyring, null and file backends have no id).
    pub fn with(added: &str) -> Result<Self, InvalidAllowlist> {
        let mut list = Self::of_this_system();
        for part in added.split(',') {
            list.add(BackendId::named(part.trim()).ok_or_else(|| InvalidAllowlist::of(part.trim()))?);
        }
        Ok(list)
    }

    /// Whether secrets may be put in this backend.
    #[must_use]
    pub fn contains(&self, id: BackendId) -> bool {
        self.ids.contains(&id)
    }

    /// The ids, defaults first.
    #[must_use]
    pub fn ids(&self) -> &[BackendId] {
        &self.ids
    }

    /// Only what is also among `chosen`.
    pub(crate) fn narrowed_to(&self, chosen: &[BackendId]) -> Self {
        Self { ids: self.ids.iter().copied().filter(|id| chosen.contains(id)).collect() }
    }

    fn add(&mut self, ids: &[BackendId]) {
        for id in ids {
            if !self.ids.contains(id) {
                self.ids.push(*id);
            }
        }
    }
}

impl Default for Allowlist {
    fn default() -> Self {
        Self::of_this_system()
    }
}

impl FromStr for Allowlist {
    type Err = InvalidAllowlist;

    fn from_str(added: &str) -> Result<Self, InvalidAllowlist> {
        Self::with(added)
    }
}

/// The text of an allowlist does not name backends only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keyring backend allowlist {fault}")]
pub struct InvalidAllowlist {
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    Wildcard,
    Unknown(String),
}

impl InvalidAllowlist {
    fn of(part: &str) -> Self {
        Self {
            fault: match part {
                "" => Fault::Empty,
                _ if part.contains(['*', '?']) => Fault::Wildcard,
                _ => Fault::Unknown(printable(part)),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("has an empty part"),
            Self::Wildcard => f.write_str("holds a wildcard; only exact ids count"),
            Self::Unknown(name) => {
                write!(f, "names `{name}`, which is not a backend that secrets may be put in")
            }
        }
    }
}

/// A name from a setting, fit for one line of a log.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_added_comes_beside_the_defaults() {
        let list = Allowlist::with(" secret-service:unverified , macos-keychain").unwrap();
        assert_eq!(list.ids()[..BackendId::of_this_system().len()], *BackendId::of_this_system());
        assert!(list.contains(BackendId::Unverified) && list.contains(BackendId::MacosKeychain));
        assert!(!list.contains(BackendId::WindowsCredentialManager));
    }

    #[test]
    fn class_paths_of_the_original_are_aliases() {
        let list = Allowlist::with("keyring.backends.macOS.Keyring").unwrap();
        assert!(list.contains(BackendId::MacosKeychain));
        assert_eq!(Allowlist::with("keyring.backends.SecretService.Keyring").unwrap(), Allowlist::default());
    }

    #[test]
    fn empty_wildcard_and_unknown_are_errors_that_say_which() {
        for (text, says) in [
            ("", "empty part"),
            (",", "empty part"),
            ("secret-service:oo7,", "empty part"),
            ("*", "wildcard"),
            ("secret-service:*", "wildcard"),
            ("keyrings.alt.file.PlaintextKeyring", "`keyrings.alt.file.PlaintextKeyring`"),
            ("secret-service:oo7;secret-service:kwallet", "`secret-service:oo7;secret-service:kwallet`"),
        ] {
            let error = Allowlist::with(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_yields_a_backend_it_does_not_name(text in ".{0,120}") {
            match Allowlist::with(&text) {
                Ok(list) => for id in list.ids() {
                    let named = text.split(',').any(|part| BackendId::named(part.trim()).is_some_and(|ids| ids.contains(id)));
                    prop_assert!(named || BackendId::of_this_system().contains(id));
                },
                Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
            }
        }

        #[test]
        fn lists_of_ids_parse_whatever_the_spaces(
            ids in prop::collection::vec(prop::sample::select(BackendId::ALL.to_vec()), 1..8),
            space in "[ \t]{0,3}",
        ) {
            let text = ids.iter().map(|id| format!("{space}{id}{space}")).collect::<Vec<_>>().join(",");
            let list = Allowlist::with(&text).unwrap();
            prop_assert!(ids.iter().all(|id| list.contains(*id)));
            let mut once = list.ids().to_vec();
            once.dedup();
            prop_assert_eq!(once.len(), list.ids().len());
        }

        #[test]
        fn one_bad_part_spoils_the_list(bad in "[a-zA-Z*.]{1,30}", before in any::<bool>()) {
            prop_assume!(BackendId::named(&bad).is_none());
            let good = BackendId::GnomeKeyring;
            let text = if before { format!("{bad},{good}") } else { format!("{good},{bad}") };
            prop_assert!(Allowlist::with(&text).is_err());
        }
    }
}
