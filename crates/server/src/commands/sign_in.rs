//! `entrabot sign-in` and `entrabot sign-out`: a person's sign-in, for `ENTRABOT_MODE=delegated`.

use std::sync::Arc;

use clap::Args;
use entrabot_identity::{Delegated, DelegatedError, DelegatedToken, Egress, Mode, SignInWay};
use serde_json::json;

use super::YES;
use crate::failure::Failure;
use crate::prompt::TerminalPrompt;
use crate::terminal;

/// How a person is asked.
#[derive(Debug, Args)]
pub(crate) struct SignInArgs {
    /// Show a code to enter in a browser anywhere, instead of opening one here
    #[arg(long)]
    device_code: bool,
    /// Only say which address to open in a browser on this machine
    #[arg(long, conflicts_with = "device_code")]
    no_browser: bool,
    /// The port of localhost that the browser comes back to; 0 for a free one
    #[arg(long, value_name = "PORT", default_value_t = 8400, conflicts_with = "device_code")]
    port: u16,
}

impl SignInArgs {
    /// Asks the person.
    pub(super) async fn ask(&self, delegated: Delegated) -> Result<DelegatedToken, DelegatedError> {
        let way = match (self.device_code, self.no_browser) {
            (true, _) => SignInWay::DeviceCode,
            (false, true) => SignInWay::Browser,
            (false, false) => SignInWay::BrowserElseDeviceCode,
        };
        let prompt = Arc::new(TerminalPrompt { open_nothing: self.no_browser });
        delegated.on_port(self.port).sign_in(way, prompt).await
    }
}

pub(crate) fn sign_in(args: &SignInArgs, json: bool) -> Result<u8, Failure> {
    let config = super::config()?;
    let delegated = Delegated::from_config(&config, &Egress::from_config(&config)?)?;
    let token = super::runtime()?.block_on(args.ask(delegated))?;
    let (person, tenant) = (token.human().object_id(), token.human().tenant());
    if json {
        terminal::json(
            &json!({"signed_in": true, "object_id": person.as_str(), "tenant_id": tenant.as_str()}),
        )?;
    } else {
        terminal::line(&format!("signed in: person {person} of tenant {tenant}"))?;
    }
    if config.mode() != Mode::Delegated {
        terminal::note("acts stay the agent's: ENTRABOT_MODE=delegated makes them this person's");
    }
    Ok(YES)
}

pub(crate) fn sign_out(json: bool) -> Result<u8, Failure> {
    let config = super::config()?;
    let delegated = Delegated::from_config(&config, &Egress::from_config(&config)?)?;
    let was = super::runtime()?.block_on(delegated.sign_out())?;
    if json {
        terminal::json(&json!({"signed_out": was}))?;
    } else {
        terminal::line(if was { "signed out here" } else { "nobody was signed in here" })?;
    }
    Ok(YES)
}
