//! The steps of a plan, as people read them.

use entrabot_keystore::EntryName;

use super::desired::Desired;
use super::plan::{Found, GRAPH_SCOPES, lacks};

/// The steps, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepKind {
    /// The blueprint application.
    Blueprint,
    /// Its service principal.
    Principal,
    /// Its private key, in the keystore.
    Key,
    /// The key's certificate, on the blueprint.
    Certificate,
    /// The agent identity.
    Identity,
    /// The agent's own user account.
    User,
    /// An app role of the identity.
    AppRole,
    /// Delegated scopes of the user.
    Grant,
    /// A licence of the user.
    Licence,
    /// Tenant-wide consent for a Work IQ resource.
    WorkIq,
    /// The Provisioner app.
    App,
    /// The settings file.
    Settings,
}

impl StepKind {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blueprint => "blueprint",
            Self::Principal => "principal",
            Self::Key => "key",
            Self::Certificate => "certificate",
            Self::Identity => "identity",
            Self::User => "user",
            Self::AppRole => "role",
            Self::Grant => "grant",
            Self::Licence => "licence",
            Self::WorkIq => "work-iq",
            Self::App => "app",
            Self::Settings => "settings",
        }
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Nothing: it is there.
    Keep,
    /// Makes it.
    Create,
    /// Adds to it.
    Update,
    /// Cannot be done, and is left out.
    Skip,
}

impl Change {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Create => "create",
            Self::Update => "update",
            Self::Skip => "skip",
        }
    }
}

/// One step of a plan, for people to read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// What it is about.
    pub kind: StepKind,
    /// What it does.
    pub change: Change,
    /// In words.
    pub detail: String,
}

/// All but the settings file's.
pub(super) fn steps(desired: &Desired, found: &Found, warnings: &[String]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |kind, change, detail: String| steps.push(Step { kind, change, detail });
    let create = |there: bool| if there { Change::Keep } else { Change::Create };
    let name = &desired.name;
    step(
        StepKind::Blueprint,
        create(found.blueprint.is_some()),
        match &found.blueprint {
            Some(blueprint) => format!("blueprint {name}, app id {}", blueprint.app_id),
            None => format!("blueprint {name}"),
        },
    );
    step(StepKind::Principal, create(found.principal.is_some()), "principal of the blueprint".into());
    step(
        StepKind::Key,
        create(found.has_key),
        format!("private key in the keystore, {}", EntryName::blueprint_private_key()),
    );
    step(
        StepKind::Certificate,
        create(found.certificate.is_some()),
        match &found.certificate {
            Some(certificate) => {
                format!("certificate {} on the blueprint", certificate.thumbprint().as_str())
            }
            None => "certificate on the blueprint, beside those it holds".into(),
        },
    );
    step(
        StepKind::Identity,
        create(found.identity.is_some()),
        format!("agent identity {}", desired.identity_name()),
    );
    step(StepKind::User, create(found.user.is_some()), format!("agent user {}", desired.upn));
    step(
        StepKind::AppRole,
        create(found.has_role),
        "app role Application.Read.All on Microsoft Graph".into(),
    );
    step(
        StepKind::Grant,
        match (&found.grant, lacks(found.grant.as_ref(), GRAPH_SCOPES)) {
            (_, false) => Change::Keep,
            (None, true) => Change::Create,
            (Some(_), true) => Change::Update,
        },
        format!("grant on Microsoft Graph: {}", GRAPH_SCOPES.join(" ")),
    );
    let has_location = found.user.as_ref().is_some_and(|user| user.has_usage_location);
    for licence in &found.licences {
        let location =
            if has_location { String::new() } else { format!(", usage location {}", desired.usage_location) };
        step(StepKind::Licence, Change::Create, format!("licence {}{location}", licence.part_number));
    }
    if found.licences.is_empty() {
        let none_free = warnings.iter().find(|warning| warning.contains("licence"));
        let (change, detail) = match none_free {
            Some(warning) => (Change::Skip, format!("licence: {warning}")),
            None => (Change::Keep, "licence of the agent user".into()),
        };
        step(StepKind::Licence, change, detail);
    }
    for resource in &found.work_iq {
        let change =
            match (resource.principal, &resource.grant, lacks(resource.grant.as_ref(), resource.scopes)) {
                (Some(_), _, false) => Change::Keep,
                (Some(_), Some(_), true) => Change::Update,
                _ => Change::Create,
            };
        step(
            StepKind::WorkIq,
            change,
            format!("grant for the tenant on {}: {}", resource.name, resource.scopes.join(" ")),
        );
    }
    steps
}
