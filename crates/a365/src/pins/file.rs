//! The pin file and its lock: written whole and atomically, by one process at a time.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "a365-pins.json";
const LOCK: &str = "a365-pins.lock";
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How long another process may hold the lock: it holds it for one write and two touches of the keyring.
const LOCK_WITHIN: Duration = Duration::from_secs(10);

/// The place of the pin file.
#[derive(Debug)]
pub(super) struct PinFile {
    directory: PathBuf,
}

/// The right to look at the file, or to change it. Ends when it is dropped.
pub(super) struct Locked<'a> {
    place: &'a PinFile,
    _lock: File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Beside other readers.
    Shared,
    /// Alone.
    Exclusive,
}

impl PinFile {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { directory: data_dir.to_owned() }
    }

    /// Waits for the lock, at most 10 s.
    pub(super) fn lock(&self, access: Access) -> io::Result<Locked<'_>> {
        create_private_directory(&self.directory)?;
        let file = private_options().create(true).truncate(false).open(self.directory.join(LOCK))?;
        let started = Instant::now();
        loop {
            let tried = match access {
                Access::Shared => file.try_lock_shared(),
                Access::Exclusive => file.try_lock(),
            };
            match tried {
                Ok(()) => return Ok(Locked { place: self, _lock: file }),
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WITHIN => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Locked<'_> {
    /// The file's bytes; `None` where there is no file.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        let file = match File::open(self.place.directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file of a sensible size"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Puts a new file in the place of the old one, durably.
    pub(super) fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let directory = &self.place.directory;
        let temporary = directory.join(format!("{FILE}.new"));
        // One of a process that died in between is in the way; only the holder of the lock makes it.
        drop(std::fs::remove_file(&temporary));
        let mut file = private_options().create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, directory.join(FILE))?;
        sync_directory(directory)
    }
}

#[cfg(unix)]
fn create_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(unix)]
fn private_options() -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn create_private_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(not(unix))]
fn private_options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    options
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
