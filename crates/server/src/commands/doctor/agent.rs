//! The agent: its key, its sign-in, and what the directory says of it.

use entrabot_identity::{BlueprintCredential, Config, HopReport, Preflight, TokenExchange};
use entrabot_keystore::{EntryName, Keystore};

use super::check::{Check, Group, Report, Status};
use super::network::{Network, briefly};
use crate::certificate::{ROTATE, Validity};
use crate::compose::Parts;
use crate::failure::Failure;

pub(super) fn blueprint_key(parts: &Parts, keystore: Option<&Keystore>) -> Check {
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
    if *config.blueprint_credential() == BlueprintCredential::Tpm {
        return tpm_key(NAME, config);
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

/// Where the chip and the key that it wrapped are; whether it signs the token mint shows.
fn tpm_key(name: &'static str, config: &Config) -> Check {
    let Some(file) = config.current_thumbprint().map(|thumbprint| config.tpm_key_file(&thumbprint)) else {
        return Check::skip(name, "no certificate is configured", "run entrabot cert rotate --tpm");
    };
    if !file.is_file() {
        let detail = format!("{} is not there", file.display());
        return Check::new(name, Status::Fail, detail, Some("run entrabot cert rotate --tpm"));
    }
    let device = config.tpm_device().display();
    Check::pass(name, format!("in the TPM {device}, wrapped in {}", file.display()))
}

/// Whether a person's sign-in is there, where acts are a person's. Nobody is asked.
pub(super) fn person(parts: &Parts, keystore: Option<&Keystore>) -> Check {
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

/// The real hops.
pub(super) fn token_mint(config: &Config, hops: &[HopReport]) -> Check {
    const NAME: &str = "token mint";
    match hops.iter().find_map(|hop| hop.outcome.as_ref().err()) {
        Some(error) => Check::failed(NAME, &Failure::of(error)),
        None => {
            let who = config.agent_upn().unwrap_or("the agent user");
            Check::pass(NAME, format!("{} hops, as {who}", hops.len()))
        }
    }
}

/// What only somebody who is signed in can ask.
pub(super) fn directory(parts: &Parts, preflight: &Preflight, network: &Network, report: &mut Report) {
    let config = parts.config();
    let (user, certificate) = network.run(async {
        let user = briefly("Microsoft Graph", async { Ok(preflight.signed_in().await?) });
        let certificate = briefly("Microsoft Graph", Validity::ask(config, preflight));
        tokio::join!(user, certificate)
    });
    match user {
        Err(failure) => report.add(Group::Agent, Check::doubtful("agent user", &failure)),
        Ok(user) => {
            report.add(Group::Agent, upn(config, user.upn.as_deref()));
            report.add(Group::Agent, licence(user.licences));
        }
    }
    report.add(Group::Agent, certificate_check(config, certificate));
}

/// Whether the directory calls the signed-in user what the settings call it.
fn upn(config: &Config, upn: Option<&str>) -> Check {
    const NAME: &str = "agent user";
    let Some(upn) = upn else {
        let hint = "grant the agent user User.Read (entrabot grants grant User.Read)";
        return Check::new(
            NAME,
            Status::Warn,
            "the directory does not tell the agent user's UPN",
            Some(hint),
        );
    };
    match config.agent_upn() {
        Some(configured) if configured.eq_ignore_ascii_case(upn) => Check::pass(NAME, upn),
        Some(configured) => Check::new(
            NAME,
            Status::Fail,
            format!("signed in as {upn}, but ENTRABOT_AGENT_UPN says {configured}"),
            Some("correct ENTRABOT_AGENT_UPN or ENTRABOT_AGENT_USER_ID"),
        ),
        None => Check::pass(NAME, format!("{upn} (ENTRABOT_AGENT_UPN is not set)")),
    }
}

fn licence(held: Option<usize>) -> Check {
    const NAME: &str = "licence";
    const HINT: &str =
        "assign Microsoft 365 Copilot (Work IQ needs it) and a plan with OneDrive to the agent user";
    match held {
        Some(0) => Check::new(NAME, Status::Warn, "the agent user holds none", Some(HINT)),
        Some(count) => Check::pass(NAME, format!("the agent user holds {count}")),
        None => Check::skip(NAME, "the directory does not tell", "look at the user in the admin centre"),
    }
}

/// Whether the blueprint holds the certificate that is configured, and for how long.
fn certificate_check(config: &Config, validity: Result<Validity, Failure>) -> Check {
    const NAME: &str = "certificate";
    let is_federated = matches!(
        config.blueprint_credential(),
        BlueprintCredential::WorkloadIdentity | BlueprintCredential::ManagedIdentity
    );
    if is_federated {
        return Check::skip(NAME, "the blueprint proves itself without one", "nothing to do");
    }
    let validity = match validity {
        Ok(validity) => validity,
        Err(failure) => return Check::doubtful(NAME, &failure),
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
