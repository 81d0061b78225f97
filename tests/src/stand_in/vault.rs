//! Azure Key Vault: one key with its certificate, which signs for the ready agent's blueprint and never leaves it.
//!
//! A vault is known by its name below `vault.azure.net`, so it is reached through a proxy, as from many a company's network:
//! the proxy is here too, and leads nowhere else. Sources: "Key Vault REST API: Sign", "Get Certificate", "Authentication,
//! requests and responses", "Key Vault REST API error codes" in Microsoft's documentation.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::directory::{Directory, Kind, VAULT, VAULT_APP_ID};
use super::http::{Answer, Connection, Request, answer_all};
use super::metadata::Federated;
use super::pki::{Credential, acceptor, thumbprint_sha1};
use super::{Cloud, StandIn, fixture};

const HOST: &str = "agents.vault.azure.net";
const NAME: &str = "entrabot";

/// A running vault; it ends with the process.
pub struct Vault {
    proxy: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

struct Shared {
    cloud: Arc<Cloud>,
    key: RsaKeyPair,
    certificate: Vec<u8>,
    version: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<String>,
    /// Answers to those who showed a good token, before the true one.
    refusals: VecDeque<Answer>,
    disabled: bool,
    requests: Vec<VaultRequest>,
}

/// What a vault was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VaultRequest {
    /// Method and path.
    pub line: String,
    /// The token, when one was shown.
    pub bearer: Option<String>,
    /// The body.
    pub body: String,
}

impl StandIn {
    /// Starts a vault whose key signs for the ready agent's blueprint, beside the blueprint's own certificate.
    ///
    /// # Errors
    /// When no port or no key can be had.
    pub fn vault(&self) -> io::Result<Vault> {
        let credential = Credential::generate("vault blueprint", 90)?;
        let mut world = self.cloud.world();
        let directory = &mut world.directory;
        directory.add(
            Kind::ServicePrincipal,
            fixture::principal(VAULT_APP_ID, "Azure Key Vault"),
            std::time::Duration::ZERO,
        );
        trust(directory, &self.cloud.info.blueprint_app_id, &credential);
        drop(world);
        Vault::start(Arc::clone(&self.cloud), &credential)
    }

    /// An app that this service account stands for, and that may ask the vault: its client id.
    pub fn workload_app(&self, issuer: &str, subject: &str) -> String {
        let mut world = self.cloud.world();
        let app_id = fixture::seed_app(&mut world.directory, "vault reader", json!({}));
        let credential = Federated { app_id: app_id.clone(), issuer: issuer.into(), subject: subject.into() };
        world.sts.federated.push(credential);
        app_id
    }
}

/// Adds a certificate to an app.
fn trust(directory: &mut Directory, app_id: &str, credential: &Credential) {
    let id =
        directory.by_app_id(Kind::Application, app_id).map(|app| app.id().to_owned()).unwrap_or_default();
    let Some(app) = directory.get_mut(Kind::Application, &id) else { return };
    if let Some(Value::Array(keys)) = app.body.get_mut("keyCredentials") {
        keys.push(fixture::key_credential(credential));
    }
}

impl Vault {
    fn start(cloud: Arc<Cloud>, credential: &Credential) -> io::Result<Self> {
        let tls = cloud.authority.certified_for(HOST)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let proxy = listener.local_addr()?;
        let shared = Arc::new(Shared {
            key: RsaKeyPair::from_pkcs8(&credential.key_der).map_err(io::Error::other)?,
            certificate: credential.cert_der.clone(),
            version: Uuid::new_v4().simple().to_string(),
            state: Mutex::default(),
            cloud,
        });
        let acceptor = acceptor(Arc::new(rustls::sign::SingleCertAndKey::from(tls)))?;
        let serving = Arc::clone(&shared);
        std::thread::Builder::new().name("vault".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(listener, acceptor, serving))
        })?;
        Ok(Self { proxy, shared })
    }

    /// For `ENTRABOT_PROXY`: the way to the vault.
    #[must_use]
    pub fn proxy(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// The identifier of the certificate's present version.
    #[must_use]
    pub fn certificate_id(&self) -> String {
        format!("https://{HOST}/certificates/{NAME}/{}", self.shared.version)
    }

    /// The identifier of its key.
    #[must_use]
    pub fn key_id(&self) -> String {
        format!("https://{HOST}/keys/{NAME}/{}", self.shared.version)
    }

    /// SHA-256 of the certificate, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        super::pki::thumbprint_sha256(&self.shared.certificate)
    }

    /// Answers who shows no good token with this challenge instead of its own.
    pub fn challenge_with(&self, challenge: &str) {
        self.shared.state().challenge = Some(challenge.to_owned());
    }

    /// Answers the next request with a good token so instead.
    pub fn refuse_once(&self, status: u16, headers: &[(&str, &str)], body: Value) {
        let answer = Answer::json(status, &body);
        let answer = headers.iter().fold(answer, |answer, (name, value)| answer.with(name, *value));
        self.shared.state().refusals.push_back(answer);
    }

    /// Switches the key's version off.
    pub fn disable(&self) {
        self.shared.state().disabled = true;
    }

    /// What it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<VaultRequest> {
        self.shared.state().requests.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Answer {
        let bearer = request.bearer().map(str::to_owned);
        let mut state = self.state();
        state.requests.push(VaultRequest {
            line: format!("{} {}", request.method, request.path),
            bearer: bearer.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        let is_good = bearer.and_then(|token| self.cloud.signer.verify(&token)).is_some_and(|claims| {
            let now = chrono::Utc::now().timestamp();
            claims["aud"] == VAULT && claims["exp"].as_i64().is_some_and(|end| end > now)
        });
        if !is_good {
            let own = format!(
                "Bearer authorization=\"{}/{}\", resource=\"{VAULT}\"",
                self.cloud.info.authority_base, self.cloud.info.tenant_id
            );
            let challenge = state.challenge.clone().unwrap_or(own);
            let body = error("Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", None);
            return Answer::json(401, &body).with("WWW-Authenticate", challenge);
        }
        if let Some(refusal) = state.refusals.pop_front() {
            return refusal;
        }
        if request.parameter("api-version").as_deref() != Some("7.4") {
            return Answer::json(400, &error("BadParameter", "The api-version is not supported.", None));
        }
        let (key, certificate) =
            (format!("/keys/{NAME}/{}/sign", self.version), format!("/certificates/{NAME}/{}", self.version));
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", path) if path == key => self.sign(request, state.disabled),
            ("GET", path) if path == certificate => Answer::json(
                200,
                &json!({
                    "id": format!("https://{HOST}{certificate}"),
                    "kid": format!("https://{HOST}/keys/{NAME}/{}", self.version),
                    "sid": format!("https://{HOST}/secrets/{NAME}/{}", self.version),
                    "x5t": thumbprint_sha1(&self.certificate), "cer": STANDARD.encode(&self.certificate),
                    "attributes": {"enabled": !state.disabled},
                }),
            ),
            (_, path) if path.starts_with("/certificates/") => Answer::json(
                404,
                &error(
                    "CertificateNotFound",
                    "A certificate with (name/id) was not found in this key vault.",
                    None,
                ),
            ),
            _ => Answer::json(
                404,
                &error("KeyNotFound", "A key with (name/id) was not found in this key vault.", None),
            ),
        }
    }

    fn sign(&self, request: &Request, disabled: bool) -> Answer {
        if disabled {
            let text = "Operation sign is not allowed on a disabled key.";
            return Answer::json(403, &error("Forbidden", text, Some("KeyDisabled")));
        }
        let body = request.json().unwrap_or_default();
        let padding: &dyn RsaEncoding = match body["alg"].as_str() {
            Some("PS256") => &RSA_PSS_SHA256,
            Some("RS256") => &RSA_PKCS1_SHA256,
            _ => {
                return Answer::json(
                    400,
                    &error("BadParameter", "Key and signing algorithm are incompatible.", None),
                );
            }
        };
        let digest =
            body["value"].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
        let Ok(digest) = Digest::import_less_safe(&digest, &SHA256) else {
            let text = "Invalid length of 'value'. The digest must be 32 bytes long.";
            return Answer::json(400, &error("BadParameter", text, None));
        };
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed = self.key.sign_digest(padding, &digest, &mut signature);
        signed.expect("the buffer has the modulus' length");
        let kid = format!("https://{HOST}/keys/{NAME}/{}", self.version);
        Answer::json(200, &json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(signature)}))
    }
}

fn error(code: &str, message: &str, inner: Option<&str>) -> Value {
    let mut error = json!({"code": code, "message": message});
    if let Some(inner) = inner {
        error["innererror"] = json!({"code": inner});
    }
    json!({ "error": error })
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        // A connection that breaks concerns only its peer.
        tokio::spawn(async move { converse(stream, acceptor, &shared).await });
    }
}

/// A proxy that knows one host, and is that host.
async fn converse(mut stream: TcpStream, acceptor: TlsAcceptor, shared: &Shared) -> io::Result<()> {
    let mut proxied = Connection::new(&mut stream);
    let request = proxied.read().await?;
    if request.method != "CONNECT" || request.path != format!("{HOST}:443") {
        proxied.write(Answer::empty(502), true).await?;
        return Ok(());
    }
    proxied.write(Answer::empty(200), false).await?;
    answer_all(acceptor.accept(stream).await?, |request| shared.answer(request)).await
}
