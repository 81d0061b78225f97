use std::fmt;

use super::ConfigError;

/// A Microsoft cloud: decides the three bases, Graph's audience and the token exchange's audience.
///
/// Source: "National clouds" and "Microsoft Graph national cloud deployments" in Microsoft's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// `public`: the worldwide cloud.
    #[default]
    Public,
    /// `usgov`: US Government L4.
    UsGov,
    /// `usgov-dod`: US Government L5.
    UsGovDod,
    /// `china`: operated by 21Vianet.
    China,
}

impl Cloud {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "public" => Ok(Self::Public),
            "usgov" => Ok(Self::UsGov),
            "usgov-dod" => Ok(Self::UsGovDod),
            "china" => Ok(Self::China),
            _ => Err(ConfigError::malformed("ENTRABOT_CLOUD", "not one of public, usgov, usgov-dod, china")),
        }
    }
    /// As the setting spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGov => "usgov",
            Self::UsGovDod => "usgov-dod",
            Self::China => "china",
        }
    }
    pub(super) fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGov | Self::UsGovDod => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }
    /// Graph's public name in this cloud: the audience of its tokens, whatever base requests go to.
    #[must_use]
    pub fn graph_audience(self) -> &'static str {
        match self {
            Self::Public => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::UsGovDod => "https://dod-graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }
    /// Work IQ has one published address; the other clouds need `ENTRABOT_A365_BASE`.
    pub(super) fn a365(self) -> &'static str {
        "https://agent365.svc.cloud.microsoft/agents/servers"
    }
    /// The audience that hops 1 and 2 ask for.
    #[must_use]
    pub fn exchange_audience(self) -> &'static str {
        match self {
            Self::Public => "api://AzureADTokenExchange",
            Self::UsGov | Self::UsGovDod => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hosts that Microsoft operates: a token that Entra issued may go there.
pub(crate) fn is_microsoft(host: &str) -> bool {
    const HOSTS: &[&str] = &[
        "login.microsoftonline.com",
        "login.microsoft.com",
        "login.windows.net",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "login.chinacloudapi.cn",
        "graph.microsoft.com",
        "graph.microsoft.us",
        "dod-graph.microsoft.us",
        "microsoftgraph.chinacloudapi.cn",
        "agent365.svc.cloud.microsoft",
    ];
    HOSTS.contains(&host)
}

/// Whether a host is a vault or a managed HSM of Microsoft's: one label below the service's own name.
pub(super) fn is_vault(host: &str) -> bool {
    const SERVICES: &[&str] = &[
        "vault.azure.net",
        "vault.usgovcloudapi.net",
        "vault.azure.cn",
        "managedhsm.azure.net",
        "managedhsm.usgovcloudapi.net",
        "managedhsm.azure.cn",
    ];
    host.split_once('.').is_some_and(|(_, service)| SERVICES.contains(&service))
}
