//! The stand-in cloud: Entra's token service, Graph and Work IQ on three loopback listeners.
//!
//! ```no_run
//! use entrabot_tests::stand_in::{Fault, Effect, Options, StandIn};
//!
//! let cloud = StandIn::start(Options::default());
//! println!("{}", cloud.info().authority_base);
//! cloud.set_fault(Fault::hop(2, Effect::Hang).times(1));
//! // ... run the product against it ...
//! assert_eq!(cloud.requests().iter().filter(|request| request.hop() == Some(1)).count(), 1);
//! ```
//!
//! What is known of the real services is kept; where a behaviour had to be guessed, the code says so.

mod binding;
mod control;
mod directory;
mod documents;
mod entra;
mod faults;
mod fixture;
mod graph;
pub(crate) mod http;
mod jose;
mod listener;
mod metadata;
pub(crate) mod pki;
mod record;
mod relay;
mod vault;
mod work_iq;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use binding::BindingProxy;
pub use faults::{Behaviour, Effect, Fault, WorkIqFormat};
pub use metadata::Metadata;
pub use pki::TlsFault;
pub use record::RecordedRequest;
pub use vault::{Vault, VaultRequest};

use directory::Directory;
use documents::Documents;
use entra::StsState;
use jose::TokenSigner;
use record::Recorder;

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Entra's token service and OIDC endpoints.
    Authority,
    /// Microsoft Graph.
    Graph,
    /// Work IQ (Agent 365).
    A365,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Authority, Self::Graph, Self::A365];
}

/// The first byte of a TCP connection, or of a request on it, has arrived and nothing was answered yet.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FirstByte {
    /// Which listener.
    pub role: Role,
    /// Number of the TCP connection, over all listeners.
    pub connection: u64,
    /// `None`: the connection's first byte, still before TLS. Otherwise the request's number.
    pub request: Option<u64>,
    /// When it was seen.
    pub at: SystemTime,
}

/// A callback for each [`FirstByte`]; the connection is not read on and nothing is answered until it returns.
pub type FirstByteHook = Arc<dyn Fn(&FirstByte) + Send + Sync>;

/// How to start.
#[derive(Clone, Default)]
pub struct Options {
    /// Where state goes; a fresh temporary directory, removed at the end, when unset.
    pub dir: Option<PathBuf>,
    /// Called when first bytes arrive.
    pub on_first_byte: Option<FirstByteHook>,
    /// How the cloud behaves; can be changed while it runs.
    pub behaviour: Behaviour,
    /// Leaves Work IQ's service principals and the ready agent's grants on them out, as in a fresh tenant.
    pub without_work_iq: bool,
    /// This many unrelated apps in the directory.
    pub other_apps: usize,
    /// Free seats of the Teams-capable and the Copilot licence; 5 when unset.
    pub free_seats: Option<u32>,
    /// For so many days the ready agent's certificate is still good; 90 when unset.
    pub certificate_days: Option<i64>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What a client needs to know: the keys of `stand-in --json`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Info {
    /// `https://localhost:PORT`, for `ENTRABOT_AUTHORITY_BASE`.
    pub authority_base: String,
    /// `https://localhost:PORT`, for `ENTRABOT_GRAPH_BASE`.
    pub graph_base: String,
    /// `https://localhost:PORT/agents/servers`, for `ENTRABOT_A365_BASE`.
    pub a365_base: String,
    /// The CA, PEM, for `ENTRABOT_CA_BUNDLE`.
    pub ca_bundle: PathBuf,
    /// The tenant.
    pub tenant_id: String,
    /// The ready agent's blueprint (app id).
    pub blueprint_app_id: String,
    /// The ready agent identity (its app id and object id are one).
    pub agent_id: String,
    /// Object id of the agent identity's service principal.
    pub agent_object_id: String,
    /// The agent user.
    pub agent_user_id: String,
    /// The agent user's UPN.
    pub agent_upn: String,
    /// A second agent identity of the same blueprint.
    pub other_agent_id: String,
    /// Its user.
    pub other_agent_user_id: String,
    /// The blueprint's key, PKCS#8 PEM: throw-away, the one key that lies in a file.
    pub blueprint_key_pem: PathBuf,
    /// The blueprint's certificate, PEM.
    pub blueprint_cert_pem: PathBuf,
    /// SHA-256 of that certificate, base64url, 43 characters.
    pub blueprint_cert_thumbprint: String,
    /// A `ToolingManifest.json` (V1) for this stand-in.
    pub manifest: PathBuf,
    /// A resource that the ready agent holds a grant for.
    pub resource: String,
    /// A public client for delegated sign-in.
    pub client_id: String,
    /// The Provisioner app.
    pub provisioner_client_id: String,
    /// Its certificate and key in one PEM file, as the keystore entry holds them.
    pub provisioner_cert_pem: PathBuf,
    /// A human of the tenant who may sponsor agents, and who sponsors the ready ones.
    pub sponsor_id: String,
    /// Recorded requests, JSON lines.
    pub log_file: PathBuf,
}

/// A file that lies in the ready agent's drive from the start.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SeededFile {
    /// Its name.
    pub name: String,
    /// Drive (document library) id.
    pub drive_id: String,
    /// Item id.
    pub item_id: String,
    /// Its URL.
    pub web_url: String,
}

/// A running stand-in; dropping it stops it.
pub struct StandIn {
    cloud: Arc<Cloud>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _temporary: Option<tempfile::TempDir>,
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").field("info", &self.cloud.info).finish_non_exhaustive()
    }
}

impl StandIn {
    /// Starts the cloud on three free ports, on a thread of its own.
    ///
    /// # Panics
    /// When it cannot; [`StandIn::try_start`] says why instead.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::try_start(options).expect("the stand-in needs three loopback ports and a writable directory")
    }

    /// Starts the cloud on three free ports, on a thread of its own.
    ///
    /// # Errors
    /// When a port, the directory or a key cannot be had.
    pub fn try_start(options: Options) -> io::Result<Self> {
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir)?;
                (dir.canonicalize()?, None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("entrabot-stand-in-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let (started, ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("stand-in".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async move {
                match listener::bind(&options, &dir).await {
                    Err(error) => drop(started.send(Err(error))),
                    Ok((cloud, listeners)) => {
                        let serving = listener::serve(Arc::clone(&cloud), listeners);
                        drop(started.send(Ok(cloud)));
                        tokio::select! {
                            () = serving => {}
                            _ = stopped => {}
                        }
                    }
                }
            });
            runtime.shutdown_background();
        })?;
        let cloud = ready.recv().map_err(io::Error::other)??;
        Ok(Self { cloud, stop: Some(stop), thread: Some(thread), _temporary: temporary })
    }

    /// What a client needs to know.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.cloud.info
    }

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.cloud.dir
    }

    /// Where created documents lie: `{drive id}/{item id}/{name}` below this.
    #[must_use]
    pub fn documents_dir(&self) -> PathBuf {
        self.cloud.dir.join("documents")
    }

    /// A manifest in the V2 form: an audience of its own for the Word server.
    #[must_use]
    pub fn manifest_v2(&self) -> PathBuf {
        self.cloud.dir.join(fixture::MANIFEST_V2)
    }

    /// Files that lie in the ready agent's drive: `notes.txt` and `pixel.png`.
    #[must_use]
    pub fn seeded_files(&self) -> Vec<SeededFile> {
        self.cloud.world().documents.seeded()
    }

    /// Path of the document behind a URL that `CreateDocument` gave.
    #[must_use]
    pub fn document_path(&self, web_url: &str) -> Option<PathBuf> {
        self.cloud.world().documents.path_of(web_url)
    }

    /// All requests so far, in the order they were answered.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.cloud.records.all()
    }

    /// Forgets the requests so far (the log file keeps them).
    pub fn clear_requests(&self) {
        self.cloud.records.clear();
    }

    /// Adds a fault; earlier ones go first.
    pub fn set_fault(&self, fault: Fault) {
        self.cloud.world().faults.push(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.cloud.world().faults.clear();
    }

    /// Changes how the cloud behaves.
    pub fn set_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.cloud.world().behaviour);
    }

    /// Changes the certificate that new connections see.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn set_tls_fault(&self, fault: TlsFault) -> io::Result<()> {
        self.cloud.present(&Role::ALL, fault)
    }

    /// The same at one listener.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn set_tls_fault_of(&self, role: Role, fault: TlsFault) -> io::Result<()> {
        self.cloud.present(&[role], fault)
    }

    /// The directory's objects in short, for assertions about what exists.
    #[must_use]
    pub fn directory(&self) -> serde_json::Value {
        self.cloud.world().directory.summary()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself; then there is nothing to stop.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Everything the listeners share.
pub(crate) struct Cloud {
    pub(crate) info: Info,
    pub(crate) dir: PathBuf,
    pub(crate) signer: TokenSigner,
    pub(crate) records: Recorder,
    hook: Option<FirstByteHook>,
    authority: pki::Authority,
    certificates: HashMap<Role, Arc<pki::SwitchableCertificate>>,
    connections: AtomicU64,
    numbers: AtomicU64,
    world: Mutex<World>,
}

/// What changes while the cloud runs.
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) documents: Documents,
    pub(crate) sts: StsState,
    pub(crate) behaviour: Behaviour,
    pub(crate) faults: Vec<Fault>,
    /// Calendar events.
    pub(crate) events: Vec<serde_json::Value>,
}

impl Cloud {
    /// Changes the certificate that new connections to these listeners see.
    pub(crate) fn present(&self, roles: &[Role], fault: TlsFault) -> io::Result<()> {
        for role in roles {
            self.certificates[role].set(self.authority.certified(fault)?);
        }
        Ok(())
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A panic in one request must not take the others with it.
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The three addresses, once bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) authority: SocketAddr,
    pub(crate) graph: SocketAddr,
    pub(crate) a365: SocketAddr,
}
