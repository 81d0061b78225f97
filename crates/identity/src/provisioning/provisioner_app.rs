//! The Provisioner app itself: made once, by an administrator who signs in, with a certificate whose key goes from here
//! straight into the keystore.
//!
//! The person's token is for this one task: no refresh token is asked for, and the sign-in that `ENTRABOT_MODE=delegated`
//! keeps stays as it is. What is done is on record as theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_keystore::EntryName;
use serde_json::json;
use uuid::Uuid;

use super::apply::present_is_fine;
use super::certificate::{Certificate, PrivateKey};
use super::credentials::store_and_read_back;
use super::directory;
use super::run::{Progress, Run, blocking};
use super::{Change, Provisioner, ProvisioningError, ProvisioningLock, Step, StepKind, settings_file};
use crate::graph::Operation;
use crate::tokens::http::Method;
use crate::{
    ActionGate, Attribution, ClientId, Config, Delegated, DelegatedError, DelegatedToken, Egress, Human,
};

/// Microsoft's own public client for administrators, "Microsoft Graph Command Line Tools"; every tenant knows it.
const GRAPH_COMMAND_LINE_TOOLS: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";
/// What the person is asked to consent to.
const SCOPES: [&str; 2] = ["Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"];
/// What the app may do afterwards, by Graph's own names.
const PERMISSIONS: [&str; 17] = [
    "AgentIdentity.Create.All",
    "AgentIdentity.DeleteRestore.All",
    "AgentIdentity.ReadWrite.All",
    "AgentIdentityBlueprint.AddRemoveCreds.All",
    "AgentIdentityBlueprint.Create",
    "AgentIdentityBlueprint.DeleteRestore.All",
    "AgentIdentityBlueprint.ReadWrite.All",
    "AgentIdentityBlueprintPrincipal.Create",
    "AgentIdentityBlueprintPrincipal.ReadWrite.All",
    "AgentIdUser.ReadWrite.All",
    "AgentIdUser.ReadWrite.IdentityParentedBy",
    "AppRoleAssignment.ReadWrite.All",
    "Application.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "LicenseAssignment.ReadWrite.All",
    "Organization.Read.All",
    "User.ReadWrite.All",
];
const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";
const SETTING: &str = "ENTRABOT_PROVISIONER_CLIENT_ID";
/// How long an app that an earlier run may have asked for is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// How long the token endpoint may take to know the app and its certificate.
const PROOF_WITHIN: Duration = Duration::from_secs(120);
/// Entra does not know the certificate, the app or its principal (yet).
const NOT_KNOWN_YET: [u32; 3] = [700_027, 700_016, 7_000_229];

/// Makes, completes and removes the Provisioner app, as the person who signed in.
#[derive(Debug)]
pub struct ProvisionerApp {
    inner: Provisioner,
    name: String,
    configured: Option<ClientId>,
}

/// What is there, and what is to be done.
#[derive(Debug)]
pub struct ProvisionerAppPlan {
    certificate: Option<Certificate>,
    app: Option<App>,
    principal: Option<Uuid>,
    graph: Uuid,
    /// Of [`PERMISSIONS`], those that are to come: name and id.
    missing: Vec<(&'static str, String)>,
    permissions: Vec<(&'static str, String)>,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

#[derive(Clone, Debug)]
struct App {
    id: Uuid,
    app_id: Uuid,
    has_certificate: bool,
}

impl ProvisionerAppPlan {
    /// The steps in their order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
    /// What cannot be done.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.change == Change::Keep)
    }
}

/// The app as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProvisionerAppMade {
    /// `ENTRABOT_PROVISIONER_CLIENT_ID`.
    pub client_id: String,
    /// SHA-256 of its certificate, base64url.
    pub thumbprint: String,
    /// The settings file that names it now; `None` without a home directory.
    pub settings_file: Option<std::path::PathBuf>,
    /// Whether anything was changed.
    pub changed: bool,
    /// What was left undone.
    pub warnings: Vec<String>,
}

/// What of the app would be removed.
#[derive(Debug)]
pub struct ProvisionerAppRemoval {
    app: Option<App>,
    entry: Option<EntryName>,
    settings: bool,
    steps: Vec<String>,
}

impl ProvisionerAppRemoval {
    /// In words.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl ProvisionerApp {
    /// The sign-in of the person who makes it: through the app of `ENTRABOT_CLIENT_ID`, else through Microsoft's own
    /// client for administrators.
    ///
    /// # Errors
    /// [`DelegatedError::NotConfigured`] without `ENTRABOT_TENANT_ID`.
    pub fn sign_in(config: &Config, egress: &Egress) -> Result<Delegated, DelegatedError> {
        let tenant = config
            .tenant_id()
            .ok_or_else(|| DelegatedError::NotConfigured { missing: vec!["ENTRABOT_TENANT_ID"] })?;
        let client = match config.client_id() {
            Some(client) => client.clone(),
            None => ClientId::parse(GRAPH_COMMAND_LINE_TOOLS).expect("a GUID"),
        };
        Ok(Delegated::through(&client, tenant, config, egress).for_scopes(&SCOPES).once())
    }

    /// The app of this display name, or that of the settings, as this person may change it.
    ///
    /// # Errors
    /// [`ProvisioningError::NotConfigured`] without `ENTRABOT_TENANT_ID`; a name that no app can have.
    pub fn new(
        config: &Config,
        egress: &Egress,
        person: DelegatedToken,
        name: &str,
    ) -> Result<Self, ProvisioningError> {
        let Some(tenant) = config.tenant_id() else {
            return Err(ProvisioningError::NotConfigured { missing: "ENTRABOT_TENANT_ID".into() });
        };
        if name.trim().is_empty() || name.len() > 120 || name.chars().any(char::is_control) {
            return Err(ProvisioningError::refused("that is no name for an app", "give another --name"));
        }
        let configured = config.provisioner_client_id().cloned();
        let app =
            configured.clone().unwrap_or_else(|| ClientId::parse(GRAPH_COMMAND_LINE_TOOLS).expect("a GUID"));
        let mut inner = Provisioner::of(config, egress, tenant, &app);
        inner.sign_in = inner.sign_in.by(person);
        Ok(Self { inner, name: name.to_owned(), configured })
    }

    /// Who signed in.
    #[must_use]
    pub fn human(&self) -> &Human {
        self.person().human()
    }

    fn person(&self) -> &DelegatedToken {
        self.inner.sign_in.person().expect("put in when this was made")
    }

    /// As [`Provisioner::lock`].
    ///
    /// # Errors
    /// [`ProvisioningError::Busy`].
    pub fn lock(&self) -> Result<ProvisioningLock, ProvisioningError> {
        self.inner.lock()
    }

    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// See [`ProvisioningError`]; an app of this name that is not ours is refused.
    pub async fn plan(&self) -> Result<ProvisionerAppPlan, ProvisioningError> {
        let certificate = self.certificate().await?;
        let app = self.app(certificate.as_ref()).await?;
        let graph = self.inner.graph_principal().await?;
        let permissions = self.inner.role_ids(&graph, &PERMISSIONS).await?;
        let principal = match &app {
            Some(app) => self.inner.principal_of(&app.app_id.to_string()).await?,
            None => None,
        };
        let held = match &principal {
            Some(principal) => self.inner.roles_of(principal, &graph).await?,
            None => Vec::new(),
        };
        let missing: Vec<_> = permissions.iter().filter(|(_, id)| !held.contains(id)).cloned().collect();
        let unknown = PERMISSIONS.iter().filter(|name| !permissions.iter().any(|(known, _)| known == *name));
        let warnings = unknown
            .map(|name| format!("Graph has no permission {name} in this tenant: it is left out"))
            .collect();
        let mut plan = ProvisionerAppPlan {
            certificate,
            app,
            principal,
            graph,
            missing,
            permissions,
            steps: Vec::new(),
            warnings,
        };
        plan.steps = self.steps(&plan)?;
        Ok(plan)
    }

    fn steps(&self, plan: &ProvisionerAppPlan) -> Result<Vec<Step>, ProvisioningError> {
        let create = |there: bool| if there { Change::Keep } else { Change::Create };
        let mut steps = Vec::new();
        let mut step = |kind, change, detail: String| steps.push(Step { kind, change, detail });
        let entry = self.inner.sign_in.entry();
        step(
            StepKind::Key,
            create(plan.certificate.is_some()),
            format!("key and certificate in the keystore, {entry}"),
        );
        let detail = match &plan.app {
            Some(app) => format!("Provisioner app {}, app id {}", self.name, app.app_id),
            None => format!("Provisioner app {}, with that certificate", self.name),
        };
        step(StepKind::App, create(plan.app.is_some()), detail);
        if plan.app.as_ref().is_some_and(|app| !app.has_certificate) {
            step(StepKind::Certificate, Change::Update, "its certificate, beside those it holds".into());
        }
        step(StepKind::Principal, create(plan.principal.is_some()), "its service principal".into());
        let names: Vec<&str> = plan.missing.iter().map(|(name, _)| *name).collect();
        let detail = if names.is_empty() {
            format!("{} application permissions on Microsoft Graph", plan.permissions.len())
        } else {
            format!("application permissions on Microsoft Graph, with consent: {}", names.join(", "))
        };
        step(StepKind::AppRole, if names.is_empty() { Change::Keep } else { Change::Create }, detail);
        if let Some(file) = &self.inner.settings_file {
            let known = match &plan.app {
                Some(app) if self.configured.is_none() => {
                    settings_file::is_up_to_date(file, &[(SETTING, &app.app_id.to_string())])?
                }
                Some(_) => true,
                None => false,
            };
            step(StepKind::Settings, create(known), format!("{SETTING} in {}", file.display()));
        }
        Ok(steps)
    }

    /// Carries a plan out, each step admitted by the gate as the person's. Cut off anywhere, the next plan goes on.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn apply(
        &self,
        plan: ProvisionerAppPlan,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<ProvisionerAppMade, ProvisioningError> {
        let run = Run::new(gate, progress).by(Attribution::of_person(self.person()));
        let mut changed = !plan.is_empty();
        let had_key = plan.certificate.is_some();
        let certificate = match plan.certificate.clone() {
            Some(certificate) => certificate,
            None => self.make_key(&run).await?,
        };
        run.tell(Progress::Started(StepKind::App));
        let app = match plan.app.clone() {
            Some(app) => app,
            None => self.make_app(&run, &certificate, &plan, had_key).await?,
        };
        if !app.has_certificate {
            self.inner.add_certificate(&run, "provisioner.certificate.add", &app.id, &certificate).await?;
        }
        run.tell(Progress::Done(StepKind::App, plan.app.is_none()));
        let principal = match plan.principal {
            Some(principal) => principal,
            None => self.make_principal(&run, &app).await?,
        };
        self.give_permissions(&run, &principal, &plan).await?;
        let client_id = app.app_id.to_string();
        changed |= self.settle(&run, &client_id).await?;
        let mut warnings = plan.warnings;
        if changed && let Err(error) = self.prove(&run, &app).await {
            warnings.push(format!("the app does not sign in yet: {error}"));
        }
        Ok(ProvisionerAppMade {
            client_id,
            thumbprint: certificate.thumbprint().as_str().to_owned(),
            settings_file: self.inner.settings_file.clone(),
            changed,
            warnings,
        })
    }

    /// The certificate in the keystore; `None` when there is none, or it is over.
    async fn certificate(&self) -> Result<Option<Certificate>, ProvisioningError> {
        match self.inner.sign_in.credential().await {
            Ok((bundle, _)) => Ok(Certificate::from_pem(bundle.expose()).filter(|held| !held.has_expired())),
            Err(ProvisioningError::NoProvisionerCertificate { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The app of the settings, else that of our name which holds our certificate.
    async fn app(&self, ours: Option<&Certificate>) -> Result<Option<App>, ProvisioningError> {
        if let Some(configured) = &self.configured {
            let Some(id) = self.inner.app_of_id(configured.as_str()).await? else {
                return Err(ProvisioningError::NotFound {
                    what: format!("the app {configured} of {SETTING}"),
                });
            };
            return self.read(&id, ours).await;
        }
        let named = self.inner.apps_named(&self.name).await?;
        for id in &named {
            if let Some(app) = self.read(id, ours).await?.filter(|app| app.has_certificate) {
                return Ok(Some(app));
            }
        }
        if named.is_empty() {
            return Ok(None);
        }
        Err(ProvisioningError::refused(
            format!("there is an app {} that does not hold our certificate", self.name),
            "give another --name, or set ENTRABOT_PROVISIONER_CLIENT_ID to its id to make it ours",
        ))
    }

    async fn read(&self, id: &Uuid, ours: Option<&Certificate>) -> Result<Option<App>, ProvisioningError> {
        // An app is read as a blueprint is: it is one, with more to it.
        let Some(shown) = self.inner.blueprint(id).await? else { return Ok(None) };
        let is_ours = |held: &Certificate| ours.is_some_and(|ours| ours.thumbprint() == held.thumbprint());
        let has_certificate =
            shown.credentials.iter().any(|held| held.certificate.as_ref().is_some_and(is_ours));
        Ok(Some(App { id: shown.id, app_id: shown.app_id, has_certificate }))
    }

    async fn make_key(&self, run: &Run<'_>) -> Result<Certificate, ProvisioningError> {
        run.tell(Progress::Started(StepKind::Key));
        let (policy, entry) = (self.inner.policy.clone(), self.inner.sign_in.entry());
        let make = blocking(move || {
            let key = PrivateKey::generate()?;
            let certificate = key.self_signed("entrabot-provisioner")?;
            store_and_read_back(&policy, &entry, &certificate.with_key(&key)?)?;
            Ok(certificate)
        });
        let certificate = run.act("provisioner.key.create", None, make).await?;
        run.tell(Progress::Done(StepKind::Key, true));
        Ok(certificate)
    }

    async fn make_app(
        &self,
        run: &Run<'_>,
        certificate: &Certificate,
        plan: &ProvisionerAppPlan,
        had_key: bool,
    ) -> Result<App, ProvisioningError> {
        let look = || self.app(Some(certificate));
        // The key was there and the app is not: an earlier run may have asked for it, and it does not show yet.
        if had_key {
            let what = "the app that an earlier run may have asked for";
            if let Some(app) = run.until_found(what, LOOK_AGAIN, look).await? {
                return Ok(app);
            }
        }
        let roles = plan.permissions.iter().map(|(_, id)| json!({"id": id, "type": "Role"}));
        let body = json!({
            "displayName": self.name,
            "signInAudience": "AzureADMyOrg",
            "keyCredentials": [certificate.as_credential("CN=entrabot-provisioner")],
            "requiredResourceAccess": [{"resourceAppId": GRAPH_APP_ID, "resourceAccess": roles.collect::<Vec<_>>()}],
        });
        let path = "/v1.0/applications";
        let ask = self.inner.change(Operation::CreateProvisioner, Method::Post, path, Some(&body));
        let made = match run.act("provisioner.app.create", None, ask).await {
            Ok(object) => Some(directory::id(&object, "id")?),
            Err(ProvisioningError::Graph(error)) if error.may_have_happened() => None,
            Err(error) => return Err(error),
        };
        let visible = || async {
            match &made {
                Some(id) => self.read(id, Some(certificate)).await,
                None => look().await,
            }
        };
        run.until_visible("the Provisioner app", visible).await
    }

    async fn make_principal(&self, run: &Run<'_>, app: &App) -> Result<Uuid, ProvisioningError> {
        let body = json!({ "appId": app.app_id.to_string() });
        let path = "/v1.0/servicePrincipals";
        let ask =
            || self.inner.change(Operation::CreateProvisionerPrincipal, Method::Post, path, Some(&body));
        let known = run.until_known("the Provisioner app, to make its service principal", ask);
        present_is_fine(run.act("provisioner.principal.create", Some(&app.id), known).await)?;
        let app_id = app.app_id.to_string();
        run.until_visible("the app's service principal", || self.inner.principal_of(&app_id)).await
    }

    async fn give_permissions(
        &self,
        run: &Run<'_>,
        principal: &Uuid,
        plan: &ProvisionerAppPlan,
    ) -> Result<(), ProvisioningError> {
        run.tell(Progress::Started(StepKind::AppRole));
        let path = format!("/v1.0/servicePrincipals/{principal}/appRoleAssignments");
        for (_, role) in &plan.missing {
            let body = json!({
                "principalId": principal.to_string(), "resourceId": plan.graph.to_string(), "appRoleId": role,
            });
            let ask =
                || self.inner.change(Operation::AssignProvisionerRole, Method::Post, &path, Some(&body));
            let known = run.until_known("the app's service principal, to give it a permission", ask);
            present_is_fine(run.act("provisioner.role.assign", Some(principal), known).await)?;
        }
        run.tell(Progress::Done(StepKind::AppRole, !plan.missing.is_empty()));
        Ok(())
    }

    /// Whether the settings file had to be changed.
    async fn settle(&self, run: &Run<'_>, client_id: &str) -> Result<bool, ProvisioningError> {
        let Some(file) = self.inner.settings_file.clone().filter(|_| self.configured.is_none()) else {
            return Ok(false);
        };
        let client_id = client_id.to_owned();
        if settings_file::is_up_to_date(&file, &[(SETTING, &client_id)])? {
            return Ok(false);
        }
        let write = blocking(move || settings_file::put(&file, &[(SETTING, &client_id)]));
        run.act("provisioner.settings.write", None, write).await?;
        run.tell(Progress::Done(StepKind::Settings, true));
        Ok(true)
    }

    /// The app's own sign-in, until Entra knows it.
    async fn prove(&self, run: &Run<'_>, app: &App) -> Result<(), ProvisioningError> {
        let client = ClientId::parse(&app.app_id.to_string()).expect("a GUID is a client id");
        let sign_in = self.inner.sign_in.of_app(client);
        let started = Instant::now();
        let mut pause = Duration::from_millis(500);
        loop {
            let error = match sign_in.app_token().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let known = error.aadsts().is_none_or(|number| !NOT_KNOWN_YET.contains(&number));
            if known || started.elapsed() + pause > PROOF_WITHIN {
                return Err(error);
            }
            run.tell(Progress::Waiting("Entra's token endpoint to know the new app"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// What would be removed: an app only when the settings name it or it holds our certificate.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn plan_removal(&self) -> Result<ProvisionerAppRemoval, ProvisioningError> {
        let certificate = self.certificate().await?;
        let app = match self.app(certificate.as_ref()).await {
            Err(ProvisioningError::NotFound { .. }) => None,
            other => other?,
        };
        let (policy, name) = (self.inner.policy.clone(), self.inner.sign_in.entry());
        let entry = blocking(move || Ok(policy.open()?.contains(&name)?.then_some(name))).await?;
        let settings = match &self.inner.settings_file {
            Some(file) => settings_file::holds(file, &[SETTING])?,
            None => false,
        };
        let mut steps = Vec::new();
        steps.extend(app.as_ref().map(|app| format!("the app {}, with its service principal", app.app_id)));
        steps.extend(entry.as_ref().map(|entry| format!("keyring entry {entry}")));
        steps.extend(settings.then(|| format!("{SETTING} in the settings file")));
        Ok(ProvisionerAppRemoval { app, entry, settings, steps })
    }

    /// Removes what the plan names, each step admitted by the gate as the person's. The key goes last.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn remove(
        &self,
        plan: ProvisionerAppRemoval,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), ProvisioningError> {
        let run = Run::new(gate, progress).by(Attribution::of_person(self.person()));
        if let Some(app) = &plan.app {
            let path = format!("/v1.0/applications/{}", app.id);
            let ask = self.inner.change(Operation::DeleteProvisioner, Method::Delete, &path, None);
            match run.act("provisioner.app.delete", Some(&app.id), ask).await {
                Err(ProvisioningError::Graph(error)) if error.status() == Some(404) => {}
                other => drop(other?),
            }
            run.tell(Progress::Done(StepKind::App, true));
        }
        if let Some(file) = self.inner.settings_file.clone().filter(|_| plan.settings) {
            let edit = blocking(move || settings_file::take_out(&file, &[SETTING]));
            run.act("provisioner.settings.write", None, edit).await?;
        }
        if let Some(entry) = plan.entry {
            let policy = self.inner.policy.clone();
            let delete = blocking(move || super::certificates::delete(&policy, &entry));
            run.act("provisioner.key.delete", None, delete).await?;
            run.tell(Progress::Done(StepKind::Key, true));
        }
        Ok(())
    }
}
