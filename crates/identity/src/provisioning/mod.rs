//! Makes, resumes and removes an agent through Microsoft Graph.
//!
//! A dedicated app, the Provisioner, signs in with a certificate that is in the keystore. [`Provisioner::plan`] only
//! reads, and refuses what must not be touched before anything is changed; [`Provisioner::apply`] asks the gate before
//! every change, does nothing twice, and can be cut off anywhere: the next plan goes on from what the directory says.

mod apply;
mod certificate;
mod certificates;
mod credentials;
mod desired;
mod directory;
mod error;
mod grants;
mod journal;
mod lock;
mod migration;
mod plan;
mod private_file;
#[cfg(feature = "delegated")]
mod provisioner_app;
mod run;
mod settings_file;
mod sign_in;
mod step;
mod teardown;
#[cfg(all(feature = "tpm2", unix))]
mod tpm;

use std::path::PathBuf;
use std::sync::Arc;

use entrabot_keystore::{CertificateThumbprint, KeystorePolicy};

pub use apply::Provisioned;
pub use certificates::{HeldCertificate, Rotated};
pub use desired::{BlueprintChoice, Desired, InvalidDesired};
pub use error::ProvisioningError;
pub use grants::{GrantResource, HeldGrant};
pub use lock::ProvisioningLock;
pub use migration::{Fate, FoundThing, MigrationError, MigrationPlan};
pub use plan::Plan;
#[cfg(feature = "delegated")]
pub use provisioner_app::{ProvisionerApp, ProvisionerAppMade, ProvisionerAppPlan, ProvisionerAppRemoval};
pub use run::Progress;
pub use step::{Change, Step, StepKind};
pub use teardown::{Remains, Teardown, TeardownPlan};

use crate::graph::Graph;
use crate::tokens::TokenEndpoint;
use crate::tokens::http::Http;
use crate::{
    AgentId, AgentUserId, BlueprintAppId, BlueprintCredential, ClientId, Config, Egress, Origin, Resource,
    TenantId,
};
use sign_in::SignIn;

/// Makes, resumes and removes an agent through Microsoft Graph; asks the gate before each changing step.
#[derive(Debug)]
pub struct Provisioner {
    tenant: TenantId,
    policy: KeystorePolicy,
    graph: Graph,
    endpoint: Arc<TokenEndpoint>,
    sign_in: SignIn,
    exchange_scope: String,
    data_dir: PathBuf,
    settings_file: Option<PathBuf>,
    configured: Configured,
}

/// The agent that the settings name.
#[derive(Debug)]
struct Configured {
    blueprint: Option<BlueprintAppId>,
    agent: Option<AgentId>,
    user: Option<AgentUserId>,
    /// The environment says which certificate is used, and we cannot change that.
    thumbprint_is_fixed: bool,
    /// The environment says where the key is, and not that it is in the TPM.
    #[cfg(all(feature = "tpm2", unix))]
    credential_is_fixed: bool,
    /// The certificate in use, where its key is in the TPM.
    tpm_certificate: Option<CertificateThumbprint>,
}

impl Provisioner {
    /// Touches neither the network nor the keystore.
    ///
    /// # Errors
    /// [`ProvisioningError::NotConfigured`] naming what is missing of `ENTRABOT_TENANT_ID` and
    /// `ENTRABOT_PROVISIONER_CLIENT_ID`.
    pub fn new(config: &Config, egress: &Egress) -> Result<Self, ProvisioningError> {
        let (Some(tenant), Some(app)) = (config.tenant_id(), config.provisioner_client_id()) else {
            let missing: Vec<&str> = [
                ("ENTRABOT_TENANT_ID", config.tenant_id().is_none()),
                ("ENTRABOT_PROVISIONER_CLIENT_ID", config.provisioner_client_id().is_none()),
            ]
            .into_iter()
            .filter_map(|(name, missing)| missing.then_some(name))
            .collect();
            return Err(ProvisioningError::NotConfigured { missing: missing.join(", ") });
        };
        Ok(Self::of(config, egress, tenant, app))
    }

    fn of(config: &Config, egress: &Egress, tenant: &TenantId, app: &ClientId) -> Self {
        let http = Arc::new(Http::new(egress));
        let endpoint = Arc::new(TokenEndpoint::new(Arc::clone(&http), config.authority_base()));
        let resource = Resource::graph(config);
        Self {
            sign_in: SignIn::new(config, tenant, app, Arc::clone(&endpoint), resource.clone()),
            graph: Graph::new(http, config.graph_base(), resource).patient(),
            endpoint,
            tenant: tenant.clone(),
            policy: config.keystore_policy().clone(),
            exchange_scope: format!("{}/.default", config.cloud().exchange_audience()),
            data_dir: config.data_dir().to_owned(),
            settings_file: config.env_file().map(ToOwned::to_owned),
            configured: Configured {
                blueprint: config.blueprint_app_id().cloned(),
                agent: config.agent_id().cloned(),
                user: config.agent_user_id().cloned(),
                thumbprint_is_fixed: config.origin("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT")
                    == Origin::Environment,
                #[cfg(all(feature = "tpm2", unix))]
                credential_is_fixed: config.origin(settings_file::CREDENTIAL) == Origin::Environment
                    && *config.blueprint_credential() != BlueprintCredential::Tpm,
                tpm_certificate: config
                    .current_thumbprint()
                    .filter(|_| *config.blueprint_credential() == BlueprintCredential::Tpm),
            },
        }
    }

    /// Reads the Provisioner's certificate, and with it proves the keyring: the first thing before any request, and before
    /// an audit log is opened.
    ///
    /// # Errors
    /// The keyring refused, or holds no such certificate.
    pub async fn ready(&self) -> Result<(), ProvisioningError> {
        self.sign_in.credential().await.map(|_| ())
    }

    /// The Provisioner app, which acts for the operator.
    #[must_use]
    pub fn app(&self) -> &ClientId {
        self.sign_in.app()
    }

    /// The right to change things from this data directory; one run at a time.
    ///
    /// # Errors
    /// [`ProvisioningError::Busy`] at once when another run holds it.
    pub fn lock(&self) -> Result<ProvisioningLock, ProvisioningError> {
        ProvisioningLock::take(&self.data_dir)
    }
}
