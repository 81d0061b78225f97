use crate::SecretBytes;

/// SHA-256 of a certificate's DER, as `x5t#S256` carries it (RFC 7515, section 4.1.8): base64url, 43 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint(String);

impl CertificateThumbprint {
    /// From its base64url text (43 characters, no padding).
    ///
    /// # Errors
    /// When it is not 43 base64url characters.
    pub fn parse(_text: &str) -> Result<Self, SignError> {
        todo!("keystore")
    }
    /// Of a certificate in DER.
    #[must_use]
    pub fn of_der(_certificate: &[u8]) -> Self {
        todo!("keystore")
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
}

/// What can sign for a certificate without showing its key. A PEM key today; a TPM or Key Vault later.
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
}

impl std::fmt::Debug for PemSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemSigner").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl PemSigner {
    /// # Errors
    /// [`SignError::MalformedKey`].
    pub fn from_pkcs8_pem(
        _pem: &SecretBytes,
        _certificate: CertificateThumbprint,
    ) -> Result<Self, SignError> {
        todo!("keystore")
    }
}

impl Signer for PemSigner {
    fn certificate(&self) -> &CertificateThumbprint {
        &self.certificate
    }
    fn sign(&self, _algorithm: SignatureAlgorithm, _input: &[u8]) -> Result<Vec<u8>, SignError> {
        todo!("keystore")
    }
}
