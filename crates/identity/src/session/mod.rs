//! Who is signed in: five states, and only the steps between them that the table allows.
//!
//! | from | to |
//! |---|---|
//! | Unauthenticated | Delegated, AgentUser |
//! | Delegated | Provisioning, Unauthenticated |
//! | Provisioning | AgentUser, Error, Delegated |
//! | Error | Delegated, Unauthenticated |
//! | AgentUser | Error, Unauthenticated |
//!
//! There is no step from a state to itself. A step names the one who signs in, so that a state that has a user can
//! not be entered without one, nor a state that has none with one.

mod error;
mod making;
mod state;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use error::{InvalidTransitionError, SessionError};
pub use making::Making;
pub use state::{Human, SessionSnapshot, SessionState, SessionUser, Step};

use crate::{AgentUserId, AttributionType};

/// How long a step waits for another one that is under way.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A step that was taken, as listeners are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionChange {
    /// The state before.
    pub from: SessionState,
    /// The state now.
    pub to: SessionState,
}

type Listener = Arc<dyn Fn(&SessionChange) + Send + Sync>;

/// Who is signed in, shared by everything in one process.
///
/// Reading never waits for a step under way: it sees the session before it or after it, never half of it.
pub struct Session {
    inner: Mutex<Inner>,
    free: Condvar,
    listeners: Mutex<Vec<Listener>>,
    lock_wait: Duration,
}

struct Inner {
    now: SessionSnapshot,
    /// A step is under way; its callback runs without the mutex.
    busy: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("now", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Session {
    /// A session in `Unauthenticated`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner { now: SessionSnapshot::nobody(), busy: false }),
            free: Condvar::new(),
            listeners: Mutex::new(Vec::new()),
            lock_wait: LOCK_WAIT,
        }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.lock().now.state
    }

    /// State, user and attribution, as one consistent whole.
    #[must_use]
    pub fn snapshot(&self) -> SessionSnapshot {
        self.lock().now.clone()
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`SessionError::InvalidTransition`] when the table has no such step, [`SessionError::TransitionTimeout`]
    /// when another step held the session for 30 s. The session is as it was.
    pub fn enter(&self, step: Step) -> Result<(), SessionError> {
        self.enter_with(step, || Ok::<(), std::convert::Infallible>(()))
    }

    /// Takes a step if `callback` succeeds. The callback runs before anybody can see the new state and must not
    /// take steps itself.
    ///
    /// # Errors
    /// As [`Session::enter`]; [`SessionError::Transition`] with the callback's error. The session is as it was,
    /// also when the callback panics.
    pub fn enter_with<E>(
        &self,
        step: Step,
        callback: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), SessionError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let (claim, from) = self.claim()?;
        let to = step.state();
        let after = from.after(step)?;
        callback().map_err(|error| SessionError::Transition { to, source: Box::new(error) })?;
        self.lock().now = after;
        drop(claim);
        self.tell(&SessionChange { from: from.state, to });
        Ok(())
    }

    /// Takes steps, chosen by what the session is now, that no other step can come between; all of them or none.
    fn enter_all(&self, steps: impl FnOnce(&SessionSnapshot) -> Vec<Step>) -> Result<(), SessionError> {
        let (claim, mut now) = self.claim()?;
        let mut changes = Vec::new();
        for step in steps(&now) {
            let after = now.after(step)?;
            changes.push(SessionChange { from: now.state, to: after.state });
            now = after;
        }
        self.lock().now = now;
        drop(claim);
        changes.iter().for_each(|change| self.tell(change));
        Ok(())
    }

    /// The agent's own user signed in. Signing in again as the same user changes nothing; another user, or a
    /// person in its place, is an error: an identity is never exchanged silently.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn agent_signed_in(&self, user: AgentUserId) -> Result<(), SessionError> {
        if self.snapshot().user == Some(SessionUser::Agent(user.clone()))
            && self.state() == SessionState::AgentUser
        {
            return Ok(());
        }
        self.enter(Step::AgentUser(user))
    }

    /// A token could not be had any more: the session is cleared, and a later sign-in starts from nothing. A
    /// session that has nobody is left alone.
    ///
    /// # Errors
    /// See [`SessionError`]; not from `Provisioning`, whose end is its own.
    pub fn refresh_failed(&self) -> Result<(), SessionError> {
        match self.state() {
            SessionState::Unauthenticated => Ok(()),
            _ => self.enter(Step::Unauthenticated),
        }
    }

    /// Calls `listener` after each step, outside the lock, in the order of registration. A listener that panics is
    /// logged and does not disturb the others.
    pub fn listen(&self, listener: impl Fn(&SessionChange) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    fn tell(&self, change: &SessionChange) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| listener(change))).is_err() {
                tracing::error!(from = %change.from, to = %change.to, "a session listener panicked");
            }
        }
    }

    fn claim(&self) -> Result<(Claim<'_>, SessionSnapshot), SessionError> {
        let deadline = Instant::now() + self.lock_wait;
        let mut inner = self.lock();
        while inner.busy {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SessionError::TransitionTimeout { waited: self.lock_wait });
            }
            inner = self.free.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.busy = true;
        let now = inner.now.clone();
        drop(inner);
        Ok((Claim { session: self }, now))
    }

    // A panic never happens between two halves of a change (each is one assignment), so a poisoned lock is sound.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to take one step; given back on drop, whatever happens.
struct Claim<'a> {
    session: &'a Session,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.session.lock().busy = false;
        self.session.free.notify_one();
    }
}

impl SessionSnapshot {
    fn nobody() -> Self {
        Self { state: SessionState::Unauthenticated, user: None, attribution: AttributionType::None }
    }

    fn person(user: SessionUser) -> Self {
        let attribution = AttributionType::DelegatedHuman;
        Self { state: SessionState::Delegated, user: Some(user), attribution }
    }

    fn after(&self, step: Step) -> Result<Self, InvalidTransitionError> {
        let (from, to) = (self.state, step.state());
        if !from.allows(to) {
            return Err(InvalidTransitionError { from, to });
        }
        Ok(match step {
            Step::Unauthenticated => Self::nobody(),
            Step::Delegated(human) => Self::person(SessionUser::Human(human)),
            Step::Operator(app) => Self::person(SessionUser::Operator(app)),
            Step::AgentUser(user) => {
                Self { state: to, user: Some(SessionUser::Agent(user)), attribution: AttributionType::Agent }
            }
            // Whose acts these are does not change by being provisioned or by failing.
            Step::Provisioning | Step::Error => Self { state: to, ..self.clone() },
        })
    }
}

#[cfg(test)]
mod tests;
