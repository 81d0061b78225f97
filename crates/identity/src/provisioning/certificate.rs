//! Keys and certificates: an RSA-2048 key made here, a self-signed certificate for it, and telling whether a
//! certificate belongs to a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entrabot_keystore::{CertificateThumbprint, SecretBytes};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::ProvisioningError;

const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Clocks differ: a certificate of this moment may be of the future elsewhere.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// An RSA private key, ready to sign certificates for itself.
pub(super) struct PrivateKey {
    pair: RsaKeyPair,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

impl PrivateKey {
    /// A new RSA-2048 key.
    pub(super) fn generate() -> Result<Self, ProvisioningError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| ProvisioningError::crypto("generate a key"))?;
        Ok(Self { pair })
    }

    /// The first `PRIVATE KEY` block (PKCS#8) of a PEM text.
    pub(super) fn from_pem(pem: &SecretBytes) -> Result<Self, ProvisioningError> {
        let wrong = || ProvisioningError::crypto("read the private key (an RSA key in PKCS#8 PEM)");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose()).map_err(|_| wrong())?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong())?;
        Ok(Self { pair })
    }

    /// PKCS#8 PEM (RFC 7468), as the original wrote it.
    pub(super) fn to_pem(&self) -> Result<SecretBytes, ProvisioningError> {
        let der = self.pair.as_der().map_err(|_| ProvisioningError::crypto("write the private key"))?;
        Ok(SecretBytes::new(pem("PRIVATE KEY", &STANDARD.encode(der.as_ref()).into())))
    }

    /// The public half, as it stands in a certificate.
    pub(super) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// A name for the key that tells nothing of it: SHA-256 of the public half, base64url.
    pub(super) fn fingerprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.public()))
    }

    /// A self-signed certificate for a year.
    pub(super) fn self_signed(&self, common_name: &str) -> Result<Certificate, ProvisioningError> {
        self_signed(&Signing(&self.pair), common_name)
    }
}

/// A certificate for a year of the key that signs it, wherever that is.
pub(super) fn self_signed(
    key: &impl rcgen::SigningKey,
    common_name: &str,
) -> Result<Certificate, ProvisioningError> {
    let failed = |_| ProvisioningError::crypto("make a certificate");
    let mut parameters = rcgen::CertificateParams::default();
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, common_name);
    parameters.distinguished_name = name;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = since_epoch.saturating_sub(BACKDATED);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Whole seconds: a certificate knows no others, and Graph compares the dates with it.
    parameters.not_before = epoch + Duration::from_secs(from.as_secs());
    parameters.not_after = epoch + Duration::from_secs(from.as_secs()) + LIFETIME;
    let certificate = parameters.self_signed(key).map_err(failed)?;
    Certificate::from_der(certificate.der().to_vec())
        .ok_or_else(|| ProvisioningError::crypto("read the certificate just made"))
}

/// One block of PEM (RFC 7468).
fn pem(label: &str, base64: &Zeroizing<String>) -> Vec<u8> {
    // Room for all of it from the start: growing would leave copies behind.
    let mut pem = Vec::with_capacity(base64.len() + base64.len() / 64 + 128);
    pem.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    pem
}

/// Lets the certificate library sign without ever holding the key.
struct Signing<'a>(&'a RsaKeyPair);

impl rcgen::PublicKeyData for Signing<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl rcgen::SigningKey for Signing<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), message, &mut signature)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature)
    }
}

/// A certificate, with what we need of it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    der: Vec<u8>,
    public: Vec<u8>,
    not_before: i64,
    not_after: i64,
}

impl Certificate {
    pub(super) fn from_der(der: Vec<u8>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let public = parsed.public_key().subject_public_key.data.to_vec();
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Self { der, public, not_before, not_after })
    }

    /// The first `CERTIFICATE` block of a PEM text.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        Self::from_der(CertificateDer::from_pem_slice(pem).ok()?.to_vec())
    }

    /// As it stands in a `keyCredential`.
    pub(super) fn from_base64(text: &str) -> Option<Self> {
        Self::from_der(STANDARD.decode(text).ok()?)
    }

    pub(super) fn base64(&self) -> String {
        STANDARD.encode(&self.der)
    }
    /// A new entry of `keyCredentials`.
    pub(super) fn as_credential(&self, name: &str) -> Value {
        json!({
            "type": "AsymmetricX509Cert",
            "usage": "Verify",
            "key": self.base64(),
            "displayName": name,
            "startDateTime": self.not_before(),
            "endDateTime": self.not_after(),
        })
    }
    /// One text of the certificate and its key, as the Provisioner's entry holds them.
    #[cfg(feature = "delegated")]
    pub(super) fn with_key(&self, key: &PrivateKey) -> Result<SecretBytes, ProvisioningError> {
        let (mut certificate, key) = (pem("CERTIFICATE", &self.base64().into()), key.to_pem()?);
        certificate.reserve_exact(key.expose().len());
        certificate.extend_from_slice(key.expose());
        Ok(SecretBytes::new(certificate))
    }
    pub(super) fn thumbprint(&self) -> CertificateThumbprint {
        CertificateThumbprint::of_der(&self.der)
    }
    pub(super) fn belongs_to(&self, key: &PrivateKey) -> bool {
        self.public == key.public()
    }
    pub(super) fn has_expired(&self) -> bool {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .is_ok_and(|now| i64::try_from(now.as_secs()).is_ok_and(|now| now >= self.not_after))
    }
    pub(super) fn not_before(&self) -> String {
        rfc3339(self.not_before)
    }
    pub(super) fn not_after(&self) -> String {
        rfc3339(self.not_after)
    }
}

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ`. Days to date as Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_comes_back_from_its_pem_and_its_certificate_is_its_own() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_pem().unwrap();
        assert!(pem.expose().starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
        let again = PrivateKey::from_pem(&pem).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        let certificate = key.self_signed("entrabot test").unwrap();
        assert!(certificate.belongs_to(&again));
        assert!(!certificate.belongs_to(&PrivateKey::generate().unwrap()));
        assert!(!certificate.has_expired());
        assert_eq!(certificate.not_after - certificate.not_before, 365 * 86_400);
        let der = STANDARD.decode(certificate.base64()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=entrabot test");
        assert!(!format!("{key:?}").contains("BEGIN"));
    }

    #[test]
    fn times_are_written_as_graph_reads_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_487_992), "2026-11-24T02:39:52Z");
    }

    #[test]
    fn what_is_no_key_is_not_shown() {
        let error = PrivateKey::from_pem(&SecretBytes::new(b"planted-secret".to_vec())).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("planted"));
    }
}
