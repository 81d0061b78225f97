use std::borrow::Cow;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{Diagnose, ErrorClass, SecretBytes};

/// SHA-256 of a certificate's DER, as `x5t#S256` carries it (RFC 7515, section 4.1.8): base64url, 43 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint(String);

impl CertificateThumbprint {
    /// From its base64url text (43 characters, no padding).
    ///
    /// # Errors
    /// When it is not 43 base64url characters.
    pub fn parse(text: &str) -> Result<Self, SignError> {
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(digest) if digest.len() == 32 => Ok(Self(text.to_owned())),
            _ => Err(SignError::MalformedThumbprint),
        }
    }

    /// Of a certificate in DER.
    #[must_use]
    pub fn of_der(certificate: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        Self(URL_SAFE_NO_PAD.encode(digest))
    }

    /// base64url, 43 characters, no padding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 7518, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA P-256 with SHA-256, `r || s`.
    Es256,
}

/// The key could not be read or cannot sign so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Not a PKCS#8 PEM private key of a kind we know. The text itself is never shown.
    #[error("the private key is not a PKCS#8 PEM of an RSA or P-256 key")]
    MalformedKey,
    /// Not 43 base64url characters.
    #[error("not a SHA-256 certificate thumbprint in base64url")]
    MalformedThumbprint,
    /// The key's type does not fit the algorithm.
    #[error("this key cannot sign with {0:?}")]
    UnsupportedAlgorithm(SignatureAlgorithm),
    /// The crypto library refused.
    #[error("the signature operation failed")]
    Failed,
    /// The chip that holds the key.
    #[cfg(all(feature = "tpm2", unix))]
    #[error(transparent)]
    Tpm(#[from] crate::TpmError),
}

impl Diagnose for SignError {
    fn error_type(&self) -> &'static str {
        match self {
            #[cfg(all(feature = "tpm2", unix))]
            Self::Tpm(error) => error.error_type(),
            _ => "SignError",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        #[cfg(all(feature = "tpm2", unix))]
        if let Self::Tpm(error) = self {
            return error.hint();
        }
        Some(Cow::Borrowed(match self {
            Self::MalformedKey => {
                "the keyring entry must hold `-----BEGIN PRIVATE KEY-----` (PKCS#8, not encrypted); make a new key \
                 and certificate with `entrabot cert`"
            }
            Self::MalformedThumbprint => {
                "use the base64url SHA-256 of the certificate's DER, 43 characters (x5t#S256)"
            }
            Self::UnsupportedAlgorithm(_) => {
                "use PS256 or RS256 with an RSA key (many a TPM only RS256), ES256 with a P-256 key"
            }
            Self::Failed => "check that the RSA key has between 2048 and 8192 bits",
            #[cfg(all(feature = "tpm2", unix))]
            Self::Tpm(_) => "see the TPM's own error",
        }))
    }

    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}

/// What can sign for a certificate without showing its key: a PEM key, or one in a TPM.
pub trait Signer: Send + Sync {
    /// The certificate's thumbprint.
    fn certificate(&self) -> &CertificateThumbprint;

    /// Signs `input` (hashing is the signer's).
    ///
    /// # Errors
    /// See [`SignError`].
    fn sign(&self, algorithm: SignatureAlgorithm, input: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A [`Signer`] over a PKCS#8 PEM key.
pub struct PemSigner {
    certificate: CertificateThumbprint,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl std::fmt::Debug for PemSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemSigner").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl PemSigner {
    /// The first `PRIVATE KEY` block of the text; other blocks (a certificate beside it) are passed over.
    ///
    /// # Errors
    /// [`SignError::MalformedKey`].
    pub fn from_pkcs8_pem(pem: &SecretBytes, certificate: CertificateThumbprint) -> Result<Self, SignError> {
        let der = private_key_block(pem.expose()).ok_or(SignError::MalformedKey)?;
        let key = if let Ok(rsa) = RsaKeyPair::from_pkcs8(&der) {
            Key::Rsa(rsa)
        } else if let Ok(p256) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der) {
            Key::P256(p256)
        } else {
            return Err(SignError::MalformedKey);
        };
        Ok(Self { certificate, key })
    }
}

impl Signer for PemSigner {
    fn certificate(&self) -> &CertificateThumbprint {
        &self.certificate
    }

    fn sign(&self, algorithm: SignatureAlgorithm, input: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match (&self.key, algorithm) {
            (Key::Rsa(key), SignatureAlgorithm::Ps256) => sign_rsa(key, &RSA_PSS_SHA256, &random, input),
            (Key::Rsa(key), SignatureAlgorithm::Rs256) => sign_rsa(key, &RSA_PKCS1_SHA256, &random, input),
            (Key::P256(key), SignatureAlgorithm::Es256) => {
                let signature = key.sign(&random, input).map_err(|_| SignError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            (Key::Rsa(_) | Key::P256(_), other) => Err(SignError::UnsupportedAlgorithm(other)),
        }
    }
}

fn sign_rsa(
    key: &RsaKeyPair,
    encoding: &'static dyn RsaEncoding,
    random: &SystemRandom,
    input: &[u8],
) -> Result<Vec<u8>, SignError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, random, input, &mut signature).map_err(|_| SignError::Failed)?;
    Ok(signature)
}

/// The DER of the first `PRIVATE KEY` block (RFC 7468, section 10).
fn private_key_block(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; packed.len()]);
    let length = STANDARD.decode_slice(packed.as_slice(), &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
        UnparsedPublicKey, VerificationAlgorithm,
    };

    use super::*;

    fn pem(der: &[u8]) -> SecretBytes {
        let body = STANDARD.encode(der);
        SecretBytes::new(
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n").into_bytes(),
        )
    }

    fn thumbprint() -> CertificateThumbprint {
        CertificateThumbprint::of_der(b"certificate")
    }

    #[test]
    fn an_rsa_key_signs_ps256_and_rs256_so_that_others_can_verify() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.as_der().unwrap();
        let signer = PemSigner::from_pkcs8_pem(&pem(der.as_ref()), thumbprint()).unwrap();
        let expected: [(_, &dyn VerificationAlgorithm); 2] = [
            (SignatureAlgorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
            (SignatureAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        ];
        for (algorithm, verification) in expected {
            let signature = signer.sign(algorithm, b"input").unwrap();
            let public = UnparsedPublicKey::new(verification, pair.public_key().as_ref());
            public.verify(b"input", &signature).unwrap();
            public.verify(b"other", &signature).unwrap_err();
        }
        assert!(matches!(
            signer.sign(SignatureAlgorithm::Es256, b"input"),
            Err(SignError::UnsupportedAlgorithm(SignatureAlgorithm::Es256))
        ));
    }

    #[test]
    fn a_p256_key_signs_es256_as_r_and_s() {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        let signer = PemSigner::from_pkcs8_pem(&pem(der.as_ref()), thumbprint()).unwrap();
        let signature = signer.sign(SignatureAlgorithm::Es256, b"input").unwrap();
        assert_eq!(signature.len(), 64);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())
            .verify(b"input", &signature)
            .unwrap();
        assert!(signer.sign(SignatureAlgorithm::Rs256, b"input").is_err());
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_shown() {
        for text in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"] {
            let error = PemSigner::from_pkcs8_pem(&SecretBytes::new(text.into()), thumbprint()).unwrap_err();
            assert!(matches!(error, SignError::MalformedKey));
            assert!(!format!("{error:?} {error} {:?}", error.hint()).contains("hunter2"));
        }
    }

    #[test]
    fn a_thumbprint_is_43_base64url_characters() {
        assert_eq!(thumbprint().as_str().len(), 43);
        assert_eq!(CertificateThumbprint::parse(thumbprint().as_str()).unwrap(), thumbprint());
        for wrong in
            ["", "abc", &"A".repeat(42), &"A".repeat(44), &"+".repeat(43), &format!("{}=", "A".repeat(43))]
        {
            assert!(CertificateThumbprint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
