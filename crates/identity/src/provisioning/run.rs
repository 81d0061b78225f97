//! What every changing run shares: the gate, progress, and patience with the directory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::ProvisioningError;
use super::step::StepKind;
use crate::{Action, ActionGate, Attribution, Diagnose};

/// What a run is at, for people to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A step begins.
    Started(StepKind),
    /// It waits for something.
    Waiting(&'static str),
    /// A step is done; whether it changed something.
    Done(StepKind, bool),
}

/// How long the directory may take to show what was made.
const VISIBLE_WITHIN: Duration = Duration::from_secs(120);

/// A changing run.
pub(super) struct Run<'a> {
    gate: Arc<dyn ActionGate>,
    who: Attribution,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Run")
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(gate: Arc<dyn ActionGate>, progress: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        Self { gate, who: Attribution::bootstrap(), progress }
    }

    /// Its acts are this one's.
    #[cfg(feature = "delegated")]
    pub(super) fn by(self, who: Attribution) -> Self {
        Self { who, ..self }
    }

    pub(super) fn tell(&self, progress: Progress) {
        (self.progress)(progress);
    }

    /// Puts the act on record, does it, and settles the record. When this future is dropped in between, the record is
    /// closed as abandoned.
    pub(super) async fn act<T>(
        &self,
        name: &'static str,
        subject: Option<&Uuid>,
        act: impl Future<Output = Result<T, ProvisioningError>>,
    ) -> Result<T, ProvisioningError> {
        let (gate, who, action) = (Arc::clone(&self.gate), self.who.clone(), Action::new(name, subject));
        let admitted = blocking(move || Ok(gate.admit(&who, &action)?)).await?;
        let result = act.await;
        let outcome = result.as_ref().map(|_| ()).map_err(Diagnose::error_type);
        match (blocking(move || Ok(admitted.settle(outcome))).await?, result) {
            (Ok(()), result) => result,
            // The act's own failure is what the caller can do something about.
            (Err(_), Err(error)) => Err(error),
            (Err(source), Ok(_)) => Err(ProvisioningError::OutcomeLost { action: name, source }),
        }
    }

    /// Looks until it is there.
    pub(super) async fn until_found<T, F>(
        &self,
        what: &'static str,
        within: Duration,
        mut look: impl FnMut() -> F,
    ) -> Result<Option<T>, ProvisioningError>
    where
        F: Future<Output = Result<Option<T>, ProvisioningError>>,
    {
        let deadline = Instant::now() + within;
        let mut pause = Duration::from_millis(200);
        let mut told = false;
        loop {
            if let Some(found) = look().await? {
                return Ok(Some(found));
            }
            if Instant::now() + pause > deadline {
                return Ok(None);
            }
            if !told {
                self.tell(Progress::Waiting(what));
                told = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(3));
        }
    }

    /// The same for what was just made.
    pub(super) async fn until_visible<T, F>(
        &self,
        what: &'static str,
        look: impl FnMut() -> F,
    ) -> Result<T, ProvisioningError>
    where
        F: Future<Output = Result<Option<T>, ProvisioningError>>,
    {
        let found = self.until_found(what, VISIBLE_WITHIN, look).await?;
        found.ok_or(ProvisioningError::NotYetVisible { what, waited: VISIBLE_WITHIN })
    }

    /// Tries again while the directory does not know yet what the request refers to: 404 as long as anything may take,
    /// 400 for a short while, since it may also mean that the request is wrong.
    pub(super) async fn until_known<T, F>(
        &self,
        what: &'static str,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, ProvisioningError>
    where
        F: Future<Output = Result<T, ProvisioningError>>,
    {
        let started = Instant::now();
        let mut pause = Duration::from_millis(250);
        loop {
            let error = match ask().await {
                Err(ProvisioningError::Graph(error)) => error,
                result => return result,
            };
            let patience = match (error.status(), error.code()) {
                (Some(404), _) | (Some(400), Some("NoBackingApplicationObject")) => VISIBLE_WITHIN / 2,
                (Some(400), _) => Duration::from_secs(8),
                _ => Duration::ZERO,
            };
            if started.elapsed() + pause > patience {
                return Err(error.into());
            }
            self.tell(Progress::Waiting(what));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(4));
        }
    }
}

/// Off the runtime: the keyring and the audit block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProvisioningError> + Send + 'static,
) -> Result<T, ProvisioningError> {
    crate::spawn_blocking(work).await.unwrap_or(Err(ProvisioningError::Aborted))
}
