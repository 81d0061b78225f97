//! Removes whole days that are over, and leaves a signed tombstone in their place. The order is what a kill or a power
//! cut cannot break: sealed and verified, then on record as pending, then the tombstone durable, only then are files
//! removed, oldest first. Cut anywhere, the log verifies, and the next run finishes what a tombstone already says.

mod survey;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use self::survey::Survey;
use crate::line::Body;
use crate::time::{Clock as _, Day, SystemClock};
use crate::tombstone::Tombstone;
use crate::verify::verify_folder;
use crate::{AuditError, AuditLog, Recorded, VerifyLevel, VerifyOptions};

/// What the log itself says of it.
pub(crate) const ACTION: &str = "audit.prune";
const LOCK: &str = ".audit-prune.lock";

/// Which days may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneUntil {
    /// Days before this one.
    before: Day,
}

impl PruneUntil {
    /// Keeps today and so many days before it.
    #[must_use]
    pub fn keeping_days(days: u32) -> Self {
        Self { before: SystemClock.now().day().minus(days) }
    }

    /// Keeps this day, `YYYY-MM-DD`, and what follows. `None` when it is no day.
    #[must_use]
    pub fn before(day: &str) -> Option<Self> {
        Day::parse(day).map(|before| Self { before })
    }
}

/// What was pruned, or would be. Serialises to what `entrabot audit prune --json` prints.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// The days whose files are gone.
    pub days: Vec<String>,
    /// How many lines they had.
    pub lines: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many days an earlier run had left to be removed.
    pub finished: u64,
    /// Why a day that is old enough stays, and with it those after it.
    pub kept: Option<String>,
    /// The tombstone, a signed note: worth keeping elsewhere.
    pub tombstone: Option<String>,
}

fn refused(reason: impl Into<String>) -> AuditError {
    AuditError::NotPruned { reason: reason.into() }
}

impl AuditLog {
    /// Says which days [`AuditLog::prune`] would remove. Writes nothing.
    ///
    /// # Errors
    /// [`AuditError::NotPruned`]: the log is not proved to be whole.
    pub fn plan_prune(&self, until: PruneUntil) -> Result<Pruned, AuditError> {
        let survey = self.survey(until, false)?;
        Ok(survey.outcome())
    }

    /// Removes the days before this one, as far as each is closed by a checkpoint, anchored, without an open call, and
    /// exported where an export follows the log. A signed tombstone takes their place, and the pruning is on record.
    /// An earlier run that was cut off is finished first.
    ///
    /// # Errors
    /// [`AuditError::NotPruned`]: the log is not proved to be whole. Others: what is on record says how far it came.
    pub fn prune(&self, until: PruneUntil) -> Result<Pruned, AuditError> {
        let data = self.data().open()?;
        let storage = |error| AuditError::storage("lock", data.file_path(LOCK), &error);
        let lock = data.lock(LOCK, false).map_err(storage)?;
        if !lock.try_exclusive().map_err(storage)? {
            return Err(refused("another process is pruning this log"));
        }
        let result = self.prune_locked(until);
        // The descriptor goes right after, and the lock with it.
        let _freed_anyway = lock.unlock();
        result
    }

    fn prune_locked(&self, until: PruneUntil) -> Result<Pruned, AuditError> {
        // What is not under a checkpoint yet comes under one.
        self.sealer()?.seal()?;
        let survey = self.survey(until, true)?;
        let mut pruned = survey.outcome();
        if survey.left_behind.is_empty() && survey.days().is_empty() {
            return Ok(pruned);
        }
        let by = format!("uid {}", rustix::process::getuid().as_raw());
        let body = |call| Body { call, ..Body::system(ACTION, "audit.log", &metadata(&survey, &by)) };
        let (span, recorded) = self.begin(body)?;
        match self.remove(&survey, recorded, by) {
            Ok(note) => {
                span.close("success", None)?;
                pruned.tombstone = note;
                self.sealer()?.seal()?;
                Ok(pruned)
            }
            Err(error) => {
                span.close("failure", Some("prune-failed"))?;
                Err(error)
            }
        }
    }

    fn survey(&self, until: PruneUntil, sealed: bool) -> Result<Survey, AuditError> {
        self.sealer()?;
        let folder = Arc::clone(self.folder());
        let Some(data) = self.data().open_existing()? else {
            return Err(refused("there is no anchor: the log was never sealed"));
        };
        let report = verify_folder(Arc::clone(&folder), Some(&*data), &VerifyOptions::new())?;
        if let Some(error) = report.first_error {
            let line = if error.line > 0 { format!(":{}", error.line) } else { String::new() };
            return Err(refused(format!("the log is not intact: {}{line}: {}", error.file, error.reason)));
        }
        if report.level < VerifyLevel::Anchored && report.events > 0 {
            return Err(refused("the log is under no anchor"));
        }
        Survey::take(folder, &*data, until.before, sealed)
    }

    /// Removes the files, once the tombstone is durable. Gives the tombstone.
    fn remove(&self, survey: &Survey, recorded: Recorded, by: String) -> Result<Option<String>, AuditError> {
        let folder = self.folder();
        let mut note = None;
        if let Some(last) = survey.last() {
            let tombstone = Tombstone {
                origin: String::new(),
                tree: last.tree.clone(),
                chain: last.chain,
                next_seq: last.next_seq,
                first: survey.first,
                at: self.now().to_string(),
                by,
                record: recorded.event_id.0,
                days: survey.days().iter().map(|day| day.pruned.clone()).collect(),
                carried: survey.carried.clone(),
            };
            note = Some(self.sealer()?.bury(tombstone)?);
        }
        let leaving: Vec<Day> = survey
            .left_behind
            .iter()
            .copied()
            .chain(survey.days().iter().map(|day| day.pruned.day))
            .collect();
        for day in &leaving {
            for name in [format!("{day}.torn"), day.file_name()] {
                match folder.remove(&name) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(AuditError::storage("remove", folder.file_path(&name), &error)),
                }
            }
        }
        folder.sync().map_err(|e| AuditError::storage("sync", folder.path(), &e))?;
        if let Some(data) = self.data().open_existing()? {
            crate::index::forget(&*data, folder.path(), &leaving);
        }
        Ok(note)
    }
}

/// What the record says: days and numbers.
fn metadata(survey: &Survey, by: &str) -> Map<String, Value> {
    let days = survey.days();
    let mut metadata = Map::new();
    metadata.insert("by".into(), by.into());
    metadata.insert("days".into(), days.len().to_string().into());
    metadata.insert("lines".into(), days.iter().map(|day| day.pruned.lines).sum::<u64>().to_string().into());
    if let (Some(first), Some(last)) = (days.first(), days.last()) {
        metadata.insert("from".into(), first.pruned.day.to_string().into());
        metadata.insert("to".into(), last.pruned.day.to_string().into());
    }
    if !survey.left_behind.is_empty() {
        metadata.insert("finished".into(), survey.left_behind.len().to_string().into());
    }
    metadata
}
