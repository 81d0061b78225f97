//! `entrabot token check`: the real hops, one by one. The token itself is never shown.

use entrabot_identity::{Diagnose, HopReport, Resource};
use serde_json::{Map, Value, json};

use super::YES;
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;

pub(crate) fn check(resource: Option<&str>, json: bool) -> Result<u8, Failure> {
    let parts = Parts::new(super::config()?)?;
    let resource = match resource {
        Some(scope) => Resource::from_scope(scope).map_err(|error| {
            Failure::usage(
                format!("--resource is {error}"),
                "give a scope such as https://graph.microsoft.com/.default",
            )
        })?,
        None => Resource::graph(parts.config()),
    };
    let exchange = parts.sign_in().exchange()?;
    let reports = super::runtime()?.block_on(exchange.check(&resource));
    let failure =
        reports.iter().find_map(|report| report.outcome.as_ref().err()).map(|error| Failure::of(error));
    if json {
        terminal::json(&json!({
            "ok": failure.is_none(),
            "resource": resource.scope(),
            "hops": reports.iter().map(hop_as_json).collect::<Vec<_>>(),
        }))?;
        return Ok(failure.map_or(YES, |failure| failure.exit_code()));
    }
    for report in &reports {
        hop_as_text(report)?;
    }
    match failure {
        None => Ok(YES),
        Some(failure) => Err(failure),
    }
}

/// One hop, as JSON.
pub(super) fn hop_as_json(report: &HopReport) -> Value {
    let mut hop = Map::new();
    hop.insert("hop".into(), report.hop.as_str().into());
    hop.insert("host".into(), report.host.as_str().into());
    hop.insert("status".into(), report.status.into());
    hop.insert("milliseconds".into(), u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX).into());
    hop.insert("clock_skew_seconds".into(), report.clock_skew_seconds.into());
    hop.insert("ok".into(), report.outcome.is_ok().into());
    match &report.outcome {
        Ok(success) => {
            hop.insert("expires_in".into(), success.lifetime.map(|life| life.as_secs()).into());
            let mut claims = Map::new();
            claims.extend(
                success.claims.iter().map(|claim| (claim.name.to_string(), claim.value.clone().into())),
            );
            hop.insert("claims".into(), claims.into());
            hop.insert("oddities".into(), success.oddities.clone().into());
        }
        Err(error) => {
            let failure = Failure::of(error as &dyn Diagnose);
            hop.extend(failure.to_json().as_object().cloned().unwrap_or_default());
        }
    }
    Value::Object(hop)
}

/// How the clock here stands to that of `server`, whose clock minus ours is `skew` seconds.
pub(super) fn clock_in_words(skew: i64, server: &str) -> String {
    match skew {
        -1..=1 => format!("in step with that of {server}"),
        2.. => format!("{skew} s behind that of {server}"),
        _ => format!("{} s ahead of that of {server}", skew.unsigned_abs()),
    }
}

fn hop_as_text(report: &HopReport) -> Result<(), Failure> {
    let status = report.status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
    let end = match &report.outcome {
        Ok(success) => match success.lifetime {
            Some(life) => format!("a token for {} s", life.as_secs()),
            None => "a token of unknown life".to_owned(),
        },
        Err(_) => "refused".to_owned(),
    };
    terminal::line(&format!(
        "{}  {}  {status}  {} ms  {end}",
        report.hop,
        cleaned(&report.host),
        report.elapsed.as_millis()
    ))?;
    if let Ok(success) = &report.outcome {
        for claim in &success.claims {
            terminal::line(&cleaned(&format!("  {} = {}", claim.name, claim.value)))?;
        }
        for odd in &success.oddities {
            terminal::line(&format!("  odd: {odd}"))?;
        }
    }
    if let Some(skew) = report.clock_skew_seconds.filter(|skew| skew.abs() > 60) {
        terminal::line(&format!("  the clock here is {}", clock_in_words(skew, &cleaned(&report.host))))?;
    }
    Ok(())
}
