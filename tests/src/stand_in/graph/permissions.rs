//! Application roles: their ids, and which of them allow an operation.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stand_in::directory::{FIRST_PARTY, GRAPH_APP_ID};

/// Roles with the ids that Microsoft publishes.
const PUBLISHED: &[(&str, &str)] = &[
    ("Application.Read.All", "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"),
    ("Application.ReadWrite.All", "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"),
    ("AppRoleAssignment.ReadWrite.All", "06b708a9-e830-4db3-a914-8e69da51d44f"),
    ("DelegatedPermissionGrant.ReadWrite.All", "8e8e4742-1d95-4f68-9d56-6ee75648c72a"),
    ("Directory.ReadWrite.All", "19dbc75e-c2e2-444c-a770-ec69d8559fc7"),
    ("LicenseAssignment.ReadWrite.All", "5facf0c1-8979-4e95-abcf-ff3d079771c0"),
    ("Organization.Read.All", "498476ce-e0fe-48b0-b801-37ba7e2685c6"),
    ("User.ReadWrite.All", "741f803b-c850-494e-b5df-cde7c675a1ca"),
];

/// What the Provisioner app holds.
pub(crate) const PROVISIONER_ROLES: &[&str] = &[
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "LicenseAssignment.ReadWrite.All",
    "Organization.Read.All",
    "User.ReadWrite.All",
    "AgentIdentityBlueprint.Create",
    "AgentIdentityBlueprint.ReadWrite.All",
    "AgentIdentityBlueprint.AddRemoveCreds.All",
    "AgentIdentityBlueprint.DeleteRestore.All",
    "AgentIdentityBlueprintPrincipal.Create",
    "AgentIdentityBlueprintPrincipal.ReadWrite.All",
    "AgentIdentity.Create.All",
    "AgentIdentity.ReadWrite.All",
    "AgentIdentity.DeleteRestore.All",
    "AgentIdUser.ReadWrite.All",
    "AgentIdUser.ReadWrite.IdentityParentedBy",
];

/// The id of a role: the published one, or one derived from its name.
pub(crate) fn role_id(name: &str) -> String {
    if let Some((_, id)) = PUBLISHED.iter().find(|(known, _)| *known == name) {
        return (*id).to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let bytes: [u8; 16] = digest.as_ref()[..16].try_into().expect("a SHA-256 digest has 32 bytes");
    Uuid::from_bytes(bytes).to_string()
}

/// The `appRoles` of Graph's service principal.
pub(crate) fn app_roles() -> Value {
    let names = PUBLISHED.iter().map(|(name, _)| *name).chain(PROVISIONER_ROLES.iter().copied());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let role = |name: &str| {
        json!({
            "id": role_id(name), "value": name, "displayName": name, "isEnabled": true,
            "allowedMemberTypes": ["Application"], "origin": "Application",
        })
    };
    names.into_iter().map(role).collect()
}

/// The `oauth2PermissionScopes` of an API's service principal: a few of the real ones.
pub(crate) fn published_scopes(app_id: &str) -> Value {
    let names: &[&str] = if app_id == GRAPH_APP_ID {
        &[
            "Calendars.Read",
            "Chat.Create",
            "Chat.ReadWrite",
            "ChatMessage.Send",
            "Files.Read.All",
            "Files.ReadWrite",
            "Mail.Read",
            "Mail.Send",
            "Sites.Read.All",
            "Sites.ReadWrite.All",
            "User.Read",
            "User.ReadBasic.All",
        ]
    } else if FIRST_PARTY.iter().any(|(known, _)| *known == app_id) {
        &[
            "McpServers.Calendar.All",
            "McpServers.Mail.All",
            "McpServers.Me.All",
            "McpServers.OneDriveSharepoint.All",
            "McpServers.Word.All",
            "McpServersMetadata.Read.All",
            "Tools.ListInvoke.All",
        ]
    } else {
        &[]
    };
    let scope = |name: &&str| json!({"id": role_id(name), "value": name, "isEnabled": true, "type": "Admin"});
    names.iter().map(scope).collect()
}

/// An operation that needs a permission; any one of its roles will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    ReadApplications,
    WriteApplication,
    CreateBlueprint,
    WriteBlueprint,
    WriteBlueprintCredentials,
    DeleteBlueprint,
    CreatePrincipal,
    CreateBlueprintPrincipal,
    CreateIdentity,
    WriteIdentity,
    DeleteIdentity,
    ReadUsers,
    CreateAgentUser,
    WriteAgentUser,
    WriteUser,
    AssignRole,
    WriteGrant,
    ReadGrants,
    ReadSkus,
    AssignLicence,
    ReadOrganization,
    ReadSponsors,
    WriteSponsors,
}

impl Operation {
    /// Application roles that allow it.
    pub(crate) fn roles(self) -> &'static [&'static str] {
        match self {
            Self::ReadApplications => &[
                "Application.Read.All",
                "Application.ReadWrite.All",
                "AgentIdentityBlueprint.ReadWrite.All",
                "Directory.ReadWrite.All",
            ],
            Self::WriteApplication => &["Application.ReadWrite.All", "Directory.ReadWrite.All"],
            Self::CreateBlueprint => {
                &["AgentIdentityBlueprint.Create", "AgentIdentityBlueprint.ReadWrite.All"]
            }
            Self::WriteBlueprint => &["AgentIdentityBlueprint.ReadWrite.All"],
            Self::WriteBlueprintCredentials => {
                &["AgentIdentityBlueprint.AddRemoveCreds.All", "AgentIdentityBlueprint.ReadWrite.All"]
            }
            Self::DeleteBlueprint => {
                &["AgentIdentityBlueprint.DeleteRestore.All", "AgentIdentityBlueprint.ReadWrite.All"]
            }
            Self::CreatePrincipal => &["Application.ReadWrite.All", "Directory.ReadWrite.All"],
            Self::CreateBlueprintPrincipal => {
                &["AgentIdentityBlueprintPrincipal.Create", "AgentIdentityBlueprintPrincipal.ReadWrite.All"]
            }
            Self::CreateIdentity => &["AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All"],
            Self::WriteIdentity => &["AgentIdentity.ReadWrite.All"],
            Self::DeleteIdentity => &["AgentIdentity.DeleteRestore.All", "AgentIdentity.ReadWrite.All"],
            Self::ReadUsers => {
                &["User.ReadWrite.All", "Directory.ReadWrite.All", "AgentIdUser.ReadWrite.All"]
            }
            Self::CreateAgentUser => {
                &["AgentIdUser.ReadWrite.IdentityParentedBy", "AgentIdUser.ReadWrite.All"]
            }
            Self::WriteAgentUser => &[
                "AgentIdUser.ReadWrite.IdentityParentedBy",
                "AgentIdUser.ReadWrite.All",
                "User.ReadWrite.All",
            ],
            Self::WriteUser => &["User.ReadWrite.All", "Directory.ReadWrite.All"],
            Self::AssignRole => &["AppRoleAssignment.ReadWrite.All"],
            Self::WriteGrant => &["DelegatedPermissionGrant.ReadWrite.All"],
            Self::ReadGrants => &[
                "DelegatedPermissionGrant.ReadWrite.All",
                "AppRoleAssignment.ReadWrite.All",
                "Application.ReadWrite.All",
                "Directory.ReadWrite.All",
            ],
            Self::ReadSkus | Self::ReadOrganization => {
                &["Organization.Read.All", "LicenseAssignment.ReadWrite.All", "Directory.ReadWrite.All"]
            }
            Self::AssignLicence => {
                &["LicenseAssignment.ReadWrite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"]
            }
            Self::ReadSponsors => {
                &["Application.Read.All", "Application.ReadWrite.All", "AgentIdentity.ReadWrite.All"]
            }
            Self::WriteSponsors => &["AgentIdentity.ReadWrite.All", "AgentIdentityBlueprint.ReadWrite.All"],
        }
    }

    /// Whether clients with a broad directory role are refused: they are on all agent operations.
    pub(crate) fn concerns_agents(self) -> bool {
        matches!(
            self,
            Self::CreateBlueprint
                | Self::WriteBlueprint
                | Self::WriteBlueprintCredentials
                | Self::DeleteBlueprint
                | Self::CreateBlueprintPrincipal
                | Self::CreateIdentity
                | Self::WriteIdentity
                | Self::DeleteIdentity
                | Self::CreateAgentUser
        )
    }
}
