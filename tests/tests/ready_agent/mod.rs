//! The stand-in's ready agent, as our own crates sign it in.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::path::PathBuf;
use std::sync::Arc;

use entrabot_identity::{Config, Egress, SignerSource, TokenError, TokenExchange};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, Signer};
use entrabot_tests::settings::{self, Setting};
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
pub(crate) fn settings(info: &Info) -> Vec<Setting> {
    [settings::of_cloud(info), settings::of_agent(info), settings::of_certificate(info)].concat()
}

pub(crate) fn exchange(key: KeyFile, config: &Config) -> TokenExchange {
    let egress = Egress::from_config(config).expect("the stand-in's CA");
    TokenExchange::from_config(config, Arc::new(key), &egress).expect("an exchange")
}
