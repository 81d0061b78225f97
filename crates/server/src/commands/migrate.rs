//! `entrabot migrate`: takes over from an installation of the Python original, and leaves that one as it is.

use std::path::PathBuf;

use clap::Args;
use entrabot_identity::MigrationPlan;
use serde_json::{Value, json};

use super::YES;
use super::bench::{must_be_confirmed, on_record};
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The original's project directory: the one that holds its .env
    #[arg(long, value_name = "DIR", default_value = ".")]
    from: PathBuf,
    /// Only say what was found and what would be taken over
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) fn migrate(args: &MigrateArgs, json: bool) -> Result<u8, Failure> {
    let parts = Parts::new(super::config()?)?;
    let plan = MigrationPlan::read(parts.config(), &args.from)?;
    if !json {
        print(&plan)?;
    }
    let refusal = plan.refusal().map(|refusal| Failure::of(refusal));
    if args.dry_run || refusal.is_some() || plan.is_empty() {
        return end(as_json(&plan, args.dry_run, 0), refusal, json);
    }
    must_be_confirmed(args.yes, "Take this over?")?;
    let mut value = as_json(&plan, false, 0);
    let runtime = super::runtime()?;
    let changed = on_record(&parts, &runtime, async |gate| plan.apply(gate).await)?;
    value["changed"] = changed.into();
    if !json {
        terminal::note("taken over; `entrabot doctor` checks the rest");
    }
    end(value, None, json)
}

/// One JSON value whatever the answer is; a refusal is part of it.
fn end(mut value: Value, refusal: Option<Failure>, json: bool) -> Result<u8, Failure> {
    let Some(refusal) = refusal else {
        if json {
            terminal::json(&value)?;
        } else if value["changed"] == 0 && value["dry_run"] == false {
            terminal::note("nothing more to take over");
        }
        return Ok(YES);
    };
    if !json {
        return Err(refusal);
    }
    if let (Some(value), Value::Object(error)) = (value.as_object_mut(), refusal.to_json()) {
        value.extend(error);
    }
    terminal::json(&value)?;
    Ok(refusal.exit_code())
}

fn as_json(plan: &MigrationPlan, dry_run: bool, changed: usize) -> Value {
    let found: Vec<_> = plan
        .found()
        .iter()
        .map(|thing| {
            json!({
                "name": thing.name, "value": thing.value, "place": thing.place, "fate": thing.fate.as_str(),
                "note": thing.note,
            })
        })
        .collect();
    json!({
        "dry_run": dry_run,
        "settings_file": plan.settings_file().display().to_string(),
        "found": found,
        "warnings": plan.warnings(),
        "changed": changed,
    })
}

fn print(plan: &MigrationPlan) -> Result<(), Failure> {
    let width = plan.found().iter().map(|thing| thing.name.len()).max().unwrap_or_default();
    for thing in plan.found() {
        let value = thing.value.as_deref().unwrap_or("-");
        let line = format!("{:<7}  {:<width$}  {value}", thing.fate.as_str(), thing.name);
        let place = if thing.place.is_empty() { String::new() } else { format!("  ({})", thing.place) };
        terminal::line(&cleaned(&format!("{line}{place}")))?;
        if let Some(note) = &thing.note {
            terminal::line(&cleaned(&format!("         {note}")))?;
        }
    }
    terminal::line(&cleaned(&format!("settings go to {}", plan.settings_file().display())))?;
    plan.warnings().iter().try_for_each(|warning| terminal::line(&cleaned(&format!("warning: {warning}"))))
}
