//! A key in a TPM 2.0: made in the chip, used in the chip, and on the disk only as the chip wrapped it.
//!
//! The few commands that this takes are written by hand (TCG "Trusted Platform Module Library", part 3): no library of the
//! system, no daemon, no unsafe code. The key's parent is the chip's own storage key, which it derives anew from its
//! seed each time, so nothing stays in the chip's memory. Blocks.

mod command;
mod device;
mod key_file;

use std::borrow::Cow;
use std::path::PathBuf;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

use crate::{CertificateThumbprint, Diagnose, ErrorClass, SignError, SignatureAlgorithm, Signer};
use command::Chip;

/// Where Linux has the chip, through its resource manager.
const DEFAULT: &str = "/dev/tpmrm0";

/// A TPM: a device of the kernel, or the Unix socket of a software one.
#[derive(Clone, Debug)]
pub struct Tpm {
    device: PathBuf,
}

impl Default for Tpm {
    fn default() -> Self {
        Self::at(DEFAULT)
    }
}

impl Tpm {
    /// The chip behind this device or socket. Touches nothing.
    #[must_use]
    pub fn at(device: impl Into<PathBuf>) -> Self {
        Self { device: device.into() }
    }

    /// A new RSA-2048 key that signs, and never leaves the chip. Takes the chip some seconds.
    ///
    /// # Errors
    /// The chip cannot be reached, or refused.
    pub fn create_key(&self) -> Result<TpmKey, TpmError> {
        let mut chip = Chip::open(&self.device)?;
        let parent = chip.storage_key()?;
        let made = chip.create_signing_key(parent);
        chip.flush(parent);
        made
    }

    /// A signer for the certificate of this key. Touches nothing yet.
    #[must_use]
    pub fn signer(&self, key: TpmKey, certificate: CertificateThumbprint) -> TpmSigner {
        TpmSigner { tpm: self.clone(), key, certificate }
    }
}

/// A key as the chip wrapped it: of use to this chip alone. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmKey {
    /// `TPM2B_PUBLIC`.
    public: Vec<u8>,
    /// `TPM2B_PRIVATE`: encrypted and bound to the chip's storage key.
    private: Vec<u8>,
    /// `RSAPublicKey` (RFC 8017, appendix A.1.1), DER.
    rsa: Vec<u8>,
}

impl TpmKey {
    /// The public key, as it stands in a certificate.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.rsa
    }

    /// `TSS2 PRIVATE KEY` in PEM, the form that OpenSSL's TPM providers read too.
    #[must_use]
    pub fn to_pem(&self) -> String {
        key_file::write(&self.public, &self.private)
    }

    /// # Errors
    /// [`TpmErrorKind::MalformedKey`].
    pub fn from_pem(text: &str) -> Result<Self, TpmError> {
        let (public, private) = key_file::read(text).ok_or_else(TpmError::malformed_key)?;
        Self::of(public, private)
    }

    fn of(public: Vec<u8>, private: Vec<u8>) -> Result<Self, TpmError> {
        let rsa = command::rsa_public_key(&public).ok_or_else(TpmError::malformed_key)?;
        Ok(Self { public, private, rsa })
    }
}

/// A [`Signer`] whose key is in a TPM.
#[derive(Debug)]
pub struct TpmSigner {
    tpm: Tpm,
    key: TpmKey,
    certificate: CertificateThumbprint,
}

impl Signer for TpmSigner {
    fn certificate(&self) -> &CertificateThumbprint {
        &self.certificate
    }

    fn sign(&self, algorithm: SignatureAlgorithm, input: &[u8]) -> Result<Vec<u8>, SignError> {
        self.tpm.sign(&self.key, algorithm, input)
    }
}

impl Tpm {
    /// Signs `input` in the chip (hashing is ours).
    ///
    /// # Errors
    /// The chip's; [`SignError::UnsupportedAlgorithm`] where it cannot sign so.
    pub fn sign(
        &self,
        key: &TpmKey,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, SignError> {
        let (scheme, verification): (_, &'static dyn aws_lc_rs::signature::VerificationAlgorithm) =
            match algorithm {
                SignatureAlgorithm::Rs256 => (command::RSASSA, &RSA_PKCS1_2048_8192_SHA256),
                SignatureAlgorithm::Ps256 => (command::RSAPSS, &RSA_PSS_2048_8192_SHA256),
                SignatureAlgorithm::Es256 => return Err(SignError::UnsupportedAlgorithm(algorithm)),
            };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, input);
        let mut chip = Chip::open(&self.device)?;
        let parent = chip.storage_key()?;
        let loaded = chip.load(parent, &key.private, &key.public);
        chip.flush(parent);
        let handle = loaded?;
        let signed = chip.sign(handle, scheme, digest.as_ref());
        chip.flush(handle);
        let signature = signed?;
        // Many chips make PSS with another salt than JWS demands (RFC 7518, section 3.5): better told here than by Entra.
        match UnparsedPublicKey::new(verification, key.public_key()).verify(input, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(SignError::UnsupportedAlgorithm(algorithm)),
        }
    }
}

/// The chip could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the TPM {} cannot be used to {what}: {kind}", device.display())]
pub struct TpmError {
    device: PathBuf,
    what: &'static str,
    kind: TpmErrorKind,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmErrorKind {
    /// The device or socket.
    #[error("{0}")]
    Io(std::io::ErrorKind),
    /// The chip's own response code.
    #[error("TPM response code 0x{0:03X}")]
    Refused(u32),
    /// No answer of a TPM.
    #[error("malformed answer")]
    MalformedAnswer,
    /// No key file, or one of another kind of key.
    #[error("malformed key file")]
    MalformedKey,
}

impl TpmError {
    fn malformed_key() -> Self {
        Self { device: DEFAULT.into(), what: "read its key", kind: TpmErrorKind::MalformedKey }
    }
    /// Why.
    #[must_use]
    pub fn kind(&self) -> TpmErrorKind {
        self.kind
    }
}

impl Diagnose for TpmError {
    fn error_type(&self) -> &'static str {
        "TpmError"
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        // Layout of response codes: part 2, section 6.6. In the one-byte format the low bits number the parameter.
        const FORMAT_1: u32 = 0x80;
        Some(Cow::Borrowed(match self.kind {
            TpmErrorKind::Io(std::io::ErrorKind::NotFound) => {
                "switch the TPM on in the firmware, or name another device in ENTRABOT_TPM_DEVICE"
            }
            TpmErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
                "let this user use the device: add it to the group tss"
            }
            TpmErrorKind::Io(_) | TpmErrorKind::MalformedAnswer => {
                "look at the device in ENTRABOT_TPM_DEVICE: it must be a TPM 2.0 (/dev/tpmrm0) or a software TPM's socket"
            }
            TpmErrorKind::MalformedKey => {
                "the key file was changed: make a new key with `entrabot cert rotate --tpm`"
            }
            // TPM_RC_INTEGRITY: wrapped by another chip, or the owner's seed was cleared.
            TpmErrorKind::Refused(code) if code & FORMAT_1 != 0 && code & 0x3f == 0x1f => {
                "the key is another chip's, or this chip was cleared: make a new key with `entrabot cert rotate --tpm`"
            }
            TpmErrorKind::Refused(0x921) => {
                "the chip is locked after failed authorisations: wait, or clear the lockout"
            }
            TpmErrorKind::Refused(code) if code & FORMAT_1 != 0 && matches!(code & 0x3f, 0x22 | 0x0e) => {
                "the owner hierarchy has a password: keys of services cannot be made under it"
            }
            TpmErrorKind::Refused(_) => "look the code up in the TPM library's part 2, section 6.6",
        }))
    }
    fn class(&self) -> ErrorClass {
        ErrorClass::NotSignedIn
    }
}
