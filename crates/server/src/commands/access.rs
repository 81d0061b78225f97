//! `entrabot sponsors` and `entrabot grants`: who answers for the agent, and what it may do.

use clap::Subcommand;
use entrabot_identity::{ClientId, GrantResource, ObjectId};
use serde_json::json;

use super::YES;
use super::bench::Bench;
use crate::failure::{Failure, cleaned};
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(crate) enum SponsorsCommand {
    /// List the people who answer for the agent
    List,
    /// Add a person who answers for the agent
    Add {
        /// The person's object id
        id: String,
    },
    /// Remove such a person; the last one stays
    Remove {
        /// The person's object id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantsCommand {
    /// List the scopes that the agent holds
    List,
    /// Grant scopes to the agent's user
    Grant {
        /// On which API, by its app id [default: Microsoft Graph]
        #[arg(long, value_name = "APP_ID")]
        resource: Option<String>,
        /// By name, e.g. Files.Read.All
        #[arg(required = true)]
        scopes: Vec<String>,
    },
    /// Take scopes away from the agent's user
    Revoke {
        /// On which API, by its app id [default: Microsoft Graph]
        #[arg(long, value_name = "APP_ID")]
        resource: Option<String>,
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
                let sponsors: Vec<_> = sponsors
                    .iter()
                    .map(|person| json!({"id": person.id, "display_name": person.display_name, "upn": person.upn}))
                    .collect();
                terminal::json(&json!({"sponsors": sponsors}))?;
            } else {
                for person in &sponsors {
                    let name = person.display_name.as_deref().unwrap_or("-");
                    let upn = person.upn.as_deref().unwrap_or("-");
                    terminal::line(&cleaned(&format!("{}  {upn}  {name}", person.id)))?;
                }
            }
        }
        SponsorsCommand::Add { id } => {
            let id = person(id)?;
            let bench = Bench::new()?;
            let lock = bench.provisioner.lock()?;
            let changed =
                bench.act_unplanned(async |gate| bench.provisioner.add_sponsor(&id, &lock, gate).await)?;
            say(changed, json)?;
        }
        SponsorsCommand::Remove { id } => {
            let id = person(id)?;
            let bench = Bench::new()?;
            let lock = bench.provisioner.lock()?;
            let changed =
                bench.act_unplanned(async |gate| bench.provisioner.remove_sponsor(&id, &lock, gate).await)?;
            say(changed, json)?;
        }
    }
    Ok(YES)
}

pub(crate) fn grants(command: &GrantsCommand, json: bool) -> Result<u8, Failure> {
    let (resource, scopes, add) = match command {
        GrantsCommand::List => return list(&Bench::new()?, json),
        GrantsCommand::Grant { resource, scopes } => (resource, scopes, true),
        GrantsCommand::Revoke { resource, scopes } => (resource, scopes, false),
    };
    let resource = match resource {
        None => GrantResource::Graph,
        Some(id) => GrantResource::App(ClientId::parse(id).map_err(|error| {
            Failure::usage(format!("--resource is {error}"), "give the application id of the API")
        })?),
    };
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let bench = Bench::new()?;
    let lock = bench.provisioner.lock()?;
    let provisioner = &bench.provisioner;
    let changed = bench.act_unplanned(async |gate| match add {
        true => provisioner.grant_scopes(&resource, &scopes, &lock, gate).await,
        false => provisioner.revoke_scopes(&resource, &scopes, &lock, gate).await,
    })?;
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
                json!({
                    "resource": grant.resource, "resource_name": grant.resource_name,
                    "by_blueprint": grant.by_blueprint, "for_tenant": grant.for_tenant, "scopes": grant.scopes,
                })
            })
            .collect();
        terminal::json(&json!({"grants": grants}))?;
    } else {
        for grant in &grants {
            let whose = match (grant.by_blueprint, grant.for_tenant) {
                (true, true) => "agents of the blueprint, for everybody",
                (true, false) => "agents of the blueprint, for one user",
                (false, true) => "the agent, for everybody",
                (false, false) => "the agent's user",
            };
            let name = grant.resource_name.as_deref().unwrap_or(&grant.resource);
            terminal::line(&cleaned(&format!("{name} ({whose}): {}", grant.scopes.join(" "))))?;
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
