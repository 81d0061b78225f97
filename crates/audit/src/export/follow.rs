//! The log for a collector that takes it bit by bit: batch after batch from where the last one that was taken ended, at
//! least once, across restarts. Knows no network: whoever sends the batches says which were taken.

use std::io;
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, Position, tail_at};
use super::otlp::{BATCH, LogRecord, OtlpEncoding, OtlpLogs};
use super::{Details, last_checkpoint};
use crate::chain::sha256;
use crate::data::DataDir;
use crate::note::{Checkpoint, parse_note};
use crate::reader::{DayFile, Snapshot, lines_of, open_folder, walk};
use crate::time::{Clock as _, SystemClock};
use crate::{AuditError, StoredEvent};

/// Bytes of the log in one request, more or less.
const BATCH_BYTES: usize = 1024 * 1024;

/// Hands out the log in batches.
#[derive(Debug)]
pub struct ExportFollower {
    dir: PathBuf,
    encoding: OtlpEncoding,
    resource: Vec<(String, String)>,
    cursor: Cursor,
    position: Option<Position>,
    /// Records in one request.
    most: usize,
}

/// Where to begin, whatever was handed out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFrom {
    /// With the oldest record that is there.
    Start,
    /// With the next that is written.
    Now,
}

/// Records for a collector, as one request.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExportBatch {
    /// The request's body.
    pub body: Vec<u8>,
    /// How many records of the log are in it.
    pub records: usize,
    /// How many lines were left out because they are no events.
    pub skipped: usize,
    behind: Position,
    /// The records in the body, a checkpoint's too.
    size: usize,
}

impl ExportFollower {
    /// `taker` names the cursor: each collector has its own. The first time it begins with the oldest record.
    ///
    /// # Errors
    /// Another process follows for the same taker; the data directory cannot be written to.
    pub fn open(
        dir: &Path,
        data_dir: &Path,
        taker: &str,
        encoding: OtlpEncoding,
        resource: &[(String, String)],
    ) -> Result<Self, AuditError> {
        let folder = open_folder(dir)?;
        let data = DataDir::at(data_dir, false).open()?;
        let cursor = Cursor::open(data, folder.path(), taker)?;
        let position = cursor.read()?;
        Ok(Self {
            dir: dir.to_owned(),
            encoding,
            resource: resource.to_owned(),
            cursor,
            position,
            most: BATCH,
        })
    }

    /// Begins elsewhere.
    ///
    /// # Errors
    /// The log cannot be read or the cursor not be written.
    pub fn restart(&mut self, from: ExportFrom) -> Result<(), AuditError> {
        let (snapshot, _none) = Snapshot::take(open_folder(&self.dir)?)?;
        let file = match from {
            ExportFrom::Start => snapshot.files.first(),
            ExportFrom::Now => snapshot.files.last(),
        };
        self.position = match file {
            None => None,
            Some(file) => {
                let end = if from == ExportFrom::Now { whole(file) } else { Ok(0) };
                let end = end.map_err(|e| read_failed(&snapshot, file, &e))?;
                Some(self.position_at(&snapshot, file, end, 0)?)
            }
        };
        self.position.as_ref().map_or(Ok(()), |position| self.cursor.put(position))
    }

    /// What follows the last batch that was taken; `None` when there is nothing yet. Waits for nothing, and moves
    /// nothing: until [`ExportFollower::taken`] it gives the same again.
    ///
    /// # Errors
    /// The log cannot be read, or is not the one that was handed out before.
    pub fn next_batch(&mut self) -> Result<Option<ExportBatch>, AuditError> {
        let (snapshot, _none) = Snapshot::take(open_folder(&self.dir)?)?;
        self.check(&snapshot)?;
        let logs = OtlpLogs::about(self.resource.clone());
        let mut filling = Filling { logs, most: self.most, bytes: 0, skipped: 0 };
        let sealed = self.position.map_or(0, |position| position.sealed);
        let mut behind = None;
        for file in &snapshot.files {
            let from = match &self.position {
                Some(at) if file.day < at.day => continue,
                Some(at) if file.day == at.day => at.offset,
                _ => 0,
            };
            let end = filling.take(file, from).map_err(|e| read_failed(&snapshot, file, &e))?;
            if end > from {
                // A power cut must not take back what a collector has.
                file.file
                    .sync_data()
                    .map_err(|e| AuditError::storage("sync", snapshot.folder.file_path(&file.name), &e))?;
                behind = Some(self.position_at(&snapshot, file, end, sealed)?);
            }
            if filling.is_full() {
                break;
            }
        }
        let Filling { mut logs, skipped, most, .. } = filling;
        let records = logs.len();
        let Some(mut behind) = behind.or(self.position) else { return Ok(None) };
        if records < most
            && let Some((note, size)) = newest_checkpoint(&self.dir)?.filter(|(_, size)| *size > sealed)
        {
            logs.push(LogRecord::of_checkpoint(&note, size, SystemClock.now()));
            behind.sealed = size;
        }
        let size = logs.len();
        if let Some(body) = logs.take(self.encoding) {
            return Ok(Some(ExportBatch { body, records, skipped, behind, size }));
        }
        if self.position != Some(behind) {
            // Only lines that are left out: nobody has to take them.
            self.cursor.put(&behind)?;
            self.position = Some(behind);
        }
        Ok(None)
    }

    /// The batch was taken: it is not handed out again once this returns.
    ///
    /// # Errors
    /// The cursor could not be written; the batch will come again.
    pub fn taken(&mut self, batch: &ExportBatch) -> Result<(), AuditError> {
        self.cursor.put(&batch.behind)?;
        self.position = Some(batch.behind);
        // One that was large does not keep all that follow small.
        self.most = (self.most + 1).min(BATCH);
        Ok(())
    }

    /// The batch is too large for whoever takes it: the next has half as many records. False when it is one alone.
    pub fn halve(&mut self, refused: &ExportBatch) -> bool {
        let half = refused.size / 2;
        if half > 0 {
            self.most = half;
        }
        half > 0
    }

    /// The lines that were handed out are still there, or were pruned after it.
    fn check(&self, snapshot: &Snapshot) -> Result<(), AuditError> {
        let Some(at) = &self.position else { return Ok(()) };
        let lost =
            |reason: &str| AuditError::ExportLost { reason: format!("{}: {reason}", at.day.file_name()) };
        let Some(file) = snapshot.files.iter().find(|file| file.day == at.day) else {
            return if snapshot.files.iter().all(|file| file.day > at.day) && !snapshot.files.is_empty() {
                Ok(())
            } else {
                Err(lost("the file that was exported last is gone"))
            };
        };
        if file.size < at.offset {
            return Err(lost("it is shorter than what was exported of it"));
        }
        let tail = tail_at(file, at.offset).map_err(|e| read_failed(snapshot, file, &e))?;
        if tail != at.tail {
            return Err(lost("it holds other lines than those that were exported"));
        }
        Ok(())
    }

    fn position_at(
        &self,
        snapshot: &Snapshot,
        file: &DayFile,
        offset: u64,
        sealed: u64,
    ) -> Result<Position, AuditError> {
        let tail = tail_at(file, offset).map_err(|e| read_failed(snapshot, file, &e))?;
        debug_assert!(offset > 0 || tail == sha256(b""));
        Ok(Position { day: file.day, offset, tail, sealed })
    }
}

/// A batch under way.
struct Filling {
    logs: OtlpLogs,
    most: usize,
    bytes: usize,
    skipped: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.logs.len() >= self.most || self.bytes >= BATCH_BYTES
    }

    /// Takes a file's lines until it is full; says where the last of them ends.
    fn take(&mut self, file: &DayFile, from: u64) -> io::Result<u64> {
        let mut end = from;
        let walked = walk::<Full>(&*file.file, from, file.size, |_offset, piece| {
            for line in lines_of(&piece) {
                if self.is_full() {
                    return Err(Full(None));
                }
                match StoredEvent::from_line(line) {
                    Ok(event) => self.logs.push(LogRecord::of(&event, &Details::of(&event))),
                    Err(_) => self.skipped += 1,
                }
                self.bytes += line.len();
                end += line.len() as u64 + 1;
            }
            Ok(piece)
        });
        match walked {
            Err(Full(Some(error))) => Err(error),
            Ok(_) | Err(Full(None)) => Ok(end),
        }
    }
}

/// The batch is full, or the file cannot be read.
struct Full(Option<io::Error>);

impl From<io::Error> for Full {
    fn from(error: io::Error) -> Self {
        Self(Some(error))
    }
}

/// Where a file's last whole line ends.
fn whole(file: &DayFile) -> io::Result<u64> {
    let mut end = 0;
    walk::<io::Error>(&*file.file, 0, file.size, |offset, piece| {
        end = offset + piece.len() as u64;
        Ok(piece)
    })?;
    Ok(end)
}

fn newest_checkpoint(dir: &Path) -> Result<Option<(String, u64)>, AuditError> {
    let Some(note) = last_checkpoint(dir)? else { return Ok(None) };
    // One that is malformed is for the verification to tell.
    let parsed = parse_note(note.as_bytes()).ok().and_then(|note| Checkpoint::parse(&note.text).ok());
    Ok(parsed.map(|checkpoint| (note, checkpoint.size)))
}

fn read_failed(snapshot: &Snapshot, file: &DayFile, error: &io::Error) -> AuditError {
    AuditError::storage("read", snapshot.folder.file_path(&file.name), error)
}
