use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrabot_identity::{Action, ActionGate, Admitted, Attribute, Attribution, GateError, OutcomeSync};
use serde_json::Map;

use crate::background::Background;
use crate::checkpoint::{Sealed, Sealer};
use crate::commit::Until;
use crate::data::DataDir;
use crate::disk::{Access, DiskFolder};
use crate::engine::Engine;
use crate::journal::Journal;
use crate::line::{Body, Record, new_id};
use crate::locker::Locker;
use crate::permit::Span;
use crate::record::body_of_action;
use crate::storage::Folder;
use crate::time::Timestamp;
use crate::{AuditError, AuditOptions, Auditable, CallId, EventId, LogEntry, Permit, Recorded};

/// The file that every writer locks.
pub(crate) const LOCK: &str = ".lock";

/// The log of one directory. Cheap to clone; all clones share one writer. Every method blocks, but for those whose name
/// ends in `_async`; dropping the last clone blocks too, until what still waits is written, synced and sealed.
#[derive(Clone, Debug)]
pub struct AuditLog {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) who: Arc<dyn Attribute>,
    outcome_sync: OutcomeSync,
    pub(crate) deadline: Duration,
    require_seal: bool,
    /// Whether the last attempt to seal, or to take the key, worked.
    sealable: Arc<AtomicBool>,
    sealer: Option<Arc<Sealer>>,
    audit: Arc<dyn Folder>,
    data: DataDir,
    background: Mutex<Background>,
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
        let data = DataDir::at(&options.data_dir, options.as_root);
        Self::over(folder, data, options, who, notices)
    }

    /// The log in a folder that is open already.
    pub(crate) fn over(
        folder: Arc<dyn Folder>,
        data: DataDir,
        options: AuditOptions,
        who: Arc<dyn Attribute>,
        notices: Vec<String>,
    ) -> Result<Self, AuditError> {
        let lock =
            folder.lock(LOCK, false).map_err(|e| AuditError::storage("open", folder.file_path(LOCK), &e))?;
        let floor = crate::anchor::floor(&data, folder.path());
        let journal = Journal::new(
            Arc::clone(&folder),
            Arc::clone(&lock),
            Arc::clone(&options.clock),
            options.as_root,
            floor,
        );
        let engine = Engine::new(journal, Locker::new(lock), Arc::clone(&options.clock), options.deadline);
        let engine = Arc::new(engine);
        let sealer = (!options.signing.is_off()).then(|| {
            let (engine, folder) = (Arc::clone(&engine), Arc::clone(&folder));
            Arc::new(Sealer::new(engine, folder, data.clone(), options.signing))
        });
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                who,
                outcome_sync: options.outcome_sync,
                deadline: options.deadline,
                require_seal: options.require_seal,
                sealable: Arc::default(),
                sealer,
                audit: folder,
                data,
                background: Mutex::default(),
                notices: Mutex::new(notices),
            }),
        })
    }

    /// Writes one record, durable before it returns.
    ///
    /// # Errors
    /// Nothing was written; after [`AuditError::Timeout`] the record may still appear.
    pub fn log_event(&self, entry: &LogEntry) -> Result<EventId, AuditError> {
        let record = self.record_of(entry)?;
        let event = record.event;
        self.inner.engine.submit(record, Until::Durable)?;
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
        let who = self.inner.who.attribute().map_err(|reason| subject.unattributed(reason))?;
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

    pub(crate) fn record_of(&self, entry: &LogEntry) -> Result<Record, AuditError> {
        entry.check()?;
        let who = self.inner.who.attribute_as(entry.attribution()).map_err(|reason| {
            let (action, resource) = entry.shown();
            AuditError::unattributed(action, resource, reason)
        })?;
        let reading = self.inner.engine.clock().now();
        entry.record(&who, CallId(new_id(reading.as_millis())), reading)
    }

    pub(crate) fn begin(&self, body: impl FnOnce(CallId) -> Body) -> Result<(Span, Recorded), AuditError> {
        self.inner.engine.check()?;
        self.start_background()?;
        self.check_sealable()?;
        let opening = self.opening(body)?;
        self.inner.engine.submit(opening.record, Until::Durable)?;
        Ok((Span::new(self.clone(), opening.body), opening.recorded))
    }

    pub(crate) fn start_background(&self) -> Result<(), AuditError> {
        let inner = &*self.inner;
        inner.background().start(&inner.engine, inner.sealer.as_ref(), &inner.sealable, &inner.data)
    }

    /// What opens a span, not yet on record.
    pub(crate) fn opening(&self, body: impl FnOnce(CallId) -> Body) -> Result<Opening, AuditError> {
        let reading = self.inner.engine.clock().now();
        let call_id = CallId(self.inner.engine.mark().put_on(new_id(reading.as_millis())));
        let body = Arc::new(body(call_id));
        let record = Record::new(&body, "pending", None, reading)?.opening(&body);
        let recorded = Recorded { call_id, event_id: record.event };
        Ok(Opening { record, body, recorded })
    }

    /// Writes a span's outcome. When that fails the log refuses everything from then on.
    pub(crate) fn close_span(
        &self,
        body: &Body,
        outcome: &'static str,
        error_type: Option<&'static str>,
    ) -> Result<(), AuditError> {
        let engine = &self.inner.engine;
        Record::new(body, outcome, error_type, engine.clock().now())
            .and_then(|record| engine.submit(record, self.outcome_until()))
            .inspect_err(|error| engine.stop(error.clone()))
    }

    /// When an outcome counts as taken.
    pub(crate) fn outcome_until(&self) -> Until {
        match self.inner.outcome_sync {
            OutcomeSync::Background => Until::Written,
            // Also for a setting that this version does not know.
            _ => Until::Durable,
        }
    }

    /// Leaves failure(abandoned) for a span that nobody closed. Never blocks on the disk.
    pub(crate) fn abandon_span(&self, body: &Body) {
        self.inner.engine.leave_abandoned(body);
    }

    pub(crate) fn check_sealable(&self) -> Result<(), AuditError> {
        if self.inner.is_sealable() {
            return Ok(());
        }
        self.sealer()?.prepare()?;
        self.inner.sealable.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn sealer(&self) -> Result<&Sealer, AuditError> {
        let off = || AuditError::Sealing { reason: "ENTRABOT_AUDIT_SIGNING is off".into() };
        self.inner.sealer.as_deref().ok_or_else(off)
    }

    /// Whether checkpoints are signed at all (`ENTRABOT_AUDIT_SIGNING` is not `off`).
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.inner.sealer.is_some()
    }

    /// Signs a checkpoint of all that is on record and moves the anchor. `None` while the log is empty.
    ///
    /// # Errors
    /// [`AuditError::Sealing`] and others; what is on record stays so.
    pub fn checkpoint(&self) -> Result<Option<Sealed>, AuditError> {
        self.sealer()?.seal()
    }

    /// Replaces the signing key in the keyring by a new one. The change is on record, and the next checkpoint is
    /// signed by both keys.
    ///
    /// # Errors
    /// [`AuditError::Sealing`]; cut short, the next call finishes it.
    pub fn rotate_signing_key(&self) -> Result<Option<Sealed>, AuditError> {
        self.sealer()?
            .rotate(|from, to| self.note("audit.key_rotated", &[("from", from), ("to", to)]).map(drop))
    }

    /// Goes on although the clock stepped back by more than 48 hours. That is put on record.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn accept_clock(&self) -> Result<EventId, AuditError> {
        self.inner.engine.accept(true, false);
        self.note("audit.resumed", &[("accepted", "clock")])
    }

    /// Goes on although a file of the log was cut. That is put on record; the verification goes on to say it.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn accept_shrunk(&self) -> Result<EventId, AuditError> {
        self.inner.engine.accept(false, true);
        self.note("audit.resumed", &[("accepted", "shrunk")])
    }

    /// A record of the log's own.
    fn note(&self, action: &str, metadata: &[(&str, &str)]) -> Result<EventId, AuditError> {
        let mut noted = Map::new();
        noted.extend(metadata.iter().map(|&(key, value)| (key.to_owned(), value.into())));
        self.put(&Body::system(action, "audit.log", &noted), "success", None)
    }

    pub(crate) fn put(
        &self,
        body: &Body,
        outcome: &str,
        error_type: Option<&'static str>,
    ) -> Result<EventId, AuditError> {
        let record = Record::new(body, outcome, error_type, self.inner.engine.clock().now())?;
        let event = record.event;
        self.inner.engine.submit(record, Until::Durable)?;
        Ok(event)
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn folder(&self) -> &Arc<dyn Folder> {
        &self.inner.audit
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.engine.clock().now()
    }

    pub(crate) fn data(&self) -> &DataDir {
        &self.inner.data
    }
}

/// What opens a span.
pub(crate) struct Opening {
    pub(crate) record: Record,
    pub(crate) body: Arc<Body>,
    pub(crate) recorded: Recorded,
}

impl Inner {
    fn background(&self) -> MutexGuard<'_, Background> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the background runs already.
    #[cfg(feature = "async")]
    pub(crate) fn is_started(&self) -> bool {
        self.background.try_lock().is_ok_and(|background| background.is_started())
    }

    /// Whether a record may be written as far as its seal is concerned.
    pub(crate) fn is_sealable(&self) -> bool {
        !self.require_seal || self.sealable.load(Ordering::Acquire)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let background = std::mem::take(self.background.get_mut().unwrap_or_else(PoisonError::into_inner));
        background.stop(&self.engine, self.deadline);
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
