/// The five states of a session (see the state table in the crate documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// Nobody is signed in.
    Unauthenticated,
    /// A person is signed in.
    Delegated,
    /// An agent is being made.
    Provisioning,
    /// The agent's own user is signed in.
    AgentUser,
    /// Signing in or provisioning failed.
    Error,
}

/// Who is signed in, shared by everything in one process.
#[derive(Debug, Default)]
pub struct Session {
    _private: (),
}

impl Session {
    /// A session in `Unauthenticated`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// The present state.
    #[must_use]
    pub fn state(&self) -> SessionState {
        todo!("identity")
    }
}
