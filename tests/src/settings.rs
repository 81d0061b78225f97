//! The settings under which a program finds the stand-in, is its ready agent, and keeps its state.

use std::path::Path;

use crate::stand_in::Info;

/// A setting's name and value.
pub type Setting = (&'static str, String);

/// Where the cloud is, and what it is trusted by.
#[must_use]
pub fn of_cloud(info: &Info) -> Vec<Setting> {
    vec![
        ("ENTRABOT_AUTHORITY_BASE", info.authority_base.clone()),
        ("ENTRABOT_GRAPH_BASE", info.graph_base.clone()),
        ("ENTRABOT_A365_BASE", info.a365_base.clone()),
        ("ENTRABOT_CA_BUNDLE", info.ca_bundle.display().to_string()),
        ("ENTRABOT_TENANT_ID", info.tenant_id.clone()),
        ("ENTRABOT_A365_TOOLING_MANIFEST", info.manifest.display().to_string()),
    ]
}

/// The ready agent's ids; how it proves who it is comes beside them.
#[must_use]
pub fn of_agent(info: &Info) -> Vec<Setting> {
    vec![
        ("ENTRABOT_BLUEPRINT_APP_ID", info.blueprint_app_id.clone()),
        ("ENTRABOT_AGENT_ID", info.agent_id.clone()),
        ("ENTRABOT_AGENT_USER_ID", info.agent_user_id.clone()),
        ("ENTRABOT_AGENT_UPN", info.agent_upn.clone()),
    ]
}

/// The ready agent's certificate, for whoever holds its key.
#[must_use]
pub fn of_certificate(info: &Info) -> Vec<Setting> {
    vec![("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", info.blueprint_cert_thumbprint.clone())]
}

/// State below a directory of its own. The settings file may be made there, and need not exist.
#[must_use]
pub fn of_state(dir: &Path) -> Vec<Setting> {
    let at = |name: &str| dir.join(name).display().to_string();
    vec![
        ("ENTRABOT_ENV_FILE", at(".env")),
        ("ENTRABOT_AUDIT_DIR", at("audit")),
        ("ENTRABOT_DATA_DIR", at("data")),
        ("ENTRABOT_LOG_DIR", at("logs")),
    ]
}
