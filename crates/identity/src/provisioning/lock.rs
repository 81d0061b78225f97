use std::fs::File;
use std::path::Path;

use super::{ProvisioningError, private_file};

/// The right to change the directory from this data directory. One at a time; given back on drop and by the end of
/// the process, however it ends.
#[derive(Debug)]
pub struct ProvisioningLock {
    _file: File,
}

impl ProvisioningLock {
    pub(super) fn take(data_dir: &Path) -> Result<Self, ProvisioningError> {
        let path = data_dir.join(".provisioning.lock");
        let failed = |error| ProvisioningError::file(&path, error);
        private_file::make_directory(data_dir).map_err(failed)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(ProvisioningError::Busy { path }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Diagnose, ErrorClass};

    #[test]
    fn a_second_run_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = ProvisioningLock::take(dir.path()).unwrap();
        let error = ProvisioningLock::take(dir.path()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unavailable);
        drop(first);
        ProvisioningLock::take(dir.path()).unwrap();
    }
}
