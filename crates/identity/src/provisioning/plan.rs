//! What is there, what is missing, and what must not be touched: reads only.

use entrabot_keystore::{EntryName, KeystoreError};
use uuid::Uuid;

use super::certificate::{Certificate, PrivateKey};
use super::desired::{BlueprintChoice, Desired};
use super::directory::{Blueprint, Grant, User};
use super::journal::{Creation, Journal};
use super::step::{Change, Step, StepKind, steps};
use super::{Provisioner, ProvisioningError, run, settings_file};

/// Graph's `Application.Read.All`: the agent reads its own sponsors with it.
pub(super) const SPONSOR_ROLE: &str = "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30";
/// The delegated scopes of the agent user on Graph.
pub(super) const GRAPH_SCOPES: &[&str] = &[
    "Chat.Create",
    "Chat.ReadWrite",
    "ChatMessage.Send",
    "User.Read",
    "User.ReadBasic.All",
    "Files.ReadWrite",
    "Files.Read.All",
    "Sites.Read.All",
    "Sites.ReadWrite.All",
    "Mail.Read",
    "Mail.Send",
];
/// The Work IQ resource apps, and the scopes that the blueprint's agents get on each for the whole tenant.
const WORK_IQ: &[(&str, &str, &[&str])] = &[
    (
        "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1",
        "Agent 365 tools",
        &["McpServers.Word.All", "McpServers.OneDriveSharepoint.All", "McpServersMetadata.Read.All"],
    ),
    ("c2d0c2b6-8013-4346-9f8b-b81d3b754a29", "Work IQ Word", &["Tools.ListInvoke.All"]),
];
const COPILOT: &str = "Microsoft_365_Copilot";

/// What [`Provisioner::apply`] would do. Made only by [`Provisioner::plan`].
#[derive(Debug)]
pub struct Plan {
    pub(super) desired: Desired,
    pub(super) journal: Journal,
    pub(super) found: Found,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

impl Plan {
    /// All steps, those that keep what is there included.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
    /// What the operator should know, such as that no licence is free.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.change, Change::Keep | Change::Skip))
    }
}

/// What the directory and the keystore hold.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) blueprint: Option<Blueprint>,
    pub(super) principal: Option<Uuid>,
    pub(super) has_key: bool,
    pub(super) certificate: Option<Certificate>,
    pub(super) identity: Option<Uuid>,
    pub(super) user: Option<User>,
    pub(super) graph_principal: Uuid,
    pub(super) has_role: bool,
    pub(super) grant: Option<Grant>,
    pub(super) licences: Vec<Licence>,
    pub(super) work_iq: Vec<WorkIqResource>,
}

impl Found {
    /// What goes into the settings file, when all of it is there already.
    fn ids(&self, desired: &Desired) -> Option<[String; 5]> {
        Some([
            self.blueprint.as_ref()?.app_id.to_string(),
            self.certificate.as_ref()?.thumbprint().as_str().to_owned(),
            self.identity?.to_string(),
            self.user.as_ref()?.id.to_string(),
            desired.upn.clone(),
        ])
    }
}

/// A licence to assign.
#[derive(Clone, Debug)]
pub(super) struct Licence {
    pub(super) sku_id: String,
    pub(super) part_number: String,
}

/// A Work IQ resource and what it still needs.
#[derive(Clone, Debug)]
pub(super) struct WorkIqResource {
    pub(super) app_id: &'static str,
    pub(super) name: &'static str,
    pub(super) scopes: &'static [&'static str],
    pub(super) principal: Option<Uuid>,
    pub(super) grant: Option<Grant>,
}

/// Whether a grant lacks one of the scopes.
pub(super) fn lacks(grant: Option<&Grant>, scopes: &[&str]) -> bool {
    grant.is_none_or(|grant| scopes.iter().any(|scope| !grant.scopes.iter().any(|held| held == scope)))
}

impl Provisioner {
    /// Reads the keystore and the directory, refuses what must not be touched, and says what [`Provisioner::apply`]
    /// would do. Changes nothing and writes nothing.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn plan(&self, desired: &Desired) -> Result<Plan, ProvisioningError> {
        // The keyring first: when it refuses, not one request leaves.
        self.sign_in.credential().await?;
        let key = self.stored_key().await?;
        let mut journal = Journal::read(&self.data_dir, &desired.name)?;
        journal.upn = Some(desired.upn.clone());

        let blueprint = self.our_blueprint(desired, &journal, key.as_ref()).await?;
        let certificate = match &key {
            Some(key) => self.certificate_of(key, blueprint.as_ref(), &journal)?,
            None => None,
        };
        let principal = match &blueprint {
            Some(blueprint) => self.principal_of(&blueprint.app_id.to_string()).await?,
            None => None,
        };
        let identity = self.our_identity(desired, blueprint.as_ref()).await?;
        let user = self.our_user(desired, identity).await?;
        if identity.is_none() {
            self.check_sponsors(desired).await?;
        }
        if user.is_none() {
            self.check_new_user(desired, identity).await?;
        }
        let graph_principal = self.graph_principal().await?;
        let has_role = match identity {
            Some(identity) => self.holds_role(&identity, &graph_principal, SPONSOR_ROLE).await?,
            None => false,
        };
        let grant = match (identity, &user) {
            (Some(identity), Some(user)) => {
                let grants = self.grants_of(&identity).await?;
                let (user, graph) = (user.id.to_string(), graph_principal.to_string());
                let ours = |grant: &Grant| {
                    grant.resource == graph && grant.principal.as_deref() == Some(user.as_str())
                };
                grants.into_iter().find(ours)
            }
            _ => None,
        };
        let mut warnings = Vec::new();
        let licences = self.missing_licences(desired, user.as_ref(), &mut warnings).await?;
        let work_iq = if desired.work_iq { self.work_iq(principal).await? } else { Vec::new() };
        let found = Found {
            has_key: key.is_some(),
            blueprint,
            principal,
            certificate,
            identity,
            user,
            graph_principal,
            has_role,
            grant,
            licences,
            work_iq,
        };
        if self.settings_file.is_none() {
            warnings
                .push("there is no home directory to write a settings file to; set ENTRABOT_ENV_FILE".into());
        }
        let mut steps = steps(desired, &found, &warnings);
        steps.push(self.settings_step(desired, &found)?);
        Ok(Plan { desired: desired.clone(), journal, found, steps, warnings })
    }

    fn settings_step(&self, desired: &Desired, found: &Found) -> Result<Step, ProvisioningError> {
        let step = |change, detail| Ok(Step { kind: StepKind::Settings, change, detail });
        let Some(path) = &self.settings_file else { return step(Change::Skip, "settings file".to_owned()) };
        let up_to_date = match found.ids(desired) {
            Some(ids) => settings_file::is_up_to_date(path, &settings_file::lines(&ids))?,
            None => false,
        };
        let change = match (up_to_date, path.exists()) {
            (true, _) => Change::Keep,
            (false, true) => Change::Update,
            (false, false) => Change::Create,
        };
        step(change, format!("settings file {}", path.display()))
    }

    /// The blueprint key in the keystore. Only "no such entry" means that there is none.
    pub(super) async fn stored_key(&self) -> Result<Option<PrivateKey>, ProvisioningError> {
        let policy = self.policy.clone();
        run::blocking(move || match policy.open()?.get(&EntryName::blueprint_private_key()) {
            Ok(pem) => PrivateKey::from_pem(&pem).map(Some).map_err(|_| {
                ProvisioningError::refused(
                    format!(
                        "the keystore entry {} is not an RSA key in PKCS#8 PEM",
                        EntryName::blueprint_private_key()
                    ),
                    "move it to another name (`entrabot keystore get`, then `set`), then run this again",
                )
            }),
            Err(KeystoreError::NoEntry) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    async fn our_blueprint(
        &self,
        desired: &Desired,
        journal: &Journal,
        key: Option<&PrivateKey>,
    ) -> Result<Option<Blueprint>, ProvisioningError> {
        if let BlueprintChoice::Use(app_id) = &desired.blueprint {
            let absent = || ProvisioningError::NotFound { what: format!("the blueprint {app_id}") };
            let id = self.blueprint_of_app(app_id.as_str()).await?.ok_or_else(absent)?;
            return self.blueprint(&id).await?.ok_or_else(absent).map(Some);
        }
        let named = self.blueprints_named(&desired.name).await?;
        let mut ours = Vec::new();
        for id in &named {
            let Some(blueprint) = self.blueprint(id).await? else { continue };
            if self.is_ours(&blueprint, journal, key) {
                ours.push(blueprint);
            }
        }
        match (ours.pop(), ours.is_empty(), named.is_empty()) {
            (Some(only), true, _) => Ok(Some(only)),
            (Some(_), false, _) => Err(ProvisioningError::refused(
                "several blueprints of this name are ours",
                "name the one to use with --use-blueprint APP_ID",
            )),
            (None, _, true) => Ok(None),
            (None, _, false) => Err(ProvisioningError::refused(
                "a blueprint of this name exists and is not ours",
                "choose another --name, or adopt it with --use-blueprint APP_ID",
            )),
        }
    }

    /// Named by our settings or our journal, holding our key's certificate, or asked for by us and still bare.
    pub(super) fn is_ours(&self, blueprint: &Blueprint, journal: &Journal, key: Option<&PrivateKey>) -> bool {
        let app_id = blueprint.app_id.to_string();
        let named = [
            self.configured.blueprint.as_ref().map(crate::BlueprintAppId::as_str),
            journal.blueprint_app_id.as_deref(),
        ];
        let holds = |key: &PrivateKey| {
            blueprint
                .credentials
                .iter()
                .any(|held| held.certificate.as_ref().is_some_and(|held| held.belongs_to(key)))
        };
        named.contains(&Some(app_id.as_str()))
            || key.is_some_and(holds)
            || (journal.has_requested(Creation::Blueprint) && blueprint.credentials.is_empty())
    }

    /// The certificate of our key that the blueprint holds. A key that is neither on the blueprint nor made by us is
    /// refused: it belongs to something else.
    fn certificate_of(
        &self,
        key: &PrivateKey,
        blueprint: Option<&Blueprint>,
        journal: &Journal,
    ) -> Result<Option<Certificate>, ProvisioningError> {
        let held = blueprint.into_iter().flat_map(|blueprint| &blueprint.credentials);
        let newest = held
            .filter_map(|credential| credential.certificate.as_ref())
            .filter(|certificate| certificate.belongs_to(key))
            .max_by_key(|certificate| certificate.not_after());
        match newest {
            Some(certificate) if !certificate.has_expired() => Ok(Some(certificate.clone())),
            Some(_) => Ok(None),
            None if journal.key.as_deref() == Some(key.fingerprint().as_str()) => Ok(None),
            None => Err(ProvisioningError::refused(
                format!(
                    "the keystore holds a key ({}) that is not this blueprint's",
                    EntryName::blueprint_private_key()
                ),
                "name its blueprint with --use-blueprint APP_ID, or move the key to another name first",
            )),
        }
    }

    async fn our_identity(
        &self,
        desired: &Desired,
        blueprint: Option<&Blueprint>,
    ) -> Result<Option<Uuid>, ProvisioningError> {
        let parent = blueprint.map(|blueprint| blueprint.app_id);
        // The one of the settings, when it is of this blueprint.
        if let (Some(configured), Some(parent)) = (&self.configured.agent, parent)
            && let Some(identity) = self.identity(configured.as_str()).await?
            && identity.blueprint == Some(parent)
        {
            return Ok(Some(identity.id));
        }
        let named = self.identities_named(&desired.identity_name()).await?;
        let ours: Vec<Uuid> = named
            .iter()
            .filter(|identity| parent.is_some() && identity.blueprint == parent)
            .map(|identity| identity.id)
            .collect();
        match (ours.as_slice(), named.is_empty()) {
            ([only], _) => Ok(Some(*only)),
            ([], true) => Ok(None),
            ([], false) => Err(ProvisioningError::refused(
                "an agent identity of this name exists and belongs to another blueprint",
                "choose another --name",
            )),
            _ => Err(ProvisioningError::refused(
                "several agent identities of this name belong to the blueprint",
                "set ENTRABOT_AGENT_ID to the one to use",
            )),
        }
    }

    async fn our_user(
        &self,
        desired: &Desired,
        identity: Option<Uuid>,
    ) -> Result<Option<User>, ProvisioningError> {
        let Some(user) = self.user_of(&desired.upn).await? else { return Ok(None) };
        if !user.is_agent {
            return Err(ProvisioningError::refused(
                "the UPN belongs to a person, or to another account that is no agent user",
                "choose another --agent-user-upn",
            ));
        }
        if identity.is_none() || user.parent != identity {
            return Err(ProvisioningError::refused(
                "the UPN belongs to the agent user of another identity",
                "choose another --agent-user-upn",
            ));
        }
        Ok(Some(user))
    }

    async fn check_sponsors(&self, desired: &Desired) -> Result<(), ProvisioningError> {
        const REMEDY: &str = "name one with --sponsor (the object id of a user)";
        if desired.sponsors.is_empty() {
            let what = "a new agent needs a sponsor, a person who answers for it";
            return Err(ProvisioningError::refused(what, REMEDY));
        }
        for sponsor in &desired.sponsors {
            let what = match self.user(sponsor.as_str()).await? {
                None => format!("the tenant has no user {sponsor}, so it cannot be a sponsor"),
                Some(user) if user.is_agent => {
                    format!(
                        "{sponsor} is an agent's user, and a sponsor is a person who answers for the agent"
                    )
                }
                Some(_) => continue,
            };
            return Err(ProvisioningError::refused(what, REMEDY));
        }
        Ok(())
    }

    /// What Graph would refuse only after everything else was made.
    async fn check_new_user(
        &self,
        desired: &Desired,
        identity: Option<Uuid>,
    ) -> Result<(), ProvisioningError> {
        if let (Some(configured), Some(identity)) = (&self.configured.user, identity)
            && let Some(present) = self.user(configured.as_str()).await?
            && present.parent == Some(identity)
        {
            return Err(ProvisioningError::refused(
                format!(
                    "the agent has a user of another name already ({}), and can have only one",
                    present.id
                ),
                "give that one's name with --agent-user-upn, or tear the agent down first",
            ));
        }
        let domain = desired.upn.rsplit('@').next().unwrap_or_default().to_lowercase();
        let domains = self.domains().await?;
        if domains.is_empty() || domains.contains(&domain) {
            return Ok(());
        }
        Err(ProvisioningError::refused(
            format!("{domain} is not a domain of this tenant; it has {}", domains.join(", ")),
            "give a name in one of those with --agent-user-upn",
        ))
    }

    async fn missing_licences(
        &self,
        desired: &Desired,
        user: Option<&User>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Licence>, ProvisioningError> {
        let subscriptions = self.subscriptions().await?;
        let held =
            |sku_id: &str| user.is_some_and(|user| user.licences.iter().any(|licence| licence == sku_id));
        let mut wanted: Vec<(&str, Vec<_>)> =
            vec![("Teams-capable", subscriptions.iter().filter(|offer| offer.has_teams).collect())];
        if desired.work_iq {
            let copilot =
                subscriptions.iter().filter(|offer| offer.part_number.eq_ignore_ascii_case(COPILOT));
            wanted.push((COPILOT, copilot.collect()));
        }
        let mut missing = Vec::new();
        for (name, offers) in wanted {
            if offers.iter().any(|offer| held(&offer.sku_id)) {
                continue;
            }
            match offers.iter().find(|offer| offer.free > 0) {
                Some(offer) => missing
                    .push(Licence { sku_id: offer.sku_id.clone(), part_number: offer.part_number.clone() }),
                None => warnings.push(format!("no {name} licence is free: the agent user gets none")),
            }
        }
        Ok(missing)
    }

    async fn work_iq(&self, client: Option<Uuid>) -> Result<Vec<WorkIqResource>, ProvisioningError> {
        let grants = match client {
            Some(client) => self.grants_of(&client).await?,
            None => Vec::new(),
        };
        let mut resources = Vec::new();
        for (app_id, name, scopes) in WORK_IQ.iter().copied() {
            let principal = self.principal_of(app_id).await?;
            let of_tenant = |grant: &&Grant| {
                grant.principal.is_none()
                    && principal.is_some_and(|principal| grant.resource == principal.to_string())
            };
            let grant = grants.iter().find(of_tenant).cloned();
            resources.push(WorkIqResource { app_id, name, scopes, principal, grant });
        }
        Ok(resources)
    }
}
