//! After the first run: the people who answer for the agent, and the scopes of its user.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::directory::Grant;
use super::run::{Progress, Run};
use super::{Provisioner, ProvisioningError, ProvisioningLock};
use crate::graph::{Operation, text};
use crate::tokens::http::{Method, encoded};
use crate::{ActionGate, ObjectId};

/// The delegated scopes on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldGrant {
    /// The object id of the resource's service principal.
    pub resource: String,
    /// For the agent's user alone, or for everybody in the tenant.
    pub for_tenant: bool,
    /// The scopes by name.
    pub scopes: Vec<String>,
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

    /// The object ids of the agent identity's sponsors.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn sponsors(&self) -> Result<Vec<String>, ProvisioningError> {
        let identity = self.configured_identity()?;
        let path =
            format!("/v1.0/servicePrincipals/{identity}/microsoft.graph.agentIdentity/sponsors?$select=id");
        let found = self.graph.list("read the agent's sponsors", &self.sign_in.token().await?, &path).await?;
        Ok(found.iter().filter_map(|sponsor| text(sponsor, "id").map(str::to_owned)).collect())
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
        if self.sponsors().await?.iter().any(|present| present == sponsor.as_str()) {
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
        if !present.iter().any(|present| present == sponsor.as_str()) {
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

    /// The delegated scopes that the agent identity holds.
    ///
    /// # Errors
    /// See [`ProvisioningError`].
    pub async fn grants(&self) -> Result<Vec<HeldGrant>, ProvisioningError> {
        let found = self.grants_of(&self.configured_identity()?).await?;
        let shown = |grant: Grant| HeldGrant {
            for_tenant: grant.principal.is_none(),
            resource: grant.resource,
            scopes: grant.scopes,
        };
        Ok(found.into_iter().map(shown).collect())
    }

    async fn graph_grant(&self) -> Result<(Uuid, Uuid, Uuid, Option<Grant>), ProvisioningError> {
        let (identity, user) = (self.configured_identity()?, self.configured_user()?);
        let resource = self.graph_principal().await?;
        let (user_text, resource_text) = (user.to_string(), resource.to_string());
        let ours = |grant: &Grant| {
            grant.resource == resource_text && grant.principal.as_deref() == Some(user_text.as_str())
        };
        let grant = self.grants_of(&identity).await?.into_iter().find(ours);
        Ok((identity, user, resource, grant))
    }

    /// Adds scopes on Microsoft Graph for the agent's user; says which were new.
    ///
    /// # Errors
    /// See [`ProvisioningError`]; a scope that is not one word is refused.
    pub async fn grant_scopes(
        &self,
        scopes: &[&str],
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
    ) -> Result<Vec<String>, ProvisioningError> {
        let scopes = checked(scopes)?;
        let (identity, user, resource, present) = self.graph_grant().await?;
        let held = present.as_ref().map(|grant| grant.scopes.clone()).unwrap_or_default();
        let new: Vec<String> = scopes.into_iter().filter(|scope| !held.contains(scope)).collect();
        if new.is_empty() {
            return Ok(new);
        }
        let scope = [held, new.clone()].concat().join(" ");
        let run = Run::new(gate, &silent);
        match present {
            Some(grant) => {
                let (path, body) = (
                    format!("/v1.0/oauth2PermissionGrants/{}", encoded(&grant.id)),
                    json!({ "scope": scope }),
                );
                let change = self.change(Operation::WriteGrant, Method::Patch, &path, Some(&body));
                run.act("grant.update", Some(&identity), change).await?;
            }
            None => {
                let body = json!({
                    "clientId": identity.to_string(), "consentType": "Principal", "principalId": user.to_string(),
                    "resourceId": resource.to_string(), "scope": scope,
                });
                let change = self.change(
                    Operation::WriteGrant,
                    Method::Post,
                    "/v1.0/oauth2PermissionGrants",
                    Some(&body),
                );
                run.act("grant.create", Some(&identity), change).await?;
            }
        }
        Ok(new)
    }

    /// Takes scopes on Microsoft Graph away from the agent's user; says which were there.
    ///
    /// # Errors
    /// As [`Provisioner::grant_scopes`].
    pub async fn revoke_scopes(
        &self,
        scopes: &[&str],
        _lock: &ProvisioningLock,
        gate: Arc<dyn ActionGate>,
    ) -> Result<Vec<String>, ProvisioningError> {
        let scopes = checked(scopes)?;
        let (identity, _, _, present) = self.graph_grant().await?;
        let Some(grant) = present else { return Ok(Vec::new()) };
        let (gone, kept): (Vec<String>, Vec<String>) =
            grant.scopes.into_iter().partition(|held| scopes.contains(held));
        if gone.is_empty() {
            return Ok(gone);
        }
        let path = format!("/v1.0/oauth2PermissionGrants/{}", encoded(&grant.id));
        let run = Run::new(gate, &silent);
        if kept.is_empty() {
            let change = self.change(Operation::WriteGrant, Method::Delete, &path, None);
            run.act("grant.delete", Some(&identity), change).await?;
        } else {
            let body = json!({ "scope": kept.join(" ") });
            let change = self.change(Operation::WriteGrant, Method::Patch, &path, Some(&body));
            run.act("grant.update", Some(&identity), change).await?;
        }
        Ok(gone)
    }
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
