//! `entrabot whoami` and `entrabot status`.

use serde_json::json;

use super::{NO, YES};
use crate::compose::Parts;
use crate::failure::Failure;
use crate::mcp::{foreign_bases, who_am_i};

/// Signs in, as a call would.
pub(crate) fn whoami(json: bool) -> Result<u8, Failure> {
    let parts = Parts::new(super::config()?)?;
    let who = super::runtime()?.block_on(who_am_i(&parts));
    let value = serde_json::to_value(&who).map_err(|_| Failure::internal("whoami"))?;
    super::print_members(&value, json)?;
    match parts.sign_in().last_failure() {
        // With --json the answer above tells it; on a terminal the reason belongs on stderr, and in the exit code.
        Some(failure) if !json => Err(failure),
        Some(failure) => Ok(failure.exit_code()),
        None => Ok(YES),
    }
}

/// What the settings say, and what is missing. Asks nobody.
pub(crate) fn status(json: bool) -> Result<u8, Failure> {
    let parts = Parts::new(super::config()?)?;
    let config = parts.config();
    let person = parts.sign_in().person();
    let missing = if person.acts() {
        person.delegated().err().map(Failure::from)
    } else {
        parts.sign_in().exchange().err().map(Failure::from)
    };
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "tenant_id": config.tenant_id().map(ToString::to_string),
        "blueprint_app_id": config.blueprint_app_id().map(ToString::to_string),
        "agent_id": config.agent_id().map(ToString::to_string),
        "agent_user_id": config.agent_user_id().map(ToString::to_string),
        "agent_upn": config.agent_upn(),
        "mode": config.mode().as_str(),
        "cloud": config.cloud().as_str(),
        "microsoft_cloud": config.foreign_bases().is_empty(),
        "foreign_bases": foreign_bases(config),
        "authority_base": config.authority_base().as_str(),
        "graph_base": config.graph_base().as_str(),
        "a365_base": config.a365_base(),
        "audit_dir": config.audit_dir().display().to_string(),
        "data_dir": config.data_dir().display().to_string(),
        "log_dir": config.log_dir().display().to_string(),
        "acts_are": if person.acts() { "a person's" } else { "the agent's" },
        "client_id": config.client_id().map(ToString::to_string),
        "delegated_fallback": config.allows_delegated_fallback(),
        "can_sign_in": missing.is_none(),
        "missing": missing.as_ref().map(|failure| failure.message().to_owned()),
    });
    super::print_members(&value, json)?;
    Ok(if missing.is_none() { YES } else { NO })
}
