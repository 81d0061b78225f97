//! What a run that was cut off had asked for: names and ids only, in the data directory, removed when the run is done.
//!
//! The directory may not show for seconds what was made. Without the journal, a run after a kill could not tell "never
//! asked for" from "not visible yet", nor its own key from somebody else's.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{ProvisioningError, private_file};
use crate::graph::text;
use crate::tokens::strict_json;

/// The journal of one name.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Which creations were asked for.
    requested: Vec<Creation>,
    /// The blueprint that we made.
    pub(super) blueprint_app_id: Option<String>,
    /// The blueprint, ours or not, that the identity was asked for under.
    pub(super) parent: Option<String>,
    /// The fingerprint of the key that we made.
    pub(super) key: Option<String>,
    /// Whose run it is.
    pub(super) name: String,
    /// The agent user's UPN.
    pub(super) upn: Option<String>,
}

/// What is made once and never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    Blueprint,
    Identity,
    User,
}

impl Creation {
    const ALL: [Self; 3] = [Self::Blueprint, Self::Identity, Self::User];

    fn as_str(self) -> &'static str {
        match self {
            Self::Blueprint => "blueprint",
            Self::Identity => "identity",
            Self::User => "user",
        }
    }
}

impl Journal {
    fn path_in(data_dir: &Path) -> PathBuf {
        data_dir.join("provisioning.json")
    }

    /// The journal of the run that was cut off last, whatever its name was.
    pub(super) fn last(data_dir: &Path) -> Result<Option<Self>, ProvisioningError> {
        let object = Self::object(&Self::path_in(data_dir))?;
        text(&object, "name").map(|name| Self::read(data_dir, name)).transpose()
    }

    fn object(path: &Path) -> Result<Map<String, Value>, ProvisioningError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(strict_json::object(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) => Err(ProvisioningError::file(path, error)),
        }
    }

    /// The journal of a run for `name`; an empty one when there is none, or one for another name.
    pub(super) fn read(data_dir: &Path, name: &str) -> Result<Self, ProvisioningError> {
        let path = Self::path_in(data_dir);
        let object = Self::object(&path)?;
        let ours = text(&object, "name") == Some(name);
        let requested = object.get("requested").and_then(Value::as_array).filter(|_| ours);
        let requested = |creation: &Creation| {
            requested.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(creation.as_str())))
        };
        let member = |member: &str| text(&object, member).filter(|_| ours).map(str::to_owned);
        Ok(Self {
            requested: Creation::ALL.into_iter().filter(|creation| requested(creation)).collect(),
            blueprint_app_id: member("blueprint_app_id"),
            parent: member("parent"),
            // A key of ours is ours whatever the run was for.
            key: text(&object, "key").map(str::to_owned),
            name: name.to_owned(),
            upn: member("upn"),
            path,
        })
    }

    pub(super) fn parent_id(&self) -> Option<Uuid> {
        self.parent.as_deref().and_then(|id| Uuid::try_parse(id).ok())
    }

    pub(super) fn has_requested(&self, creation: Creation) -> bool {
        self.requested.contains(&creation)
    }

    /// Before a creation is sent.
    pub(super) fn request(&mut self, creation: Creation) -> Result<(), ProvisioningError> {
        if !self.has_requested(creation) {
            self.requested.push(creation);
            self.write()?;
        }
        Ok(())
    }

    /// A creation that was certainly refused was not asked for.
    pub(super) fn take_back(&mut self, creation: Creation) -> Result<(), ProvisioningError> {
        if !self.has_requested(creation) {
            return Ok(());
        }
        self.requested.retain(|other| *other != creation);
        self.write()
    }

    pub(super) fn write(&self) -> Result<(), ProvisioningError> {
        let requested: Vec<&str> = self.requested.iter().map(|creation| creation.as_str()).collect();
        let value = json!({
            "name": self.name,
            "upn": self.upn,
            "requested": requested,
            "blueprint_app_id": self.blueprint_app_id,
            "parent": self.parent,
            "key": self.key,
        });
        private_file::replace(&self.path, format!("{value:#}\n").as_bytes())
            .map_err(|error| ProvisioningError::file(&self.path, error))
    }

    /// The run is done.
    pub(super) fn remove(data_dir: &Path) -> Result<(), ProvisioningError> {
        let path = Self::path_in(data_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ProvisioningError::file(&path, error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_of_one_name_but_a_key_of_ours_stays_ours() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::read(dir.path(), "a").unwrap();
        journal.key = Some("fingerprint".into());
        journal.request(Creation::Blueprint).unwrap();
        journal.request(Creation::User).unwrap();
        journal.take_back(Creation::User).unwrap();
        let again = Journal::read(dir.path(), "a").unwrap();
        assert!(again.has_requested(Creation::Blueprint) && !again.has_requested(Creation::User));
        let other = Journal::read(dir.path(), "b").unwrap();
        assert!(!other.has_requested(Creation::Blueprint));
        assert_eq!(other.key.as_deref(), Some("fingerprint"));
        assert_eq!(Journal::last(dir.path()).unwrap().unwrap().name, "a");
        Journal::remove(dir.path()).unwrap();
        Journal::remove(dir.path()).unwrap();
        assert_eq!(Journal::read(dir.path(), "a").unwrap().key, None);
        assert!(Journal::last(dir.path()).unwrap().is_none());
    }
}
