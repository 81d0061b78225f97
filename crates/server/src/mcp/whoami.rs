//! Who acts: for the `whoami` tool and for `entrabot whoami`. No secrets, no tokens.

use std::time::Duration;

use entrabot_identity::{AgentUserId, BlueprintAppId, Config, SessionState, SessionUser, TenantId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::compose::Parts;
use crate::failure::Failure;

/// How long the directory may take to tell the sponsors.
const SPONSORS_WITHIN: Duration = Duration::from_secs(5);

/// The agent and the state of its sign-in.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WhoAmI {
    /// Always `entra_agent_identity`.
    agent_type: &'static str,
    blueprint_app_id: Option<String>,
    /// The agent identity.
    agent_id: Option<String>,
    agent_upn: Option<String>,
    /// The agent user's object id, else the agent identity's.
    agent_object_id: Option<String>,
    /// The person whose acts these are, where they are a person's.
    #[serde(skip_serializing_if = "Option::is_none")]
    human_object_id: Option<String>,
    /// `not_configured` when there is none.
    tenant_id: String,
    /// `authenticated` or `not_authenticated`.
    status: &'static str,
    /// Why the last sign-in failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// `loaded`, `not_configured` (the directory names none) or `error`.
    human_sponsor_status: &'static str,
    /// Where the sponsors were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    human_sponsor_source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    human_sponsor_count: Option<usize>,
    identity_state: &'static str,
    /// For whom the audit says that acts are: `agent`, `delegated-human` or `none`.
    attribution_type: &'static str,
    /// `agent_user`, `delegated` or `none`.
    auth_mode: &'static str,
    /// `public`, `usgov`, `usgov-dod` or `china`.
    cloud: &'static str,
    /// Whether every address is one of Microsoft's.
    microsoft_cloud: bool,
    /// The addresses that are not, as `SETTING=address`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    foreign_bases: Vec<String>,
}

/// Signs in first if the agent is not signed in; a failure is part of the answer.
pub(crate) async fn who_am_i(parts: &Parts) -> WhoAmI {
    let config = parts.config();
    let failure = if config.skip_provisioning() && !parts.sign_in().person().acts() {
        None
    } else {
        parts.sign_in().ensure().await.err()
    };
    let session = parts.session().snapshot();
    let authenticated = matches!(session.state, SessionState::AgentUser | SessionState::Delegated);
    let sponsors =
        if session.state == SessionState::AgentUser { sponsors(parts).await } else { Known::NotAsked };
    WhoAmI {
        agent_type: "entra_agent_identity",
        blueprint_app_id: config.blueprint_app_id().map(BlueprintAppId::to_string),
        agent_id: config.agent_id().map(ToString::to_string),
        agent_upn: config.agent_upn().map(str::to_owned),
        agent_object_id: session
            .user
            .as_ref()
            .and_then(|user| matches!(user, SessionUser::Agent(_)).then(|| user.id().to_owned()))
            .or_else(|| config.agent_user_id().map(AgentUserId::to_string))
            .or_else(|| config.agent_object_id().map(str::to_owned)),
        human_object_id: session
            .user
            .as_ref()
            .and_then(|user| matches!(user, SessionUser::Human(_)).then(|| user.id().to_owned())),
        tenant_id: config.tenant_id().map_or_else(|| "not_configured".to_owned(), TenantId::to_string),
        status: if authenticated { "authenticated" } else { "not_authenticated" },
        error: failure.as_ref().map(|failure| failure.message().to_owned()),
        error_type: failure.as_ref().map(|failure| failure.error_type()),
        hint: failure.as_ref().and_then(|failure| failure.hint().map(str::to_owned)),
        human_sponsor_status: match sponsors {
            Known::Count(1..) => "loaded",
            Known::Count(0) | Known::NotAsked => "not_configured",
            Known::Unreadable => "error",
        },
        human_sponsor_source: matches!(sponsors, Known::Count(1..))
            .then_some("entra_agent_identity_sponsors"),
        human_sponsor_count: if let Known::Count(count) = sponsors { Some(count) } else { None },
        identity_state: session.state.as_str(),
        attribution_type: session.attribution.as_str(),
        auth_mode: match session.user {
            Some(SessionUser::Agent(_)) => "agent_user",
            Some(SessionUser::Human(_) | SessionUser::Operator(_)) => "delegated",
            _ => "none",
        },
        cloud: config.cloud().as_str(),
        microsoft_cloud: config.foreign_bases().is_empty(),
        foreign_bases: foreign_bases(config),
    }
}

/// What is known of the people who answer for the agent.
#[derive(Clone, Copy, Debug)]
enum Known {
    Count(usize),
    Unreadable,
    NotAsked,
}

/// A slow directory must not keep `whoami` from saying the rest.
async fn sponsors(parts: &Parts) -> Known {
    let read = async { Ok::<_, Failure>(parts.sponsors()?.read().await?.len()) };
    match tokio::time::timeout(SPONSORS_WITHIN, read).await {
        Ok(Ok(count)) => Known::Count(count),
        Ok(Err(failure)) => {
            tracing::warn!(
                error = failure.message(),
                error_type = failure.error_type(),
                hint = failure.hint(),
                "the agent's sponsors are not known"
            );
            Known::Unreadable
        }
        Err(_) => {
            tracing::warn!("the directory did not tell the agent's sponsors in time");
            Known::Unreadable
        }
    }
}

/// The addresses that are not Microsoft's, as `SETTING=address`.
pub(crate) fn foreign_bases(config: &Config) -> Vec<String> {
    config.foreign_bases().iter().map(|(setting, base)| format!("{setting}={}", base.as_str())).collect()
}
