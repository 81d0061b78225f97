//! The audited door of the stand-in's ready agent.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrabot_a365::{
    AttributionChain, AuditLog, AuditOptions, Config, Egress, Session, SignerSource, TokenError,
    TokenExchange, WorkIqProvider,
};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, Signer};
use serde_json::Value;

/// The stand-in's throw-away key lies in a file. A real one never does: `KeystoreSigner` takes it from the keyring.
#[derive(Debug)]
struct ThrowAwayKey {
    pem: PathBuf,
    thumbprint: String,
}

impl SignerSource for ThrowAwayKey {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let missing = |reason: &str| TokenError::AgentIdNotAvailable { reason: reason.to_owned() };
        let pem = std::fs::read(&self.pem).map_err(|_| missing("the stand-in's key cannot be read"))?;
        let thumbprint =
            CertificateThumbprint::parse(&self.thumbprint).map_err(|_| missing("the thumbprint"))?;
        let signer = PemSigner::from_pkcs8_pem(&SecretBytes::new(pem), thumbprint);
        Ok(Box::new(signer.map_err(|_| missing("the stand-in's key is damaged"))?))
    }
}

/// `info` is what `cargo xtask stand-in --json` prints first; the audit and the pins go below `directory`.
pub(crate) fn door(info: &Value, directory: &Path) -> Result<WorkIqProvider, Box<dyn Error>> {
    let field = |name: &str| info[name].as_str().unwrap_or_default().to_owned();

    let config = Config::from_variables([
        ("ENTRABOT_TENANT_ID", field("tenant_id")),
        ("ENTRABOT_BLUEPRINT_APP_ID", field("blueprint_app_id")),
        ("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", field("blueprint_cert_thumbprint")),
        ("ENTRABOT_AGENT_ID", field("agent_id")),
        ("ENTRABOT_AGENT_USER_ID", field("agent_user_id")),
        ("ENTRABOT_AUTHORITY_BASE", field("authority_base")),
        ("ENTRABOT_GRAPH_BASE", field("graph_base")),
        ("ENTRABOT_A365_BASE", field("a365_base")),
        ("ENTRABOT_CA_BUNDLE", field("ca_bundle")),
        ("ENTRABOT_A365_TOOLING_MANIFEST", field("manifest")),
        ("ENTRABOT_AUDIT_DIR", directory.join("audit").display().to_string()),
        ("ENTRABOT_DATA_DIR", directory.join("data").display().to_string()),
    ])?;
    let egress = Egress::from_config(&config)?;
    let signer = ThrowAwayKey {
        pem: field("blueprint_key_pem").into(),
        thumbprint: field("blueprint_cert_thumbprint"),
    };
    let tokens = TokenExchange::from_config(&config, Arc::new(signer), &egress)?;
    let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
    let audit = AuditLog::open(AuditOptions::new(config.audit_dir(), config.data_dir()), who)?;
    // No seal: an example has no keyring. A program for daily use takes `WorkIqProvider::new`.
    Ok(WorkIqProvider::with_seal(&config, audit, Arc::new(tokens), &egress, None)?)
}
