//! The identity endpoint of a host (IMDS, App Service) and the service account tokens of a cluster: where a workload
//! without a key of its own gets its token from. Plain HTTP on loopback, with the real endpoints' checks and errors.
//!
//! Sources: "How to use managed identities for Azure resources on an Azure VM to acquire an access token" and "App
//! Service: REST endpoint reference" in Microsoft's documentation.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::directory::VAULT;
use super::entra::tokens::issuer_v2;
use super::{Cloud, StandIn};

/// What a federated token is for.
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// What App Service gives its workloads, and wants to be shown.
const HEADER: &str = "3c9b0d1e-identity-header";

/// A federated identity credential of an app.
#[derive(Debug, Clone)]
pub(crate) struct Federated {
    pub(crate) app_id: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

impl StandIn {
    /// Lets the ready agent's blueprint be proven by tokens of this issuer and subject.
    pub fn federate(&self, issuer: &str, subject: &str) {
        let app_id = self.cloud.info.blueprint_app_id.clone();
        let credential = Federated { app_id, issuer: issuer.into(), subject: subject.into() };
        self.cloud.world().sts.federated.push(credential);
    }

    /// A service account token as a cluster projects it, good for so many seconds.
    #[must_use]
    pub fn service_account_token(&self, issuer: &str, subject: &str, seconds: i64) -> String {
        platform_token(&self.cloud, AUDIENCE, issuer, subject, seconds)
    }

    /// Starts the identity endpoint of a host whose system-assigned identity the blueprint trusts.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let principal = Uuid::new_v4().to_string();
        self.federate(&issuer_v2(&self.cloud), &principal);
        Metadata::start(Arc::clone(&self.cloud), principal)
    }
}

fn platform_token(cloud: &Cloud, audience: &str, issuer: &str, subject: &str, seconds: i64) -> String {
    let now = chrono::Utc::now().timestamp();
    cloud.signer.sign(&json!({
        "aud": audience, "iss": issuer, "sub": subject, "iat": now, "nbf": now, "exp": now + seconds,
        "jti": Uuid::new_v4().to_string(),
    }))
}

/// A running identity endpoint; it ends with the process.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Answers that come before the true one.
    refusals: VecDeque<(u16, String)>,
    requests: Vec<String>,
}

impl Metadata {
    fn start(cloud: Arc<Cloud>, principal: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("metadata".into()).spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up in the middle ends its own connection only.
                let _ended = stream.and_then(|stream| converse(stream, &cloud, &principal, &shared));
            }
        })?;
        Ok(Self { address, state })
    }

    /// What a virtual machine's processes see.
    #[must_use]
    pub fn imds(&self) -> Vec<(&'static str, String)> {
        vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://{}", self.address))]
    }

    /// What an App Service's processes see.
    #[must_use]
    pub fn app_service(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IDENTITY_ENDPOINT", format!("http://{}/msi/token", self.address)),
            ("IDENTITY_HEADER", HEADER.to_owned()),
        ]
    }

    /// Answers the next request so instead.
    pub fn refuse_once(&self, status: u16, body: &str) {
        self.state().refusals.push_back((status, body.to_owned()));
    }

    /// The request lines so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn converse(stream: TcpStream, cloud: &Cloud, principal: &str, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let refusal = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.requests.push(lines[0].clone());
            state.refusals.pop_front()
        };
        let (status, body) = match refusal {
            Some(refusal) => refusal,
            None => {
                let (status, body) = answer(&lines, cloud, principal);
                (status, body.to_string())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        reader.get_mut().write_all(head.as_bytes())?;
        reader.get_mut().write_all(body.as_bytes())?;
    }
}

fn answer(lines: &[String], cloud: &Cloud, principal: &str) -> (u16, Value) {
    let header = |name: &str| {
        lines[1..].iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let target = lines[0].split(' ').nth(1).unwrap_or_default();
    let Ok(url) = url::Url::parse(&format!("http://localhost{target}")) else { return (400, json!({})) };
    let query =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let imds = match url.path() {
        "/metadata/identity/oauth2/token" => true,
        "/msi/token" => false,
        _ => return (404, json!({"error": "not_found"})),
    };
    let invalid = |text: &str| (400, json!({"error": "invalid_request", "error_description": text}));
    if imds && header("metadata").as_deref() != Some("true") {
        return invalid("Required metadata header not specified");
    }
    // IMDS refuses what came through somebody else.
    if imds && header("x-forwarded-for").is_some() {
        return invalid("X-Forwarded-For is not allowed");
    }
    if !imds && header("x-identity-header").as_deref() != Some(HEADER) {
        return (401, json!({"statusCode": 401, "message": "Unauthorized"}));
    }
    let version = if imds { "2018-02-01" } else { "2019-08-01" };
    if query("api-version").as_deref() != Some(version) {
        return invalid("The API version is missing or not supported");
    }
    let resource = query("resource").unwrap_or_default();
    if ![AUDIENCE, VAULT].contains(&resource.as_str()) {
        return (
            400,
            json!({"error": "invalid_resource", "error_description": "AADSTS500011: The resource was not found"}),
        );
    }
    if query("client_id").is_some() {
        return invalid("Identity not found");
    }
    let token = platform_token(cloud, &resource, &issuer_v2(cloud), principal, 86_400);
    let end = (chrono::Utc::now().timestamp() + 86_400).to_string();
    let mut body =
        json!({"access_token": token, "expires_on": end, "resource": resource, "token_type": "Bearer"});
    if imds {
        body["expires_in"] = json!("86400");
        body["not_before"] = json!(chrono::Utc::now().timestamp().to_string());
    }
    (200, body)
}
