//! The data directory: what is known of the log outside of it lies there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::AuditError;
use crate::disk::{Access, DiskFolder};
use crate::storage::Folder;

/// Where the data directory is. Opened each time, so that a log that never seals never makes it.
#[derive(Clone, Debug)]
pub(crate) enum DataDir {
    At {
        path: PathBuf,
        as_root: bool,
    },
    #[cfg(test)]
    Simulated(Arc<dyn Folder>),
}

impl DataDir {
    pub(crate) fn at(path: &Path, as_root: bool) -> Self {
        Self::At { path: path.to_owned(), as_root }
    }

    /// For writing; made when it is missing.
    pub(crate) fn open(&self) -> Result<Arc<dyn Folder>, AuditError> {
        match self {
            Self::At { path, as_root } => {
                let access = Access { create: true, as_root: *as_root, read_only: false };
                let (folder, _tightened) = DiskFolder::open(path, access)?;
                Ok(folder)
            }
            #[cfg(test)]
            Self::Simulated(folder) => Ok(Arc::clone(folder)),
        }
    }

    /// For reading; `None` when there is none.
    pub(crate) fn open_existing(&self) -> Result<Option<Arc<dyn Folder>>, AuditError> {
        match self {
            Self::At { path, .. } => match crate::reader::open_folder(path) {
                Ok(folder) => Ok(Some(folder)),
                Err(AuditError::Storage(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            #[cfg(test)]
            Self::Simulated(folder) => Ok(Some(Arc::clone(folder))),
        }
    }
}
