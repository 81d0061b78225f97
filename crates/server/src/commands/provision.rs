//! `entrabot provision`, `teardown` and `cert`: plans first, asks before it changes anything, and puts every change on
//! record through the audit.

use clap::{Args, Subcommand};
use entrabot_identity::{
    BlueprintAppId, BlueprintChoice, BlueprintCredential, Config, Desired, HeldCertificate, ObjectId,
    Progress, ProvisioningLock, ProvisioningStep, Rotated, Teardown, TeardownPlan,
};
use serde_json::{Value, json};

use super::bench::{Bench, must_be_confirmed};
use super::{NO, YES};
use crate::failure::{Failure, cleaned};
use crate::terminal;
use crate::working::Working;

#[derive(Debug, Args)]
pub(crate) struct ProvisionArgs {
    /// A blueprint of our own, made when it is not there yet; never adopts one that is not ours
    #[arg(long, conflicts_with = "use_blueprint")]
    new: bool,
    /// This blueprint
    #[arg(long, value_name = "APP_ID")]
    use_blueprint: Option<String>,
    /// The blueprint's display name
    #[arg(long, default_value = "EntraBot")]
    name: String,
    /// The agent user's UPN [default: ENTRABOT_AGENT_UPN]
    #[arg(long, value_name = "UPN")]
    agent_user_upn: Option<String>,
    /// The object id of a person who answers for the agent; can be given several times
    #[arg(long = "sponsor", value_name = "ID")]
    sponsors: Vec<String>,
    /// Also consent and licence for the Work IQ servers
    #[arg(long)]
    with_a365_work_iq: bool,
    /// The agent user's country where it has none: licences demand one
    #[arg(long, value_name = "COUNTRY")]
    usage_location: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TeardownArgs {
    /// An agent user to remove, beside the one of the settings; can be given several times
    #[arg(long = "agent-user-upn", value_name = "UPN", value_delimiter = ',')]
    upns: Vec<String>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Keep the Provisioner app's certificate in the keyring
    #[arg(long)]
    preserve_provisioner: bool,
    /// Delete for good, not into the directory's recycle bin
    #[arg(long)]
    purge: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// The certificates that the blueprint holds
    List,
    /// Whether the blueprint holds the certificate of our key, and it is not over
    Verify,
    /// A new key and certificate: added, proven, and only then the old one removed
    Rotate {
        /// Make the new key in this machine's TPM, which it never leaves
        #[arg(long)]
        tpm: bool,
    },
}

pub(super) fn tell(progress: Progress) {
    match progress {
        Progress::Started(step) => terminal::note(&format!("{} ...", step.as_str())),
        Progress::Waiting(what) => terminal::note(&format!("  waiting for {what}")),
        Progress::Done(step, true) => terminal::note(&format!("{}: done", step.as_str())),
        Progress::Done(step, false) => terminal::note(&format!("{}: as it should be", step.as_str())),
        _ => {}
    }
}

pub(crate) fn provision(args: ProvisionArgs, json: bool) -> Result<u8, Failure> {
    let bench = Bench::new()?;
    if *bench.parts.config().blueprint_credential() == BlueprintCredential::Tpm {
        return Err(Failure::usage(
            "the agent of these settings has its key in the TPM, and provisioning makes keys in the keyring",
            "entrabot cert rotate renews it; for another agent use another settings file, then entrabot cert rotate --tpm",
        ));
    }
    let desired = desired(&args, bench.parts.config())?;
    // Before anything is read: what the plan finds must still be so when it is carried out.
    let lock = if args.dry_run { None } else { Some(bench.provisioner.lock()?) };
    let reading = Working::on("reading the directory", None, json);
    let plan = bench.look(bench.provisioner.plan(&desired))?;
    drop(reading);
    let Some(lock) = lock else {
        print_plan(plan.steps(), plan.warnings(), !plan.is_empty(), json)?;
        return Ok(YES);
    };
    tell_plan(&plan_lines(plan.steps(), plan.warnings()), args.yes, json)?;
    if !plan.is_empty() {
        must_be_confirmed(args.yes, "Carry this out?")?;
    }
    let made = bench.make(async |gate| bench.provisioner.apply(plan, &lock, gate, &tell).await)?;
    let value = json!({
        "blueprint_app_id": made.blueprint_app_id,
        "blueprint_cert_thumbprint": made.thumbprint,
        "agent_id": made.agent_id,
        "agent_user_id": made.agent_user_id,
        "agent_upn": made.agent_upn,
        "settings_file": made.settings_file.map(|path| path.display().to_string()),
        "changed": made.changed,
        "warnings": made.warnings,
    });
    super::print_members(&value, json)?;
    Ok(YES)
}

fn desired(args: &ProvisionArgs, config: &Config) -> Result<Desired, Failure> {
    let blueprint = match (&args.use_blueprint, config.blueprint_app_id()) {
        (Some(id), _) => BlueprintChoice::Use(BlueprintAppId::parse(id).map_err(|error| {
            Failure::usage(format!("--use-blueprint is {error}"), "give an application id")
        })?),
        (None, Some(configured)) if !args.new => BlueprintChoice::Use(configured.clone()),
        (None, _) => BlueprintChoice::New,
    };
    let upn = args.agent_user_upn.as_deref().or(config.agent_upn()).ok_or_else(|| {
        Failure::usage("the agent user needs a name", "give --agent-user-upn, e.g. agent@contoso.com")
    })?;
    let sponsors = args
        .sponsors
        .iter()
        .map(|id| {
            ObjectId::parse(id)
                .map_err(|error| Failure::usage(format!("--sponsor is {error}"), "give a person's object id"))
        })
        .collect::<Result<_, _>>()?;
    let mut desired =
        Desired::new(&args.name, blueprint, upn, sponsors)?.with_work_iq(args.with_a365_work_iq);
    if let Some(country) = &args.usage_location {
        desired = desired.with_usage_location(country)?;
    }
    Ok(desired)
}

/// The answer of `--dry-run`.
pub(super) fn print_plan(
    steps: &[ProvisioningStep],
    warnings: &[String],
    changes: bool,
    json: bool,
) -> Result<(), Failure> {
    if json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| json!({"kind": step.kind.as_str(), "change": step.change.as_str(), "detail": step.detail}))
            .collect();
        return terminal::json(
            &json!({"dry_run": true, "changes": changes, "steps": steps, "warnings": warnings}),
        );
    }
    plan_lines(steps, warnings).iter().try_for_each(|line| terminal::line(line))
}

pub(super) fn plan_lines(steps: &[ProvisioningStep], warnings: &[String]) -> Vec<String> {
    let step =
        |kind: &str, change: &str, detail: &str| cleaned(&format!("{kind:<11}  {change:<6}  {detail}"));
    let mut lines: Vec<String> =
        steps.iter().map(|found| step(found.kind.as_str(), found.change.as_str(), &found.detail)).collect();
    lines.extend(warnings.iter().map(|warning| cleaned(&format!("warning: {warning}"))));
    lines
}

/// Before somebody is asked. With --json stdout is kept for the answer; who says yes beforehand need not see it there.
pub(super) fn tell_plan(lines: &[String], yes: bool, json: bool) -> Result<(), Failure> {
    match (json, yes) {
        (false, _) => lines.iter().try_for_each(|line| terminal::line(line)),
        (true, true) => Ok(()),
        (true, false) => {
            lines.iter().for_each(|line| terminal::note(line));
            Ok(())
        }
    }
}

pub(crate) fn teardown(args: TeardownArgs, json: bool) -> Result<u8, Failure> {
    let bench = Bench::new()?;
    let mut wanted = Teardown::default();
    wanted.upns = args.upns;
    wanted.preserve_provisioner = args.preserve_provisioner;
    wanted.purge = args.purge;
    let lock = if args.dry_run { None } else { Some(bench.provisioner.lock()?) };
    let plan = bench.look(bench.provisioner.plan_teardown(&wanted))?;
    let Some(lock) = lock else {
        print_teardown(&plan, "would_remove", json)?;
        return Ok(YES);
    };
    if plan.is_empty() {
        print_teardown(&plan, "removed", json)?;
        return Ok(YES);
    }
    let shown = teardown_as_json(&plan, "removed");
    tell_plan(&teardown_lines(&plan), args.yes, json)?;
    must_be_confirmed(args.yes, "Remove all of this?")?;
    bench.act(async |gate| bench.provisioner.tear_down(plan, &lock, gate, &tell).await)?;
    if json {
        terminal::json(&shown)?;
    } else {
        terminal::line("removed; the audit log stays")?;
    }
    Ok(YES)
}

fn teardown_as_json(plan: &TeardownPlan, verb: &str) -> Value {
    let remains: Vec<_> =
        plan.remains().iter().map(|left| json!({"what": left.what, "why": left.why})).collect();
    json!({verb: plan.steps(), "remains": remains})
}

fn print_teardown(plan: &TeardownPlan, verb: &str, json: bool) -> Result<(), Failure> {
    if json {
        return terminal::json(&teardown_as_json(plan, verb));
    }
    if plan.is_empty() {
        terminal::line("there is nothing to remove")?;
    }
    teardown_lines(plan).iter().try_for_each(|line| terminal::line(line))
}

fn teardown_lines(plan: &TeardownPlan) -> Vec<String> {
    let removed = plan.steps().into_iter().map(|step| cleaned(&format!("remove  {step}")));
    let kept = plan.remains().iter().map(|left| cleaned(&format!("keep    {}: {}", left.what, left.why)));
    removed.chain(kept).collect()
}

pub(crate) fn cert(command: &CertCommand, json: bool) -> Result<u8, Failure> {
    let bench = Bench::new()?;
    match command {
        CertCommand::List => {
            let held = bench.look(bench.provisioner.certificates())?;
            print_certificates(&held, json)?;
            Ok(YES)
        }
        CertCommand::Verify => {
            let held = bench.look(bench.provisioner.certificates())?;
            let configured = bench.parts.config().blueprint_cert_thumbprint();
            let good =
                held.iter().find(|held| held.ours && !held.expired && held.thumbprint.as_ref() == configured);
            let detail = match good {
                Some(held) => {
                    format!(
                        "the blueprint holds our certificate, valid until {}",
                        held.not_after.as_deref().unwrap_or("?")
                    )
                }
                None if held.iter().any(|held| held.ours && held.expired) => {
                    "our certificate is over".to_owned()
                }
                None if held.iter().any(|held| held.ours) => {
                    "the blueprint holds a certificate of our key, but not the one that is configured"
                        .to_owned()
                }
                None => "the blueprint does not hold our key's certificate".to_owned(),
            };
            if json {
                terminal::json(&json!({"ok": good.is_some(), "detail": detail}))?;
            } else {
                terminal::line(&detail)?;
                if good.is_none() {
                    terminal::note("hint: run entrabot cert rotate, or entrabot provision");
                }
            }
            Ok(if good.is_some() { YES } else { NO })
        }
        CertCommand::Rotate { .. } if bench.parts.config().needs_no_keystore() => Err(Failure::usage(
            "the key in use is not in the keyring, so it cannot be rotated there",
            "with key-vault: make a version in the vault, add its certificate to the blueprint, change ENTRABOT_KEY_VAULT_KEY",
        )),
        CertCommand::Rotate { tpm } => {
            let lock = bench.provisioner.lock()?;
            let rotated = if *tpm || *bench.parts.config().blueprint_credential() == BlueprintCredential::Tpm
            {
                rotate_into_tpm(&bench, &lock)?
            } else {
                bench.act_unplanned(async |gate| {
                    bench.provisioner.rotate_certificate(&lock, gate, &tell).await
                })?
            };
            let value = json!({"thumbprint": rotated.thumbprint.as_str(), "removed": rotated.removed});
            super::print_members(&value, json)?;
            Ok(YES)
        }
    }
}

#[cfg(all(feature = "tpm2", unix))]
fn rotate_into_tpm(bench: &Bench, lock: &ProvisioningLock) -> Result<Rotated, Failure> {
    let tpm = entrabot_keystore::Tpm::at(bench.parts.config().tpm_device());
    bench.act_unplanned(async |gate| bench.provisioner.rotate_into_tpm(&tpm, lock, gate, &tell).await)
}

#[cfg(not(all(feature = "tpm2", unix)))]
fn rotate_into_tpm(_: &Bench, _: &ProvisioningLock) -> Result<Rotated, Failure> {
    Err(Failure::usage("this build has no TPM support", "build entrabot-server with the feature tpm2"))
}

fn print_certificates(held: &[HeldCertificate], json: bool) -> Result<(), Failure> {
    if json {
        let certificates: Vec<_> = held
            .iter()
            .map(|held| {
                json!({
                    "key_id": held.key_id,
                    "thumbprint": held.thumbprint.as_ref().map(|thumbprint| thumbprint.as_str()),
                    "not_before": held.not_before,
                    "not_after": held.not_after,
                    "ours": held.ours,
                    "expired": held.expired,
                })
            })
            .collect();
        return terminal::json(&json!({"certificates": certificates}));
    }
    held.iter().try_for_each(|held| {
        terminal::line(&cleaned(&format!(
            "{}  {}  until {}{}{}",
            held.thumbprint
                .as_ref()
                .map_or("no certificate that can be read", |thumbprint| thumbprint.as_str()),
            held.key_id,
            held.not_after.as_deref().unwrap_or("?"),
            if held.ours { "  ours" } else { "" },
            if held.expired { "  EXPIRED" } else { "" },
        )))
    })
}
