//! The way back: user, identity, blueprint, then what is kept here. The audit log stays.

use std::sync::Arc;

use entrabot_keystore::{EntryName, KeystoreError};
use uuid::Uuid;

use super::certificates::remove_file;
use super::directory::Identity;
use super::journal::{Creation, Journal};
use super::run::{Progress, Run, blocking};
use super::{Provisioner, ProvisioningError, ProvisioningLock, StepKind, desired, settings_file};
use crate::ActionGate;
use crate::graph::Operation;
use crate::tokens::http::Method;
use crate::tokens::is_waiting_key;

/// What goes beside them. The audit's signing key stays: the log outlives the agent.
const OUR_ENTRIES: &[(&str, &str)] = &[("entrabot", "blueprint-private-key"), ("entrabot", "http-bearer")];
/// What old versions of the original left in the keystore.
pub(super) const LEGACY_ENTRIES: &[(&str, &str)] =
    &[("entrabot", "blueprint_secret"), ("entrabot", "human_refresh_token"), ("entrabot", "agent_password")];

/// What shall go.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Teardown {
    /// UPNs of agent users to remove, beside the one of the settings.
    pub upns: Vec<String>,
    /// Keep the Provisioner app's certificate in the keystore.
    pub preserve_provisioner: bool,
    /// Delete for good, not into the directory's recycle bin.
    pub purge: bool,
}

/// What [`Provisioner::tear_down`] would remove. Made only by [`Provisioner::plan_teardown`].
#[derive(Debug)]
pub struct TeardownPlan {
    users: Vec<Uuid>,
    identity: Option<Uuid>,
    blueprint: Option<Uuid>,
    /// The blueprint's. It goes with it, into the bin.
    principal: Option<Uuid>,
    entries: Vec<EntryName>,
    settings: bool,
    purge: bool,
    remains: Vec<Remains>,
}

/// Something that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remains {
    /// What.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

impl TeardownPlan {
    /// What would go, in words and in order.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let mut steps: Vec<String> = self.users.iter().map(|id| format!("agent user {id}")).collect();
        steps.extend(self.identity.iter().map(|id| format!("agent identity {id}")));
        steps.extend(
            self.blueprint
                .iter()
                .map(|id| format!("blueprint {id} with its principal, certificates and grants")),
        );
        steps.extend(self.entries.iter().map(|entry| format!("keystore entry {entry}")));
        if self.settings {
            steps.push("our lines in the settings file".into());
        }
        steps
    }
    /// What stays.
    #[must_use]
    pub fn remains(&self) -> &[Remains] {
        &self.remains
    }
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.identity.is_none()
            && self.blueprint.is_none()
            && self.entries.is_empty()
            && !self.settings
    }
}

impl Provisioner {
    /// Reads what there is to remove: the agent of the settings, else that of a run that was cut off. Changes nothing.
    ///
    /// # Errors
    /// See [`ProvisioningError`]; a UPN of a person, or of another agent's user, is refused.
    pub async fn plan_teardown(&self, wanted: &Teardown) -> Result<TeardownPlan, ProvisioningError> {
        // The keyring first: when it refuses, not one request leaves.
        let entries = self.entries_to_remove(wanted).await?;
        let settings = self
            .settings_file
            .as_deref()
            .map(|file| settings_file::holds(file, &settings_file::OURS))
            .transpose()?
            .unwrap_or(false);
        let journal = Journal::last(&self.data_dir)?;
        let mut plan = TeardownPlan {
            users: Vec::new(),
            identity: None,
            blueprint: None,
            principal: None,
            entries,
            settings,
            purge: wanted.purge,
            remains: Vec::new(),
        };
        match self.sign_in.credential().await {
            Ok(_) => {}
            // Without it nobody can look; but when nothing here speaks of an agent either, there is none of ours.
            Err(ProvisioningError::NoProvisionerCertificate { .. })
                if journal.is_none() && !self.speaks_of_an_agent(&plan) =>
            {
                let why =
                    "it could not be looked for: the Provisioner app's certificate is not in the keyring";
                let named = wanted.upns.iter();
                plan.remains =
                    named.map(|upn| Remains { what: format!("any agent user {upn}"), why }).collect();
                return Ok(plan);
            }
            Err(error) => return Err(error),
        }
        let parent = self.blueprint_to_remove(journal.as_ref()).await?;
        plan.identity = self.identity_to_remove(journal.as_ref(), parent, &mut plan.remains).await?;
        plan.users = self.users_to_remove(wanted, journal.as_ref(), &mut plan).await?;
        if let Some(parent) = parent {
            plan.blueprint = self.unless_others_use_it(&parent, plan.identity, &mut plan.remains).await?;
            if wanted.purge && plan.blueprint.is_some() {
                plan.principal = self.principal_of(&parent.to_string()).await?;
            }
        } else if let Some(found) = journal.as_ref().and_then(Journal::parent_id)
            && let Some(id) = self.blueprint_of_app(&found.to_string()).await?
        {
            self.name_what_stays(&id, "it was there before the run that was cut off", &mut plan.remains)
                .await?;
        }
        Ok(plan)
    }

    fn speaks_of_an_agent(&self, plan: &TeardownPlan) -> bool {
        self.configured.blueprint.is_some()
            || self.configured.agent.is_some()
            || self.configured.user.is_some()
            || plan.entries.contains(&EntryName::blueprint_private_key())
    }

    /// The app id of the blueprint of the settings, else of the one that a run had begun with.
    async fn blueprint_to_remove(
        &self,
        journal: Option<&Journal>,
    ) -> Result<Option<Uuid>, ProvisioningError> {
        if let Some(configured) = &self.configured.blueprint {
            return Ok(Uuid::try_parse(configured.as_str()).ok());
        }
        let Some(journal) = journal else { return Ok(None) };
        if let Some(begun) = &journal.blueprint_app_id {
            return Ok(Uuid::try_parse(begun).ok());
        }
        if !journal.has_requested(Creation::Blueprint) {
            return Ok(None);
        }
        let key = self.stored_key().await?;
        for id in self.blueprints_named(&journal.name).await? {
            if let Some(blueprint) = self.blueprint(&id).await?
                && self.is_ours(&blueprint, journal, key.as_ref())
            {
                return Ok(Some(blueprint.app_id));
            }
        }
        Ok(None)
    }

    async fn identity_to_remove(
        &self,
        journal: Option<&Journal>,
        parent: Option<Uuid>,
        remains: &mut Vec<Remains>,
    ) -> Result<Option<Uuid>, ProvisioningError> {
        let ours = |identity: &Identity| parent.is_some() && identity.blueprint == parent;
        if let Some(agent) = &self.configured.agent {
            let found = self.identity(agent.as_str()).await?;
            if let Some(foreign) = found.as_ref().filter(|identity| !ours(identity)) {
                remains.push(Remains {
                    what: format!("agent identity {}", foreign.id),
                    why: "it belongs to another blueprint",
                });
            }
            return Ok(found.filter(ours).map(|identity| identity.id));
        }
        // Of a run that was cut off: also under a blueprint that it found, and that stays.
        let Some(journal) = journal else { return Ok(None) };
        let asked_under = journal.parent_id();
        let named = self.identities_named(&desired::identity_name(&journal.name)).await?;
        let begun = |identity: &Identity| {
            ours(identity) || (asked_under.is_some() && identity.blueprint == asked_under)
        };
        Ok(named.into_iter().find(begun).map(|identity| identity.id))
    }

    async fn users_to_remove(
        &self,
        wanted: &Teardown,
        journal: Option<&Journal>,
        plan: &mut TeardownPlan,
    ) -> Result<Vec<Uuid>, ProvisioningError> {
        let mut found = Vec::new();
        if let Some(user) = &self.configured.user {
            found.extend(self.user(user.as_str()).await?);
        } else if let Some(upn) = journal.and_then(|journal| journal.upn.as_ref()) {
            let begun = self.user_of(upn).await?;
            found.extend(begun.filter(|user| plan.identity.is_some() && user.parent == plan.identity));
        }
        for upn in &wanted.upns {
            found.extend(self.user_of(upn).await?);
        }
        let mut users: Vec<Uuid> = Vec::new();
        for user in found {
            if !user.is_agent {
                return Err(ProvisioningError::refused(
                    "one of the users to remove is a person",
                    "name agent users only",
                ));
            }
            match (plan.identity, user.parent) {
                (Some(identity), Some(parent)) if parent != identity => {
                    return Err(ProvisioningError::refused(
                        "one of the users to remove belongs to another agent identity",
                        "name this agent's users only",
                    ));
                }
                // An identity that is gone leaves its users behind; those may go. One that is there is not ours.
                (None, Some(parent)) if self.identity(&parent.to_string()).await?.is_some() => {
                    plan.remains.push(Remains {
                        what: format!("agent identity {parent}"),
                        why: "a user of it is removed, but the settings do not name it as ours",
                    });
                }
                _ => {}
            }
            if !users.contains(&user.id) {
                users.push(user.id);
            }
        }
        Ok(users)
    }

    /// The object id of the blueprint, if it is there and nobody else's identity needs it.
    async fn unless_others_use_it(
        &self,
        app_id: &Uuid,
        identity: Option<Uuid>,
        remains: &mut Vec<Remains>,
    ) -> Result<Option<Uuid>, ProvisioningError> {
        let Some(id) = self.blueprint_of_app(&app_id.to_string()).await? else { return Ok(None) };
        let others = self.identities_of(app_id).await?;
        if others.iter().all(|other| Some(other.id) == identity) {
            return Ok(Some(id));
        }
        self.name_what_stays(&id, "other agent identities belong to it", remains).await?;
        Ok(None)
    }

    /// A blueprint, and the certificates of our key on it.
    async fn name_what_stays(
        &self,
        blueprint: &Uuid,
        why: &'static str,
        remains: &mut Vec<Remains>,
    ) -> Result<(), ProvisioningError> {
        remains.push(Remains { what: format!("blueprint {blueprint}"), why });
        if let (Some(key), Some(blueprint)) = (self.stored_key().await?, self.blueprint(blueprint).await?) {
            let held = blueprint.credentials.into_iter().filter_map(|held| held.certificate);
            remains.extend(held.filter(|held| held.belongs_to(&key)).map(|held| Remains {
                what: format!("certificate {} on that blueprint", held.thumbprint().as_str()),
                why: "its key goes; the blueprint's owners may take it off",
            }));
        }
        Ok(())
    }

    async fn entries_to_remove(&self, wanted: &Teardown) -> Result<Vec<EntryName>, ProvisioningError> {
        let mut names: Vec<EntryName> = OUR_ENTRIES
            .iter()
            .chain(LEGACY_ENTRIES)
            .filter_map(|(service, username)| EntryName::new(*service, *username).ok())
            .collect();
        if !wanted.preserve_provisioner {
            names.push(self.sign_in.entry());
        }
        let policy = self.policy.clone();
        blocking(move || {
            let keystore = policy.open()?;
            let mut present = Vec::new();
            let all = keystore.list(EntryName::blueprint_private_key().service())?;
            present.extend(all.into_iter().filter(is_waiting_key));
            for name in names {
                if keystore.contains(&name)? {
                    present.push(name);
                }
            }
            Ok(present)
        })
        .await
    }

    /// Removes what the plan names, in its order, each step admitted by the gate. Cut off anywhere, the next plan has
    /// the rest. The keystore comes last: without the Provisioner's certificate nothing else could be removed.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn tear_down(
        &self,
        plan: TeardownPlan,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), ProvisioningError> {
        let run = Run::new(gate, progress);
        for user in &plan.users {
            run.tell(Progress::Started(StepKind::User));
            let path = format!("/beta/users/{user}");
            self.delete(&run, "teardown.user.delete", Operation::DeleteUser, &path, user, plan.purge).await?;
            run.tell(Progress::Done(StepKind::User, true));
        }
        if let Some(identity) = &plan.identity {
            run.tell(Progress::Started(StepKind::Identity));
            let path = format!("/v1.0/servicePrincipals/{identity}");
            self.delete(
                &run,
                "teardown.identity.delete",
                Operation::DeleteIdentity,
                &path,
                identity,
                plan.purge,
            )
            .await?;
            run.tell(Progress::Done(StepKind::Identity, true));
        }
        if let Some(blueprint) = &plan.blueprint {
            run.tell(Progress::Started(StepKind::Blueprint));
            let path = format!("/v1.0/applications/{blueprint}");
            self.delete(
                &run,
                "teardown.blueprint.delete",
                Operation::DeleteBlueprint,
                &path,
                blueprint,
                plan.purge,
            )
            .await?;
            if let Some(principal) = &plan.principal {
                self.purge(&run, principal).await?;
            }
            run.tell(Progress::Done(StepKind::Blueprint, true));
        }
        if let Some(path) = self.settings_file.clone().filter(|_| plan.settings) {
            run.tell(Progress::Started(StepKind::Settings));
            let credential = self.configured.tpm_certificate.as_ref().map(|_| settings_file::CREDENTIAL);
            let names: Vec<&str> = settings_file::OURS.into_iter().chain(credential).collect();
            let edit = blocking(move || settings_file::take_out(&path, &names).map(|_| ()));
            run.act("teardown.settings.write", None, edit).await?;
            run.tell(Progress::Done(StepKind::Settings, true));
        }
        for entry in plan.entries {
            run.tell(Progress::Started(StepKind::Key));
            let policy = self.policy.clone();
            let delete = blocking(move || match policy.open()?.delete(&entry) {
                Ok(()) | Err(KeystoreError::NoEntry) => Ok(()),
                Err(error) => Err(error.into()),
            });
            run.act("teardown.key.delete", None, delete).await?;
            run.tell(Progress::Done(StepKind::Key, true));
        }
        for file in self.tpm_key_files().await? {
            run.act("teardown.key.delete", None, remove_file(file)).await?;
        }
        Journal::remove(&self.data_dir)
    }

    async fn delete(
        &self,
        run: &Run<'_>,
        action: &'static str,
        operation: Operation,
        path: &str,
        id: &Uuid,
        purge: bool,
    ) -> Result<(), ProvisioningError> {
        run.act(action, Some(id), self.remove(operation, path)).await?;
        if purge { self.purge(run, id).await } else { Ok(()) }
    }

    async fn purge(&self, run: &Run<'_>, id: &Uuid) -> Result<(), ProvisioningError> {
        let path = format!("/v1.0/directory/deletedItems/{id}");
        run.act("teardown.purge", Some(id), self.remove(Operation::Purge, &path)).await
    }

    /// What is gone already is no error.
    async fn remove(&self, operation: Operation, path: &str) -> Result<(), ProvisioningError> {
        match self.change(operation, Method::Delete, path, None).await {
            Err(ProvisioningError::Graph(error)) if error.status() == Some(404) => Ok(()),
            result => result.map(|_| ()),
        }
    }
}
