//! The proxy of an AKS cluster with identity binding: it takes the pods' tokens and answers as Entra does. It proves itself by
//! the cluster's own authority, under a name that is not its address.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;

use super::http::{Request, answer_all};
use super::pki::{Authority, SwitchableCertificate, acceptor};
use super::{Cloud, StandIn, entra};

/// As whom pods ask for it.
const NAME: &str = "proxy.cluster.example";
const PREFIX: &str = "/apis/binding";

/// A running proxy; it ends with the process.
pub struct BindingProxy {
    address: SocketAddr,
    ca: Mutex<String>,
    certificate: Arc<SwitchableCertificate>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for BindingProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BindingProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl StandIn {
    /// Starts the proxy of a cluster.
    ///
    /// # Errors
    /// When no port or no key can be had.
    pub fn binding_proxy(&self) -> io::Result<BindingProxy> {
        BindingProxy::start(Arc::clone(&self.cloud))
    }
}

impl BindingProxy {
    fn start(cloud: Arc<Cloud>) -> io::Result<Self> {
        let authority = Authority::generate()?;
        let certificate = Arc::new(SwitchableCertificate::new(authority.certified_for(NAME)?));
        let acceptor = acceptor(Arc::clone(&certificate) as _)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&seen);
        std::thread::Builder::new().name("binding proxy".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    let (acceptor, cloud, record) =
                        (acceptor.clone(), Arc::clone(&cloud), Arc::clone(&record));
                    // A connection that breaks concerns only its peer.
                    tokio::spawn(async move {
                        let stream = acceptor.accept(stream).await?;
                        let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
                        answer_all(stream, |request| {
                            let host = request.header("host").unwrap_or_default();
                            let line = format!("{name} {host} {}", request.path);
                            record.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                            let path = request.path.strip_prefix(PREFIX).unwrap_or_default().to_owned();
                            entra::answer(&cloud, &Request { path, ..request.clone() })
                        })
                        .await
                    });
                }
                #[expect(unreachable_code, reason = "gives the block its type")]
                Ok::<(), io::Error>(())
            })
        })?;
        Ok(Self { address, ca: Mutex::new(authority.pem().to_owned()), certificate, seen })
    }

    /// What the cluster sets for its pods, less the authority.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_KUBERNETES_TOKEN_PROXY", format!("https://{}{PREFIX}", self.address)),
            ("AZURE_KUBERNETES_SNI_NAME", NAME.to_owned()),
        ]
    }

    /// The cluster's authority, PEM.
    #[must_use]
    pub fn ca(&self) -> String {
        self.ca.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The cluster gets another authority.
    ///
    /// # Errors
    /// When no key can be had.
    pub fn renew(&self) -> io::Result<()> {
        let authority = Authority::generate()?;
        self.certificate.set(authority.certified_for(NAME)?);
        *self.ca.lock().unwrap_or_else(PoisonError::into_inner) = authority.pem().to_owned();
        Ok(())
    }

    /// For each request: the name in the handshake, the `Host`, and the path.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
