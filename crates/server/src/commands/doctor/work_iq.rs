//! Work IQ: the manifest, and whether somebody has consented to what it names.

use std::collections::BTreeMap;

use entrabot_a365::{Server, Servers};
use entrabot_identity::{Config, Diagnose, Resource, TokenExchange};

use super::check::{Check, Group, Report, Status};
use super::network::{LOGIN, Network, briefly};
use crate::failure::Failure;

/// The manifest, as `manifest lint` sees it.
pub(super) fn manifest(config: &Config, report: &mut Report) -> Option<Servers> {
    const NAME: &str = "tooling manifest";
    let (check, servers) = match Servers::load(config) {
        Ok(servers) => (lint(NAME, &servers), Some(servers)),
        Err(error)
            if error.error_type() == "A365ManifestNotFoundError" && config.tooling_manifest().is_none() =>
        {
            (Check::skip(NAME, "there is none", "set ENTRABOT_A365_TOOLING_MANIFEST"), None)
        }
        Err(error) => (Check::failed(NAME, &error.into()), None),
    };
    report.add(Group::WorkIq, check);
    servers
}

fn lint(name: &'static str, servers: &Servers) -> Check {
    let names: Vec<_> = servers.iter().map(|server| server.name().to_string()).collect();
    let detail = match names.len() {
        1 => format!("one server: {}", names[0]),
        count => format!("{count} servers: {}", names.join(", ")),
    };
    match servers.warnings() {
        [] => Check::pass(name, detail),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            let hint = format!("{}; entrabot manifest lint {}", first.hint, servers.path().display());
            Check::new(name, Status::Warn, format!("{detail}; {first}{more}"), Some(&hint))
        }
    }
}

/// A token for each audience of the manifest: what nobody has consented to is refused by Entra, with its own number. That a
/// scope is not among a token's claims is a hint and no more, because tokens are opaque.
pub(super) fn consent(exchange: &TokenExchange, servers: &Servers, network: &Network) -> Check {
    const NAME: &str = "consent";
    let mut audiences: BTreeMap<&str, (&Resource, Vec<&Server>)> = BTreeMap::new();
    for server in servers.iter() {
        let resource = server.endpoint().resource();
        audiences.entry(resource.scope()).or_insert_with(|| (resource, Vec::new())).1.push(server);
    }
    let mut absent = Vec::new();
    for (resource, servers) in audiences.values() {
        let claims = network.run(briefly(LOGIN, async { Ok(exchange.shown_claims(resource).await?) }));
        let claims = match claims {
            Ok(claims) => claims,
            Err(failure) => return refused(NAME, resource, servers, &failure),
        };
        let Some(scopes) = claims.iter().find(|claim| claim.name == "scp") else { continue };
        let wanted = servers.iter().filter_map(|server| server.scope());
        absent.extend(wanted.filter(|scope| !scopes.value.split(' ').any(|held| held == *scope)));
    }
    absent.sort_unstable();
    absent.dedup();
    if absent.is_empty() {
        let detail = format!("Entra gives tokens for the manifest's audiences ({})", audiences.len());
        return Check::pass(NAME, detail);
    }
    let detail = format!("the token does not name {}", absent.join(", "));
    let hint =
        "have an administrator consent: entrabot provision --with-a365-work-iq, or entrabot grants grant";
    Check::new(NAME, Status::Warn, detail, Some(hint))
}

fn refused(name: &'static str, resource: &Resource, servers: &[&Server], failure: &Failure) -> Check {
    let servers: Vec<_> = servers.iter().map(|server| server.name().to_string()).collect();
    let detail = format!("no token for {} ({}): {failure}", servers.join(", "), resource.scope());
    Check::new(name, Status::Fail, detail, failure.hint())
}
