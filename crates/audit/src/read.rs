//! Reading for people and programs: the last events, those that match, those that come.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::index::Index;
use crate::query::Query;
use crate::reader::{DayFile, Snapshot, Walked, lines_of, open_folder, walk};
use crate::storage::Folder;
use crate::time::Day;
use crate::{AuditError, StoredEvent};

/// A line that could not be read as an event; the reader went on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedLine {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: &'static str,
}

/// What a query hands out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seen {
    /// An event that matches.
    Event(Box<StoredEvent>),
    /// A line that is no event.
    Skipped(SkippedLine),
}

/// Why a query ended before the end of the log.
pub(crate) enum Ended {
    Io(io::Error),
    Enough,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Hands out the events that match, in the order of the log, until `each` has enough. Writes nothing.
///
/// # Errors
/// The directory cannot be read.
pub fn query(dir: &Path, query: &Query, each: impl FnMut(Seen) -> ControlFlow<()>) -> Result<(), AuditError> {
    query_counted(dir, query, &AtomicU64::new(0), each)
}

/// [`query`], counting the bytes of the log that are read or passed over.
pub(crate) fn query_counted(
    dir: &Path,
    query: &Query,
    read: &AtomicU64,
    each: impl FnMut(Seen) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    query_folder(open_folder(dir)?, query, None, read, each)
}

/// [`query`] by way of an index in the data directory, which is made and kept up on the way where the log is large
/// enough. The index only says which lines need not be read; every event that is handed out was read from the log and
/// compared. Without a data directory, or one that can be written to, the log is read as [`query`] does.
///
/// # Errors
/// The directory cannot be read.
pub fn query_indexed(
    dir: &Path,
    data_dir: &Path,
    query: &Query,
    each: impl FnMut(Seen) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    query_folder(open_folder(dir)?, query, Some(data_dir), &AtomicU64::new(0), each)
}

pub(crate) fn query_folder(
    folder: Arc<dyn Folder>,
    query: &Query,
    data_dir: Option<&Path>,
    read: &AtomicU64,
    mut each: impl FnMut(Seen) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    let (snapshot, _none) = Snapshot::take(folder)?;
    let index = data_dir.and_then(|data| Index::open(data, &snapshot));
    for (position, file) in snapshot.files.iter().enumerate() {
        if !query.may_hold(file.day) {
            read.fetch_add(file.size, Ordering::Relaxed);
            continue;
        }
        let mut look = Look { query, file, line: 0, each: &mut each };
        let looked = match &index {
            Some(index) => index.look(&mut look, position + 1 == snapshot.files.len()),
            None => look.at_rest(0, &mut Counted(read)),
        };
        match looked {
            Ok(()) => {}
            Err(Ended::Enough) => return Ok(()),
            Err(Ended::Io(error)) => {
                return Err(AuditError::storage("read", snapshot.folder.file_path(&file.name), &error));
            }
        }
    }
    Ok(())
}

/// Whoever wants to know what a query reads.
pub(crate) trait Remember {
    /// A line's length, and what it says; no event when it is none.
    fn line(&mut self, length: usize, event: Option<&StoredEvent>);
    /// The lines since the last piece, and where they begin.
    fn piece(&mut self, from: u64, bytes: &[u8]);
}

/// Remembers how many bytes it read.
struct Counted<'a>(&'a AtomicU64);

impl Remember for Counted<'_> {
    fn line(&mut self, _length: usize, _event: Option<&StoredEvent>) {}
    fn piece(&mut self, _from: u64, bytes: &[u8]) {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Remember for () {
    fn line(&mut self, _length: usize, _event: Option<&StoredEvent>) {}
    fn piece(&mut self, _from: u64, _bytes: &[u8]) {}
}

/// A query's way through one file.
pub(crate) struct Look<'a> {
    pub(crate) query: &'a Query,
    pub(crate) file: &'a DayFile,
    /// How many lines are behind.
    pub(crate) line: u64,
    each: &'a mut dyn FnMut(Seen) -> ControlFlow<()>,
}

impl Look<'_> {
    /// Looks at every line of the file from `from` on.
    pub(crate) fn at_rest(&mut self, from: u64, remember: &mut impl Remember) -> Result<(), Ended> {
        let file = self.file;
        let walked = walk::<Ended>(&*file.file, from, file.size, |offset, bytes| {
            self.at_piece(&bytes, remember)?;
            remember.piece(offset, &bytes);
            Ok(bytes)
        })?;
        match walked {
            Walked::Whole { .. } => Ok(()),
            Walked::TooLong => {
                let reason = "a line longer than any writer writes; the rest of the file is passed over";
                self.skip(self.line + 1, reason)
            }
        }
    }

    /// Looks at every line of a piece.
    pub(crate) fn at_piece(&mut self, bytes: &[u8], remember: &mut impl Remember) -> Result<(), Ended> {
        for text in lines_of(bytes) {
            self.line += 1;
            let read = StoredEvent::from_line(text);
            remember.line(text.len(), read.as_ref().ok());
            match read {
                Ok(event) => self.at_event(event)?,
                Err(reason) => self.skip(self.line, reason)?,
            }
        }
        Ok(())
    }

    /// Hands the event out if it is wanted.
    pub(crate) fn at_event(&mut self, event: StoredEvent) -> Result<(), Ended> {
        if self.query.matches(&event) { self.tell(Seen::Event(Box::new(event))) } else { Ok(()) }
    }

    fn skip(&mut self, line: u64, reason: &'static str) -> Result<(), Ended> {
        self.tell(Seen::Skipped(SkippedLine { file: self.file.name.clone(), line, reason }))
    }

    fn tell(&mut self, seen: Seen) -> Result<(), Ended> {
        if (self.each)(seen).is_break() { Err(Ended::Enough) } else { Ok(()) }
    }
}

/// The last `count` events, oldest first. Writes nothing.
///
/// # Errors
/// The directory cannot be read.
pub fn tail(dir: &Path, count: usize) -> Result<Vec<StoredEvent>, AuditError> {
    Ok(Follower::open(dir, count)?.1)
}

/// Follows a log as it grows, from file to file.
#[derive(Debug)]
pub struct Follower {
    dir: std::path::PathBuf,
    /// The file that is read and how far.
    at: Option<(Day, u64)>,
}

impl Follower {
    /// The last `count` events, and what follows them.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn open(dir: &Path, count: usize) -> Result<(Self, Vec<StoredEvent>), AuditError> {
        let (snapshot, _none) = Snapshot::take(open_folder(dir)?)?;
        let mut at = None;
        let mut last: VecDeque<StoredEvent> = VecDeque::new();
        for file in snapshot.files.iter().rev() {
            let (lines, end) = last_lines(file, count - last.len())
                .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
            if at.is_none() {
                at = Some((file.day, end));
            }
            for line in lines.into_iter().rev() {
                last.push_front(line);
            }
            if last.len() >= count {
                break;
            }
        }
        Ok((Self { dir: dir.to_owned(), at }, last.into()))
    }

    /// What came since the last look. Does not wait.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn poll(&mut self) -> Result<Vec<StoredEvent>, AuditError> {
        let (snapshot, _none) = Snapshot::take(open_folder(&self.dir)?)?;
        let mut events = Vec::new();
        for file in &snapshot.files {
            let from = match self.at {
                Some((day, _)) if file.day < day => continue,
                Some((day, end)) if file.day == day => end.min(file.size),
                _ => 0,
            };
            let mut end = from;
            walk::<io::Error>(&*file.file, from, file.size, |offset, bytes| {
                end = offset + bytes.len() as u64;
                events.extend(lines_of(&bytes).filter_map(|line| StoredEvent::from_line(line).ok()));
                Ok(bytes)
            })
            .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
            self.at = Some((file.day, end));
        }
        Ok(events)
    }
}

/// The last events of a file, oldest first, and where its last whole line ends.
fn last_lines(file: &DayFile, count: usize) -> io::Result<(Vec<StoredEvent>, u64)> {
    let mut window = 64 * 1024;
    loop {
        let from = file.size.saturating_sub(window);
        let bytes = crate::storage::read_range(&*file.file, from, file.size)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        let start = match from {
            0 => 0,
            _ => memchr::memchr(b'\n', &bytes).map_or(whole, |at| at + 1),
        };
        let mut events: Vec<StoredEvent> = bytes
            .get(start..whole)
            .into_iter()
            .flat_map(lines_of)
            .filter_map(|line| StoredEvent::from_line(line).ok())
            .collect();
        if from == 0 || events.len() >= count {
            events.drain(..events.len().saturating_sub(count));
            return Ok((events, from + whole as u64));
        }
        window *= 4;
    }
}
