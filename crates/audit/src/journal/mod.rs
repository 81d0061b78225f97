//! The day files under the lock: where the chain's end is (`refresh`), how a batch is linked and written (`append`),
//! what is said of a foreign line in front of a batch (`race`), which files there are (`files`). Everything here runs
//! while the directory's lock is held, except where it says otherwise.

mod append;
mod files;
mod race;
mod refresh;

use std::sync::Arc;

use serde_json::{Map, Value, json};

pub(crate) use self::append::append_all;
use self::race::Race;
use crate::AuditError;
use crate::commit::Put;
use crate::error::ClockStepped;
use crate::line::{Body, Record};
use crate::storage::{Folder, FolderLock, LogFile};
use crate::tail::Tail;
use crate::time::{Clock, Day};

/// The most that one write(2) carries.
pub(crate) const MAX_WRITE: usize = 1024 * 1024;
/// The clock may step back by this much before somebody has to accept it.
const CLOCK_TOLERANCE_HOURS: i64 = 48;

/// What a commit did.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The file whose sync makes it durable: earlier files are synced already.
    pub(crate) file: Arc<dyn LogFile>,
    /// For messages.
    pub(crate) name: Arc<str>,
    /// Whether others wrote since the commit before.
    pub(crate) beside_others: bool,
}

/// How far the log goes.
#[derive(Debug)]
pub(crate) struct Extent {
    /// The newest file's day.
    pub(crate) day: Day,
    /// Its size.
    pub(crate) size: u64,
    pub(crate) file: Arc<dyn LogFile>,
}

/// Why a commit did not happen.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing of it is on the log; the next commit may work.
    Refused(AuditError),
    /// What is on the disk is not known, nothing may be written any more: a sync failed, or a write that can neither
    /// be taken back nor looked at.
    Fatal(AuditError),
}

impl From<AuditError> for Failed {
    fn from(error: AuditError) -> Self {
        Self::Refused(error)
    }
}

/// The end of the log as far as it is known here.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: Arc<dyn Folder>,
    /// Of the directory; batches are announced in its file.
    lock: Arc<dyn FolderLock>,
    /// Whether a writer without the lock was ever seen in the directory.
    beside_others: bool,
    clock: Arc<dyn Clock>,
    as_root: bool,
    head: Option<Head>,
    /// The directory's time of change when its names were last read, once that can be relied on.
    listed: Option<i128>,
    buffer: Vec<u8>,
    notices: Vec<String>,
    /// Events that were found out under the lock and go on record with the next batch.
    findings: Vec<(&'static str, Map<String, Value>)>,
    /// What the log has to say before anything else.
    race: Option<Race>,
    accept_clock: bool,
    accept_shrunk: bool,
    /// The `seq` that the anchor says the log had reached.
    floor: u64,
    /// Whether the day changed.
    rolled: bool,
    /// Whether others wrote since the commit before.
    others_wrote: bool,
}

/// The newest day file and the chain at its end.
#[derive(Debug)]
struct Head {
    day: Day,
    name: Arc<str>,
    file: Arc<dyn LogFile>,
    device: u64,
    inode: u64,
    /// Whom it belonged to when it was opened and found right.
    owner: u32,
    /// Every byte before this is part of `tail`.
    end: u64,
    tail: Tail,
}

impl Head {
    fn written(&self, beside_others: bool) -> Written {
        Written { file: Arc::clone(&self.file), name: Arc::clone(&self.name), beside_others }
    }
}

impl Journal {
    pub(crate) fn new(
        folder: Arc<dyn Folder>,
        lock: Arc<dyn FolderLock>,
        clock: Arc<dyn Clock>,
        as_root: bool,
        floor: u64,
    ) -> Self {
        Self {
            folder,
            lock,
            beside_others: false,
            clock,
            as_root,
            head: None,
            listed: None,
            buffer: Vec::new(),
            notices: Vec::new(),
            findings: Vec::new(),
            race: None,
            accept_clock: false,
            accept_shrunk: false,
            floor,
            rolled: false,
            others_wrote: false,
        }
    }

    /// Whether the day changed since this was last asked.
    pub(crate) fn take_rolled(&mut self) -> bool {
        std::mem::take(&mut self.rolled)
    }

    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Lets the next commit go over a clock that stepped back, and puts that on record.
    pub(crate) fn accept_clock(&mut self) {
        self.accept_clock = true;
    }

    /// Lets the next commit go on behind a cut log, and puts that on record.
    pub(crate) fn accept_shrunk(&mut self) {
        self.accept_shrunk = true;
    }

    /// The newest file and its size, all of it read: what a checkpoint may cover once it is synced.
    pub(crate) fn snapshot(&mut self) -> Result<Option<Extent>, Failed> {
        if self.folder_is_empty()? {
            return Ok(None);
        }
        self.refresh()?;
        Ok(self.head.as_ref().map(|head| Extent {
            day: head.day,
            size: head.end,
            file: Arc::clone(&head.file),
        }))
    }

    /// The next `seq`, after [`Journal::snapshot`].
    pub(crate) fn next_seq(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.tail.next_seq)
    }

    fn folder_is_empty(&self) -> Result<bool, AuditError> {
        Ok(self.head.is_none() && self.days()?.is_empty())
    }

    /// Links the records to the chain and writes them. Not synced.
    pub(crate) fn commit(&mut self, records: &[Record]) -> Result<Put<Written>, Failed> {
        self.others_wrote = false;
        self.refresh()?;
        self.check_clock(records)?;
        self.write_findings()?;
        self.write(records)
    }

    /// What was found out goes on record before what comes after it.
    fn write_findings(&mut self) -> Result<(), Failed> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let records = self
            .findings
            .iter()
            .map(|(action, metadata)| {
                Record::new(&Body::system(action, "audit.log", metadata), "success", None, now)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let put = self.write(&records)?;
        self.findings.drain(..put.count);
        Ok(put.refused.map_or(Ok(()), Err)?)
    }

    fn check_clock(&mut self, records: &[Record]) -> Result<(), AuditError> {
        let Some(head) = &self.head else { return Ok(()) };
        let Some(now) = records.iter().map(|record| record.reading).max() else { return Ok(()) };
        // In a file without a record of ours its day is all that is known of the clock that made it.
        let last = head.tail.last_time.and(head.tail.last_reading).unwrap_or(head.day.start());
        if now >= last.minus_hours(CLOCK_TOLERANCE_HOURS) {
            return Ok(());
        }
        if std::mem::take(&mut self.accept_clock) {
            let metadata =
                [("last".to_owned(), json!(last.to_string())), ("now".to_owned(), json!(now.to_string()))];
            self.findings.push(("audit.clock_accepted", Map::from_iter(metadata)));
            return Ok(());
        }
        Err(AuditError::ClockStepped(Box::new(ClockStepped { now, last, file: head.name.to_string() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Access, DiskFolder};
    use crate::time::SystemClock;

    #[test]
    fn a_commit_says_whether_others_wrote_since_the_one_before() {
        let home = tempfile::tempdir().unwrap();
        let open = || {
            let access = Access { create: true, as_root: false, read_only: false };
            let folder = DiskFolder::open(&home.path().join("audit"), access).unwrap().0;
            let lock = folder.lock(crate::log::LOCK, false).unwrap();
            Journal::new(folder, lock, Arc::new(SystemClock), false, 0)
        };
        let beside_others = |journal: &mut Journal| {
            let body = Body::system("test", "test", &Map::new());
            let record = Record::new(&body, "success", None, journal.clock.now()).unwrap();
            journal.commit(&[record]).unwrap().written.beside_others
        };
        let (mut here, mut there) = (open(), open());
        assert!(!beside_others(&mut here), "the first of all");
        assert!(!beside_others(&mut here), "nobody else");
        assert!(!beside_others(&mut there), "all that is there was there before");
        assert!(beside_others(&mut here));
        assert!(beside_others(&mut there));
        assert!(!beside_others(&mut there), "not since");
    }
}
