//! `entrabot doctor`: every precondition, each with its remedy. Writes nothing but the probe's own entry, and touches
//! the network only when the settings name an agent.

mod surroundings;

use entrabot_a365::Servers;
use entrabot_identity::{
    AuditSigning, BlueprintCredential, Config, Diagnose, Mode, Preflight, TokenExchange,
};
use entrabot_keystore::leak_scan::{self, LeakStorage};
use entrabot_keystore::{EntryName, ErrorClass, Finding, Keystore, KeystoreError, Surroundings};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{NO, YES};
use crate::certificate::{ROTATE, Validity, within};
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;

/// How many seconds the clock here may differ from the server's: an assertion lives 600.
const MAX_SKEW: i64 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    Warn,
    Fail,
    Skip,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Into<String>, hint: Option<&str>) -> Self {
        Self { name, status, detail: cleaned(&detail.into()), hint: hint.map(cleaned) }
    }
    fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Pass, detail, None)
    }
    fn skip(name: &'static str, detail: &str, hint: &str) -> Self {
        Self::new(name, Status::Skip, detail, Some(hint))
    }
    fn failed(name: &'static str, failure: &Failure) -> Self {
        Self::new(name, Status::Fail, failure.to_string(), failure.hint())
    }
}

/// What was found, in the order of the checks.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    keystore: Map<String, Value>,
}

pub(crate) fn run(json: bool) -> Result<u8, Failure> {
    let mut findings = Findings::default();
    match Config::from_env() {
        Ok(config) => look(config, &mut findings)?,
        Err(error) => {
            findings.checks.push(Check::failed("settings", &error.into()));
            // The keyring can be looked at all the same, as if nothing were set about it.
            keyring(&entrabot_keystore::KeystorePolicy::default(), &mut findings);
        }
    }
    leaks(&mut findings);
    let ok = findings.checks.iter().all(|check| check.status != Status::Fail);
    if json {
        terminal::json(&json!({"ok": ok, "checks": findings.checks, "keystore": findings.keystore}))?;
    } else {
        print(&findings.checks)?;
    }
    Ok(if ok { YES } else { NO })
}

fn print(checks: &[Check]) -> Result<(), Failure> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in checks {
        let status = match check.status {
            Status::Pass => "pass",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
            Status::Skip => "skip",
        };
        terminal::line(&format!("{status}  {:width$}  {}", check.name, check.detail))?;
        if let Some(hint) = &check.hint {
            terminal::line(&format!("      {:width$}  hint: {hint}", ""))?;
        }
    }
    Ok(())
}

fn look(config: Config, findings: &mut Findings) -> Result<(), Failure> {
    findings.checks.push(settings(&config));
    let keystore = if opens_no_keyring(&config) {
        findings.keystore.insert("verdict".into(), "not opened".into());
        let detail = "not opened: neither the blueprint's key nor the audit's is in it";
        findings.checks.push(Check::skip("keyring", detail, "nothing to do"));
        None
    } else {
        keyring(config.keystore_policy(), findings)
    };
    findings.checks.push(audit_signing(&config));
    findings.checks.push(audit_directory(&config));
    findings.checks.push(surroundings::audit_chain(&config));
    findings.checks.push(surroundings::disk_space(&config));
    findings.checks.push(surroundings::instances(&config));
    findings.checks.push(manifest(&config));
    let parts = Parts::new(config)?;
    if parts.sign_in().person().acts() {
        findings.checks.push(person(&parts, keystore.as_ref()));
        return Ok(());
    }
    findings.checks.push(blueprint_key(&parts, keystore.as_ref()));
    agent(&parts, findings)
}

fn settings(config: &Config) -> Check {
    let foreign = crate::mcp::foreign_bases(config);
    if !config.warnings().is_empty() {
        return Check::new(
            "settings",
            Status::Warn,
            config.warnings().join("; "),
            Some("see entrabot config show"),
        );
    }
    if !foreign.is_empty() {
        let detail = format!("not a Microsoft cloud: {}", foreign.join(", "));
        return Check::new(
            "settings",
            Status::Warn,
            detail,
            Some("remove the bases for the real Microsoft 365"),
        );
    }
    Check::pass("settings", format!("sound; cloud {}", config.cloud()))
}

/// Neither the blueprint nor the audit has a key in one, and no person's sign-in lies in it.
fn opens_no_keyring(config: &Config) -> bool {
    config.needs_no_keystore()
        && *config.audit_signing() != AuditSigning::Keystore
        && config.mode() != Mode::Delegated
        && !config.allows_delegated_fallback()
}

fn audit_signing(config: &Config) -> Check {
    const NAME: &str = "audit signing";
    match config.audit_signing() {
        AuditSigning::Keystore if config.needs_no_keystore() => Check::new(
            NAME,
            Status::Warn,
            "checkpoints are signed with a key in the keyring, and nothing else here needs one",
            Some("set ENTRABOT_AUDIT_SIGNING to file:PATH (a mounted secret), or to off"),
        ),
        AuditSigning::Keystore => Check::pass(NAME, "with the key in the keyring"),
        AuditSigning::File(path) => Check::pass(NAME, format!("with the key in {}", path.display())),
        AuditSigning::Off => Check::new(
            NAME,
            Status::Warn,
            "off: the chain alone, without signed checkpoints",
            Some("set ENTRABOT_AUDIT_SIGNING to file:PATH, or to keystore"),
        ),
        _ => {
            Check::skip(NAME, "set to something that this version does not know", "see entrabot config show")
        }
    }
}

/// Guard and probe.
fn keyring(policy: &entrabot_keystore::KeystorePolicy, findings: &mut Findings) -> Option<Keystore> {
    let keystore = match policy.open() {
        Ok(keystore) => keystore,
        Err(error) => {
            if let KeystoreError::Insecure(error) = &error {
                findings.keystore = finding_as_json(error.finding());
            } else {
                findings.keystore.insert("verdict".into(), "unverifiable".into());
                findings.keystore.insert("backend".into(), Value::Null);
                findings.keystore.insert("reason".into(), cleaned(&error.to_string()).into());
            }
            findings.keystore.insert("error_type".into(), error.error_type().into());
            findings.checks.push(Check::failed("keyring", &error.into()));
            findings.checks.push(Check::skip(
                "keyring probe",
                "nothing is written to a keyring that did not pass",
                "see keyring",
            ));
            return None;
        }
    };
    findings.keystore = finding_as_json(keystore.finding());
    findings.checks.push(Check::pass("keyring", keystore.finding().to_string()));
    match keystore.sanity_probe() {
        Ok(report) => {
            findings.keystore.insert("stored_bytes".into(), report.stored_bytes().into());
            let detail = format!("{} bytes went in and came out as they were", report.stored_bytes());
            findings.checks.push(match report.left_behind() {
                None => Check::pass("keyring probe", detail),
                Some(entry) => Check::new(
                    "keyring probe",
                    Status::Warn,
                    format!("{detail}; {} could not be removed", entry.username()),
                    Some("the next probe removes it"),
                ),
            });
            Some(keystore)
        }
        Err(error) => {
            findings.checks.push(Check::failed("keyring probe", &error.into()));
            None
        }
    }
}

fn finding_as_json(finding: &Finding) -> Map<String, Value> {
    let value = json!({
        "verdict": finding.verdict().to_string(),
        "backend": finding.backend().map(|id| id.as_str()),
        "reason": cleaned(finding.reason()),
        "remedy": cleaned(finding.remedy()),
        "executable": finding.executable().map(|path| path.display().to_string()),
        "collection": finding.collection(),
        "at_rest": finding.at_rest().to_string(),
        "locked": finding.is_locked(),
    });
    value.as_object().cloned().unwrap_or_default()
}

/// Python's `keyring` may have put the key into a file.
fn leaks(findings: &mut Findings) {
    const NAME: &str = "leaked keys";
    let scan = leak_scan::scan(&Surroundings::from_env());
    for leak in scan.findings() {
        let names: Vec<_> =
            leak.entries().iter().map(|entry| format!("{}/{}", entry.service(), entry.username())).collect();
        let how =
            if leak.storage() == LeakStorage::Cleartext { "in clear text" } else { "behind a password" };
        let detail = format!("{} holds {} {how}", leak.file().display(), names.join(", "));
        let hint = if leak.holds_blueprint_key() {
            "rotate now: give the blueprint a new certificate, remove the old one from it, then delete the file"
        } else {
            "delete the file, and replace what was in it"
        };
        let status = if leak.holds_blueprint_key() { Status::Fail } else { Status::Warn };
        findings.checks.push(Check::new(NAME, status, detail, Some(hint)));
    }
    for path in scan.unreadable() {
        let detail = format!("{} cannot be read, and may hold anything", path.display());
        findings.checks.push(Check::new(NAME, Status::Warn, detail, Some("look at it as its owner")));
    }
    if scan.findings().is_empty() && scan.unreadable().is_empty() {
        findings.checks.push(Check::pass(NAME, "Python's keyring left none in a file"));
    }
}

fn audit_directory(config: &Config) -> Check {
    const NAME: &str = "audit directory";
    let dir = config.audit_dir();
    match std::fs::symlink_metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Check::skip(NAME, &format!("{} is not there yet", dir.display()), "the first record makes it")
        }
        Err(error) => Check::failed(NAME, &Failure::io(&format!("look at {}", dir.display()), &error)),
        Ok(metadata) if !metadata.is_dir() => Check::new(
            NAME,
            Status::Fail,
            format!("{} is no directory", dir.display()),
            Some("make ENTRABOT_AUDIT_DIR name a directory of this user"),
        ),
        Ok(_) if !is_writable(dir) => Check::new(
            NAME,
            Status::Fail,
            format!("{} cannot be written to, so no call is possible", dir.display()),
            Some("make ENTRABOT_AUDIT_DIR a directory that this user may write to"),
        ),
        Ok(_) => match entrabot_audit::tail(dir, 1) {
            Ok(last) => Check::pass(
                NAME,
                last.last().map_or_else(
                    || format!("{} holds nothing yet", dir.display()),
                    |event| format!("{}, last record of {}", dir.display(), event.timestamp()),
                ),
            ),
            Err(error) => Check::failed(NAME, &error.into()),
        },
    }
}

#[cfg(unix)]
fn is_writable(dir: &std::path::Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(dir: &std::path::Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|metadata| !metadata.permissions().readonly())
}

fn manifest(config: &Config) -> Check {
    const NAME: &str = "tooling manifest";
    match Servers::load(config) {
        Ok(servers) => {
            let names: Vec<_> = servers.iter().map(|server| server.name().to_string()).collect();
            let listed = format!("{} servers: {}", names.len(), names.join(", "));
            match servers.warnings().first() {
                Some(warning) => {
                    Check::new(NAME, Status::Warn, format!("{listed}; {warning}"), Some(&warning.hint))
                }
                None => Check::pass(NAME, listed),
            }
        }
        Err(error)
            if error.error_type() == "A365ManifestNotFoundError" && config.tooling_manifest().is_none() =>
        {
            Check::skip(NAME, "there is none", "set ENTRABOT_A365_TOOLING_MANIFEST")
        }
        Err(error) => Check::failed(NAME, &error.into()),
    }
}

fn blueprint_key(parts: &Parts, keystore: Option<&Keystore>) -> Check {
    const NAME: &str = "blueprint key";
    let config = parts.config();
    if config.needs_no_keystore() {
        return match parts.sign_in().exchange().map(TokenExchange::keyless_proof) {
            Ok(proof) => Check::pass(NAME, format!("none of its own: {}", proof.unwrap_or_default())),
            Err(error) => Check::failed(NAME, &error.into()),
        };
    }
    if config.blueprint_app_id().is_none() {
        return Check::skip(NAME, "no blueprint is configured", "run entrabot provision");
    }
    let Some(keystore) = keystore else {
        return Check::skip(NAME, "the keyring did not pass", "see keyring");
    };
    match keystore.contains(&EntryName::blueprint_private_key()) {
        Ok(true) => Check::pass(NAME, "the private key is in the keyring"),
        Ok(false) => Check::new(
            NAME,
            Status::Fail,
            "the private key is not in the keyring",
            Some("run entrabot provision, or put it there with entrabot keystore set"),
        ),
        Err(error) => Check::failed(NAME, &error.into()),
    }
}

/// Whether a person's sign-in is there, where acts are a person's. Nobody is asked.
fn person(parts: &Parts, keystore: Option<&Keystore>) -> Check {
    const NAME: &str = "person";
    if let Err(error) = parts.sign_in().person().delegated() {
        return Check::failed(NAME, &error.into());
    }
    let Some(keystore) = keystore else {
        return Check::skip(NAME, "the keyring did not pass", "see keyring");
    };
    match keystore.contains(&EntryName::delegated_sign_in()) {
        Ok(true) => {
            Check::pass(NAME, "ENTRABOT_MODE is delegated: acts are those of the person who signed in")
        }
        Ok(false) => {
            Check::new(NAME, Status::Fail, "nobody has signed in here", Some("run entrabot sign-in"))
        }
        Err(error) => Check::failed(NAME, &error.into()),
    }
}

/// The real hops, where the settings name an agent.
fn agent(parts: &Parts, findings: &mut Findings) -> Result<(), Failure> {
    const NAME: &str = "token mint";
    const CLOCK: &str = "clock";
    let exchange = match parts.sign_in().exchange() {
        Ok(exchange) => exchange,
        Err(error) => {
            let begun = parts.config().agent_id().is_some() || parts.config().blueprint_app_id().is_some();
            let failure = Failure::from(error);
            findings.checks.push(if begun {
                Check::failed(NAME, &failure)
            } else {
                Check::skip(NAME, "no agent is configured", "run entrabot provision")
            });
            findings.checks.push(Check::skip(CLOCK, "no server was asked", "see token mint"));
            return Ok(());
        }
    };
    let graph = entrabot_identity::Resource::graph(parts.config());
    let runtime = super::runtime()?;
    let reports = runtime.block_on(exchange.check(&graph));
    let refused = reports.iter().find_map(|report| report.outcome.as_ref().err());
    findings.checks.push(match refused {
        Some(error) => Check::failed(NAME, &Failure::of(error)),
        None => {
            let who = parts.config().agent_upn().unwrap_or("the agent user");
            Check::pass(NAME, format!("{} hops, as {who}", reports.len()))
        }
    });
    if refused.is_none() {
        let preflight = Preflight::new(parts.config(), exchange.clone(), parts.egress());
        let checks =
            async { [upn(parts.config(), &preflight).await, certificate(parts.config(), &preflight).await] };
        findings.checks.extend(runtime.block_on(checks));
    }
    let skew = reports.iter().filter_map(|report| report.clock_skew_seconds).max_by_key(|skew| skew.abs());
    findings.checks.push(match skew {
        None => Check::skip(CLOCK, "no server told its time", "see token mint"),
        Some(skew) if skew.abs() > MAX_SKEW => Check::new(
            CLOCK,
            Status::Fail,
            format!("the clock here is {skew} s behind the server's"),
            Some("set the clock; an assertion is valid for 600 s"),
        ),
        Some(skew) => Check::pass(CLOCK, format!("{skew} s behind the server's")),
    });
    Ok(())
}

/// Whether the directory calls the signed-in user what the settings call it.
async fn upn(config: &Config, preflight: &Preflight) -> Check {
    const NAME: &str = "agent user";
    match within(preflight.signed_in_upn()).await {
        Err(failure) => Check::new(NAME, Status::Warn, failure.to_string(), failure.hint()),
        Ok(None) => Check::new(NAME, Status::Warn, "the directory does not tell the agent user's UPN", None),
        Ok(Some(upn)) => match config.agent_upn() {
            Some(configured) if configured.eq_ignore_ascii_case(&upn) => Check::pass(NAME, upn),
            Some(configured) => Check::new(
                NAME,
                Status::Fail,
                format!("signed in as {upn}, but ENTRABOT_AGENT_UPN says {configured}"),
                Some("correct ENTRABOT_AGENT_UPN or ENTRABOT_AGENT_USER_ID"),
            ),
            None => Check::pass(NAME, format!("{upn} (ENTRABOT_AGENT_UPN is not set)")),
        },
    }
}

/// Whether the blueprint holds the certificate that is configured, and for how long.
async fn certificate(config: &Config, preflight: &Preflight) -> Check {
    const NAME: &str = "certificate";
    let is_federated = matches!(
        config.blueprint_credential(),
        BlueprintCredential::WorkloadIdentity | BlueprintCredential::ManagedIdentity
    );
    if is_federated {
        return Check::skip(NAME, "the blueprint proves itself without one", "nothing to do");
    }
    let validity = match Validity::ask(config, preflight).await {
        Ok(validity) => validity,
        Err(failure) => return Check::new(NAME, Status::Warn, failure.to_string(), failure.hint()),
    };
    let (status, detail) = match validity {
        Validity::NotConfigured => {
            return Check::skip(
                NAME,
                "no thumbprint is configured",
                "set ENTRABOT_BLUEPRINT_CERT_THUMBPRINT",
            );
        }
        Validity::Good(until) => return Check::pass(NAME, format!("the configured one, until {until}")),
        Validity::NotHeld => (
            Status::Fail,
            "the blueprint does not hold the certificate of ENTRABOT_BLUEPRINT_CERT_THUMBPRINT".to_owned(),
        ),
        Validity::Untold => {
            (Status::Warn, "the directory does not tell when the certificate ends".to_owned())
        }
        Validity::Ended(day) => (Status::Fail, format!("it ended on {day}")),
        Validity::EndsSoon(left, day) => (Status::Warn, format!("it ends in {left} days, on {day}")),
    };
    Check::new(NAME, status, detail, Some(ROTATE))
}

// The exit code of a failed check is 1, whatever the check's own family.
const _: () = assert!(ErrorClass::Failed as u8 == NO);
