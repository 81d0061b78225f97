//! The few operations on a directory and its append-only files that the log is built on, as traits: the real ones
//! are in `disk`, and tests put a simulated disk that loses power underneath.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What kind of thing a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Other,
}

/// What is looked at before every write. Not the times: the system keeps those of a file exact, at a cost to each
/// write, only for as long as somebody asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) owner: u32,
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

/// A directory held open by its descriptor: it stays the same one whatever happens to its name.
pub(crate) trait Folder: Send + Sync + Debug {
    /// For messages only.
    fn path(&self) -> &Path;
    /// Every name in it that is UTF-8, unsorted, and how many are not.
    fn names(&self) -> io::Result<(Vec<String>, u64)>;
    /// Its time of change (`ctime`, which nobody can set), in nanoseconds since the epoch.
    fn changed(&self) -> io::Result<i128>;
    /// Whether its path still leads to it.
    fn is_in_place(&self) -> io::Result<bool>;
    /// `None` when there is no such name. Follows no link.
    fn stat(&self, name: &str) -> io::Result<Option<Stat>>;
    /// Opens for reading; follows no link, never blocks on a FIFO.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Opens for reading and appending.
    fn open_append(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Creates with mode 0600 whatever the umask; fails when the name exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Puts a whole file in the place of another in one step, durably.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the directory's entries durable.
    fn sync(&self) -> io::Result<()>;
    /// A directory in it; with `create`, made with mode 0700 and durably when it is missing.
    fn folder(&self, name: &str, create: bool) -> io::Result<Arc<dyn Folder>>;
    /// The lock that all processes share, in the file of this name. Made when it is missing, but not for a reader.
    fn lock(&self, name: &str, read_only: bool) -> io::Result<Arc<dyn FolderLock>>;

    fn file_path(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// A file that only ever grows at its end.
pub(crate) trait LogFile: Send + Sync + Debug {
    /// One `write(2)`. May be short.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Where the last append ended.
    fn position(&self) -> io::Result<u64>;
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// `fdatasync(2)`, never retried.
    fn sync_data(&self) -> io::Result<()>;
    fn truncate(&self, size: u64) -> io::Result<()>;
    fn stat(&self) -> io::Result<Stat>;
    /// Its time of change, as [`Folder::changed`]. Only for a reader: see [`Stat`].
    fn changed(&self) -> io::Result<i128>;
    /// Takes every right from group and others.
    fn tighten(&self) -> io::Result<()>;
    /// Drops the clean cached pages from `offset` on, so that the next read is of the disk.
    fn forget_cache(&self, offset: u64);
}

/// A lock between processes that the system frees when its holder dies.
pub(crate) trait FolderLock: Send + Sync + Debug {
    fn try_exclusive(&self) -> io::Result<bool>;
    /// For readers that want a moment in which nobody writes.
    fn try_shared(&self) -> io::Result<bool>;
    /// Without a time limit.
    fn exclusive(&self) -> io::Result<()>;
    fn unlock(&self) -> io::Result<()>;
    /// Puts these few bytes into the lock's file, from its beginning on. Only while it is held.
    fn announce(&self, bytes: &[u8]) -> io::Result<()>;
    /// What was last put there.
    fn announced(&self) -> io::Result<Vec<u8>>;
    /// The process that holds it, where the system says so.
    fn holder(&self) -> Option<u32>;
}

/// What was changed this recently may change again without its time of change moving.
const GRANULARITY: Duration = Duration::from_millis(20);

/// Whether this time of change lies so far back that another change would move it.
pub(crate) fn is_settled(changed: i128) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(now.saturating_sub(GRANULARITY).as_nanos()).is_ok_and(|settled| changed < settled)
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn read_full(file: &dyn LogFile, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let count = file.read_at(&mut buffer[filled..], offset)?;
        if count == 0 {
            break;
        }
        filled += count;
        offset += count as u64;
    }
    Ok(filled)
}

/// The bytes from `from` to `to`, or to the end of the file if that comes first.
pub(crate) fn read_range(file: &dyn LogFile, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(to.saturating_sub(from)).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let filled = read_full(file, &mut bytes, from)?;
    bytes.truncate(filled);
    Ok(bytes)
}
