//! The same doors for tasks. A task costs no thread while it waits, and a thousand of them share one sync.

use entrabot_identity::off_runtime;

use crate::commit::Until;
use crate::commit::task::Kept;
use crate::line::{Body, Record};
use crate::permit::Span;
use crate::{AuditError, AuditLog, Auditable, EventId, LogEntry, Permit};

impl AuditLog {
    /// As [`AuditLog::log_event`], for a task: blocks no thread of the runtime. Dropped while it waits, the record is
    /// taken back if nobody has begun to write it.
    ///
    /// # Errors
    /// As [`AuditLog::log_event`].
    ///
    /// # Panics
    /// Outside a tokio runtime with its clock enabled.
    pub async fn log_event_async(&self, entry: &LogEntry) -> Result<EventId, AuditError> {
        self.make_ready(false).await?;
        let record = if self.inner.who.may_block() {
            let (log, entry) = (self.clone(), entry.clone());
            off_runtime(move || log.record_of(&entry)).await?
        } else {
            self.record_of(entry)?
        };
        let event = record.event;
        self.take(record, Until::Durable, Kept::No).await?;
        Ok(event)
    }

    /// As [`AuditLog::permit`], for a task: blocks no thread of the runtime. Dropped while it waits, the record is taken
    /// back, or closed as failure(abandoned) when it is on the log already.
    ///
    /// # Errors
    /// As [`AuditLog::permit`].
    ///
    /// # Panics
    /// Outside a tokio runtime with its clock enabled.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use entrabot_audit::{AttributionChain, AuditLog, AuditOptions, Auditable, Config, Session, Subject};
    /// # async fn act<C: Auditable>(log: AuditLog, call: C) -> Result<u32, Box<dyn std::error::Error>> {
    /// let permit = log.permit_async(call).await?; // `pending` is on the disk now
    /// let answer: Result<u32, std::io::Error> = Ok(42); // the act itself
    /// let settled = permit.finish_async(answer).await; // `success` is on record
    /// # Ok(settled.into_result().map_err(|_| "failed")?)
    /// # }
    /// ```
    pub async fn permit_async<C: Auditable>(&self, call: C) -> Result<Permit<C>, AuditError> {
        let subject = call.subject();
        let who = if self.inner.who.may_block() {
            let log = self.clone();
            off_runtime(move || log.inner.who.attribute()).await
        } else {
            self.inner.who.attribute()
        };
        let who = who.map_err(|reason| subject.unattributed(reason))?;
        self.inner.engine.check()?;
        self.make_ready(true).await?;
        let opening = self.opening(|id| subject.body(&who, id))?;
        self.take(opening.record, Until::Durable, Kept::No).await?;
        Ok(Permit::new(call, opening.recorded, Span::new(self.clone(), opening.body)))
    }

    /// Writes a span's outcome, also when nobody waits for it any more. When that fails the log refuses everything from
    /// then on.
    pub(crate) async fn close_span_async(
        &self,
        body: &Body,
        outcome: &'static str,
    ) -> Result<(), AuditError> {
        let engine = &self.inner.engine;
        let closed = match Record::new(body, outcome, None, engine.clock().now()) {
            Ok(record) => self.take(record, self.outcome_until(), Kept::Yes).await,
            Err(error) => Err(error),
        };
        closed.inspect_err(|error| engine.stop(error.clone()))
    }

    /// The background, which leads for tasks, and the key, which may have to be asked for.
    async fn make_ready(&self, for_a_span: bool) -> Result<(), AuditError> {
        if self.inner.is_started() && (!for_a_span || self.inner.is_sealable()) {
            return Ok(());
        }
        let log = self.clone();
        off_runtime(move || {
            log.start_background()?;
            if for_a_span { log.check_sealable() } else { Ok(()) }
        })
        .await
    }

    async fn take(&self, record: Record, until: Until, kept: Kept) -> Result<(), AuditError> {
        let waited = self.inner.deadline;
        let submission = self.inner.engine.submission(record, until, kept);
        // Whoever leads has the same deadline and knows more, such as who holds the lock: it is let speak first.
        let result = tokio::time::timeout(waited + waited / 10, submission).await;
        result.unwrap_or(Err(AuditError::Timeout { waited }))
    }
}
