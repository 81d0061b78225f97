//! The directory: what is read of it, as types, and the one way to change it.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::certificate::Certificate;
use super::{Provisioner, ProvisioningError};
use crate::graph::{Operation, text};
use crate::tokens::http::{Method, encoded};

/// Microsoft Graph's own app id.
const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";

pub(super) type Object = Map<String, Value>;

#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) id: Uuid,
    pub(super) app_id: Uuid,
    pub(super) credentials: Vec<Credential>,
}

/// One entry of `keyCredentials`.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) key_id: String,
    pub(super) certificate: Option<Certificate>,
    /// As Graph sent it, without `key`: sent back so, Graph keeps the entry.
    pub(super) kept: Object,
}

#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: Uuid,
    pub(super) is_agent: bool,
    pub(super) parent: Option<Uuid>,
    pub(super) has_usage_location: bool,
    pub(super) licences: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) id: Uuid,
    pub(super) blueprint: Option<Uuid>,
}

/// A delegated grant.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) id: String,
    pub(super) client: String,
    pub(super) resource: String,
    pub(super) principal: Option<String>,
    pub(super) scopes: Vec<String>,
}

/// A subscription with seats left or not.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) sku_id: String,
    pub(super) part_number: String,
    pub(super) has_teams: bool,
    pub(super) free: i64,
}

pub(super) fn id(object: &Object, member: &str) -> Result<Uuid, ProvisioningError> {
    text(object, member).and_then(|text| Uuid::try_parse(text).ok()).ok_or_else(|| {
        ProvisioningError::refused(
            format!("an object of the directory has no {member} that is a GUID"),
            "check ENTRABOT_GRAPH_BASE",
        )
    })
}

/// What is read, in words after "refused to", with the application permissions any of which allows it.
#[derive(Clone, Copy, Debug)]
struct Reading {
    what: &'static str,
    permissions: &'static [&'static str],
}

impl Reading {
    fn of_app(what: &'static str) -> Self {
        Self { what, permissions: &["Application.ReadWrite.All"] }
    }
    fn of_user(what: &'static str) -> Self {
        Self { what, permissions: &["User.ReadWrite.All"] }
    }
    fn of_grant(what: &'static str) -> Self {
        Self { what, permissions: &["DelegatedPermissionGrant.ReadWrite.All"] }
    }
    fn of_tenant(what: &'static str) -> Self {
        Self { what, permissions: &["Organization.Read.All"] }
    }
}

fn is_type(object: &Object, name: &str) -> bool {
    text(object, "@odata.type")
        .is_some_and(|kind| kind.trim_start_matches('#') == format!("microsoft.graph.{name}"))
}

/// `'` doubled, percent-encoded: one literal of a `$filter`.
fn literal(value: &str) -> String {
    format!("%27{}%27", encoded(&value.replace('\'', "''")))
}

/// `member eq 'value'`.
fn equals(member: &str, value: &str) -> String {
    format!("$filter={member}%20eq%20{}", literal(value))
}

fn blueprint(object: &Object) -> Result<Blueprint, ProvisioningError> {
    let credentials = object.get("keyCredentials").and_then(Value::as_array).cloned().unwrap_or_default();
    let credentials = credentials.into_iter().filter_map(|item| match item {
        Value::Object(mut kept) => {
            let key = kept.insert("key".into(), Value::Null);
            let certificate = key.as_ref().and_then(Value::as_str).and_then(Certificate::from_base64);
            Some(Credential { key_id: text(&kept, "keyId")?.to_owned(), certificate, kept })
        }
        _ => None,
    });
    Ok(Blueprint { id: id(object, "id")?, app_id: id(object, "appId")?, credentials: credentials.collect() })
}

pub(super) fn user(object: &Object) -> Result<User, ProvisioningError> {
    let parent = text(object, "identityParentId").and_then(|text| Uuid::try_parse(text).ok());
    let licences = object.get("assignedLicenses").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(User {
        id: id(object, "id")?,
        is_agent: is_type(object, "agentUser") || parent.is_some(),
        parent,
        has_usage_location: text(object, "usageLocation").is_some(),
        licences: licences
            .iter()
            .filter_map(|licence| licence.get("skuId")?.as_str().map(str::to_owned))
            .collect(),
    })
}

fn identity(object: &Object) -> Result<Identity, ProvisioningError> {
    let blueprint = text(object, "agentIdentityBlueprintId").and_then(|text| Uuid::try_parse(text).ok());
    Ok(Identity { id: id(object, "id")?, blueprint })
}

impl Provisioner {
    async fn list(&self, reading: Reading, path: &str) -> Result<Vec<Object>, ProvisioningError> {
        let found = self.graph.list(reading.what, &*self.sign_in.token().await?, path).await;
        found.map_err(|error| self.sign_in.explained(error.with_permissions(reading.permissions)))
    }

    /// Changes something in the directory. Callers put it on record first.
    pub(super) async fn change(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Object, ProvisioningError> {
        let token = self.sign_in.token().await?;
        let changed = self.graph.change(operation, &*token, method, path, body).await;
        changed.map_err(|error| self.sign_in.explained(error))
    }

    /// `None` for a 404, and only for that.
    async fn find(&self, reading: Reading, path: &str) -> Result<Option<Object>, ProvisioningError> {
        match self.graph.get(reading.what, &*self.sign_in.token().await?, path).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(self.sign_in.explained(error.with_permissions(reading.permissions))),
        }
    }

    /// The blueprints of this display name. Ordinary apps of that name are none of our business.
    pub(super) async fn blueprints_named(&self, name: &str) -> Result<Vec<Uuid>, ProvisioningError> {
        let path = format!("/v1.0/applications?{}", equals("displayName", name));
        let found = self.list(Reading::of_app("look for the blueprint"), &path).await?;
        found.iter().filter(|app| is_type(app, "agentIdentityBlueprint")).map(|app| id(app, "id")).collect()
    }

    /// The ordinary apps of this display name.
    #[cfg(feature = "delegated")]
    pub(super) async fn apps_named(&self, name: &str) -> Result<Vec<Uuid>, ProvisioningError> {
        self.ordinary_apps("displayName", name).await
    }

    /// The ordinary app of this app id.
    #[cfg(feature = "delegated")]
    pub(super) async fn app_of_id(&self, app_id: &str) -> Result<Option<Uuid>, ProvisioningError> {
        Ok(self.ordinary_apps("appId", app_id).await?.into_iter().next())
    }

    #[cfg(feature = "delegated")]
    async fn ordinary_apps(&self, member: &str, value: &str) -> Result<Vec<Uuid>, ProvisioningError> {
        let path = format!("/v1.0/applications?{}", equals(member, value));
        let found = self.list(Reading::of_app("look for the Provisioner app"), &path).await?;
        found.iter().filter(|app| !is_type(app, "agentIdentityBlueprint")).map(|app| id(app, "id")).collect()
    }

    /// The ids of these application permissions, by the API's own list. One that it does not have is left out.
    #[cfg(feature = "delegated")]
    pub(super) async fn role_ids(
        &self,
        api: &Uuid,
        names: &[&'static str],
    ) -> Result<Vec<(&'static str, String)>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals/{api}?$select=id,appRoles");
        let found = self.find(Reading::of_app("read the API's permissions"), &path).await?;
        let roles = found.and_then(|api| api.get("appRoles")?.as_array().cloned()).unwrap_or_default();
        let id_of = |name: &&'static str| {
            let role = roles.iter().find(|role| role.get("value").and_then(Value::as_str) == Some(*name))?;
            Some((*name, role.get("id")?.as_str()?.to_owned()))
        };
        Ok(names.iter().filter_map(id_of).collect())
    }

    /// The ids of the roles of one API that a service principal holds.
    pub(super) async fn roles_of(
        &self,
        principal: &Uuid,
        api: &Uuid,
    ) -> Result<Vec<String>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals/{principal}/appRoleAssignments");
        let found = self.list(Reading::of_app("read a service principal's app roles"), &path).await?;
        let of_api = |assignment: &&Object| id(assignment, "resourceId").is_ok_and(|id| id == *api);
        let role = |assignment: &Object| text(assignment, "appRoleId").map(str::to_owned);
        Ok(found.iter().filter(of_api).filter_map(role).collect())
    }

    pub(super) async fn blueprint_of_app(&self, app_id: &str) -> Result<Option<Uuid>, ProvisioningError> {
        let path = format!("/v1.0/applications?{}", equals("appId", app_id));
        let found = self.list(Reading::of_app("look for the blueprint"), &path).await?;
        found.iter().find(|app| is_type(app, "agentIdentityBlueprint")).map(|app| id(app, "id")).transpose()
    }

    /// With its certificates: Graph shows them for one object, selected by name, and nowhere else.
    pub(super) async fn blueprint(&self, id: &Uuid) -> Result<Option<Blueprint>, ProvisioningError> {
        let path = format!("/v1.0/applications/{id}?$select=id,appId,displayName,keyCredentials");
        self.find(Reading::of_app("read the blueprint's certificates"), &path)
            .await?
            .as_ref()
            .map(blueprint)
            .transpose()
    }

    /// The service principal of an app, if the tenant has one.
    pub(super) async fn principal_of(&self, app_id: &str) -> Result<Option<Uuid>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals?{}", equals("appId", app_id));
        let found = self.list(Reading::of_app("look for a service principal"), &path).await?;
        found.first().map(|principal| id(principal, "id")).transpose()
    }

    /// What the directory calls a service principal; `None` when it is gone.
    pub(super) async fn principal_name(&self, id: &str) -> Result<Option<String>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals/{}?$select=id,displayName", encoded(id));
        let found = self.find(Reading::of_app("read a service principal"), &path).await?;
        Ok(found.and_then(|principal| text(&principal, "displayName").map(str::to_owned)))
    }

    /// The names of the delegated scopes that an API publishes.
    pub(super) async fn published_scopes(&self, api: &Uuid) -> Result<Vec<String>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals/{api}?$select=id,oauth2PermissionScopes");
        let found = self.find(Reading::of_app("read the API's scopes"), &path).await?;
        let scopes = found.and_then(|api| api.get("oauth2PermissionScopes")?.as_array().cloned());
        let name = |scope: &Value| Some(scope.get("value")?.as_str()?.to_owned());
        Ok(scopes.iter().flatten().filter_map(name).collect())
    }

    pub(super) async fn graph_principal(&self) -> Result<Uuid, ProvisioningError> {
        self.principal_of(GRAPH_APP_ID)
            .await?
            .ok_or_else(|| ProvisioningError::NotFound { what: "Microsoft Graph's service principal".into() })
    }

    pub(super) async fn identities_named(&self, name: &str) -> Result<Vec<Identity>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals?{}", equals("displayName", name));
        let found = self.list(Reading::of_app("look for the agent identity"), &path).await?;
        found.iter().filter(|object| is_type(object, "agentIdentity")).map(identity).collect()
    }

    pub(super) async fn identity(&self, id: &str) -> Result<Option<Identity>, ProvisioningError> {
        let path = format!("/v1.0/servicePrincipals/{}", encoded(id));
        let found = self.find(Reading::of_app("read the agent identity"), &path).await?;
        found.filter(|object| is_type(object, "agentIdentity")).as_ref().map(identity).transpose()
    }

    /// All identities of a blueprint. Graph refuses to filter by it, so all are read.
    pub(super) async fn identities_of(&self, blueprint: &Uuid) -> Result<Vec<Identity>, ProvisioningError> {
        let path = "/v1.0/servicePrincipals/microsoft.graph.agentIdentity";
        let found = self.list(Reading::of_app("list the blueprint's agent identities"), path).await?;
        let identities: Result<Vec<Identity>, _> = found.iter().map(identity).collect();
        Ok(identities?
            .into_iter()
            .filter(|identity| identity.blueprint.as_ref() == Some(blueprint))
            .collect())
    }

    pub(super) async fn user_of(&self, upn: &str) -> Result<Option<User>, ProvisioningError> {
        let path = format!("/beta/users?{}", equals("userPrincipalName", upn));
        let found = self.list(Reading::of_user("look for the agent user"), &path).await?;
        found.first().map(user).transpose()
    }

    pub(super) async fn user(&self, id: &str) -> Result<Option<User>, ProvisioningError> {
        let path = format!("/beta/users/{}", encoded(id));
        self.find(Reading::of_user("read the agent user"), &path).await?.as_ref().map(user).transpose()
    }

    /// The domains that a user's name in this tenant may end in, in lower case.
    pub(super) async fn domains(&self) -> Result<Vec<String>, ProvisioningError> {
        let path = "/v1.0/organization?$select=verifiedDomains";
        let found = self.list(Reading::of_tenant("read the tenant's domains"), path).await?;
        let domains = found.iter().filter_map(|tenant| tenant.get("verifiedDomains")?.as_array()).flatten();
        Ok(domains.filter_map(|domain| domain.get("name")?.as_str().map(str::to_lowercase)).collect())
    }

    /// Whether the identity holds this app role of the resource.
    pub(super) async fn holds_role(
        &self,
        identity: &Uuid,
        resource: &Uuid,
        role: &str,
    ) -> Result<bool, ProvisioningError> {
        Ok(self.roles_of(identity, resource).await?.iter().any(|held| held == role))
    }

    pub(super) async fn grants_of(&self, client: &Uuid) -> Result<Vec<Grant>, ProvisioningError> {
        let path = format!("/v1.0/oauth2PermissionGrants?{}", equals("clientId", &client.to_string()));
        let found = self.list(Reading::of_grant("read delegated grants"), &path).await?;
        let grant = |object: &Object| {
            Some(Grant {
                id: text(object, "id")?.to_owned(),
                client: text(object, "clientId")?.to_owned(),
                resource: text(object, "resourceId")?.to_owned(),
                principal: text(object, "principalId").map(str::to_owned),
                scopes: text(object, "scope")
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
            })
        };
        Ok(found.iter().filter_map(grant).filter(|grant| grant.client == client.to_string()).collect())
    }

    pub(super) async fn subscriptions(&self) -> Result<Vec<Subscription>, ProvisioningError> {
        let found =
            self.list(Reading::of_tenant("read the tenant's licences"), "/v1.0/subscribedSkus").await?;
        let number = |object: &Object, outer: Option<&str>, name: &str| {
            let place = outer.map_or(Some(object), |outer| object.get(outer)?.as_object());
            place.and_then(|place| place.get(name)).and_then(Value::as_i64).unwrap_or(0)
        };
        let plans = |object: &Object| {
            let plans = object.get("servicePlans").and_then(Value::as_array).cloned().unwrap_or_default();
            plans.iter().any(|plan| {
                plan.get("servicePlanName")
                    .and_then(Value::as_str)
                    .is_some_and(|name| name.starts_with("TEAMS"))
            })
        };
        Ok(found
            .iter()
            .filter(|object| text(object, "capabilityStatus").is_none_or(|status| status == "Enabled"))
            .filter_map(|object| {
                Some(Subscription {
                    sku_id: text(object, "skuId")?.to_owned(),
                    part_number: text(object, "skuPartNumber").unwrap_or_default().to_owned(),
                    has_teams: plans(object),
                    free: number(object, Some("prepaidUnits"), "enabled")
                        - number(object, None, "consumedUnits"),
                })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_stays_inside_its_literal() {
        assert_eq!(
            equals("displayName", "d'emo & co"),
            "$filter=displayName%20eq%20%27d%27%27emo%20%26%20co%27"
        );
    }
}
