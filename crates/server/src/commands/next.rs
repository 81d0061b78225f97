//! `entrabot` alone: what to do next, from what is really there. Asks no server, reads no secret, writes nothing.

use entrabot_identity::{BlueprintCredential, Config, Diagnose};
use entrabot_keystore::{EntryName, KeystoreError};
use serde_json::json;

use super::YES;
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;

/// Where the installation stands, and what takes it further.
struct Next {
    state: &'static str,
    why: String,
    next: &'static str,
}

impl Next {
    fn new(state: &'static str, why: impl Into<String>, next: &'static str) -> Self {
        Self { state, why: cleaned(&why.into()), next }
    }
}

pub(crate) fn run(json: bool) -> Result<u8, Failure> {
    let Next { state, why, next } = next()?;
    if json {
        terminal::json(&json!({"state": state, "why": why, "next": next}))?;
    } else {
        terminal::line(&why)?;
        terminal::line(&format!("next: {next}"))?;
        terminal::line("`entrabot help` lists the commands.")?;
    }
    Ok(YES)
}

/// In the order in which a person would mend things: settings, keyring, agent, key, log; then the client.
fn next() -> Result<Next, Failure> {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            return Ok(Next::new(
                "settings-malformed",
                error.to_string(),
                "correct it, then entrabot doctor",
            ));
        }
    };
    let keystore = match config.blueprint_credential() {
        BlueprintCredential::Keystore => match config.keystore_policy().open() {
            Ok(keystore) => Some(keystore),
            Err(error) => return Ok(keyring(&error)),
        },
        _ => None,
    };
    let parts = Parts::new(config)?;
    let config = parts.config();
    if let Err(error) = parts.sign_in().exchange() {
        let why = format!("No agent is set up: {}.", Failure::from(error).message());
        return Ok(if config.tenant_id().is_none() || config.provisioner_client_id().is_none() {
            Next::new(
                "not-provisioned",
                why,
                "set ENTRABOT_TENANT_ID and ENTRABOT_PROVISIONER_CLIENT_ID, then entrabot provision",
            )
        } else {
            Next::new("not-provisioned", why, "entrabot provision")
        });
    }
    match keystore.map(|keystore| keystore.contains(&EntryName::blueprint_private_key())) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => {
            let why = "An agent is set up, but its blueprint's private key is not in this keyring.";
            return Ok(Next::new("key-missing", why, "entrabot doctor"));
        }
        Some(Err(error)) => return Ok(keyring(&error)),
    }
    if config.audit_dir().exists()
        && let Err(error) = entrabot_audit::status(config.audit_dir(), config.data_dir())
    {
        return Ok(Next::new("audit-unavailable", Failure::from(error).message(), "entrabot doctor"));
    }
    let who = config.agent_upn().unwrap_or("the agent user of the settings");
    Ok(Next::new(
        "ready",
        format!("Set up, as {who}."),
        "entrabot client add claude-code; entrabot whoami signs in",
    ))
}

fn keyring(error: &KeystoreError) -> Next {
    let state = match error {
        KeystoreError::Insecure(_) => "keyring-insecure",
        _ => "keyring-unavailable",
    };
    Next::new(state, format!("{}: {error}", error.error_type()), "entrabot doctor")
}
