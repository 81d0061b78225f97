//! A token endpoint of our own: TLS with a throw-away authority, and answers that a test writes byte for byte.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up shall fail")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use entrabot_identity::{Config, Egress, SignerSource, TokenError, TokenExchange};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, Signer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const TENANT: &str = "00112233-4455-6677-8899-aabbccddeeff";
pub(crate) const BLUEPRINT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
pub(crate) const AGENT: &str = "0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11";
pub(crate) const USER: &str = "8da777d2-e2a1-49e7-ae30-2e38724628eb";

/// A request to the token endpoint, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) fields: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
    /// 1, 2 or 3.
    pub(crate) fn hop(&self) -> u8 {
        match (self.field("grant_type"), self.field("fmi_path")) {
            ("user_fic", _) => 3,
            (_, "") => 2,
            _ => 1,
        }
    }
}

/// What the endpoint does with a request.
pub(crate) enum Reply {
    /// These bytes, then the connection goes on.
    Bytes(Vec<u8>),
    /// These bytes, one at a time, slowly.
    Drip(Vec<u8>),
    /// The connection is cut.
    Cut,
}

impl Reply {
    pub(crate) fn json(status: u16, headers: &str, body: &str) -> Self {
        Self::Bytes(
            format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
    pub(crate) fn token(text: &str, lifetime: u64) -> Self {
        Self::json(
            200,
            "",
            &format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":{lifetime}}}"#),
        )
    }
    /// A token that says for whom it is: hop, user and scope of the request.
    pub(crate) fn telling(seen: &Seen) -> Self {
        Self::token(
            &format!(
                "t{}.{}.{}.{}",
                seen.hop(),
                seen.field("client_id"),
                seen.field("user_id"),
                seen.field("scope")
            ),
            3600,
        )
    }
}

type Answering = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// A running endpoint.
pub(crate) struct Endpoint {
    pub(crate) base: String,
    pub(crate) ca: tempfile::NamedTempFile,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

/// How its certificate is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    Good,
    Expired,
    WrongName,
    UnknownAuthority,
}

impl Endpoint {
    /// Answers the n-th request (from 0) by the closure.
    pub(crate) async fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Certificate::Good, answer).await
    }

    pub(crate) async fn start_with(
        certificate: Certificate,
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (ca_pem, acceptor) = tls(certificate);
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), ca_pem).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, answer): (_, Arc<Answering>) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            let connections = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, all, answer) = (acceptor.clone(), Arc::clone(&all), Arc::clone(&answer));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, connection, &all, &*answer).await;
                    }
                });
            }
        });
        Self { base, ca, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn hops(&self) -> Vec<u8> {
        self.seen().iter().map(Seen::hop).collect()
    }

    pub(crate) fn config(&self, more: &[(&str, &str)]) -> Config {
        let ca = self.ca.path().to_str().unwrap();
        let mut variables = vec![
            ("ENTRABOT_AUTHORITY_BASE", self.base.as_str()),
            ("ENTRABOT_CA_BUNDLE", ca),
            ("ENTRABOT_TENANT_ID", TENANT),
            ("ENTRABOT_BLUEPRINT_APP_ID", BLUEPRINT),
            ("ENTRABOT_AGENT_ID", AGENT),
            ("ENTRABOT_AGENT_USER_ID", USER),
        ];
        variables.extend(more);
        Config::from_variables(variables).unwrap()
    }

    pub(crate) fn exchange(&self) -> TokenExchange {
        self.exchange_with(&[])
    }

    pub(crate) fn exchange_with(&self, more: &[(&str, &str)]) -> TokenExchange {
        self.exchange_by(Arc::new(Key::new()), more)
    }

    pub(crate) fn exchange_by(&self, key: Arc<Key>, more: &[(&str, &str)]) -> TokenExchange {
        let config = self.config(more);
        let egress = Egress::from_config(&config).unwrap();
        TokenExchange::from_config(&config, key, &egress).unwrap()
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    connection: usize,
    all: &Mutex<Vec<Seen>>,
    answer: &Answering,
) {
    let mut buffer = Vec::new();
    loop {
        let Some(seen) = read_request(&mut stream, &mut buffer, connection).await else { return };
        let number = {
            let mut all = all.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        match answer(&seen, number) {
            Reply::Bytes(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Reply::Drip(bytes) => {
                for byte in bytes {
                    if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            Reply::Cut => return,
        }
    }
}

async fn read_request(
    stream: &mut tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    while buffer.len() < end + length {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
    }
    let body = String::from_utf8(buffer[end..end + length].to_vec()).unwrap();
    buffer.drain(..end + length);
    let fields = body
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    Some(Seen { connection, path, headers, fields })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn tls(certificate: Certificate) -> (String, TlsAcceptor) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "the stand-in's authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);

    let name = if certificate == Certificate::WrongName { "elsewhere.example" } else { "localhost" };
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if certificate == Certificate::Expired {
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2020, 2, 1);
    }
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let trusted = if certificate == Certificate::UnknownAuthority {
        let other = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.self_signed(&other).unwrap().pem()
    } else {
        authority_certificate.pem()
    };
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (trusted, TlsAcceptor::from(Arc::new(config)))
}

/// A throw-away key.
pub(crate) struct Key {
    pem: Vec<u8>,
    pub(crate) signers: AtomicUsize,
    /// How often it was rotated.
    pub(crate) rotations: AtomicUsize,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub(crate) fn new() -> Self {
        use aws_lc_rs::encoding::AsDer;
        use base64::Engine;
        // One for the whole program: making one takes a tenth of a second.
        static PEM: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let pem = PEM.get_or_init(|| {
            let pair = aws_lc_rs::signature::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
            let der = pair.as_der().unwrap();
            let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n").into_bytes()
        });
        Self { pem: pem.clone(), signers: AtomicUsize::new(0), rotations: AtomicUsize::new(0) }
    }
}

impl SignerSource for Key {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        self.signers.fetch_add(1, Ordering::SeqCst);
        let certificate = format!("certificate {}", self.rotations.load(Ordering::SeqCst));
        let thumbprint = CertificateThumbprint::of_der(certificate.as_bytes());
        Ok(Box::new(PemSigner::from_pkcs8_pem(&SecretBytes::new(self.pem.clone()), thumbprint)?))
    }
}
