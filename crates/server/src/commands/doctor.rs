//! `entrabot doctor`: everything that can be wrong, in the order in which a person would mend it, each with its remedy.
//! Writes nothing but the probe's own entry, and touches the network only when the settings name a tenant.

mod agent;
mod audit;
mod check;
mod keyring;
mod network;
mod surroundings;
mod work_iq;

use std::time::Instant;

use clap::Args;
use entrabot_identity::{Config, HopReport, Preflight, Resource, TokenExchange};
use entrabot_keystore::{ErrorClass, Keystore, KeystorePolicy};

use self::check::{Check, Group, Report, Status};
use self::network::{Look, Network};
use super::{NO, YES};
use crate::compose::Parts;
use crate::failure::Failure;
use crate::terminal;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  entrabot doctor\n  entrabot doctor --json | jq '.checks[] | select(.status == \"fail\")'"
)]
pub(crate) struct DoctorArgs {
    /// Ask no server; what needs one is skipped
    #[arg(long)]
    offline: bool,
}

pub(crate) fn run(args: &DoctorArgs, json: bool) -> Result<u8, Failure> {
    let begun = Instant::now();
    let mut report = Report::default();
    match Config::from_env() {
        Ok(config) => look(config, args, begun, &mut report)?,
        Err(error) => {
            // The keyring can be looked at all the same, as if nothing were set about it.
            keyring::keyring(&KeystorePolicy::default(), &mut report);
            keyring::leaks(&mut report);
            report.add(Group::Settings, Check::failed("settings", &error.into()));
        }
    }
    if json {
        terminal::json(&report.to_json())?;
    } else {
        report.print()?;
    }
    Ok(if report.is_ok() { YES } else { NO })
}

fn look(config: Config, args: &DoctorArgs, begun: Instant, report: &mut Report) -> Result<(), Failure> {
    let keystore = keyring::of_settings(&config, report);
    keyring::leaks(report);
    report.add(Group::Settings, settings(&config));
    let parts = match Parts::new(config) {
        Ok(parts) => parts,
        Err(failure) => {
            report.add(Group::Settings, Check::failed("CA bundle", &failure));
            return Ok(());
        }
    };
    let config = parts.config();
    let network =
        if args.offline || config.tenant_id().is_none() { None } else { Some(Network::new(begun)?) };
    match &network {
        Some(network) => online(&parts, keystore.as_ref(), network, report),
        None => offline(&parts, keystore.as_ref(), args, report),
    }
    report.add(Group::Audit, audit::directory(config));
    report.add(Group::Audit, surroundings::audit_chain(config));
    report.add(Group::Audit, audit::signing(config, keystore.as_ref()));
    report.add(Group::Audit, surroundings::disk_space(config));
    report.add(Group::Machine, surroundings::instances(config));
    report.add(Group::Machine, surroundings::telemetry(&parts, network.as_ref()));
    if let Some(network) = network {
        network.end();
    }
    Ok(())
}

fn settings(config: &Config) -> Check {
    const NAME: &str = "settings";
    let foreign = crate::mcp::foreign_bases(config);
    if !config.warnings().is_empty() {
        return Check::new(
            NAME,
            Status::Warn,
            config.warnings().join("; "),
            Some("see entrabot config show"),
        );
    }
    if !foreign.is_empty() {
        let detail = format!("not a Microsoft cloud: {}", foreign.join(", "));
        return Check::new(NAME, Status::Warn, detail, Some("remove the bases for the real Microsoft 365"));
    }
    Check::pass(NAME, format!("sound; cloud {}", config.cloud()))
}

fn offline(parts: &Parts, keystore: Option<&Keystore>, args: &DoctorArgs, report: &mut Report) {
    let (detail, hint) = if args.offline {
        ("not asked: --offline", "run it without --offline")
    } else {
        ("not asked: the settings name no tenant", "run entrabot provision")
    };
    report.add(Group::Network, Check::skip("network", detail, hint));
    identity(parts, keystore, report);
    if !parts.sign_in().person().acts() {
        report.add(Group::Agent, Check::skip("token mint", detail, hint));
    }
    work_iq::manifest(parts.config(), report);
}

fn online(parts: &Parts, keystore: Option<&Keystore>, network: &Network, report: &mut Report) {
    let config = parts.config();
    let looks = network.look_at(config, parts.egress());
    let exchange = exchange(parts);
    let mint = exchange.as_ref().map(|exchange| mint(config, exchange, &looks, network));
    let hops = mint.as_ref().map_or(&[][..], |(hops, _)| hops);
    network::tell(&looks, hops, report);
    identity(parts, keystore, report);
    let signed_in = match (&exchange, mint) {
        (Some(exchange), Some((hops, check))) => {
            report.add(Group::Agent, check);
            (!hops.is_empty() && hops.iter().all(|hop| hop.outcome.is_ok())).then_some(exchange)
        }
        _ => None,
    };
    if exchange.is_none() && !parts.sign_in().person().acts() {
        report.add(Group::Agent, no_exchange(parts));
    }
    if let Some(exchange) = signed_in {
        let preflight = Preflight::new(config, exchange.clone(), parts.egress());
        agent::directory(parts, &preflight, network, report);
    }
    let servers = work_iq::manifest(config, report);
    if let (Some(exchange), Some(servers)) = (signed_in, servers) {
        report.add(Group::WorkIq, work_iq::consent(exchange, &servers, network));
    }
}

/// The key that signs in, or the person who does.
fn identity(parts: &Parts, keystore: Option<&Keystore>, report: &mut Report) {
    report.add(
        Group::Agent,
        if parts.sign_in().person().acts() {
            agent::person(parts, keystore)
        } else {
            agent::blueprint_key(parts, keystore)
        },
    );
}

/// How the agent signs in; `None` where it is a person who acts, or the settings are not complete.
fn exchange(parts: &Parts) -> Option<TokenExchange> {
    if parts.sign_in().person().acts() {
        return None;
    }
    parts.sign_in().exchange().ok().cloned()
}

/// The hops, unless it is plain that they cannot work.
fn mint(
    config: &Config,
    exchange: &TokenExchange,
    looks: &[Look],
    network: &Network,
) -> (Vec<HopReport>, Check) {
    let reached = looks.iter().any(|look| look.reached(network::LOGIN));
    if !reached {
        let detail = "not tried: Entra cannot be reached";
        return (Vec::new(), Check::skip("token mint", detail, "mend the network first"));
    }
    let hops = network.hops(exchange, &Resource::graph(config));
    let check = agent::token_mint(config, &hops);
    (hops, check)
}

fn no_exchange(parts: &Parts) -> Check {
    const NAME: &str = "token mint";
    let begun = parts.config().agent_id().is_some() || parts.config().blueprint_app_id().is_some();
    match parts.sign_in().exchange() {
        Err(error) if begun => Check::failed(NAME, &Failure::from(error)),
        _ => Check::skip(NAME, "no agent is configured", "run entrabot provision"),
    }
}

// The exit code of a failed check is 1, whatever the check's own family.
const _: () = assert!(ErrorClass::Failed as u8 == NO);
