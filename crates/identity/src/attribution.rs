use std::borrow::Cow;
use std::sync::Arc;

use entrabot_keystore::InsecureKeyringBackendError;

use crate::{Config, Diagnose, ErrorClass, Session};

/// For whom a record speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttributionType {
    /// `agent`: the agent acted as itself.
    Agent,
    /// `delegated-human`: a person's delegated token acted.
    DelegatedHuman,
    /// `none`: there is no identity yet.
    None,
}

impl AttributionType {
    /// As it stands in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::DelegatedHuman => "delegated-human",
            Self::None => "none",
        }
    }
}

/// Which link of the attribution chain answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Via {
    /// The signed-in session's user.
    Session,
    /// `ENTRABOT_AGENT_ID`.
    AgentId,
    /// `ENTRABOT_BLUEPRINT_APP_ID`.
    BlueprintAppId,
    /// The keystore's `entrabot`/`active_client_id`.
    Store,
    /// Nobody: only for `none` and `delegated-human`.
    Nobody,
}

impl Via {
    /// As it stands in a record: `session`, `agent_id`, `blueprint_app_id`, `store`, `none`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::AgentId => "agent_id",
            Self::BlueprintAppId => "blueprint_app_id",
            Self::Store => "store",
            Self::Nobody => "none",
        }
    }
}

/// Who acts. Only the chain makes one: no caller can name itself.
#[derive(Clone, Debug)]
pub struct Attribution {
    agent_id: String,
    kind: AttributionType,
    via: Via,
}

impl Attribution {
    /// The `agent_id` of a record: an id, or `unknown`.
    #[must_use]
    pub fn agent_id(&self) -> &str {
        &self.agent_id
    }
    /// The `attribution_type` of a record.
    #[must_use]
    pub fn kind(&self) -> AttributionType {
        self.kind
    }
    /// The `via` of a record.
    #[must_use]
    pub fn via(&self) -> Via {
        self.via
    }
    /// "No identity yet": can be said only inside provisioning.
    #[cfg(feature = "provisioning")]
    #[expect(dead_code, reason = "provisioning is the only caller")]
    pub(crate) fn bootstrap() -> Self {
        Self { agent_id: "unknown".into(), kind: AttributionType::None, via: Via::Nobody }
    }
}

/// No link of the chain could say who acts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unattributed {
    /// The keyring is not one to read from: never taken for "nobody".
    #[error(transparent)]
    InsecureKeyring(#[from] InsecureKeyringBackendError),
    /// Every link was empty.
    #[error("no identity: {reason}")]
    Nobody {
        /// Which links were asked, and what each said.
        reason: String,
    },
}

impl Diagnose for Unattributed {
    fn error_type(&self) -> &'static str {
        match self {
            Self::InsecureKeyring(error) => error.error_type(),
            Self::Nobody { .. } => "AuditAttributionError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InsecureKeyring(error) => error.hint(),
            Self::Nobody { .. } => Some("set ENTRABOT_AGENT_ID, or run `entrabot provision`".into()),
        }
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::InsecureKeyring(error) => error.class(),
            Self::Nobody { .. } => ErrorClass::AuditUnavailable,
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Says who acts. Sealed: only the chain can.
pub trait Attribute: sealed::Sealed + Send + Sync + std::fmt::Debug {
    /// Who acts now: the session's kind, else the agent. May block on the keyring (at most 2.5 s).
    ///
    /// # Errors
    /// See [`Unattributed`].
    fn attribute(&self) -> Result<Attribution, Unattributed>;

    /// The same with the kind declared by the caller (`entrabot audit append --attribution`): `agent` demands an
    /// identity, the others fall back to `unknown`.
    ///
    /// # Errors
    /// See [`Unattributed`].
    fn attribute_as(&self, kind: AttributionType) -> Result<Attribution, Unattributed>;
}

/// session user → agent id → blueprint app id → keystore.
#[derive(Debug)]
pub struct AttributionChain {
    _session: Arc<Session>,
}

impl AttributionChain {
    /// The chain over this session and these settings.
    #[must_use]
    pub fn new(_config: &Config, session: Arc<Session>) -> Self {
        Self { _session: session }
    }
}

impl sealed::Sealed for AttributionChain {}

impl Attribute for AttributionChain {
    fn attribute(&self) -> Result<Attribution, Unattributed> {
        todo!("identity")
    }
    fn attribute_as(&self, _kind: AttributionType) -> Result<Attribution, Unattributed> {
        todo!("identity")
    }
}
