//! The way back: user, identity, blueprint, then what is kept here. The audit log stays.

use std::sync::Arc;

use entrabot_keystore::{EntryName, KeystoreError};
use uuid::Uuid;

use super::run::{Progress, Run, blocking};
use super::{Provisioner, ProvisioningError, ProvisioningLock, StepKind, journal::Journal, settings_file};
use crate::ActionGate;
use crate::graph::Operation;
use crate::tokens::http::Method;
use crate::tokens::is_waiting_key;

/// Service and names of what the product and the original put into the keystore. The audit's signing key is not among
/// them: the log outlives the agent.
const ENTRIES: &[(&str, &str)] = &[
    ("entrabot", "blueprint-private-key"),
    ("entrabot", "blueprint_secret"),
    ("entrabot", "human_refresh_token"),
    ("entrabot", "agent_password"),
];

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
    /// Reads what there is to remove. Changes nothing.
    ///
    /// # Errors
    /// See [`ProvisioningError`]; a UPN of a person, or of another agent's user, is refused.
    pub async fn plan_teardown(&self, wanted: &Teardown) -> Result<TeardownPlan, ProvisioningError> {
        self.sign_in.credential().await?;
        let mut remains = Vec::new();
        let blueprint = match &self.configured.blueprint {
            Some(app_id) => self.blueprint_of_app(app_id.as_str()).await?,
            None => None,
        };
        let parent = self.configured.blueprint.as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
        let identity = match &self.configured.agent {
            Some(agent) => self.identity(agent.as_str()).await?.filter(|identity| {
                let ours = parent.is_some() && identity.blueprint == parent;
                if !ours {
                    remains.push(Remains {
                        what: format!("agent identity {}", identity.id),
                        why: "it belongs to another blueprint",
                    });
                }
                ours
            }),
            None => None,
        };
        let identity = identity.map(|identity| identity.id);
        let users = self.users_to_remove(wanted, identity).await?;
        let blueprint = match (blueprint, parent) {
            (Some(blueprint), Some(app_id)) => {
                let others = self.identities_of(&app_id).await?;
                let others = others.iter().filter(|other| Some(other.id) != identity).count();
                if others > 0 {
                    remains.push(Remains {
                        what: format!("blueprint {blueprint}"),
                        why: "other agent identities belong to it",
                    });
                }
                (others == 0).then_some(blueprint)
            }
            _ => None,
        };
        let entries = self.entries_to_remove(wanted).await?;
        let settings =
            self.settings_file.as_deref().map(settings_file::holds_ours).transpose()?.unwrap_or(false);
        Ok(TeardownPlan { users, identity, blueprint, entries, settings, purge: wanted.purge, remains })
    }

    async fn users_to_remove(
        &self,
        wanted: &Teardown,
        identity: Option<Uuid>,
    ) -> Result<Vec<Uuid>, ProvisioningError> {
        let mut found = Vec::new();
        if let Some(user) = &self.configured.user {
            found.extend(self.user(user.as_str()).await?);
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
            // An identity that is gone leaves its users behind; those may go.
            if let (Some(identity), Some(parent)) = (identity, user.parent)
                && parent != identity
            {
                return Err(ProvisioningError::refused(
                    "one of the users to remove belongs to another agent identity",
                    "name this agent's users only",
                ));
            }
            if !users.contains(&user.id) {
                users.push(user.id);
            }
        }
        Ok(users)
    }

    async fn entries_to_remove(&self, wanted: &Teardown) -> Result<Vec<EntryName>, ProvisioningError> {
        let mut names: Vec<EntryName> = ENTRIES
            .iter()
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
            run.tell(Progress::Done(StepKind::Blueprint, true));
        }
        if let Some(path) = self.settings_file.clone().filter(|_| plan.settings) {
            run.tell(Progress::Started(StepKind::Settings));
            let edit = blocking(move || settings_file::take_out(&path).map(|_| ()));
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
        let remove = |operation: Operation, path: String| async move {
            match self.change(operation, Method::Delete, &path, None).await {
                Err(ProvisioningError::Graph(error)) if error.status() == Some(404) => Ok(()),
                result => result.map(|_| ()),
            }
        };
        run.act(action, Some(id), remove(operation, path.to_owned())).await?;
        if purge {
            let bin = format!("/v1.0/directory/deletedItems/{id}");
            run.act("teardown.purge", Some(id), remove(Operation::Purge, bin)).await?;
        }
        Ok(())
    }
}
