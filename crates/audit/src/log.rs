use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use entrabot_identity::{Action, ActionGate, Admitted, Attribute, Attribution, GateError};

use crate::disk::{Access, DiskFolder};
use crate::engine::{Engine, Until};
use crate::journal::Journal;
use crate::line::{Body, Record, new_id};
use crate::locker::Locker;
use crate::permit::Span;
use crate::record::body_of_action;
use crate::storage::Folder;
use crate::time::{Clock, SystemClock};
use crate::{AuditError, Auditable, CallId, EventId, LogEntry, Permit, Recorded};

/// The file that every writer locks.
pub(crate) const LOCK: &str = ".lock";

/// When an outcome counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OutcomeSync {
    /// After its write; it is synced at most 100 ms later, or with the next record that is. A power cut in between
    /// leaves a pending record without an outcome, which is the cautious reading.
    #[default]
    Background,
    /// After its own sync.
    Strict,
}

/// Where the log lies and how it is sealed.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    pub(crate) audit_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) deadline: Duration,
    pub(crate) outcome_sync: OutcomeSync,
    pub(crate) as_root: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AuditOptions {
    /// The audit directory and the data directory (anchor and public keys).
    #[must_use]
    pub fn new(audit_dir: &Path, data_dir: &Path) -> Self {
        Self {
            audit_dir: audit_dir.to_owned(),
            data_dir: data_dir.to_owned(),
            deadline: Duration::from_secs(5),
            outcome_sync: OutcomeSync::default(),
            as_root: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// How long a record may take before it is refused. Default: 5 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// When an outcome counts as taken (`ENTRABOT_AUDIT_OUTCOME_SYNC`).
    #[must_use]
    pub fn with_outcome_sync(mut self, outcome_sync: OutcomeSync) -> Self {
        self.outcome_sync = outcome_sync;
        self
    }

    /// Lets root write to a directory of another user.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.as_root = true;
        self
    }

    #[cfg(test)]
    pub(crate) fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

/// The log of one directory. Cheap to clone; all clones share one writer. Every method blocks.
#[derive(Clone, Debug)]
pub struct AuditLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    who: Arc<dyn Attribute>,
    outcome_sync: OutcomeSync,
    deadline: Duration,
    background: Mutex<Option<JoinHandle<()>>>,
    notices: Mutex<Vec<String>>,
}

impl AuditLog {
    /// Opens or makes the directory. Nothing is read or written before the first record.
    ///
    /// # Errors
    /// The directory cannot be made or is not safe to write to.
    pub fn open(options: AuditOptions, who: Arc<dyn Attribute>) -> Result<Self, AuditError> {
        let access = Access { create: true, as_root: options.as_root, read_only: false };
        let (folder, notices) = DiskFolder::open(&options.audit_dir, access)?;
        Self::over(folder, options, who, notices)
    }

    /// The log in a folder that is open already.
    pub(crate) fn over(
        folder: Arc<dyn Folder>,
        options: AuditOptions,
        who: Arc<dyn Attribute>,
        notices: Vec<String>,
    ) -> Result<Self, AuditError> {
        let lock =
            folder.lock(LOCK, false).map_err(|e| AuditError::storage("open", folder.file_path(LOCK), &e))?;
        let journal = Journal::new(Arc::clone(&folder), Arc::clone(&options.clock), options.as_root, 0);
        let engine = Engine::new(journal, Locker::new(lock), Arc::clone(&options.clock), options.deadline);
        Ok(Self {
            inner: Arc::new(Inner {
                engine: Arc::new(engine),
                who,
                outcome_sync: options.outcome_sync,
                deadline: options.deadline,
                background: Mutex::default(),
                notices: Mutex::new(notices),
            }),
        })
    }

    /// Writes one record, durable before it returns.
    ///
    /// # Errors
    /// Nothing was written; after [`AuditError::Timeout`] the record may still appear.
    pub fn log_event(&self, entry: LogEntry) -> Result<EventId, AuditError> {
        let record = self.record_of(&entry)?;
        let event = record.event;
        self.inner.engine.submit(record, Until::Durable, None)?;
        Ok(event)
    }

    /// Writes several records in order with as few syncs as can be. `each` gets every entry's result in order, as
    /// soon as it is known; an entry that is refused does not keep the others off the log.
    ///
    /// # Errors
    /// Nothing can be written at all. Entries whose result was handed out before are on record.
    pub fn log_events(
        &self,
        entries: &[LogEntry],
        mut each: impl FnMut(usize, Result<EventId, AuditError>),
    ) -> Result<(), AuditError> {
        const CHUNK: usize = 512;
        for (chunk_index, chunk) in entries.chunks(CHUNK).enumerate() {
            let offset = chunk_index * CHUNK;
            let mut records = Vec::with_capacity(chunk.len());
            let mut events = Vec::with_capacity(chunk.len());
            let mut refused = Vec::new();
            for (index, entry) in chunk.iter().enumerate() {
                match self.record_of(entry) {
                    Ok(record) => {
                        events.push((index, record.event));
                        records.push(record);
                    }
                    Err(error) => refused.push((index, error)),
                }
            }
            let mut refused = refused.into_iter().peekable();
            self.inner.engine.submit_all(records, |position, result| {
                let (index, event) = events[position];
                while let Some((at, error)) = refused.next_if(|(at, _)| *at < index) {
                    each(offset + at, Err(error));
                }
                each(offset + index, result.map(|()| event));
            })?;
            for (at, error) in refused {
                each(offset + at, Err(error));
            }
        }
        Ok(())
    }

    /// Takes the call itself, says who acts, writes `pending`; durable before it returns.
    ///
    /// # Errors
    /// The call may not be made.
    pub fn permit<C: Auditable>(&self, call: C) -> Result<Permit<C>, AuditError> {
        let subject = call.subject();
        let who = self
            .inner
            .who
            .attribute()
            .map_err(|reason| AuditError::unattributed(subject.action(), subject.action(), reason))?;
        let (span, recorded) = self.begin(|id| subject.body(&who, id))?;
        Ok(Permit::new(call, recorded, span))
    }

    /// What the log found and set right by itself since the last call, e.g. rights that were too wide.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        let mut notices =
            std::mem::take(&mut *self.inner.notices.lock().unwrap_or_else(PoisonError::into_inner));
        notices.extend(self.inner.engine.take_notices());
        notices
    }

    fn record_of(&self, entry: &LogEntry) -> Result<Record, AuditError> {
        entry.check()?;
        let who = self.inner.who.attribute_as(entry.attribution()).map_err(|reason| {
            let (action, resource) = entry.shown();
            AuditError::unattributed(action, resource, reason)
        })?;
        let reading = self.inner.engine.clock().now();
        let body = entry.body(&who, CallId(new_id(reading.as_millis())))?;
        Record::new(&body, entry.outcome(), None, reading)
    }

    fn begin(&self, body: impl FnOnce(CallId) -> Body) -> Result<(Span, Recorded), AuditError> {
        self.inner.engine.check()?;
        self.start_background()?;
        let reading = self.inner.engine.clock().now();
        let call_id = CallId(new_id(reading.as_millis()));
        let body = Arc::new(body(call_id));
        let record = Record::new(&body, "pending", None, reading)?;
        let event_id = record.event;
        self.inner.engine.submit(record, Until::Durable, Some(Arc::clone(&body)))?;
        Ok((Span::new(self.clone(), body), Recorded { call_id, event_id }))
    }

    /// Writes a span's outcome. When that fails the log refuses everything from then on.
    pub(crate) fn close_span(
        &self,
        body: &Body,
        outcome: &'static str,
        error_type: Option<&'static str>,
    ) -> Result<(), AuditError> {
        let engine = &self.inner.engine;
        let until = match self.inner.outcome_sync {
            OutcomeSync::Background => Until::Written,
            OutcomeSync::Strict => Until::Durable,
        };
        Record::new(body, outcome, error_type, engine.clock().now())
            .and_then(|record| engine.submit(record, until, None))
            .inspect_err(|error| engine.stop(error.clone()))
    }

    /// Leaves failure(abandoned) for a span that nobody closed. Never blocks on the disk.
    pub(crate) fn abandon_span(&self, body: &Body) {
        self.inner.engine.leave_abandoned(body);
    }

    fn start_background(&self) -> Result<(), AuditError> {
        let mut background = self.inner.background.lock().unwrap_or_else(PoisonError::into_inner);
        if background.is_none() {
            let engine = Arc::clone(&self.inner.engine);
            let thread = std::thread::Builder::new()
                .name("audit-sync".to_owned())
                .spawn(move || engine.run_background())
                .map_err(|e| AuditError::storage("start the thread that syncs", LOCK, &e))?;
            *background = Some(thread);
        }
        Ok(())
    }
}

impl Drop for Inner {
    /// Writes and syncs what still waits; gives up after the deadline, when the disk hangs.
    fn drop(&mut self) {
        self.engine.close();
        let background = self.background.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = background else { return };
        let deadline = Instant::now() + self.deadline;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl ActionGate for AuditLog {
    fn admit(&self, attribution: &Attribution, action: &Action) -> Result<Box<dyn Admitted>, GateError> {
        let (span, _recorded) = self
            .begin(|id| body_of_action(action, attribution, id))
            .map_err(|error| GateError::from_error(&error))?;
        Ok(Box::new(AdmittedAction { span }))
    }
}

/// An act of identity's own, on record as pending.
#[derive(Debug)]
struct AdmittedAction {
    span: Span,
}

impl Admitted for AdmittedAction {
    fn settle(self: Box<Self>, outcome: Result<(), &'static str>) -> Result<(), GateError> {
        let closed = match outcome {
            Ok(()) => self.span.close("success", None),
            Err(error_type) => self.span.close("failure", Some(error_type)),
        };
        closed.map_err(|error| GateError::from_error(&crate::AuditOutcomeLost::new(error)))
    }
}
