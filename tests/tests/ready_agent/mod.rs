//! The stand-in's ready agent, as our own crates sign it in.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::path::PathBuf;
use std::sync::Arc;

use entrabot_identity::{Config, Egress, SignerSource, TokenError, TokenExchange};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, Signer};
use entrabot_tests::stand_in::Info;

/// The stand-in's throw-away key, straight from its file.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    thumbprint: String,
}

impl KeyFile {
    pub(crate) fn of(info: &Info) -> Self {
        Self::new(info.blueprint_key_pem.clone(), info.blueprint_cert_thumbprint.clone())
    }

    pub(crate) fn new(path: PathBuf, thumbprint: String) -> Self {
        Self { path, thumbprint }
    }
}

impl SignerSource for KeyFile {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let key = SecretBytes::new(std::fs::read(&self.path).expect("the stand-in wrote its key"));
        let thumbprint = CertificateThumbprint::parse(&self.thumbprint).expect("the stand-in's thumbprint");
        Ok(Box::new(PemSigner::from_pkcs8_pem(&key, thumbprint).expect("a PKCS#8 key")))
    }
}

/// The settings that an operator of this cloud would have.
pub(crate) fn settings(info: &Info) -> Vec<(&'static str, String)> {
    vec![
        ("ENTRABOT_TENANT_ID", info.tenant_id.clone()),
        ("ENTRABOT_BLUEPRINT_APP_ID", info.blueprint_app_id.clone()),
        ("ENTRABOT_AGENT_ID", info.agent_id.clone()),
        ("ENTRABOT_AGENT_USER_ID", info.agent_user_id.clone()),
        ("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", info.blueprint_cert_thumbprint.clone()),
        ("ENTRABOT_AUTHORITY_BASE", info.authority_base.clone()),
        ("ENTRABOT_GRAPH_BASE", info.graph_base.clone()),
        ("ENTRABOT_A365_BASE", info.a365_base.clone()),
        ("ENTRABOT_CA_BUNDLE", info.ca_bundle.display().to_string()),
    ]
}

pub(crate) fn exchange(key: KeyFile, config: &Config) -> TokenExchange {
    let egress = Egress::from_config(config).expect("the stand-in's CA");
    TokenExchange::from_config(config, Arc::new(key), &egress).expect("an exchange")
}
