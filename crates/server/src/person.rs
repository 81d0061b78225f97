//! A person in the agent's place: where the settings say so from the start, and where they let one stand in for an agent
//! whose sign-in failed. Never otherwise, and never unrecorded.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use entrabot_audit::LogEntry;
use entrabot_identity::{
    Config, Delegated, DelegatedError, Egress, Human, Mode, Session, SessionState, SessionUser, SignInWay,
    Step,
};
use tokio::sync::watch;

use crate::compose::AuditDoor;
use crate::failure::Failure;
use crate::prompt::TerminalPrompt;

/// Whether a person may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// In the browser, or by a code on stderr.
    IfNeeded,
    /// Only what needs no prompt.
    Never,
}

/// A person's sign-in, and whether acts are theirs.
pub(crate) struct Person {
    config: Arc<Config>,
    session: Arc<Session>,
    egress: Egress,
    audit: Arc<AuditDoor>,
    delegated: OnceLock<Delegated>,
    /// A person took the place of an agent whose sign-in failed. For the rest of this process: who acts does not change
    /// back and forth.
    stands_in: AtomicBool,
    /// Somebody was asked and has not answered yet.
    asked: watch::Sender<bool>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("stands_in", &self.stands_in).finish_non_exhaustive()
    }
}

impl Person {
    pub(crate) fn new(
        config: Arc<Config>,
        session: Arc<Session>,
        egress: Egress,
        audit: Arc<AuditDoor>,
    ) -> Self {
        let (asked, _) = watch::channel(false);
        Self {
            config,
            session,
            egress,
            audit,
            delegated: OnceLock::new(),
            stands_in: AtomicBool::new(false),
            asked,
        }
    }

    /// Whether acts are a person's.
    pub(crate) fn acts(&self) -> bool {
        self.config.mode() == Mode::Delegated || self.stands_in.load(Ordering::Acquire)
    }

    /// Whether somebody was asked and has not answered yet.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until somebody is asked.
    pub(crate) async fn until_asked(&self) {
        let mut asked = self.asked.subscribe();
        // The sender is ours: it is not gone while we wait.
        let _never_gone = asked.wait_for(|asked| *asked).await;
    }

    /// The settings' public client. Touches neither keyring nor network.
    pub(crate) fn delegated(&self) -> Result<&Delegated, DelegatedError> {
        if let Some(delegated) = self.delegated.get() {
            return Ok(delegated);
        }
        let delegated = Delegated::from_config(&self.config, &self.egress)?;
        Ok(self.delegated.get_or_init(|| delegated))
    }

    /// Signs a person in, without a prompt where that is possible. `instead_of` is the failure of the agent whose place
    /// they take: that is on record before anybody can act.
    pub(crate) async fn sign_in(&self, ask: Ask, instead_of: Option<&Failure>) -> Result<(), Failure> {
        match self.token_holder(ask).await {
            Ok(human) => self.enter(human, instead_of).await,
            Err(error) => {
                let failure = Failure::from(error);
                tracing::warn!(
                    error = failure.message(),
                    error_type = failure.error_type(),
                    hint = failure.hint(),
                    "no person is signed in"
                );
                if self.session.state() == SessionState::Delegated
                    && let Err(error) = self.session.refresh_failed()
                {
                    tracing::warn!(%error, "the session could not be cleared");
                }
                Err(failure)
            }
        }
    }

    async fn token_holder(&self, ask: Ask) -> Result<Human, DelegatedError> {
        let delegated = self.delegated()?;
        let token = match delegated.silent().await {
            Err(error) if ask == Ask::IfNeeded && error.needs_person() => {
                tracing::info!(reason = %error, "a person is asked to sign in");
                self.asked.send_replace(true);
                let prompt = Arc::new(TerminalPrompt { open_nothing: false });
                let answered = delegated.sign_in(SignInWay::default(), prompt).await;
                self.asked.send_replace(false);
                answered?
            }
            other => other?,
        };
        Ok(token.human().clone())
    }

    async fn enter(&self, human: Human, instead_of: Option<&Failure>) -> Result<(), Failure> {
        let now = self.session.snapshot();
        if now.state == SessionState::Delegated && now.user == Some(SessionUser::Human(human.clone())) {
            return Ok(());
        }
        let step = Step::Delegated(human.clone());
        let Some(failure) = instead_of else {
            self.session.enter(step)?;
            tracing::info!(person = %human.object_id(), "a person is signed in: acts are theirs");
            return Ok(());
        };
        // Before the session says so: from then on no token of the agent goes out.
        self.stands_in.store(true, Ordering::Release);
        let (session, audit, error_type) =
            (Arc::clone(&self.session), Arc::clone(&self.audit), failure.error_type());
        let person = human.object_id().clone();
        let entered = entrabot_identity::spawn_blocking(move || {
            session.enter_with(step, || {
                audit.open(false)?.log_event(&LogEntry::delegated_fallback(&human, error_type)).map(drop)
            })
        });
        let result = match entered.await {
            Ok(result) => result.map_err(Failure::from),
            Err(_) => Err(Failure::internal("the change to a person")),
        };
        match &result {
            Ok(()) => tracing::warn!(%person, "a person stands in for the agent: acts are theirs"),
            Err(_) => self.stands_in.store(false, Ordering::Release),
        }
        result
    }
}
