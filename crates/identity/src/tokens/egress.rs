use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::{Config, ConfigError};

const MAX_BUNDLE: u64 = 4 << 20;

/// How requests leave: trusted roots and proxy. TLS is never switched off, and no proxy comes from the environment.
#[derive(Clone)]
pub struct Egress {
    roots: Option<Arc<[u8]>>,
    proxy: Option<Arc<Zeroizing<String>>>,
}

impl Egress {
    /// Reads the CA bundle (`ENTRABOT_CA_BUNDLE`, else `SSL_CERT_FILE`) and the proxy of the settings, and makes
    /// aws-lc-rs the process's TLS provider unless one was chosen already.
    ///
    /// # Errors
    /// The bundle cannot be read or holds no certificate.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error means that another thread chose one in between, which is as good.
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
        let roots =
            config.ca_bundle().map(|path| read_bundle(config.ca_bundle_setting(), path)).transpose()?;
        Ok(Self {
            roots: roots.map(Into::into),
            proxy: config.proxy().map(|url| Arc::new(Zeroizing::new(url.into()))),
        })
    }
    /// PEM roots trusted in addition to the system's.
    #[must_use]
    pub fn additional_roots_pem(&self) -> Option<&[u8]> {
        self.roots.as_deref()
    }
    /// `ENTRABOT_PROXY`. May hold credentials: do not print it.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref().map(|url| url.as_str())
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("additional_roots", &self.roots.is_some())
            .field("proxy", &self.proxy.is_some())
            .finish()
    }
}

fn read_bundle(setting: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    let refuse = |reason: String| ConfigError::file(setting, format!("{}: {reason}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MAX_BUNDLE {
        return Err(refuse("not a regular file of at most 4 MiB".into()));
    }
    let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut certificates = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|_| refuse("damaged PEM".into()))?;
        certificates += 1;
    }
    if certificates == 0 {
        return Err(refuse("no certificate in it".into()));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let read = || {
            let variables = [("ENTRABOT_CA_BUNDLE", path.to_str().unwrap())];
            Egress::from_config(&Config::from_variables(variables).unwrap())
        };
        assert!(read().is_err(), "missing");
        std::fs::write(&path, "nothing").unwrap();
        assert_eq!(read().unwrap_err().setting(), "ENTRABOT_CA_BUNDLE");
    }

    #[test]
    fn the_proxys_credentials_are_not_shown() {
        let config = Config::from_variables([("ENTRABOT_PROXY", "http://u:planted@proxy:1")]).unwrap();
        let egress = Egress::from_config(&config).unwrap();
        assert_eq!(egress.proxy(), Some("http://u:planted@proxy:1"));
        assert!(!format!("{egress:?}").contains("planted"));
    }
}
