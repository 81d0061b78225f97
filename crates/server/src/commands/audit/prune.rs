//! `entrabot audit prune`: days that need not be kept any longer, removed for good.

use clap::Args;
use entrabot_audit::{AuditLog, PruneUntil, Pruned};

use super::Writer;
use crate::commands::{NO, YES};
use crate::failure::{Failure, cleaned};
use crate::terminal;

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Keep today and so many days before it
    #[arg(long, value_name = "N", required_unless_present = "before", conflicts_with = "before")]
    keep_days: Option<u32>,
    /// Remove the days before this one (YYYY-MM-DD)
    #[arg(long, value_name = "DAY")]
    before: Option<String>,
    /// Only say which days would go
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(writer: Writer, args: &PruneArgs, json: bool) -> Result<u8, Failure> {
    let until = match (&args.before, args.keep_days) {
        (Some(day), _) => PruneUntil::before(day)
            .ok_or_else(|| Failure::usage("--before is no day", "give one such as 2026-07-01"))?,
        (None, Some(days)) => PruneUntil::keeping_days(days),
        (None, None) => return Err(Failure::usage("--keep-days or --before is needed", "give one of them")),
    };
    let pruned = if args.dry_run {
        writer.open()?.1.plan_prune(until)?
    } else {
        writer.act(|audit: &AuditLog| audit.prune(until))?
    };
    tell(&pruned, args.dry_run, json)?;
    Ok(if pruned.kept.is_some() { NO } else { YES })
}

fn tell(pruned: &Pruned, dry_run: bool, json: bool) -> Result<(), Failure> {
    if json {
        let value = serde_json::to_value(pruned).map_err(|_| Failure::internal("what was pruned"))?;
        return terminal::json(&value);
    }
    for day in &pruned.days {
        terminal::line(day)?;
    }
    let (days, verb) = (pruned.days.len(), if dry_run { "would be pruned" } else { "pruned" });
    terminal::note(&format!("{days} days {verb}: {} lines, {} bytes", pruned.lines, pruned.bytes));
    if pruned.finished > 0 {
        let verb = if dry_run { "would be removed" } else { "removed" };
        terminal::note(&format!("{} days that an earlier run had pruned {verb}", pruned.finished));
    }
    if let Some(kept) = &pruned.kept {
        terminal::note(&cleaned(&format!("warning: it and what follows stays: {kept}")));
    }
    Ok(())
}
