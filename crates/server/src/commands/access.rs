//! `entrabot sponsors` and `entrabot grants`: who answers for the agent, and what it may do.

use clap::Subcommand;
use entrabot_identity::ObjectId;
use serde_json::json;

use super::YES;
use super::bench::Bench;
use crate::failure::{Failure, cleaned};
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(crate) enum SponsorsCommand {
    /// The people who answer for the agent
    List,
    /// Add one
    Add {
        /// The person's object id
        id: String,
    },
    /// Remove one; the last one stays
    Remove {
        /// The person's object id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantsCommand {
    /// The scopes that the agent holds
    List,
    /// Grant scopes on Microsoft Graph to the agent's user
    Grant {
        /// By name, e.g. Files.Read.All
        #[arg(required = true)]
        scopes: Vec<String>,
    },
    /// Take scopes on Microsoft Graph away from the agent's user
    Revoke {
        /// By name, e.g. Files.Read.All
        #[arg(required = true)]
        scopes: Vec<String>,
    },
}

pub(crate) fn sponsors(command: &SponsorsCommand, json: bool) -> Result<u8, Failure> {
    let person = |id: &str| {
        ObjectId::parse(id)
            .map_err(|error| Failure::usage(format!("the id is {error}"), "give a person's object id"))
    };
    match command {
        SponsorsCommand::List => {
            let bench = Bench::new()?;
            let sponsors = bench.look(bench.provisioner.sponsors())?;
            if json {
                terminal::json(&json!({"sponsors": sponsors}))?;
            } else {
                sponsors.iter().try_for_each(|id| terminal::line(&cleaned(id)))?;
            }
        }
        SponsorsCommand::Add { id } => {
            let id = person(id)?;
            let bench = Bench::new()?;
            let lock = bench.provisioner.lock()?;
            let changed = bench.act(async |gate| bench.provisioner.add_sponsor(&id, &lock, gate).await)?;
            say(changed, json)?;
        }
        SponsorsCommand::Remove { id } => {
            let id = person(id)?;
            let bench = Bench::new()?;
            let lock = bench.provisioner.lock()?;
            let changed = bench.act(async |gate| bench.provisioner.remove_sponsor(&id, &lock, gate).await)?;
            say(changed, json)?;
        }
    }
    Ok(YES)
}

pub(crate) fn grants(command: &GrantsCommand, json: bool) -> Result<u8, Failure> {
    let bench = Bench::new()?;
    let changed = match command {
        GrantsCommand::List => return list(&bench, json),
        GrantsCommand::Grant { scopes } => {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let lock = bench.provisioner.lock()?;
            bench.act(async |gate| bench.provisioner.grant_scopes(&scopes, &lock, gate).await)?
        }
        GrantsCommand::Revoke { scopes } => {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let lock = bench.provisioner.lock()?;
            bench.act(async |gate| bench.provisioner.revoke_scopes(&scopes, &lock, gate).await)?
        }
    };
    if json {
        terminal::json(&json!({"changed": changed}))?;
    } else if changed.is_empty() {
        terminal::line("nothing to change")?;
    } else {
        changed.iter().try_for_each(|scope| terminal::line(&cleaned(scope)))?;
    }
    Ok(YES)
}

fn list(bench: &Bench, json: bool) -> Result<u8, Failure> {
    let grants = bench.look(bench.provisioner.grants())?;
    if json {
        let grants: Vec<_> = grants
            .iter()
            .map(|grant| {
                json!({"resource": grant.resource.to_string(), "for_tenant": grant.for_tenant, "scopes": grant.scopes})
            })
            .collect();
        terminal::json(&json!({"grants": grants}))?;
    } else {
        for grant in &grants {
            let whose = if grant.for_tenant { "tenant" } else { "agent user" };
            terminal::line(&cleaned(&format!("{}  {whose}  {}", grant.resource, grant.scopes.join(" "))))?;
        }
    }
    Ok(YES)
}

fn say(changed: bool, json: bool) -> Result<(), Failure> {
    if json {
        return terminal::json(&json!({"changed": changed}));
    }
    terminal::line(if changed { "done" } else { "nothing to change" })
}
