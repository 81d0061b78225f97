//! After the first run: the people who answer for the agent, and the scopes of its user.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::apply::present_is_fine;
use super::directory::Grant;
use super::run::{Progress, Run};
use super::{Provisioner, ProvisioningError, ProvisioningLock};
use crate::graph::{Operation, sponsors_of};
use crate::tokens::http::{Method, encoded};
use crate::{ActionGate, ClientId, ObjectId, Sponsor};

/// The delegated scopes on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldGrant {
    /// The object id of the resource's service principal.
    pub resource: String,
    /// Its display name, as the directory has it: untrusted.
    pub resource_name: Option<String>,
    /// Whether the blueprint holds it, and so every agent of the blueprint.
    pub by_blueprint: bool,
    /// For the agent's user alone, or for everybody in the tenant.
    pub for_tenant: bool,
    /// The scopes by name.
    pub scopes: Vec<String>,
}

/// The API that scopes are on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantResource {
    /// Microsoft Graph.
    Graph,
    /// The API of this app id.
    App(ClientId),
}

/// Whose grant it is, and on what.
pub(super) struct GrantOf<'a> {
    pub(super) client: &'a Uuid,
    /// `None`: for everybody in the tenant.
    pub(super) user: Option<&'a Uuid>,
    pub(super) resource: &'a Uuid,
}

/// The scopes that the grant holds, and those that are to come; each once.
pub(super) fn with_added(present: Option<&Grant>, more: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = present.map(|grant| grant.scopes.clone()).unwrap_or_default();
    for scope in more {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all
}

impl Provisioner {
    fn configured_identity(&self) -> Result<Uuid, ProvisioningError> {
        let agent = self.configured.agent.as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
        agent.ok_or_else(|| ProvisioningError::NotConfigured { missing: "ENTRABOT_AGENT_ID".into() })
    }

    fn configured_user(&self) -> Result<Uuid, ProvisioningError> {
        let user = self.configured.user.as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
        user.ok_or_else(|| ProvisioningError::NotConfigured { missing: "ENTRABOT_AGENT_USER_ID".into() })
    }

    /// The agent identity's sponsors.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn sponsors(&self) -> Result<Vec<Sponsor>, ProvisioningError> {
        let identity = self.configured_identity()?.to_string();
        let found = sponsors_of(&self.graph, &*self.sign_in.token().await?, &identity).await;
        Ok(found.map_err(|error| error.with_permissions(Operation::WriteSponsors.permissions()))?)
    }

    /// Adds a sponsor to the agent identity; one who is there already is no error.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn add_sponsor(
        &self,
        sponsor: &ObjectId,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
    ) -> Result<bool, ProvisioningError> {
        if self.sponsors().await?.iter().any(|present| present.id == sponsor.as_str()) {
            return Ok(false);
        }
        let identity = self.configured_identity()?;
        let path = format!("/v1.0/servicePrincipals/{identity}/microsoft.graph.agentIdentity/sponsors/$ref");
        let body = json!({ "@odata.id": format!("{}/v1.0/users/{sponsor}", self.graph.base()) });
        let add = self.change(Operation::WriteSponsors, Method::Post, &path, Some(&body));
        Run::new(gate, &silent).act("sponsor.add", Some(&identity), add).await?;
        Ok(true)
    }

    /// Removes a sponsor. Graph keeps at least one.
    ///
    /// # Errors
    /// See [`ProvisioningError`]; the last sponsor is refused.
    pub async fn remove_sponsor(
        &self,
        sponsor: &ObjectId,
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
    ) -> Result<bool, ProvisioningError> {
        let present = self.sponsors().await?;
        if !present.iter().any(|present| present.id == sponsor.as_str()) {
            return Ok(false);
        }
        if present.len() == 1 {
            return Err(ProvisioningError::refused(
                "the only sponsor cannot be removed: somebody has to answer for the agent",
                "add another sponsor first",
            ));
        }
        let identity = self.configured_identity()?;
        let path = format!(
            "/v1.0/servicePrincipals/{identity}/microsoft.graph.agentIdentity/sponsors/{sponsor}/$ref"
        );
        let remove = self.change(Operation::WriteSponsors, Method::Delete, &path, None);
        Run::new(gate, &silent).act("sponsor.remove", Some(&identity), remove).await?;
        Ok(true)
    }

    /// The delegated scopes of the agent identity, and those of its blueprint, which hold for it too.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn grants(&self) -> Result<Vec<HeldGrant>, ProvisioningError> {
        let mut held: Vec<(bool, Grant)> = Vec::new();
        let own = self.grants_of(&self.configured_identity()?).await?;
        held.extend(own.into_iter().map(|grant| (false, grant)));
        let principal = match &self.configured.blueprint {
            Some(blueprint) => self.principal_of(blueprint.as_str()).await?,
            None => None,
        };
        if let Some(principal) = principal {
            held.extend(self.grants_of(&principal).await?.into_iter().map(|grant| (true, grant)));
        }
        let mut shown: Vec<HeldGrant> = Vec::new();
        for (by_blueprint, grant) in held {
            let known = shown.iter().find(|earlier| earlier.resource == grant.resource);
            let resource_name = match known {
                Some(known) => known.resource_name.clone(),
                None => self.principal_name(&grant.resource).await?,
            };
            shown.push(HeldGrant {
                resource_name,
                by_blueprint,
                for_tenant: grant.principal.is_none(),
                resource: grant.resource,
                scopes: grant.scopes,
            });
        }
        Ok(shown)
    }

    /// The resource's principal, and what the agent's user may do there.
    async fn grant_on(
        &self,
        resource: &GrantResource,
        identity: &Uuid,
        user: &Uuid,
    ) -> Result<(Uuid, Option<Grant>), ProvisioningError> {
        let resource = match resource {
            GrantResource::Graph => self.graph_principal().await?,
            GrantResource::App(app) => {
                let what = || format!("a service principal of the resource {app}");
                let found = self.principal_of(app.as_str()).await?;
                found.ok_or_else(|| ProvisioningError::NotFound { what: what() })?
            }
        };
        let (user, resource_id) = (user.to_string(), resource.to_string());
        let ours = |grant: &Grant| {
            grant.resource == resource_id && grant.principal.as_deref() == Some(user.as_str())
        };
        Ok((resource, self.grants_of(identity).await?.into_iter().find(ours)))
    }

    /// Makes the grant, or gives it these scopes; `acts` are the names of the two on record.
    pub(super) async fn write_grant(
        &self,
        run: &Run<'_>,
        [create, update]: [&'static str; 2],
        present: Option<&Grant>,
        of: &GrantOf<'_>,
        scopes: &[String],
    ) -> Result<(), ProvisioningError> {
        let scope = scopes.join(" ");
        if let Some(grant) = present {
            let (path, body) = (path_of(grant), json!({ "scope": scope }));
            let change = self.change(Operation::WriteGrant, Method::Patch, &path, Some(&body));
            return run.act(update, Some(of.client), change).await.map(|_| ());
        }
        let mut body = json!({
            "clientId": of.client.to_string(),
            "consentType": if of.user.is_some() { "Principal" } else { "AllPrincipals" },
            "resourceId": of.resource.to_string(),
            "scope": scope,
        });
        if let Some(user) = of.user {
            body["principalId"] = json!(user.to_string());
        }
        let path = "/v1.0/oauth2PermissionGrants";
        let ask = || self.change(Operation::WriteGrant, Method::Post, path, Some(&body));
        let known = run.until_known("the agent, to grant it scopes", ask);
        present_is_fine(run.act(create, Some(of.client), known).await)
    }

    /// Adds scopes for the agent's user; says which were new.
    ///
    /// # Errors
    /// See [`ProvisioningError`]; a scope that is not one word, or that the API does not publish, is refused.
    pub async fn grant_scopes(
        &self,
        resource: &GrantResource,
        scopes: &[&str],
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
    ) -> Result<Vec<String>, ProvisioningError> {
        let scopes = checked(scopes)?;
        let (identity, user) = (self.configured_identity()?, self.configured_user()?);
        let (resource, present) = self.grant_on(resource, &identity, &user).await?;
        let all = with_added(present.as_ref(), scopes);
        let new = all[present.as_ref().map_or(0, |grant| grant.scopes.len())..].to_vec();
        if !new.is_empty() {
            // Graph takes any word; a token with a misspelt scope is simply without it.
            let published = self.published_scopes(&resource).await?;
            if let Some(unknown) =
                new.iter().find(|scope| !published.is_empty() && !published.contains(scope))
            {
                return Err(ProvisioningError::refused(
                    format!("the API publishes no delegated scope {unknown}"),
                    "correct its name (case counts), or name the API with --resource APP_ID",
                ));
            }
            let of = GrantOf { client: &identity, user: Some(&user), resource: &resource };
            let acts = ["grant.create", "grant.update"];
            self.write_grant(&Run::new(gate, &silent), acts, present.as_ref(), &of, &all).await?;
        }
        Ok(new)
    }

    /// Takes scopes away from the agent's user; says which were there.
    ///
    /// # Errors
    /// As [`Provisioner::grant_scopes`].
    pub async fn revoke_scopes(
        &self,
        resource: &GrantResource,
        scopes: &[&str],
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
    ) -> Result<Vec<String>, ProvisioningError> {
        let scopes = checked(scopes)?;
        let (identity, user) = (self.configured_identity()?, self.configured_user()?);
        let (resource, present) = self.grant_on(resource, &identity, &user).await?;
        let Some(grant) = present else { return Ok(Vec::new()) };
        let (gone, kept): (Vec<String>, Vec<String>) =
            grant.scopes.iter().cloned().partition(|held| scopes.contains(held));
        if gone.is_empty() {
            return Ok(gone);
        }
        let run = Run::new(gate, &silent);
        if kept.is_empty() {
            let path = path_of(&grant);
            let change = self.change(Operation::WriteGrant, Method::Delete, &path, None);
            run.act("grant.delete", Some(&identity), change).await?;
        } else {
            let of = GrantOf { client: &identity, user: Some(&user), resource: &resource };
            let acts = ["grant.create", "grant.update"];
            self.write_grant(&run, acts, Some(&grant), &of, &kept).await?;
        }
        Ok(gone)
    }
}

fn path_of(grant: &Grant) -> String {
    format!("/v1.0/oauth2PermissionGrants/{}", encoded(&grant.id))
}

fn silent(_: Progress) {}

/// Scopes are single words such as `Mail.Read`.
fn checked(scopes: &[&str]) -> Result<Vec<String>, ProvisioningError> {
    let word = |scope: &&&str| {
        !scope.is_empty()
            && scope.len() <= 128
            && scope.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if scopes.is_empty() || scopes.iter().filter(word).count() != scopes.len() {
        return Err(ProvisioningError::refused(
            "a scope is not a single word",
            "name scopes such as Mail.Read",
        ));
    }
    Ok(scopes.iter().map(|scope| (*scope).to_owned()).collect())
}
