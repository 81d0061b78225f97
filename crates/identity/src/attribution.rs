use std::borrow::Cow;
use std::sync::Arc;

use entrabot_keystore::{EntryName, InsecureKeyringBackendError, KeystoreError, KeystorePolicy};

use crate::{Config, Diagnose, ErrorClass, Mode, Session, SessionSnapshot, SessionState, SessionUser};

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
    agent_id: Arc<str>,
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
    pub(crate) fn bootstrap() -> Self {
        Self { agent_id: "unknown".into(), kind: AttributionType::None, via: Via::Nobody }
    }
    /// A person who has just signed in, for what their own token does.
    #[cfg(all(feature = "delegated", feature = "provisioning"))]
    pub(crate) fn of_person(token: &crate::DelegatedToken) -> Self {
        Self {
            agent_id: token.human().object_id().as_str().into(),
            kind: AttributionType::DelegatedHuman,
            via: Via::Session,
        }
    }
}

/// No link of the chain could say who acts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unattributed {
    /// The keyring is not one to read from: never taken for "nobody".
    #[error(transparent)]
    InsecureKeyring(#[from] InsecureKeyringBackendError),
    /// Acts are a person's (`ENTRABOT_MODE` is `delegated`), and nobody is signed in.
    #[error("no identity: acts are a person's, and nobody is signed in")]
    NobodySignedIn,
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
            Self::Nobody { .. } | Self::NobodySignedIn => "AuditAttributionError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InsecureKeyring(error) => error.hint(),
            Self::NobodySignedIn => Some("run `entrabot sign-in`, or change ENTRABOT_MODE".into()),
            Self::Nobody { .. } => Some("set ENTRABOT_AGENT_ID, or run `entrabot provision`".into()),
        }
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::InsecureKeyring(error) => error.class(),
            Self::Nobody { .. } | Self::NobodySignedIn => ErrorClass::AuditUnavailable,
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

    /// Whether saying it may block, because the keyring may have to be asked.
    fn may_block(&self) -> bool;
}

/// session user → agent id → blueprint app id → keystore.
///
/// The session's user answers when the agent's own user is signed in, and for a person as long as the session
/// speaks for a person. An insecure keyring always propagates; any other failure of the keystore counts as "none
/// found" and is told in the reason. Where acts are a person's (`ENTRABOT_MODE` is `delegated`) no link but the session
/// answers for one: a person's act is never put down to the agent.
#[derive(Debug)]
pub struct AttributionChain {
    session: Arc<Session>,
    /// The agent's id, or else the blueprint's.
    configured: Option<(Arc<str>, Via)>,
    /// `None`: the last link is absent, as where no keyring is opened at all.
    keystore: Option<KeystorePolicy>,
    persons: bool,
}

impl AttributionChain {
    /// The chain over this session and these settings.
    #[must_use]
    pub fn new(config: &Config, session: Arc<Session>) -> Self {
        let agent = config.agent_id().map(|id| (id.as_str().into(), Via::AgentId));
        let blueprint = || config.blueprint_app_id().map(|id| (id.as_str().into(), Via::BlueprintAppId));
        Self {
            session,
            configured: agent.or_else(blueprint),
            keystore: (!config.needs_no_keystore()).then(|| config.keystore_policy().clone()),
            persons: config.mode() == Mode::Delegated,
        }
    }

    fn id(&self, session: SessionSnapshot, kind: AttributionType) -> Result<(Arc<str>, Via), Unattributed> {
        match (session.state, session.user) {
            (SessionState::AgentUser, Some(user @ SessionUser::Agent(_))) => {
                return Ok((user.id().into(), Via::Session));
            }
            (_, Some(user @ (SessionUser::Human(_) | SessionUser::Operator(_))))
                if session.attribution == AttributionType::DelegatedHuman =>
            {
                return Ok((user.id().into(), Via::Session));
            }
            _ if self.persons && kind != AttributionType::Agent => return Err(Unattributed::NobodySignedIn),
            _ => {}
        }
        if let Some((id, via)) = &self.configured {
            return Ok((Arc::clone(id), *via));
        }
        let stored = match self.keystore.as_ref().map(stored) {
            None => "not asked".into(),
            Some(Ok(id)) => return Ok((id.into(), Via::Store)),
            Some(Err(KeystoreError::Insecure(error))) => return Err(error.into()),
            Some(Err(error)) => error.to_string(),
        };
        Err(Unattributed::Nobody {
            reason: format!(
                "session {}; ENTRABOT_AGENT_ID not set; ENTRABOT_BLUEPRINT_APP_ID not set; keystore: {stored}",
                session.state
            ),
        })
    }
}

fn stored(keystore: &KeystorePolicy) -> Result<String, KeystoreError> {
    let secret = keystore.open()?.get(&EntryName::active_client_id())?;
    let id = std::str::from_utf8(secret.expose()).map(str::trim).unwrap_or_default();
    // An id, as the original wrote it. Anything else could be content, and must not reach a record.
    match uuid::Uuid::try_parse(id) {
        Ok(id) => Ok(id.hyphenated().to_string()),
        Err(_) => Err(KeystoreError::NoEntry),
    }
}

impl sealed::Sealed for AttributionChain {}

impl Attribute for AttributionChain {
    fn attribute(&self) -> Result<Attribution, Unattributed> {
        let session = self.session.snapshot();
        let kind = match session.attribution {
            AttributionType::DelegatedHuman => AttributionType::DelegatedHuman,
            _ if self.persons => return Err(Unattributed::NobodySignedIn),
            AttributionType::Agent | AttributionType::None => AttributionType::Agent,
        };
        let (agent_id, via) = self.id(session, kind)?;
        Ok(Attribution { agent_id, kind, via })
    }

    fn attribute_as(&self, kind: AttributionType) -> Result<Attribution, Unattributed> {
        match self.id(self.session.snapshot(), kind) {
            Ok((agent_id, via)) => Ok(Attribution { agent_id, kind, via }),
            Err(Unattributed::Nobody { .. } | Unattributed::NobodySignedIn)
                if kind != AttributionType::Agent =>
            {
                Ok(Attribution { agent_id: "unknown".into(), kind, via: Via::Nobody })
            }
            Err(error) => Err(error),
        }
    }

    fn may_block(&self) -> bool {
        self.configured.is_none() && self.keystore.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentUserId, Human, ObjectId, Step, TenantId};

    const AGENT: &str = "00000000-0000-4000-8000-00000000000a";
    const BLUEPRINT: &str = "00000000-0000-4000-8000-00000000000b";
    const USER: &str = "00000000-0000-4000-8000-00000000000c";
    const HUMAN: &str = "00000000-0000-4000-8000-00000000000d";

    fn chain(variables: &[(&str, &str)]) -> (AttributionChain, Arc<Session>) {
        let session = Arc::new(Session::new());
        let config = Config::from_variables(variables.iter().copied()).unwrap();
        (AttributionChain::new(&config, Arc::clone(&session)), session)
    }

    fn sign_in_human(session: &Session) {
        let human = Human::new(ObjectId::parse(HUMAN).unwrap(), TenantId::parse("t").unwrap());
        session.enter(Step::Delegated(human)).unwrap();
    }

    #[test]
    fn each_link_answers_in_its_turn() {
        let (chain, session) =
            chain(&[("ENTRABOT_AGENT_ID", AGENT), ("ENTRABOT_BLUEPRINT_APP_ID", BLUEPRINT)]);
        let who = chain.attribute().unwrap();
        assert_eq!((who.agent_id(), who.kind(), who.via()), (AGENT, AttributionType::Agent, Via::AgentId));
        session.agent_signed_in(AgentUserId::parse(USER).unwrap()).unwrap();
        let who = chain.attribute().unwrap();
        assert_eq!((who.agent_id(), who.kind(), who.via()), (USER, AttributionType::Agent, Via::Session));
        session.enter(Step::Error).unwrap();
        assert_eq!(
            chain.attribute().unwrap().via(),
            Via::AgentId,
            "in ERROR the session's user is not asked"
        );
    }

    #[test]
    fn the_blueprint_answers_when_there_is_no_agent() {
        let (chain, _) = chain(&[("ENTRABOT_BLUEPRINT_APP_ID", BLUEPRINT)]);
        let who = chain.attribute().unwrap();
        assert_eq!((who.agent_id(), who.via()), (BLUEPRINT, Via::BlueprintAppId));
    }

    #[test]
    fn a_persons_acts_are_never_the_agents() {
        let (chain, session) = chain(&[("ENTRABOT_AGENT_ID", AGENT)]);
        sign_in_human(&session);
        let who = chain.attribute().unwrap();
        assert_eq!(
            (who.agent_id(), who.kind(), who.via()),
            (HUMAN, AttributionType::DelegatedHuman, Via::Session)
        );
        session.enter(Step::Provisioning).unwrap();
        assert_eq!(chain.attribute().unwrap().kind(), AttributionType::DelegatedHuman);
        session.enter(Step::Error).unwrap();
        assert_eq!(chain.attribute().unwrap().agent_id(), HUMAN);
    }

    #[test]
    fn where_acts_are_a_persons_the_agent_never_answers_for_one() {
        let (chain, session) = chain(&[("ENTRABOT_AGENT_ID", AGENT), ("ENTRABOT_MODE", "delegated")]);
        assert!(matches!(chain.attribute(), Err(Unattributed::NobodySignedIn)));
        let declared = chain.attribute_as(AttributionType::DelegatedHuman).unwrap();
        assert_eq!((declared.agent_id(), declared.via()), ("unknown", Via::Nobody));
        sign_in_human(&session);
        let who = chain.attribute().unwrap();
        assert_eq!((who.agent_id(), who.kind()), (HUMAN, AttributionType::DelegatedHuman));
    }

    #[test]
    fn an_insecure_keyring_is_never_taken_for_nobody() {
        let (chain, _) = chain(&[("ENTRABOT_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")]);
        for result in [
            chain.attribute(),
            chain.attribute_as(AttributionType::DelegatedHuman),
            chain.attribute_as(AttributionType::None),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.error_type(), "InsecureKeyringBackendError");
            assert_eq!(error.class(), ErrorClass::InsecureKeyring);
        }
    }

    #[test]
    fn without_a_key_of_its_own_no_keyring_is_asked_who_acts() {
        for credential in ["workload-identity", "managed-identity"] {
            let (chain, _) = chain(&[
                ("ENTRABOT_BLUEPRINT_CREDENTIAL", credential),
                // Opening this one would be an error of its own.
                ("ENTRABOT_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring"),
            ]);
            let error = chain.attribute().unwrap_err();
            assert!(matches!(&error, Unattributed::Nobody { .. }), "{error:?}");
            assert!(error.to_string().ends_with("keystore: not asked"), "{error}");
        }
    }

    #[test]
    fn a_declared_kind_keeps_the_chains_id() {
        let (chain, _) = chain(&[("ENTRABOT_AGENT_ID", AGENT)]);
        let who = chain.attribute_as(AttributionType::DelegatedHuman).unwrap();
        assert_eq!(
            (who.agent_id(), who.kind(), who.via()),
            (AGENT, AttributionType::DelegatedHuman, Via::AgentId)
        );
    }
}
