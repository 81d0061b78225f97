//! The writer of one directory: the journal under the directory's lock, behind the group commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::AuditError;
#[cfg(feature = "async")]
use crate::commit::task::{Kept, Submission};
use crate::commit::{GroupCommit, Put, Target, Until};
use crate::give_way::GiveWay;
use crate::journal::{Failed, Journal, Written};
use crate::line::{Body, Record};
use crate::locker::{Held, Locker, NotLocked};
use crate::owners::Mark;
use crate::pulse::Pulse;
use crate::time::{Clock, Day};

pub(crate) struct Engine {
    commit: GroupCommit<Directory>,
    mark: Mark,
}

/// What the groups are written to.
pub(crate) struct Directory {
    journal: Mutex<Journal>,
    locker: Locker,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    pulse: Pulse,
    way: GiveWay,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl Target for Directory {
    type Record = Record;
    type Written = Written;
    type Opened = Arc<Body>;

    fn write(&self, records: &[Record]) -> Result<Put<Written>, Failed> {
        let mut journal = self.journal();
        let held = self.lock_folder()?;
        let put = journal.commit(records);
        drop(held);
        let put = put?;
        self.pulse.count(put.count as u64, journal.take_rolled());
        Ok(put)
    }

    fn sync(&self, written: &Written) -> Result<(), AuditError> {
        if written.beside_others {
            self.way.once();
        }
        written.file.sync_data().map_err(|e| AuditError::storage("sync", &*written.name, &e))
    }

    fn opened(record: &Record) -> Option<Arc<Body>> {
        record.opens.clone()
    }

    fn closing(&self, body: &Arc<Body>) -> Result<Record, AuditError> {
        self.abandoned(body)
    }

    fn size(record: &Record) -> usize {
        record.size()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Directory {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        // A journal is whole between any two steps of a commit.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_folder(&self) -> Result<Held<'_>, AuditError> {
        self.locker.acquire(self.deadline).map_err(|error| match error {
            NotLocked::Io(error) => AuditError::storage("lock", ".lock", &error),
            NotLocked::Timeout { holder } => AuditError::LockTimeout { waited: self.deadline, holder },
        })
    }

    fn abandoned(&self, body: &Body) -> Result<Record, AuditError> {
        Record::new(body, "failure", Some("abandoned"), self.clock.now())
    }
}

impl Engine {
    pub(crate) fn new(journal: Journal, locker: Locker, clock: Arc<dyn Clock>, deadline: Duration) -> Self {
        let journal = Mutex::new(journal);
        let directory =
            Directory { journal, locker, clock, deadline, pulse: Pulse::default(), way: GiveWay::default() };
        crate::line::forget_randomness();
        Self { commit: GroupCommit::new(directory, deadline), mark: Mark::new() }
    }

    fn directory(&self) -> &Directory {
        self.commit.target()
    }
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.directory().clock
    }
    /// Ends the ids of this process's calls.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.directory().pulse
    }
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.directory().journal().take_notices()
    }

    /// Refuses when nothing may be written any more.
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        self.commit.check()
    }

    /// Nothing may be written any more.
    pub(crate) fn stop(&self, cause: AuditError) {
        self.commit.stop(cause);
    }

    /// Puts a record on the log and waits until it is taken.
    pub(crate) fn submit(&self, record: Record, until: Until) -> Result<(), AuditError> {
        self.commit.submit(record, until)
    }

    /// The same for a task, without the deadline.
    #[cfg(feature = "async")]
    pub(crate) fn submission(&self, record: Record, until: Until, kept: Kept) -> Submission<'_, Directory> {
        self.commit.submission(record, until, kept)
    }

    /// Puts records on the log in order and hands each result out as soon as it is known.
    pub(crate) fn submit_all(
        &self,
        records: Vec<Record>,
        each: impl FnMut(usize, Result<(), AuditError>),
    ) -> Result<(), AuditError> {
        self.commit.submit_all(records, each)
    }

    /// Leaves failure(abandoned) for a span to the background; never blocks on the disk.
    pub(crate) fn leave_abandoned(&self, body: &Body) {
        match self.directory().abandoned(body) {
            Ok(record) => self.commit.leave(record),
            Err(error) => self.commit.stop(error),
        }
    }

    /// What a checkpoint may cover: the newest file, its size, the next `seq`. All of it is synced on return.
    pub(crate) fn synced_snapshot(&self) -> Result<Option<(Day, u64, u64)>, AuditError> {
        self.commit.check()?;
        let directory = self.directory();
        let mut journal = directory.journal();
        let held = directory.lock_folder()?;
        let snapshot = journal.snapshot();
        drop(held);
        let next_seq = journal.next_seq();
        drop(journal);
        let extent = match snapshot {
            Ok(Some(extent)) => extent,
            Ok(None) => return Ok(None),
            Err(Failed::Refused(error)) => return Err(error),
            Err(Failed::Fatal(error)) => {
                self.commit.stop(error.clone());
                return Err(error);
            }
        };
        self.commit.sync_alone(|| {
            extent.file.sync_data().map_err(|e| AuditError::storage("sync", extent.day.file_name(), &e))
        })?;
        Ok(Some((extent.day, extent.size, next_seq)))
    }

    /// Lets one step of the journal happen that an operator accepted.
    pub(crate) fn accept(&self, clock: bool, shrunk: bool) {
        let mut journal = self.directory().journal();
        if clock {
            journal.accept_clock();
        }
        if shrunk {
            journal.accept_shrunk();
        }
    }

    /// Leads for tasks and for records that nobody waits for, until the log is closed.
    pub(crate) fn lead_in_background(&self) {
        self.commit.lead_in_background();
    }

    /// Syncs outcomes in time, until the log is closed.
    pub(crate) fn sync_in_background(&self) {
        self.commit.sync_in_background();
    }

    /// Ends the background once nothing waits any more.
    pub(crate) fn close(&self) {
        self.commit.close();
    }
}
