//! The tenant's directory: apps, service principals, users, grants. Objects are JSON as Graph shows
//! them, plus members with a leading underscore that Graph never shows.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Which collection an object lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Application,
    ServicePrincipal,
    User,
    Grant,
    RoleAssignment,
}

/// The `@odata.type` values that mark agent objects.
pub(crate) mod odata {
    pub(crate) const BLUEPRINT: &str = "#microsoft.graph.agentIdentityBlueprint";
    pub(crate) const BLUEPRINT_PRINCIPAL: &str = "#microsoft.graph.agentIdentityBlueprintPrincipal";
    pub(crate) const AGENT_IDENTITY: &str = "#microsoft.graph.agentIdentity";
    pub(crate) const AGENT_USER: &str = "#microsoft.graph.agentUser";
}

/// App id of Microsoft Graph.
pub(crate) const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";
/// App id of Azure Key Vault.
pub(crate) const VAULT_APP_ID: &str = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093";
/// What a token for a vault is for.
pub(crate) const VAULT: &str = "https://vault.azure.net";
/// Audience shared by all V1 Work IQ servers ("Agent 365 tools").
pub(crate) const WORK_IQ_APP_ID: &str = "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1";
/// Audience of the V2 Word server.
pub(crate) const WORD_APP_ID: &str = "c2d0c2b6-8013-4346-9f8b-b81d3b754a29";

/// Apps of Microsoft that a tenant may make a service principal for: app id and display name.
pub(crate) const FIRST_PARTY: &[(&str, &str)] = &[
    (GRAPH_APP_ID, "Microsoft Graph"),
    (WORK_IQ_APP_ID, "Work IQ Tools"),
    (WORD_APP_ID, "Work IQ Word"),
    ("16b1878d-62c7-4009-aa25-68989d63bbad", "Work IQ Mail"),
    ("147dc821-b413-44c0-8009-1a3098378012", "Work IQ Me"),
    ("910333d2-47e9-43ca-981f-6df2f4531ef4", "Work IQ Calendar"),
    ("ce5029ee-c1d3-45c0-bdcc-efb5a4245687", "Work IQ Teams"),
    ("b0b2a2bb-6361-4549-a00c-a018417eb8e2", "Work IQ OneDrive"),
    ("292cff14-c0e8-4116-9e3b-99934ae05766", "Work IQ SharePoint"),
    ("2dbeefeb-6462-48a4-abe6-1c4989699319", "Work IQ Admin"),
    ("ab7c82de-7946-4454-ac28-70249d17c95e", "Work IQ Copilot"),
    ("fdcc1f02-fc51-4226-8753-f668596af7f7", "Work IQ"),
];

/// One object and when it can be seen.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) body: Map<String, Value>,
    visible_at: Instant,
    deleted: bool,
}

impl Entry {
    /// A string member; empty when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The object's id.
    pub(crate) fn id(&self) -> &str {
        self.text("id")
    }

    /// Whether it has this `@odata.type`.
    pub(crate) fn is(&self, odata_type: &str) -> bool {
        self.text("@odata.type") == odata_type
    }

    /// The strings of an array member.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let items = self.body.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// Everything in the tenant.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: Vec<Entry>,
    /// (skuId, skuPartNumber, service plans, seats)
    pub(crate) skus: Vec<Sku>,
}

/// A subscription with its seats.
#[derive(Debug, Clone)]
pub(crate) struct Sku {
    pub(crate) id: String,
    pub(crate) part_number: String,
    pub(crate) plans: Vec<&'static str>,
    pub(crate) seats: u32,
}

impl Directory {
    /// Adds an object; it shows after `delay`. Returns its id.
    pub(crate) fn add(&mut self, kind: Kind, body: Value, delay: Duration) -> String {
        let Value::Object(mut body) = body else { unreachable!("objects of the directory are JSON objects") };
        let id = body.entry("id").or_insert_with(|| json!(Uuid::new_v4().to_string())).as_str();
        let id = id.unwrap_or_default().to_owned();
        self.entries.push(Entry { kind, body, visible_at: Instant::now() + delay, deleted: false });
        id
    }

    /// The objects of a kind that can be seen now.
    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        let now = Instant::now();
        self.entries
            .iter()
            .filter(move |entry| entry.kind == kind && !entry.deleted && entry.visible_at <= now)
    }

    /// Also what has not replicated yet: uniqueness is checked where the object is written.
    pub(crate) fn written(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.kind == kind && !entry.deleted)
    }

    /// The object of this kind and id.
    pub(crate) fn get(&self, kind: Kind, id: &str) -> Option<&Entry> {
        self.all(kind).find(|entry| entry.id().eq_ignore_ascii_case(id))
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, kind: Kind, id: &str) -> Option<&mut Entry> {
        let now = Instant::now();
        self.entries.iter_mut().find(|entry| {
            entry.kind == kind
                && !entry.deleted
                && entry.visible_at <= now
                && entry.id().eq_ignore_ascii_case(id)
        })
    }

    /// The application or service principal with this app id.
    pub(crate) fn by_app_id(&self, kind: Kind, app_id: &str) -> Option<&Entry> {
        self.all(kind).find(|entry| entry.text("appId").eq_ignore_ascii_case(app_id))
    }

    /// The agent identity of this id.
    pub(crate) fn agent_identity(&self, id: &str) -> Option<&Entry> {
        self.get(Kind::ServicePrincipal, id).filter(|entry| entry.is(odata::AGENT_IDENTITY))
    }

    /// A user by object id or UPN.
    pub(crate) fn user(&self, id_or_upn: &str) -> Option<&Entry> {
        self.all(Kind::User).find(|entry| {
            entry.id().eq_ignore_ascii_case(id_or_upn)
                || entry.text("userPrincipalName").eq_ignore_ascii_case(id_or_upn)
        })
    }

    /// Deletes an object. Applications and users can be found among the deleted ones afterwards; the
    /// rest, and what hangs on the object (its principal, grants, role assignments), is gone.
    pub(crate) fn delete(&mut self, kind: Kind, id: &str) -> bool {
        let Some(entry) = self.get_mut(kind, id) else { return false };
        entry.deleted = true;
        let (id, app_id) = (entry.id().to_owned(), entry.text("appId").to_owned());
        if kind == Kind::Application {
            let principals: Vec<String> = self
                .written(Kind::ServicePrincipal)
                .filter(|principal| principal.text("appId") == app_id)
                .map(|principal| principal.id().to_owned())
                .collect();
            for principal in principals {
                self.delete(Kind::ServicePrincipal, &principal);
            }
        }
        self.entries.retain(|entry| match entry.kind {
            Kind::Grant => entry.text("clientId") != id && entry.text("principalId") != id && !entry.deleted,
            Kind::RoleAssignment => entry.text("principalId") != id && !entry.deleted,
            _ => true,
        });
        true
    }

    /// A soft-deleted object.
    pub(crate) fn deleted(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.deleted && entry.id().eq_ignore_ascii_case(id))
    }

    /// All soft-deleted objects.
    pub(crate) fn all_deleted(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.deleted)
    }

    /// Removes a soft-deleted object for good.
    pub(crate) fn purge(&mut self, id: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| !(entry.deleted && entry.id().eq_ignore_ascii_case(id)));
        self.entries.len() < before
    }

    /// Names of the application roles of a service principal on a resource.
    pub(crate) fn roles(&self, principal_id: &str, resource_id: &str) -> Vec<String> {
        let Some(resource) = self.get(Kind::ServicePrincipal, resource_id) else { return Vec::new() };
        let names = resource.body.get("appRoles").and_then(Value::as_array).cloned().unwrap_or_default();
        self.all(Kind::RoleAssignment)
            .filter(|entry| {
                entry.text("principalId") == principal_id && entry.text("resourceId") == resource_id
            })
            .filter_map(|entry| {
                let role = names.iter().find(|role| role["id"].as_str() == Some(entry.text("appRoleId")))?;
                role["value"].as_str().map(str::to_owned)
            })
            .collect()
    }

    /// Delegated scopes that a client has on a resource for a user. An agent identity also has what
    /// was granted to its blueprint's principal.
    pub(crate) fn scopes(&self, client_id: &str, user_id: &str, resource_id: &str) -> Vec<String> {
        let mut clients = vec![client_id.to_owned()];
        if let Some(identity) = self.agent_identity(client_id) {
            let parent = identity.text("agentIdentityBlueprintId");
            clients.extend(self.by_app_id(Kind::ServicePrincipal, parent).map(|entry| entry.id().to_owned()));
        }
        let mut scopes: Vec<String> = self
            .all(Kind::Grant)
            .filter(|grant| clients.iter().any(|client| client == grant.text("clientId")))
            .filter(|grant| grant.text("resourceId") == resource_id)
            .filter(|grant| {
                grant.text("consentType") == "AllPrincipals" || grant.text("principalId") == user_id
            })
            .flat_map(|grant| grant.text("scope").split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        scopes.sort();
        scopes.dedup();
        scopes
    }

    /// Seats of a subscription that are taken.
    pub(crate) fn seats_taken(&self, sku_id: &str) -> u32 {
        let taken = self.written(Kind::User).filter(|user| {
            let licences = user.body.get("assignedLicenses").and_then(Value::as_array);
            licences.is_some_and(|list| list.iter().any(|licence| licence["skuId"].as_str() == Some(sku_id)))
        });
        u32::try_from(taken.count()).unwrap_or(u32::MAX)
    }

    /// Whether a user holds a licence with this part number.
    pub(crate) fn licensed(&self, user: &Entry, part_number: &str) -> bool {
        let licences = user.body.get("assignedLicenses").and_then(Value::as_array);
        licences.into_iter().flatten().any(|licence| {
            self.skus
                .iter()
                .any(|sku| licence["skuId"].as_str() == Some(&sku.id) && sku.part_number == part_number)
        })
    }

    /// How many objects of each collection there are, for the control endpoint.
    pub(crate) fn summary(&self) -> Value {
        let list = |kind| -> Value {
            let shown = self.written(kind).map(|entry| {
                json!({"id": entry.id(), "appId": entry.text("appId"), "displayName": entry.text("displayName"),
                       "userPrincipalName": entry.text("userPrincipalName"), "type": entry.text("@odata.type"),
                       "scope": entry.text("scope"),
                       "certificates": entry.body.get("keyCredentials").and_then(Value::as_array).map_or(0, Vec::len)})
            });
            shown.collect()
        };
        json!({
            "applications": list(Kind::Application), "servicePrincipals": list(Kind::ServicePrincipal),
            "users": list(Kind::User), "oauth2PermissionGrants": list(Kind::Grant),
            "appRoleAssignments": list(Kind::RoleAssignment),
            "deleted": self.all_deleted().map(|entry| entry.id().to_owned()).collect::<Vec<_>>(),
        })
    }
}
