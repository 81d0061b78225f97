//! A directory as a reader sees it: which day files there are and how far each goes, taken in one moment in which no
//! writer is in the middle of a line. Writes nothing, makes no file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::AuditError;
use crate::announced::Announced;
use crate::disk::{Access, DiskFolder};
use crate::log::LOCK;
use crate::storage::{Folder, FolderLock, Kind, LogFile, read_full};
use crate::time::Day;

/// How long a reader waits for the writers to pause.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much is read at once. Little in tests, so that small logs have many pieces.
pub(crate) const PIECE: usize = if cfg!(test) { 16 * 1024 } else { 1024 * 1024 };
/// No line of any writer is longer.
const MAX_FOREIGN_LINE: usize = 4 * 1024 * 1024;

/// What a directory held in one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) folder: Arc<dyn Folder>,
    /// The day files, oldest first.
    pub(crate) files: Vec<DayFile>,
    /// Names that are not the log's.
    pub(crate) ignored: u64,
    /// Those among them that end in `.jsonl`.
    pub(crate) strange_days: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// The last batch of several lines, as its writer announced it.
    pub(crate) announced: Option<Announced>,
}

#[derive(Debug)]
pub(crate) struct DayFile {
    pub(crate) day: Day,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) file: Arc<dyn LogFile>,
}

/// A name that no regular file of the log can have.
#[derive(Debug)]
pub(crate) struct NoPlainFile {
    pub(crate) name: String,
}

pub(crate) fn open_folder(dir: &Path) -> Result<Arc<dyn Folder>, AuditError> {
    Ok(DiskFolder::open(dir, Access { create: false, as_root: true, read_only: true })?.0)
}

impl Snapshot {
    /// The snapshot, and the first day file that is none.
    pub(crate) fn take(folder: Arc<dyn Folder>) -> Result<(Self, Option<NoPlainFile>), AuditError> {
        let mut warnings = Vec::new();
        let lock = match folder.lock(LOCK, true) {
            Ok(lock) => Some(lock),
            // No writer of ours was ever here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(AuditError::storage("open", folder.file_path(LOCK), &error)),
        };
        let held = lock.as_ref().is_some_and(|lock| hold(&**lock, &mut warnings));
        let announced = lock.as_ref().and_then(|lock| Announced::read(&**lock));
        let result = Self::look(folder, announced, warnings);
        if let Some(lock) = lock.filter(|_| held) {
            // The descriptor goes right after, and the lock with it.
            let _freed_anyway = lock.unlock();
        }
        result
    }

    fn look(
        folder: Arc<dyn Folder>,
        announced: Option<Announced>,
        warnings: Vec<String>,
    ) -> Result<(Self, Option<NoPlainFile>), AuditError> {
        let (names, mut ignored) =
            folder.names().map_err(|e| AuditError::storage("list", folder.path(), &e))?;
        let mut days = Vec::new();
        let mut strange_days = Vec::new();
        for name in names {
            match Day::of_file_name(&name) {
                Some(day) => days.push((day, name)),
                None if name == LOCK || name == crate::checkpoint::FOLDER => {}
                None => {
                    ignored += 1;
                    if name.ends_with(".jsonl") {
                        strange_days.push(name);
                    }
                }
            }
        }
        days.sort_unstable();
        let mut files = Vec::with_capacity(days.len());
        let mut none = None;
        for (day, name) in days {
            let fail =
                |operation, error: io::Error| AuditError::storage(operation, folder.file_path(&name), &error);
            let Some(stat) = folder.stat(&name).map_err(|e| fail("inspect", e))? else { continue };
            if stat.kind != Kind::File {
                none = Some(NoPlainFile { name });
                break;
            }
            let file = folder.open(&name).map_err(|e| fail("open", e))?;
            let stat = file.stat().map_err(|e| fail("inspect", e))?;
            if stat.kind != Kind::File {
                none = Some(NoPlainFile { name });
                break;
            }
            files.push(DayFile { day, name, size: stat.size, file });
        }
        Ok((Self { folder, files, ignored, strange_days, warnings, announced }, none))
    }
}

/// Whether the lock is held then.
fn hold(lock: &dyn FolderLock, warnings: &mut Vec<String>) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_shared() {
            Ok(true) => return true,
            Ok(false) if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(500)),
            Ok(false) => {
                let holder = lock.holder().map_or_else(String::new, |pid| format!(" (pid {pid})"));
                warnings.push(format!("a writer holds the lock{holder}; its last line may be in the middle"));
                return false;
            }
            Err(error) => {
                warnings.push(format!("the directory cannot be locked: {error}"));
                return false;
            }
        }
    }
}

/// What ended a walk over a file's lines.
#[derive(Debug)]
pub(crate) enum Walked {
    /// All whole lines were handed out; so many bytes without a LF follow.
    Whole { torn: u64 },
    /// A line is longer than any writer writes.
    TooLong,
}

/// Hands out a file's whole lines in pieces, each with the offset it begins at, from `from` to `size`. Takes back a
/// buffer for the next piece, that one or another: fresh memory costs as much as the reading.
pub(crate) fn walk<E: From<io::Error>>(
    file: &dyn LogFile,
    from: u64,
    size: u64,
    mut each: impl FnMut(u64, Vec<u8>) -> Result<Vec<u8>, E>,
) -> Result<Walked, E> {
    let mut done = from;
    let mut length = PIECE;
    let mut buffer = Vec::new();
    while done < size {
        let most = usize::try_from(size - done).unwrap_or(usize::MAX).min(length);
        buffer.resize(most, 0);
        let filled = read_full(file, &mut buffer, done)?;
        buffer.truncate(filled);
        match memchr::memrchr(b'\n', &buffer) {
            Some(at) => {
                buffer.truncate(at + 1);
                let offset = done;
                done += at as u64 + 1;
                length = PIECE;
                buffer = each(offset, buffer)?;
            }
            None if filled < most || done + filled as u64 >= size => break,
            None if length >= MAX_FOREIGN_LINE => return Ok(Walked::TooLong),
            None => length *= 2,
        }
    }
    Ok(Walked::Whole { torn: size.saturating_sub(done) })
}

/// The whole lines of a piece, without their LF.
pub(crate) fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.strip_suffix(b"\n").into_iter().flat_map(|all| all.split(|byte| *byte == b'\n'))
}
