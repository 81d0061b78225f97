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

/// The processes of ours that hold the lock, by pid; none where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn servers(data_dir: &Path) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::metadata(data_dir.join(".singleton.lock")) else { return Vec::new() };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    holders(&locks, rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()), metadata.ino())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn servers(_: &Path) -> Vec<u32> {
    Vec::new()
}

/// From lines such as `1: FLOCK  ADVISORY  READ 4242 08:01:131 0 EOF`; a line with an arrow waits and does not hold.
#[cfg(target_os = "linux")]
fn holders(locks: &str, major: u32, minor: u32, inode: u64) -> Vec<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    let mut pids: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (kind, _, access) = (words.next()?, words.next()?, words.next()?);
            let pid = words.next()?.parse().ok()?;
            (kind == "FLOCK" && access == "READ" && words.next()? == place).then_some(pid)
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
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
    #[cfg(target_os = "linux")]
    fn who_holds_the_lock_is_read_from_the_kernels_table() {
        let table = "1: FLOCK  ADVISORY  READ  42 08:01:131 0 EOF\n\
                     1: -> FLOCK  ADVISORY  READ  43 08:01:131 0 EOF\n\
                     2: POSIX  ADVISORY  READ  44 08:01:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 45 08:01:131 0 EOF\n\
                     4: FLOCK  ADVISORY  READ  7 08:01:131 0 EOF\n\
                     5: FLOCK  ADVISORY  READ  8 08:02:131 0 EOF\nnonsense\n";
        assert_eq!(holders(table, 8, 1, 131), [7, 42]);
        let dir = tempfile::tempdir().unwrap();
        assert!(servers(dir.path()).is_empty());
        let _held = SingletonLock::share(dir.path()).unwrap();
        // Some sandboxes show no locks at all.
        let shown = servers(dir.path());
        assert!(shown.is_empty() || shown == [std::process::id()], "{shown:?}");
    }

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
