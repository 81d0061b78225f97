//! Mints an agent-user token for Microsoft Graph through the three hops, twice, and says what it took.
//!
//! With the settings of an agent in the environment (or in `~/.entrabot/.env`) and its key in the OS keyring:
//!
//! ```text
//! cargo run -p entrabot-identity --features tokens --example agent_token
//! ```
//!
//! Against `cargo xtask stand-in --json` the key is a throw-away file, named as the only argument; the settings are
//! the values of its JSON line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use entrabot_identity::{
    Config, Diagnose, Egress, KeystoreSigner, Resource, SignerSource, TokenError, TokenExchange, TokenSource,
};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, Signer};

/// A throw-away key in a file, for the stand-in only: a real key belongs in a keyring.
#[derive(Debug)]
struct ThrowAwayKey(PathBuf, CertificateThumbprint);

impl SignerSource for ThrowAwayKey {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let pem = std::fs::read(&self.0)
            .map_err(|error| TokenError::AgentIdNotAvailable { reason: format!("the key file: {error}") })?;
        Ok(Box::new(PemSigner::from_pkcs8_pem(&SecretBytes::new(pem), self.1.clone())?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_env()?;
    let signer: Arc<dyn SignerSource> = match (std::env::args_os().nth(1), config.blueprint_cert_thumbprint())
    {
        (Some(path), Some(thumbprint)) => Arc::new(ThrowAwayKey(path.into(), thumbprint.clone())),
        _ => Arc::new(KeystoreSigner::from_config(&config)?),
    };
    let egress = Egress::from_config(&config)?;
    let tokens = TokenExchange::from_config(&config, signer, &egress)?;
    let graph = Resource::graph(&config);
    for attempt in ["cold", "warm"] {
        let start = Instant::now();
        match tokens.token(&graph).await {
            Ok(token) => println!("{attempt}: a token for {} in {:?}: {token:?}", graph, start.elapsed()),
            Err(error) => {
                eprintln!("error: {error}\nhint: {}", error.hint().unwrap_or_default());
                return Err(error.into());
            }
        }
    }
    for report in tokens.check(&graph).await {
        println!("{} at {}: {:?} in {:?}", report.hop, report.host, report.status, report.elapsed);
        if let Ok(success) = report.outcome {
            println!("  lives {:?}, oddities {:?}", success.lifetime, success.oddities);
        }
    }
    Ok(())
}
