//! `entrabot provisioner`: an administrator signs in and makes, completes or removes the app that makes agents. A plan
//! first, a question before anything changes, and every change on record as that person's.

use clap::{Args, Subcommand};
use entrabot_identity::{ProvisionerApp, Step};
use serde_json::json;

use super::YES;
use super::bench::{must_be_confirmed, on_record};
use super::provision::{plan_lines, print_plan, tell, tell_plan};
use super::sign_in::SignInArgs;
use crate::compose::Parts;
use crate::failure::Failure;
use crate::terminal;

#[derive(Debug, Subcommand)]
pub(crate) enum ProvisionerCommand {
    /// Make it, with its certificate in the keyring and the permissions it needs; again, to complete it
    Create(ProvisionerArgs),
    /// Remove it from the tenant, and its certificate from the keyring
    Remove(ProvisionerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProvisionerArgs {
    /// The app's display name
    #[arg(long, default_value = "entrabot provisioner")]
    name: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    sign_in: SignInArgs,
}

pub(crate) fn run(command: &ProvisionerCommand, json: bool) -> Result<u8, Failure> {
    let (ProvisionerCommand::Create(args) | ProvisionerCommand::Remove(args)) = command;
    let parts = Parts::new(super::config()?)?;
    let runtime = super::runtime()?;
    let delegated = ProvisionerApp::sign_in(parts.config(), parts.egress())?;
    let person = runtime.block_on(args.sign_in.ask(delegated))?;
    let app = ProvisionerApp::new(parts.config(), parts.egress(), person, &args.name)?;
    parts.session().enter(Step::Delegated(app.human().clone()))?;
    // Before anything is read: what the plan finds must still be so when it is carried out.
    let lock = if args.dry_run { None } else { Some(app.lock()?) };
    match command {
        ProvisionerCommand::Create(_) => {
            let plan = runtime.block_on(app.plan())?;
            let Some(lock) = lock else {
                print_plan(plan.steps(), plan.warnings(), !plan.is_empty(), json)?;
                return Ok(YES);
            };
            tell_plan(&plan_lines(plan.steps(), plan.warnings()), args.yes, json)?;
            if !plan.is_empty() {
                must_be_confirmed(args.yes, "Carry this out?")?;
            }
            let made = on_record(&parts, &runtime, async |gate| app.apply(plan, &lock, gate, &tell).await)?;
            let value = json!({
                "provisioner_client_id": made.client_id,
                "certificate_thumbprint": made.thumbprint,
                "settings_file": made.settings_file.map(|path| path.display().to_string()),
                "changed": made.changed,
                "warnings": made.warnings,
            });
            super::print_members(&value, json)?;
        }
        ProvisionerCommand::Remove(_) => {
            let plan = runtime.block_on(app.plan_removal())?;
            let lines = plan.steps().to_vec();
            let verb = if lock.is_none() { "would_remove" } else { "removed" };
            if let Some(lock) = lock.filter(|_| !plan.is_empty()) {
                tell_plan(&lines, args.yes, json)?;
                must_be_confirmed(args.yes, "Remove all of this?")?;
                on_record(&parts, &runtime, async |gate| app.remove(plan, &lock, gate, &tell).await)?;
            }
            if json {
                terminal::json(&json!({verb: lines}))?;
            } else if verb == "would_remove" {
                lines.iter().try_for_each(|line| terminal::line(line))?;
            } else {
                terminal::line("removed; the audit log stays")?;
            }
        }
    }
    Ok(YES)
}
