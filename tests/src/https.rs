//! A small blocking HTTPS client, and the three hops of the token exchange by hand.
//!
//! It shares no code with the product: a test that needs a token, or wants to see what a server really
//! answers, must not see it through the code under test.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::stand_in::Info;

/// A client that trusts one CA.
#[derive(Debug, Clone)]
pub struct Https {
    config: Arc<ClientConfig>,
}

/// What came back.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers as they came.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON, or the `data` of its first event; null when it is neither.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
        serde_json::from_str(data).unwrap_or_default()
    }

    /// A header by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Https {
    /// Trusts the certificates of this PEM file and nothing else.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn trusting(ca_bundle: &Path) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca_bundle).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// When the connection, TLS or the answer's framing fails.
    pub fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let bytes = self.raw(method, url, headers, body, usize::MAX)?;
        parse(&bytes)
    }

    /// The bytes of the answer as they came, at most `limit` of them.
    ///
    /// # Errors
    /// When the connection or TLS fails before the first byte.
    pub fn raw(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        let url = url::Url::parse(url).map_err(io::Error::other)?;
        let socket = connect(&url)?;
        let name = ServerName::try_from(host(&url).to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        converse(&mut StreamOwned::new(session, socket), method, &url, headers, body, limit)
    }

    /// A form POST.
    ///
    /// # Errors
    /// As [`Https::send`].
    pub fn form(&self, url: &str, fields: &[(&str, &str)]) -> io::Result<Reply> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", url, &kind, body.as_bytes())
    }

    /// A JSON request with a bearer.
    ///
    /// # Errors
    /// As [`Https::send`].
    pub fn call(&self, method: &str, url: &str, bearer: &str, body: &Value) -> io::Result<Reply> {
        let bearer = format!("Bearer {bearer}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("OData-Version", "4.0"),
        ];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, url, &headers, body.as_bytes())
    }
}

/// One request without TLS, to a server on this machine.
///
/// # Errors
/// As [`Https::send`].
pub fn plain(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
    let url = url::Url::parse(url).map_err(io::Error::other)?;
    parse(&converse(&mut connect(&url)?, method, &url, headers, body, usize::MAX)?)
}

fn host(url: &url::Url) -> &str {
    url.host_str().unwrap_or("localhost")
}

fn connect(url: &url::Url) -> io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(443);
    // Some servers listen on one of the two families only.
    let socket = TcpStream::connect(("127.0.0.1", port)).or_else(|_| TcpStream::connect(("::1", port)))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(socket)
}

/// Sends one request and reads what comes until the end, at most `limit` bytes.
fn converse(
    stream: &mut (impl io::Read + io::Write),
    method: &str,
    url: &url::Url,
    headers: &[(&str, &str)],
    body: &[u8],
    limit: usize,
) -> io::Result<Vec<u8>> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let (host, port) = (host(url), url.port_or_known_default().unwrap_or(443));
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while bytes.len() < limit {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            // A connection that is cut is an end too; what came before it is what came.
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> io::Result<Reply> {
    let mut slots = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Response::new(&mut slots);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(io::Error::other)? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let mut reply = Reply { status: head.code.unwrap_or_default(), headers, body: bytes[length..].to_vec() };
    if reply.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        let mut rest = reply.body.as_slice();
        let mut body = Vec::new();
        while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let end = start.saturating_add(size).min(rest.len());
            body.extend_from_slice(&rest[start..end]);
            rest = rest.get(end + 2..).unwrap_or_default();
            if size == 0 {
                break;
            }
        }
        reply.body = body;
    }
    Ok(reply)
}

/// Signs client assertions with a key from a PEM file.
pub struct AssertionKey {
    key: RsaKeyPair,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

impl std::fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AssertionKey")
    }
}

impl AssertionKey {
    /// Reads key and certificate; both may be in one file.
    ///
    /// # Errors
    /// When a file holds no such thing.
    pub fn read(key: &Path, certificate: &Path) -> io::Result<Self> {
        let private = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
        Ok(Self {
            key: RsaKeyPair::from_pkcs8(private.secret_der()).map_err(io::Error::other)?,
            certificate: CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?.to_vec(),
        })
    }

    /// SHA-256 of the certificate, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate))
    }

    /// A JWS over these claims; `alg` of the header decides how it is signed.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let encoding: &'static dyn RsaEncoding =
            if header["alg"] == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("the buffer has the modulus' length");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The header and the claims of a good assertion, to be used or spoilt.
    #[must_use]
    pub fn assertion(&self, token_url: &str, client_id: &str) -> (Value, Value) {
        let now = chrono::Utc::now().timestamp();
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint()});
        let claims = json!({
            "aud": token_url, "iss": client_id, "sub": client_id, "jti": uuid::Uuid::new_v4().to_string(),
            "nbf": now, "iat": now, "exp": now + 600,
        });
        (header, claims)
    }
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const EXCHANGE: &str = "api://AzureADTokenExchange/.default";

/// The ready agent's way to a token, by hand.
#[derive(Debug)]
pub struct ReadyAgent<'a> {
    info: &'a Info,
    https: Https,
    key: AssertionKey,
}

impl<'a> ReadyAgent<'a> {
    /// The agent of a stand-in.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of(info: &'a Info) -> io::Result<Self> {
        let key = AssertionKey::read(&info.blueprint_key_pem, &info.blueprint_cert_pem)?;
        Ok(Self { info, https: Https::trusting(&info.ca_bundle)?, key })
    }

    /// The client that trusts the stand-in.
    #[must_use]
    pub fn https(&self) -> &Https {
        &self.https
    }

    /// The blueprint's key.
    #[must_use]
    pub fn key(&self) -> &AssertionKey {
        &self.key
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.info.authority_base, self.info.tenant_id)
    }

    /// A fresh, good assertion of the blueprint.
    #[must_use]
    pub fn assertion(&self) -> String {
        let (header, claims) = self.key.assertion(&self.token_url(), &self.info.blueprint_app_id);
        self.key.sign(&header, &claims)
    }

    /// Hop 1 with this assertion, for this agent.
    ///
    /// # Errors
    /// When the request fails; a refusal is a [`Reply`].
    pub fn hop1(&self, assertion: &str, fmi_path: &str) -> io::Result<Reply> {
        self.https.form(
            &self.token_url(),
            &[
                ("client_id", &self.info.blueprint_app_id),
                ("grant_type", "client_credentials"),
                ("scope", EXCHANGE),
                ("fmi_path", fmi_path),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", assertion),
            ],
        )
    }

    /// Hop 2: a token of the agent identity for this scope.
    ///
    /// # Errors
    /// As [`ReadyAgent::hop1`].
    pub fn hop2(&self, agent: &str, t1: &str, scope: &str) -> io::Result<Reply> {
        self.https.form(
            &self.token_url(),
            &[
                ("client_id", agent),
                ("grant_type", "client_credentials"),
                ("scope", scope),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", t1),
            ],
        )
    }

    /// Hop 3 with these further fields (`scope`, `user_id` ...).
    ///
    /// # Errors
    /// As [`ReadyAgent::hop1`].
    pub fn hop3(&self, agent: &str, t1: &str, t2: &str, more: &[(&str, &str)]) -> io::Result<Reply> {
        let mut fields = vec![
            ("client_id", agent),
            ("grant_type", "user_fic"),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", t1),
            ("user_federated_identity_credential", t2),
        ];
        fields.extend_from_slice(more);
        self.https.form(&self.token_url(), &fields)
    }

    /// T1 and T2 of an agent of the blueprint.
    ///
    /// # Errors
    /// When a hop is refused.
    pub fn exchange_tokens(&self, agent: &str) -> io::Result<(String, String)> {
        let t1 = access_token(&self.hop1(&self.assertion(), agent)?)?;
        let t2 = access_token(&self.hop2(agent, &t1, EXCHANGE)?)?;
        Ok((t1, t2))
    }

    /// The ready agent user's token for a resource.
    ///
    /// # Errors
    /// When a hop is refused.
    pub fn token(&self, resource: &str) -> io::Result<String> {
        self.token_of(&self.info.agent_id, &self.info.agent_user_id, resource)
    }

    /// Another agent user's token for a resource.
    ///
    /// # Errors
    /// When a hop is refused.
    pub fn token_of(&self, agent: &str, user: &str, resource: &str) -> io::Result<String> {
        let (t1, t2) = self.exchange_tokens(agent)?;
        let scope = format!("{resource}/.default");
        access_token(&self.hop3(agent, &t1, &t2, &[("scope", &scope), ("user_id", user)])?)
    }
}

/// The access token of an answer.
///
/// # Errors
/// When there is none; the error holds the body.
pub fn access_token(reply: &Reply) -> io::Result<String> {
    let body = reply.json();
    body["access_token"].as_str().map(str::to_owned).ok_or_else(|| io::Error::other(body.to_string()))
}
