//! Carrying out a plan, step by step, each admitted by the gate and settled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrabot_keystore::{EntryName, SignatureAlgorithm};
use serde_json::json;
use uuid::Uuid;

use super::certificate::{Certificate, PrivateKey};
use super::credentials::{signer_of, store_and_read_back};
use super::directory::{self, Blueprint, Grant, Object, User};
use super::grants::{GrantOf, with_added};
use super::journal::{Creation, Journal};
use super::plan::{Found, GRAPH_SCOPES, Plan, SPONSOR_ROLE, WorkIqResource, lacks};
use super::run::{Progress, Run, blocking};
use super::step::StepKind;
use super::{Desired, Provisioner, ProvisioningError, ProvisioningLock, settings_file};
use crate::ActionGate;
use crate::graph::Operation;
use crate::tokens::http::Method;

/// After a kill between asking and the answer, how long to look for what was asked for before asking again.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// The agent that exists now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Provisioned {
    /// `ENTRABOT_BLUEPRINT_APP_ID`.
    pub blueprint_app_id: String,
    /// `ENTRABOT_BLUEPRINT_CERT_THUMBPRINT`.
    pub thumbprint: String,
    /// `ENTRABOT_AGENT_ID`.
    pub agent_id: String,
    /// `ENTRABOT_AGENT_USER_ID`.
    pub agent_user_id: String,
    /// `ENTRABOT_AGENT_UPN`.
    pub agent_upn: String,
    /// The settings file that these were written to.
    pub settings_file: Option<PathBuf>,
    /// How many steps changed something; 0 when everything was there.
    pub changed: usize,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl Provisioner {
    /// Carries out the plan. Every change is admitted by the gate before it is sent, and settled after. Cut off
    /// anywhere, the next plan goes on from there.
    ///
    /// # Errors
    /// See [`ProvisioningError`]. What was done until then stays, and the next run finds it.
    pub async fn apply(
        &self,
        plan: Plan,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Provisioned, ProvisioningError> {
        let warnings = plan.warnings().to_vec();
        let applying = Applying {
            provisioner: self,
            run: Run::new(gate, progress),
            desired: plan.desired,
            journal: plan.journal,
            found: plan.found,
            changed: 0,
            warnings,
        };
        applying.probe().await?;
        applying.all().await
    }
}

struct Applying<'a> {
    provisioner: &'a Provisioner,
    run: Run<'a>,
    desired: Desired,
    journal: Journal,
    found: Found,
    changed: usize,
    warnings: Vec<String>,
}

impl Applying<'_> {
    async fn all(mut self) -> Result<Provisioned, ProvisioningError> {
        let blueprint = self.blueprint().await?;
        let principal = self.principal(&blueprint).await?;
        let key = self.key().await?;
        let certificate = self.certificate(&blueprint, &key).await?;
        let identity = self.identity(&blueprint).await?;
        let user = self.user(&identity).await?;
        self.role(&identity).await?;
        self.grant(&identity, &user).await?;
        self.licences(&user).await?;
        self.work_iq(&principal).await?;
        self.prove(&blueprint, &identity, &key, &certificate).await?;

        let made = Provisioned {
            blueprint_app_id: blueprint.app_id.to_string(),
            thumbprint: certificate.thumbprint().as_str().to_owned(),
            agent_id: identity.to_string(),
            agent_user_id: user.id.to_string(),
            agent_upn: self.desired.upn.clone(),
            settings_file: self.provisioner.settings_file.clone(),
            changed: 0,
            warnings: Vec::new(),
        };
        self.settings(&made).await?;
        // A key that is on the blueprint proves itself; the journal has done its work.
        Journal::remove(&self.provisioner.data_dir)?;
        Ok(Provisioned { changed: self.changed, warnings: self.warnings, ..made })
    }

    fn begin(&self, step: StepKind) {
        self.run.tell(Progress::Started(step));
    }

    fn done(&mut self, step: StepKind, changed: bool) {
        self.changed += usize::from(changed);
        self.run.tell(Progress::Done(step, changed));
    }

    /// Stores, reads back and deletes a value: a keyring that loses secrets is found out before the first change.
    async fn probe(&self) -> Result<(), ProvisioningError> {
        let policy = self.provisioner.policy.clone();
        blocking(move || {
            policy.open()?.sanity_probe()?;
            Ok(())
        })
        .await
    }

    async fn blueprint(&mut self) -> Result<Blueprint, ProvisioningError> {
        self.begin(StepKind::Blueprint);
        let (provisioner, name) = (self.provisioner, self.desired.name.clone());
        let mut blueprint = self.found.blueprint.take();
        let look = || async {
            match provisioner.blueprints_named(&name).await?.as_slice() {
                [only] => provisioner.blueprint(only).await,
                _ => Ok(None),
            }
        };
        if blueprint.is_none() && self.journal.has_requested(Creation::Blueprint) {
            let what = "the blueprint that an earlier run asked for";
            blueprint = self.run.until_found(what, LOOK_AGAIN, look).await?;
        }
        let changed = blueprint.is_none();
        if changed {
            let body = json!({ "displayName": name, "sponsors@odata.bind": self.sponsors() });
            let path = "/v1.0/applications/microsoft.graph.agentIdentityBlueprint";
            let journal = &mut self.journal;
            let made = self.run.act("provision.blueprint.create", None, async {
                journal.request(Creation::Blueprint)?;
                provisioner.change(Operation::CreateBlueprint, Method::Post, path, Some(&body)).await
            });
            let id = match made.await {
                Ok(object) => Some(directory::id(&object, "id")?),
                Err(error) => {
                    self.unless_it_may_have_happened(Creation::Blueprint, error)?;
                    None
                }
            };
            let visible = || async {
                match id {
                    Some(id) => provisioner.blueprint(&id).await,
                    None => look().await,
                }
            };
            blueprint = Some(self.run.until_visible("the blueprint", visible).await?);
        }
        let blueprint = blueprint.ok_or(ProvisioningError::Aborted)?;
        let app_id = blueprint.app_id.to_string();
        if changed && self.journal.blueprint_app_id.as_deref() != Some(&app_id) {
            self.journal.blueprint_app_id = Some(app_id);
            self.journal.write()?;
        }
        self.done(StepKind::Blueprint, changed);
        Ok(blueprint)
    }

    /// An error after which the thing may be there all the same is not the end: we look. Any other is, and the
    /// creation was not asked for.
    fn unless_it_may_have_happened(
        &mut self,
        creation: Creation,
        error: ProvisioningError,
    ) -> Result<(), ProvisioningError> {
        match &error {
            ProvisioningError::Graph(refused) if refused.may_have_happened() => {
                tracing::warn!(%error, "the answer was lost; looking whether it happened");
                Ok(())
            }
            ProvisioningError::Graph(_) | ProvisioningError::SignIn(_) | ProvisioningError::Gate(_) => {
                if let Err(second) = self.journal.take_back(creation) {
                    // The next run looks a while for what was never made, and then makes it.
                    tracing::warn!(error = %second, "the journal could not be written");
                }
                Err(error)
            }
            // E.g. the outcome could not be recorded: it did happen.
            _ => Err(error),
        }
    }

    fn sponsors(&self) -> Vec<String> {
        let base = self.provisioner.graph.base();
        self.desired.sponsors.iter().map(|sponsor| format!("{base}/v1.0/users/{sponsor}")).collect()
    }

    async fn principal(&mut self, blueprint: &Blueprint) -> Result<Uuid, ProvisioningError> {
        self.begin(StepKind::Principal);
        let (provisioner, app_id) = (self.provisioner, blueprint.app_id.to_string());
        let found = match self.found.principal {
            Some(principal) => Some(principal),
            None => provisioner.principal_of(&app_id).await?,
        };
        let changed = found.is_none();
        let principal = match found {
            Some(principal) => principal,
            None => {
                let body = json!({ "appId": app_id });
                let path = "/v1.0/servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal";
                let ask = || provisioner.change(Operation::CreatePrincipal, Method::Post, path, Some(&body));
                let made = self.run.act(
                    "provision.principal.create",
                    Some(&blueprint.id),
                    self.run.until_known("the blueprint, to make its principal", ask),
                );
                present_is_fine(made.await)?;
                self.run
                    .until_visible("the blueprint's principal", || provisioner.principal_of(&app_id))
                    .await?
            }
        };
        self.done(StepKind::Principal, changed);
        Ok(principal)
    }

    async fn key(&mut self) -> Result<PrivateKey, ProvisioningError> {
        self.begin(StepKind::Key);
        let stored = self.provisioner.stored_key().await?;
        let changed = stored.is_none();
        let key = match stored {
            Some(key) => key,
            None => {
                let (policy, journal) = (self.provisioner.policy.clone(), &mut self.journal);
                self.run
                    .act("provision.key.create", None, async {
                        let key = blocking(PrivateKey::generate).await?;
                        // Before it is stored: a key without this line could not be told from somebody else's.
                        journal.key = Some(key.fingerprint());
                        journal.write()?;
                        let pem = key.to_pem()?;
                        let entry = EntryName::blueprint_private_key();
                        blocking(move || store_and_read_back(&policy, &entry, &pem)).await?;
                        Ok(key)
                    })
                    .await?
            }
        };
        self.done(StepKind::Key, changed);
        Ok(key)
    }

    async fn certificate(
        &mut self,
        blueprint: &Blueprint,
        key: &PrivateKey,
    ) -> Result<Certificate, ProvisioningError> {
        self.begin(StepKind::Certificate);
        if let Some(certificate) = self.found.certificate.take() {
            self.done(StepKind::Certificate, false);
            return Ok(certificate);
        }
        let certificate = key.self_signed(&format!("entrabot {}", blueprint.app_id))?;
        let add = self.provisioner.add_certificate(
            &self.run,
            "provision.certificate.add",
            &blueprint.id,
            &certificate,
        );
        add.await?;
        self.done(StepKind::Certificate, true);
        Ok(certificate)
    }

    async fn identity(&mut self, blueprint: &Blueprint) -> Result<Uuid, ProvisioningError> {
        self.begin(StepKind::Identity);
        let (provisioner, name, parent) = (self.provisioner, self.desired.identity_name(), blueprint.app_id);
        let mut identity = self.found.identity;
        let look = || async {
            let named = provisioner.identities_named(&name).await?;
            Ok(named
                .into_iter()
                .find(|identity| identity.blueprint == Some(parent))
                .map(|identity| identity.id))
        };
        if identity.is_none() && self.journal.has_requested(Creation::Identity) {
            let what = "the agent identity that an earlier run asked for";
            identity = self.run.until_found(what, LOOK_AGAIN, look).await?;
        }
        let changed = identity.is_none();
        if changed {
            let body = json!({
                "displayName": name,
                "agentIdentityBlueprintId": parent.to_string(),
                "sponsors@odata.bind": self.sponsors(),
            });
            let path = "/v1.0/servicePrincipals/microsoft.graph.agentIdentity";
            let ask = || provisioner.change(Operation::CreateIdentity, Method::Post, path, Some(&body));
            let (run, journal) = (&self.run, &mut self.journal);
            journal.parent = Some(parent.to_string());
            let made = run.act("provision.identity.create", Some(&blueprint.id), async {
                journal.request(Creation::Identity)?;
                run.until_known("the blueprint's principal, to make the agent identity", ask).await
            });
            let id = match made.await {
                // The answer has no appId: the id is both.
                Ok(object) => Some(directory::id(&object, "id")?),
                Err(error) => {
                    self.unless_it_may_have_happened(Creation::Identity, error)?;
                    None
                }
            };
            let visible = || async {
                match id {
                    Some(id) => Ok(provisioner.identity(&id.to_string()).await?.map(|identity| identity.id)),
                    None => look().await,
                }
            };
            identity = Some(self.run.until_visible("the agent identity", visible).await?);
        }
        self.done(StepKind::Identity, changed);
        identity.ok_or(ProvisioningError::Aborted)
    }

    async fn user(&mut self, identity: &Uuid) -> Result<User, ProvisioningError> {
        self.begin(StepKind::User);
        let (provisioner, upn) = (self.provisioner, self.desired.upn.clone());
        let mut user = self.found.user.take();
        let look =
            || async { Ok(provisioner.user_of(&upn).await?.filter(|user| user.parent == Some(*identity))) };
        if user.is_none() && self.journal.has_requested(Creation::User) {
            user = self
                .run
                .until_found("the agent user that an earlier run asked for", LOOK_AGAIN, look)
                .await?;
        }
        let changed = user.is_none();
        if changed {
            let body = json!({
                "@odata.type": "microsoft.graph.agentUser",
                "displayName": self.desired.user_name(),
                "userPrincipalName": upn,
                "mailNickname": self.desired.mail_nickname(),
                "identityParentId": identity.to_string(),
                "accountEnabled": true,
            });
            let ask = || provisioner.change(Operation::CreateUser, Method::Post, "/beta/users", Some(&body));
            let (run, journal) = (&self.run, &mut self.journal);
            let made = run.act("provision.user.create", Some(identity), async {
                journal.request(Creation::User)?;
                run.until_known("the agent identity, to make its user", ask).await
            });
            let id = match made.await {
                Ok(object) => Some(directory::id(&object, "id")?),
                Err(error) => {
                    self.unless_it_may_have_happened(Creation::User, error)?;
                    None
                }
            };
            let visible = || async {
                match id {
                    Some(id) => provisioner.user(&id.to_string()).await,
                    None => look().await,
                }
            };
            user = Some(self.run.until_visible("the agent user", visible).await?);
        }
        self.done(StepKind::User, changed);
        user.ok_or(ProvisioningError::Aborted)
    }

    async fn role(&mut self, identity: &Uuid) -> Result<(), ProvisioningError> {
        let provisioner = self.provisioner;
        self.begin(StepKind::AppRole);
        let changed = !self.found.has_role;
        if changed {
            let body = json!({
                "principalId": identity.to_string(),
                "resourceId": self.found.graph_principal.to_string(),
                "appRoleId": SPONSOR_ROLE,
            });
            let path = format!("/v1.0/servicePrincipals/{identity}/appRoleAssignments");
            let ask = || provisioner.change(Operation::AssignRole, Method::Post, &path, Some(&body));
            let known = self.run.until_known("the agent identity, to give it a role", ask);
            present_is_fine(self.run.act("provision.role.assign", Some(identity), known).await)?;
        }
        self.done(StepKind::AppRole, changed);
        Ok(())
    }

    async fn grant(&mut self, identity: &Uuid, user: &User) -> Result<(), ProvisioningError> {
        self.begin(StepKind::Grant);
        let present = self.found.grant.take();
        let changed = lacks(present.as_ref(), GRAPH_SCOPES);
        if changed {
            let resource = self.found.graph_principal;
            self.write_grant(present.as_ref(), identity, Some(&user.id), &resource, GRAPH_SCOPES).await?;
        }
        self.done(StepKind::Grant, changed);
        Ok(())
    }

    /// Makes the grant, or adds to it; scopes that others added stay.
    async fn write_grant(
        &self,
        present: Option<&Grant>,
        client: &Uuid,
        user: Option<&Uuid>,
        resource: &Uuid,
        scopes: &[&str],
    ) -> Result<(), ProvisioningError> {
        let wanted = scopes.iter().map(|scope| (*scope).to_owned());
        let of = GrantOf { client, user, resource };
        let acts = ["provision.grant.create", "provision.grant.update"];
        self.provisioner.write_grant(&self.run, acts, present, &of, &with_added(present, wanted)).await
    }

    async fn licences(&mut self, user: &User) -> Result<(), ProvisioningError> {
        let provisioner = self.provisioner;
        self.begin(StepKind::Licence);
        let missing = std::mem::take(&mut self.found.licences);
        let missing: Vec<_> =
            missing.into_iter().filter(|licence| !user.licences.contains(&licence.sku_id)).collect();
        if !missing.is_empty() && !user.has_usage_location {
            let (path, body) =
                (format!("/beta/users/{}", user.id), json!({ "usageLocation": self.desired.usage_location }));
            let ask = || provisioner.change(Operation::UpdateUser, Method::Patch, &path, Some(&body));
            let known = self.run.until_known("the agent user, to set its country", ask);
            self.run.act("provision.user.update", Some(&user.id), known).await?;
        }
        let path = format!("/v1.0/users/{}/assignLicense", user.id);
        let mut changed = false;
        for licence in missing {
            let body = json!({ "addLicenses": [{ "skuId": licence.sku_id }], "removeLicenses": [] });
            let ask = || provisioner.change(Operation::AssignLicence, Method::Post, &path, Some(&body));
            let known = self.run.until_known("the agent user, to give it a licence", ask);
            match self.run.act("provision.licence.assign", Some(&user.id), known).await {
                Ok(_) => changed = true,
                // Somebody took the last seat meanwhile: the agent exists all the same.
                Err(ProvisioningError::Graph(error)) if error.status() == Some(400) => {
                    self.warnings.push(format!("licence {} was not assigned: {error}", licence.part_number));
                }
                Err(error) => return Err(error),
            }
        }
        self.done(StepKind::Licence, changed);
        Ok(())
    }

    async fn work_iq(&mut self, client: &Uuid) -> Result<(), ProvisioningError> {
        for resource in std::mem::take(&mut self.found.work_iq) {
            self.begin(StepKind::WorkIq);
            let changed = resource.principal.is_none() || lacks(resource.grant.as_ref(), resource.scopes);
            let principal = self.resource_principal(&resource).await?;
            if lacks(resource.grant.as_ref(), resource.scopes) {
                self.write_grant(resource.grant.as_ref(), client, None, &principal, resource.scopes).await?;
            }
            self.done(StepKind::WorkIq, changed);
        }
        Ok(())
    }

    /// In a fresh tenant the resource has no service principal yet.
    async fn resource_principal(&self, resource: &WorkIqResource) -> Result<Uuid, ProvisioningError> {
        if let Some(principal) = resource.principal {
            return Ok(principal);
        }
        let provisioner = self.provisioner;
        let body = json!({ "appId": resource.app_id });
        let create = provisioner.change(
            Operation::CreateResourcePrincipal,
            Method::Post,
            "/v1.0/servicePrincipals",
            Some(&body),
        );
        present_is_fine(self.run.act("provision.resource.create", None, create).await)?;
        self.run
            .until_visible("the resource's service principal", || provisioner.principal_of(resource.app_id))
            .await
    }

    async fn settings(&mut self, made: &Provisioned) -> Result<(), ProvisioningError> {
        let Some(path) = self.provisioner.settings_file.clone() else { return Ok(()) };
        self.begin(StepKind::Settings);
        let values = [
            made.blueprint_app_id.clone(),
            made.thumbprint.clone(),
            made.agent_id.clone(),
            made.agent_user_id.clone(),
            made.agent_upn.clone(),
        ];
        if settings_file::is_up_to_date(&path, &settings_file::lines(&values))? {
            self.done(StepKind::Settings, false);
            return Ok(());
        }
        let write = blocking(move || settings_file::put(&path, &settings_file::lines(&values)));
        self.run.act("provision.settings.write", None, write).await?;
        self.done(StepKind::Settings, true);
        Ok(())
    }

    /// Hop 1 with the new certificate, until Entra knows it: an agent that cannot sign in is not finished. When it takes
    /// too long that is a warning, since the rest is done and only time is missing.
    async fn prove(
        &mut self,
        blueprint: &Blueprint,
        identity: &Uuid,
        key: &PrivateKey,
        certificate: &Certificate,
    ) -> Result<(), ProvisioningError> {
        let signer = signer_of(key, certificate)?;
        let algorithm = SignatureAlgorithm::Ps256;
        let proof = self.provisioner.prove(&self.run, blueprint, identity, signer, algorithm).await?;
        if let Err(error) = proof {
            self.warnings.push(format!("the new certificate does not sign in yet: {error}"));
        }
        Ok(())
    }
}

/// Somebody else, or a request of ours whose answer was lost, made it first.
pub(super) fn present_is_fine(result: Result<Object, ProvisioningError>) -> Result<(), ProvisioningError> {
    match result {
        Ok(_) => Ok(()),
        Err(ProvisioningError::Graph(error)) if error.status() == Some(409) => Ok(()),
        Err(error) => Err(error),
    }
}
