//! `DATA_DIR/.singleton.lock`: several of ours run side by side, never beside the Python original.
//!
//! The original takes the lock exclusively and writes its pid to `.singleton.lock.holder.pid`; ours take it shared.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use entrabot_keystore::ErrorClass;

use crate::failure::Failure;
use crate::private_files;

/// Held as long as the server runs.
#[derive(Debug)]
pub(crate) struct SingletonLock(#[expect(dead_code, reason = "its descriptor is the lock")] File);

impl SingletonLock {
    /// # Errors
    /// `SingletonLockHeldError` beside a running original; `IoError` when the file cannot be had.
    pub(crate) fn share(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join(".singleton.lock");
        private_files::make_dir(data_dir)
            .map_err(|error| Failure::io(&format!("make {}", data_dir.display()), &error))?;
        let mut options = OpenOptions::new();
        let file = private_files::open(&path, options.read(true).write(true).create(true))
            .map_err(|error| Failure::io(&format!("open {}", path.display()), &error))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(held(&path)),
            Err(TryLockError::Error(error)) => Err(Failure::io(&format!("lock {}", path.display()), &error)),
        }
    }
}

/// Whether the Python original runs on this data directory, as the error that a server would meet. Makes nothing.
pub(crate) fn original_runs(data_dir: &Path) -> std::io::Result<Option<Failure>> {
    let path = data_dir.join(".singleton.lock");
    let file = match private_files::open(&path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(held(&path))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn held(path: &Path) -> Failure {
    let holder = std::fs::read_to_string(path.with_file_name(".singleton.lock.holder.pid")).ok();
    let holder = holder.and_then(|text| text.trim().parse::<u32>().ok());
    let holder = holder.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    Failure::new(
        "SingletonLockHeldError",
        format!("the Python entrabot is running on this data directory{holder}"),
        Some("stop it first, or set another ENTRABOT_DATA_DIR"),
        ErrorClass::Configuration,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_of_ours_run_side_by_side_but_never_beside_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = SingletonLock::share(&data).unwrap();
        let second = SingletonLock::share(&data).unwrap();
        drop((first, second));

        std::fs::write(data.join(".singleton.lock.holder.pid"), "4242\n").unwrap();
        let original = File::open(data.join(".singleton.lock")).unwrap();
        original.lock().unwrap();
        assert_eq!(original_runs(&data).unwrap().unwrap().error_type(), "SingletonLockHeldError");
        assert!(original_runs(&dir.path().join("nowhere")).unwrap().is_none());
        let refused = SingletonLock::share(&data).unwrap_err();
        assert_eq!((refused.error_type(), refused.exit_code()), ("SingletonLockHeldError", 2));
        assert!(refused.message().contains("4242"), "{refused}");
    }
}
