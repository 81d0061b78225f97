//! The bench that provisioning works at: the Provisioner app, the audit as its gate, and an end at a signal.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::Arc;

use entrabot_identity::{ActionGate, Provisioner, ProvisioningError};
use entrabot_keystore::{Diagnose, ErrorClass};
use tokio::runtime::Runtime;

use crate::compose::Parts;
use crate::failure::Failure;
use crate::terminal;

/// What the commands that make, change and remove an agent work with.
pub(super) struct Bench {
    pub(super) parts: Parts,
    pub(super) provisioner: Provisioner,
    pub(super) runtime: Runtime,
}

impl Bench {
    pub(super) fn new() -> Result<Self, Failure> {
        let parts = Parts::new(super::config()?)?;
        let provisioner = Provisioner::new(parts.config(), parts.egress())?;
        Ok(Self { parts, provisioner, runtime: super::runtime()? })
    }

    /// Reads only.
    pub(super) fn look<T>(
        &self,
        reading: impl Future<Output = Result<T, ProvisioningError>>,
    ) -> Result<T, Failure> {
        Ok(self.runtime.block_on(reading)?)
    }

    /// Changes things, on record.
    pub(super) fn act<T>(
        &self,
        acting: impl AsyncFnOnce(Arc<dyn ActionGate>) -> Result<T, ProvisioningError>,
    ) -> Result<T, Failure> {
        on_record(&self.parts, &self.runtime, acting)
    }

    /// The same for a change that no plan came before: what the plan would have read first is read first.
    pub(super) fn act_unplanned<T>(
        &self,
        acting: impl AsyncFnOnce(Arc<dyn ActionGate>) -> Result<T, ProvisioningError>,
    ) -> Result<T, Failure> {
        self.look(self.provisioner.ready())?;
        self.act(acting)
    }

    /// The same for what makes the agent: the session says that it is being made, and what came of it.
    pub(super) fn make<T>(
        &self,
        acting: impl AsyncFnOnce(Arc<dyn ActionGate>) -> Result<T, ProvisioningError>,
    ) -> Result<T, Failure> {
        let making = self.parts.session().begin_making(self.provisioner.app().clone())?;
        let made = self.act(acting)?;
        making.finish()?;
        Ok(made)
    }
}

/// Changes things: the gate is the audit, and a signal ends it with every record closed. Callers have used the keyring
/// before: behind an unsafe one the audit must not make a file.
pub(super) fn on_record<T, E: Diagnose>(
    parts: &Parts,
    runtime: &Runtime,
    acting: impl AsyncFnOnce(Arc<dyn ActionGate>) -> Result<T, E>,
) -> Result<T, Failure> {
    let gate: Arc<dyn ActionGate> = Arc::new(parts.audit()?);
    let result = runtime.block_on(async {
        tokio::select! {
            result = acting(gate) => result.map_err(Failure::from),
            () = interrupted() => Err(Failure::new(
                "InterruptedError",
                "interrupted before it was done",
                Some("run it again: it goes on from what is there"),
                ErrorClass::Failed,
            )),
        }
    });
    super::audit::close(parts);
    result
}

/// Asks only where there is somebody to answer.
pub(super) fn confirmed(yes: bool, question: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(
            "nobody is there to be asked, so nothing was changed",
            "give --yes, or --dry-run",
        ));
    }
    terminal::note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::io("read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // The system's default ends the process; the next run resumes.
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// The same where a no is a refusal: nothing was changed, and the exit code says so.
pub(super) fn must_be_confirmed(yes: bool, question: &str) -> Result<(), Failure> {
    if confirmed(yes, question)? {
        Ok(())
    } else {
        Err(Failure::usage("nothing was changed", "answer y, or give --yes"))
    }
}

#[cfg(test)]
mod tests {
    use entrabot_identity::{Config, SessionState};

    use super::*;

    fn bench(home: &std::path::Path) -> Bench {
        let home = home.to_str().unwrap();
        let config = Config::from_variables([
            ("ENTRABOT_TENANT_ID", "contoso.example"),
            ("ENTRABOT_PROVISIONER_CLIENT_ID", "00000000-0000-4000-8000-00000000000e"),
            ("ENTRABOT_AUDIT_DIR", home),
            ("ENTRABOT_DATA_DIR", home),
            ("ENTRABOT_AUDIT_SIGNING", "off"),
        ]);
        let parts = Parts::new(config.unwrap()).unwrap();
        let provisioner = Provisioner::new(parts.config(), parts.egress()).unwrap();
        Bench { parts, provisioner, runtime: super::super::runtime().unwrap() }
    }

    #[test]
    fn the_session_is_in_provisioning_while_an_agent_is_made_and_in_error_when_that_failed() {
        let home = tempfile::tempdir().unwrap();
        let bench = bench(home.path());
        let state = || bench.parts.session().state();
        let failed: Result<(), _> = bench.make(async |_| {
            assert_eq!(state(), SessionState::Provisioning);
            Err(ProvisioningError::Aborted)
        });
        assert!(failed.is_err());
        assert_eq!(state(), SessionState::Error);

        let made = bench.make(async |_| {
            assert_eq!(state(), SessionState::Provisioning);
            Ok(())
        });
        assert!(made.is_ok(), "another run may begin");
        assert_eq!(state(), SessionState::Delegated, "its maker is signed in, not the agent");
    }
}
