//! AKS identity binding: a proxy of the cluster takes the service account's token, and answers as Entra's token endpoint.
//!
//! It exists because an identity takes at most twenty federated credentials, and a fleet has more clusters. The pod's token
//! goes there and nowhere else: under the name (SNI) and the authority that the cluster gave, whatever other roots are
//! trusted here. Source: azure-identity's workload identity credential, `AZURE_KUBERNETES_*`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::FederatedError;
use crate::tokens::TokenEndpoint;
use crate::tokens::http::{Http, Stead};
use crate::{BaseUrl, Config};

const PROXY: &str = "AZURE_KUBERNETES_TOKEN_PROXY";
const SNI: &str = "AZURE_KUBERNETES_SNI_NAME";
const CA_FILE: &str = "AZURE_KUBERNETES_CA_FILE";
const CA_DATA: &str = "AZURE_KUBERNETES_CA_DATA";
const LONGEST: u64 = 1 << 20;

/// The proxy, and who it must prove to be.
#[derive(Debug)]
pub(crate) struct IdentityBinding {
    proxy: BaseUrl,
    /// As whom the proxy is asked for.
    named: BaseUrl,
    roots: Roots,
    /// The endpoint for the roots that it was made with.
    current: Mutex<Option<(Vec<u8>, Arc<TokenEndpoint>)>>,
}

#[derive(Debug)]
enum Roots {
    /// Read anew each time: the cluster renews it.
    File(PathBuf),
    Pem(String),
}

impl IdentityBinding {
    /// `None` where the cluster has no such proxy. Touches nothing.
    pub(super) fn from_config(config: &Config) -> Result<Option<Self>, FederatedError> {
        let of = |name: &str| config.host_variable(name);
        let malformed = |name, reason| FederatedError::Malformed { name, reason };
        let Some(proxy) = of(PROXY) else { return Ok(None) };
        let not_a_base = "it is no https address without user, query and fragment";
        let proxy = BaseUrl::parse(PROXY, proxy).map_err(|_| malformed(PROXY, not_a_base))?;
        let named = match of(SNI) {
            Some(name) => {
                let url = proxy.as_str().replacen(proxy.host(), name, 1);
                let named =
                    BaseUrl::parse(SNI, &url).ok().filter(|url| url.host() == name.to_ascii_lowercase());
                named.ok_or_else(|| malformed(SNI, "it is no host name"))?
            }
            None => proxy.clone(),
        };
        let roots = match (of(CA_FILE), of(CA_DATA)) {
            (Some(path), None) => Roots::File(path.into()),
            (None, Some(pem)) => Roots::Pem(pem.to_owned()),
            (Some(_), Some(_)) => {
                return Err(malformed(CA_DATA, "AZURE_KUBERNETES_CA_FILE is set too: one of them"));
            }
            (None, None) => return Err(FederatedError::NotConfigured { missing: vec![CA_FILE] }),
        };
        Ok(Some(Self { proxy, named, roots, current: Mutex::default() }))
    }

    pub(super) fn host(&self) -> &str {
        self.proxy.host()
    }

    /// The proxy as a token endpoint, trusted by the roots of now.
    pub(crate) async fn endpoint(&self) -> Result<Arc<TokenEndpoint>, FederatedError> {
        let pem = match &self.roots {
            Roots::Pem(pem) => pem.clone().into_bytes(),
            Roots::File(path) => {
                let (reading, named) = (path.clone(), path.clone());
                let read = crate::spawn_blocking(move || read(&reading)).await;
                read.unwrap_or(Err("reading it was cut short"))
                    .map_err(|reason| FederatedError::TokenFile { path: named, reason: reason.into() })?
            }
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, endpoint)) = current.as_ref().filter(|(known, _)| *known == pem) {
            return Ok(Arc::clone(endpoint));
        }
        let stead = Stead {
            address: self.proxy.host_and_port(),
            host_header: self.proxy.origin().trim_start_matches("https://").to_owned(),
            roots_pem: pem.clone(),
        };
        let endpoint = Arc::new(TokenEndpoint::new(Arc::new(Http::in_its_stead(stead)), &self.named));
        *current = Some((pem, Arc::clone(&endpoint)));
        Ok(endpoint)
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, &'static str> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|_| "the authority's certificate cannot be opened")?;
    let mut pem = Vec::new();
    file.take(LONGEST).read_to_end(&mut pem).map_err(|_| "the authority's certificate cannot be read")?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(variables: &[(&str, &str)]) -> Result<Option<IdentityBinding>, FederatedError> {
        IdentityBinding::from_config(&Config::from_variables(variables.iter().copied()).unwrap())
    }

    #[test]
    fn the_proxy_is_asked_for_by_the_clusters_name_for_it() {
        assert!(binding(&[]).unwrap().is_none());
        let whole =
            [(PROXY, "https://10.0.0.1:6443/apis/bind"), (SNI, "proxy.cluster.example"), (CA_DATA, "pem")];
        let found = binding(&whole).unwrap().unwrap();
        assert_eq!(found.named.as_str(), "https://proxy.cluster.example:6443/apis/bind");
        assert_eq!(found.proxy.host_and_port(), "10.0.0.1:6443");
        for wrong in [
            vec![(PROXY, "http://10.0.0.1"), (CA_DATA, "pem")],
            vec![(PROXY, "https://u@10.0.0.1"), (CA_DATA, "pem")],
            vec![(PROXY, "https://10.0.0.1?x"), (CA_DATA, "pem")],
            vec![(PROXY, "https://10.0.0.1"), (CA_DATA, "pem"), (CA_FILE, "/ca")],
            vec![(PROXY, "https://10.0.0.1"), (CA_DATA, "pem"), (SNI, "a/b")],
            vec![(PROXY, "https://10.0.0.1"), (CA_DATA, "pem"), (SNI, "a:1")],
            vec![(PROXY, "https://10.0.0.1")],
        ] {
            assert!(binding(&wrong).is_err(), "{wrong:?}");
        }
    }
}
