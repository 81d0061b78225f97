//! Keys and certificates of the stand-in: its own CA, the server certificate under it, and
//! credentials for the apps it registers.

use std::io;
use std::sync::{Arc, RwLock};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// Which certificate the listeners present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsFault {
    /// A certificate for `localhost` under the CA of the bundle.
    #[default]
    None,
    /// The same, but its life ended yesterday.
    Expired,
    /// A good certificate for another host.
    WrongName,
    /// A certificate for `localhost` under a CA that nobody trusts.
    UnknownAuthority,
}

impl TlsFault {
    /// The fault of this name (`none`, `expired`, `wrong_name`, `unknown_authority`).
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "expired" => Self::Expired,
            "wrong_name" => Self::WrongName,
            "unknown_authority" => Self::UnknownAuthority,
            _ => return None,
        })
    }
}

/// The CA of one stand-in.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Makes a fresh CA; only this process ever holds its key.
    pub(crate) fn generate() -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "entrabot stand-in CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, -1, 30);
        let pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The CA certificate, PEM: what a client must trust.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate with this fault.
    pub(crate) fn certified(&self, fault: TlsFault) -> io::Result<CertifiedKey> {
        match fault {
            TlsFault::WrongName => self.issue(&["login.example"], fault),
            _ => self.issue(&["localhost", "127.0.0.1"], fault),
        }
    }

    /// A good server certificate for this host.
    pub(crate) fn certified_for(&self, host: &str) -> io::Result<CertifiedKey> {
        self.issue(&[host], TlsFault::None)
    }

    fn issue(&self, names: &[&str], fault: TlsFault) -> io::Result<CertifiedKey> {
        let name = names[0];
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        if fault == TlsFault::Expired {
            set_validity(&mut params, -30, -1);
        } else {
            set_validity(&mut params, -1, 30);
        }
        let certificate = if fault == TlsFault::UnknownAuthority {
            let stranger = Self::generate()?;
            params.signed_by(&key, &stranger.issuer)
        } else {
            params.signed_by(&key, &self.issuer)
        }
        .map_err(io::Error::other)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&private).map_err(io::Error::other)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
    }
}

/// The TLS side of a listener beside the cloud's own.
pub(crate) fn acceptor(certificate: Arc<dyn ResolvesServerCert>) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Presents whatever certificate was set last.
#[derive(Debug)]
pub(crate) struct SwitchableCertificate(RwLock<Arc<CertifiedKey>>);

impl SwitchableCertificate {
    pub(crate) fn new(first: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(first)))
    }

    pub(crate) fn set(&self, next: CertifiedKey) {
        *self.0.write().expect("no holder of this lock panics") = Arc::new(next);
    }
}

impl ResolvesServerCert for SwitchableCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("no holder of this lock panics")))
    }
}

/// An RSA-2048 key with a self-signed certificate: what an app signs its assertions with, and what
/// the token service signs its tokens with.
pub(crate) struct Credential {
    pub(crate) key_der: Vec<u8>,
    pub(crate) key_pem: String,
    pub(crate) cert_der: Vec<u8>,
    pub(crate) cert_pem: String,
}

impl Credential {
    /// Generates the key and signs the certificate, which ends in so many days.
    pub(crate) fn generate(common_name: &str, days: i64) -> io::Result<Self> {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let key_der = rsa.as_der().map_err(io::Error::other)?.as_ref().to_vec();
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(key_der.as_slice()),
            &rcgen::PKCS_RSA_SHA256,
        )
        .map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        set_validity(&mut params, -1, days);
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self {
            key_pem: key.serialize_pem(),
            cert_der: certificate.der().to_vec(),
            cert_pem: certificate.pem(),
            key_der,
        })
    }

    /// SHA-256 of the certificate, base64url without padding (43 characters).
    pub(crate) fn thumbprint(&self) -> String {
        thumbprint_sha256(&self.cert_der)
    }
}

/// SHA-256 of a DER certificate, base64url without padding.
pub(crate) fn thumbprint_sha256(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der))
}

/// SHA-1 of a DER certificate, base64url without padding.
pub(crate) fn thumbprint_sha1(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der))
}

/// SHA-1 of a DER certificate in hexadecimal, as Graph's `customKeyIdentifier` shows it.
pub(crate) fn thumbprint_sha1_hex(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn set_validity(params: &mut CertificateParams, from_days: i64, to_days: i64) {
    let day = |offset: i64| {
        use chrono::Datelike as _;
        let date = (chrono::Utc::now() + chrono::Duration::days(offset)).date_naive();
        let (month, day) = (date.month(), date.day());
        rcgen::date_time_ymd(
            date.year(),
            u8::try_from(month).expect("a month is at most 12"),
            u8::try_from(day).expect("a day is at most 31"),
        )
    };
    params.not_before = day(from_days);
    params.not_after = day(to_days);
}
