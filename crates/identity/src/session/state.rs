use std::fmt;

use crate::{AgentUserId, AttributionType, ClientId, ObjectId, TenantId};

/// The five states of a session (see the table in the crate's documentation).
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

impl SessionState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unauthenticated, Self::Delegated, Self::Provisioning, Self::AgentUser, Self::Error];

    /// Whether the table has a step from here to `to`.
    #[must_use]
    pub fn allows(self, to: Self) -> bool {
        match self {
            Self::Unauthenticated => matches!(to, Self::Delegated | Self::AgentUser),
            Self::Delegated => matches!(to, Self::Provisioning | Self::Unauthenticated),
            Self::Provisioning => matches!(to, Self::AgentUser | Self::Error | Self::Delegated),
            Self::Error => matches!(to, Self::Delegated | Self::Unauthenticated),
            Self::AgentUser => matches!(to, Self::Error | Self::Unauthenticated),
        }
    }

    /// `UNAUTHENTICATED`, `DELEGATED`, `PROVISIONING`, `AGENT_USER`, `ERROR`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Delegated => "DELEGATED",
            Self::Provisioning => "PROVISIONING",
            Self::AgentUser => "AGENT_USER",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A person who signed in: their object id and home tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Human {
    object_id: ObjectId,
    tenant: TenantId,
}

impl Human {
    /// The `oid` and `tid` of a person's id token.
    #[must_use]
    pub fn new(object_id: ObjectId, tenant: TenantId) -> Self {
        Self { object_id, tenant }
    }
    /// The person's object id.
    #[must_use]
    pub fn object_id(&self) -> &ObjectId {
        &self.object_id
    }
    /// The person's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// The one who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionUser {
    /// The agent's own user account.
    Agent(AgentUserId),
    /// A person.
    Human(Human),
    /// A person at the shell who acts through the Provisioner app. That app is all that is known of them.
    Operator(ClientId),
}

impl SessionUser {
    /// The object id; an operator's is the Provisioner app's client id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Agent(user) => user.as_str(),
            Self::Human(human) => human.object_id.as_str(),
            Self::Operator(app) => app.as_str(),
        }
    }
}

/// A step to a state, with what that state needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Sign out; the session is cleared.
    Unauthenticated,
    /// A person signed in.
    Delegated(Human),
    /// A person acts through the Provisioner app.
    Operator(ClientId),
    /// An agent is being made.
    Provisioning,
    /// The agent's own user signed in.
    AgentUser(AgentUserId),
    /// Something failed for good.
    Error,
}

impl Step {
    /// Where it leads.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match self {
            Self::Unauthenticated => SessionState::Unauthenticated,
            Self::Delegated(_) | Self::Operator(_) => SessionState::Delegated,
            Self::Provisioning => SessionState::Provisioning,
            Self::AgentUser(_) => SessionState::AgentUser,
            Self::Error => SessionState::Error,
        }
    }
}

/// A session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSnapshot {
    /// The state.
    pub state: SessionState,
    /// Who is, or (in `Provisioning` and `Error`) was last signed in.
    pub user: Option<SessionUser>,
    /// For whom acts speak: set on entering `Delegated`, `AgentUser` and `Unauthenticated`, kept by the others.
    pub attribution: AttributionType,
}
