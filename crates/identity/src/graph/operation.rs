/// A change in the directory, with the application permissions any of which allows it. Graph's own 403 never names
/// what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateBlueprint,
    CreatePrincipal,
    WriteCredentials,
    CreateIdentity,
    CreateUser,
    UpdateUser,
    AssignRole,
    WriteGrant,
    WriteSponsors,
    AssignLicence,
    CreateResourcePrincipal,
    DeleteUser,
    DeleteIdentity,
    DeleteBlueprint,
    Purge,
    #[cfg(feature = "delegated")]
    CreateProvisioner,
    #[cfg(feature = "delegated")]
    CreateProvisionerPrincipal,
    #[cfg(feature = "delegated")]
    AssignProvisionerRole,
    #[cfg(feature = "delegated")]
    DeleteProvisioner,
}

impl Operation {
    /// In words, after "refused to".
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::CreateBlueprint => "create the blueprint",
            Self::CreatePrincipal => "create the blueprint's principal",
            Self::WriteCredentials => "change the blueprint's certificates",
            Self::CreateIdentity => "create the agent identity",
            Self::CreateUser => "create the agent user",
            Self::UpdateUser => "set the agent user's usage location",
            Self::AssignRole => "assign an app role to the agent identity",
            Self::WriteGrant => "change delegated scopes",
            Self::WriteSponsors => "change the agent's sponsors",
            Self::AssignLicence => "assign a licence to the agent user",
            Self::CreateResourcePrincipal => "create the service principal of a Work IQ resource",
            Self::DeleteUser => "delete the agent user",
            Self::DeleteIdentity => "delete the agent identity",
            Self::DeleteBlueprint => "delete the blueprint",
            Self::Purge => "delete a deleted object for good",
            #[cfg(feature = "delegated")]
            Self::CreateProvisioner => "create the Provisioner app",
            #[cfg(feature = "delegated")]
            Self::CreateProvisionerPrincipal => "create the Provisioner app's service principal",
            #[cfg(feature = "delegated")]
            Self::AssignProvisionerRole => "give the Provisioner app a permission",
            #[cfg(feature = "delegated")]
            Self::DeleteProvisioner => "delete the Provisioner app",
        }
    }

    pub(crate) fn permissions(self) -> &'static [&'static str] {
        match self {
            Self::CreateBlueprint => {
                &["AgentIdentityBlueprint.Create", "AgentIdentityBlueprint.ReadWrite.All"]
            }
            Self::CreatePrincipal => {
                &["AgentIdentityBlueprintPrincipal.Create", "AgentIdentityBlueprintPrincipal.ReadWrite.All"]
            }
            Self::WriteCredentials => {
                &["AgentIdentityBlueprint.AddRemoveCreds.All", "AgentIdentityBlueprint.ReadWrite.All"]
            }
            Self::CreateIdentity => &["AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All"],
            Self::CreateUser | Self::UpdateUser | Self::DeleteUser => {
                &["AgentIdUser.ReadWrite.IdentityParentedBy", "AgentIdUser.ReadWrite.All"]
            }
            Self::AssignRole => &["AppRoleAssignment.ReadWrite.All"],
            Self::WriteGrant => &["DelegatedPermissionGrant.ReadWrite.All"],
            Self::WriteSponsors => &["AgentIdentity.ReadWrite.All"],
            Self::AssignLicence => &["LicenseAssignment.ReadWrite.All"],
            Self::CreateResourcePrincipal => &["Application.ReadWrite.All"],
            #[cfg(feature = "delegated")]
            Self::CreateProvisioner | Self::CreateProvisionerPrincipal | Self::DeleteProvisioner => {
                &["Application.ReadWrite.All"]
            }
            #[cfg(feature = "delegated")]
            Self::AssignProvisionerRole => &["AppRoleAssignment.ReadWrite.All"],
            Self::DeleteIdentity => &["AgentIdentity.DeleteRestore.All", "AgentIdentity.ReadWrite.All"],
            Self::DeleteBlueprint | Self::Purge => {
                &["AgentIdentityBlueprint.DeleteRestore.All", "AgentIdentityBlueprint.ReadWrite.All"]
            }
        }
    }
}
