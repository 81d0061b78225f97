//! The key that signs checkpoints: where it comes from, how it is made on first use, how it is replaced.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrabot_keystore::{EntryName, Keystore, KeystoreError, KeystorePolicy, SecretBytes};

use crate::note::p256_spki;
use crate::{AuditError, Diagnose};

/// What signs checkpoints: an ECDSA P-256 key, in software or in hardware. May be slow; no call ever waits for it.
pub trait CheckpointSigner: Send + Sync + fmt::Debug {
    /// The public key in SubjectPublicKeyInfo form (RFC 5480), 91 bytes.
    fn public_key(&self) -> &[u8];

    /// An ECDSA signature over the SHA-256 of `message`, in ASN.1 DER.
    ///
    /// # Errors
    /// [`AuditError::Sealing`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, AuditError>;
}

/// Where the signing key is (`ENTRABOT_AUDIT_SIGNING`).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum SigningPolicy {
    /// The keyring's entry `entrabot`/`audit-signing-key`, made on first use.
    Keystore(KeystorePolicy),
    /// A PKCS#8 PEM file, e.g. a mounted secret.
    File(PathBuf),
    /// A signer of the caller's.
    Signer(Arc<dyn CheckpointSigner>),
    /// No checkpoints: the chain only.
    #[default]
    Off,
}

impl SigningPolicy {
    /// The key in force, for something other than a checkpoint. Never makes one.
    pub(crate) fn signer(&self) -> Result<Arc<dyn CheckpointSigner>, AuditError> {
        Ok(load(self, true)?.current)
    }

    pub(crate) fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

/// The signer in force, and the one before it while a rotation is under way.
#[derive(Debug)]
pub(crate) struct Signers {
    pub(crate) current: Arc<dyn CheckpointSigner>,
    pub(crate) previous: Option<Arc<dyn CheckpointSigner>>,
}

fn sealing(reason: impl Into<String>) -> AuditError {
    AuditError::Sealing { reason: reason.into() }
}

fn keystore_error(error: KeystoreError) -> AuditError {
    match error {
        KeystoreError::Insecure(error) => AuditError::InsecureKeyring(Arc::new(error)),
        error => sealing(format!("{}: {error}", error.error_type())),
    }
}

/// Takes the signers from where they are. `known` says whether the installation has signed before: then a missing
/// key is a lost one, and no new one is ever made in silence.
pub(crate) fn load(policy: &SigningPolicy, known: bool) -> Result<Signers, AuditError> {
    match policy {
        SigningPolicy::Off => Err(sealing("ENTRABOT_AUDIT_SIGNING is off")),
        SigningPolicy::Signer(signer) => Ok(Signers { current: Arc::clone(signer), previous: None }),
        SigningPolicy::File(path) => {
            let pem = read_file(path)?;
            signers_of(&pem)
        }
        SigningPolicy::Keystore(policy) => {
            let keystore = policy.open().map_err(keystore_error)?;
            match keystore.get(&EntryName::audit_signing_key()) {
                Ok(pem) => signers_of(&pem),
                Err(KeystoreError::NoEntry) if known => Err(sealing(
                    "the signing key is gone from the keyring although checkpoints were signed with it before",
                )),
                Err(KeystoreError::NoEntry) => signers_of(&put_new(&keystore, None)?),
                Err(error) => Err(keystore_error(error)),
            }
        }
    }
}

/// Makes a new key and puts it in the keyring together with the present one. The present one goes when
/// [`finish_rotation`] is called, after a checkpoint was signed by both.
pub(crate) fn begin_rotation(policy: &SigningPolicy) -> Result<Signers, AuditError> {
    let SigningPolicy::Keystore(policy) = policy else {
        return Err(sealing(
            "only a key in the keyring can be rotated here; put the new key and then the old one in the file",
        ));
    };
    let keystore = policy.open().map_err(keystore_error)?;
    let present = keystore.get(&EntryName::audit_signing_key()).map_err(keystore_error)?;
    if blocks(&present).len() > 1 {
        // A rotation that was cut short: finish that one.
        return signers_of(&present);
    }
    signers_of(&put_new(&keystore, Some(&present))?)
}

/// Drops the previous key.
pub(crate) fn finish_rotation(policy: &SigningPolicy) -> Result<(), AuditError> {
    let SigningPolicy::Keystore(policy) = policy else { return Ok(()) };
    let keystore = policy.open().map_err(keystore_error)?;
    let present = keystore.get(&EntryName::audit_signing_key()).map_err(keystore_error)?;
    let Some(first) = blocks(&present).first().map(|block| SecretBytes::new(block.to_vec())) else {
        return Err(sealing("the signing key is malformed"));
    };
    keystore.put(&EntryName::audit_signing_key(), &first).map_err(keystore_error)
}

/// Puts a new key in front of `old`, and reads it back.
fn put_new(keystore: &Keystore, old: Option<&SecretBytes>) -> Result<SecretBytes, AuditError> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_| sealing("no key could be made"))?;
    let mut pem = encode_pem(document.as_ref());
    if let Some(old) = old {
        pem.extend_from_slice(old.expose());
    }
    let secret = SecretBytes::new(pem);
    let entry = EntryName::audit_signing_key();
    keystore.put(&entry, &secret).map_err(keystore_error)?;
    let back = keystore.get(&entry).map_err(keystore_error)?;
    // Another process may have been faster; what the keyring holds is the key.
    if old.is_some() && back.expose() != secret.expose() {
        return Err(sealing("the keyring gave another key back than was put in"));
    }
    Ok(back)
}

const BEGIN: &[u8] = b"-----BEGIN PRIVATE KEY-----";
const END: &[u8] = b"-----END PRIVATE KEY-----";

fn encode_pem(der: &[u8]) -> Vec<u8> {
    // Long enough from the start: growing would leave copies behind.
    let mut pem = Vec::with_capacity(4096);
    pem.extend_from_slice(BEGIN);
    let mut encoded = [0; 64];
    for chunk in der.chunks(48) {
        pem.push(b'\n');
        let length =
            STANDARD.encode_slice(chunk, &mut encoded).expect("48 bytes are 64 characters of base64");
        pem.extend_from_slice(&encoded[..length]);
    }
    encoded.fill(0);
    pem.push(b'\n');
    pem.extend_from_slice(END);
    pem.push(b'\n');
    pem
}

/// The PEM blocks of a key file, newest first.
fn blocks(pem: &SecretBytes) -> Vec<&[u8]> {
    let mut rest = pem.expose();
    let mut found = Vec::new();
    while let Some(start) = memchr::memmem::find(rest, BEGIN) {
        let Some(end) = memchr::memmem::find(&rest[start..], END) else { break };
        let end = start + end + END.len();
        found.push(&rest[start..end]);
        rest = &rest[end..];
    }
    found
}

fn signers_of(pem: &SecretBytes) -> Result<Signers, AuditError> {
    let mut signers =
        blocks(pem).into_iter().map(SoftwareKey::from_block).collect::<Result<Vec<_>, _>>()?.into_iter();
    match (signers.next(), signers.next(), signers.next()) {
        (Some(current), previous, None) => Ok(Signers {
            current: Arc::new(current),
            previous: previous.map(|key| Arc::new(key) as Arc<dyn CheckpointSigner>),
        }),
        _ => Err(sealing("the signing key is not one PKCS#8 PEM key, or two while it is rotated")),
    }
}

fn read_file(path: &std::path::Path) -> Result<SecretBytes, AuditError> {
    use std::io::Read as _;
    let fail = |error: std::io::Error| AuditError::storage("read the signing key", path, &error);
    let file = std::fs::File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o022 != 0 {
        return Err(AuditError::unsafe_place(path, "others may write to it"));
    }
    if !metadata.is_file() {
        return Err(AuditError::unsafe_place(path, "it is no plain file"));
    }
    let mut bytes = Vec::with_capacity(64 * 1024);
    file.take(64 * 1024).read_to_end(&mut bytes).map_err(fail)?;
    Ok(SecretBytes::new(bytes))
}

/// A key in this process's memory.
struct SoftwareKey {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
}

impl SoftwareKey {
    fn from_block(block: &[u8]) -> Result<Self, AuditError> {
        let malformed = || sealing("the signing key is not a PKCS#8 PEM key on P-256");
        let body = block.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or_else(malformed)?;
        let text =
            SecretBytes::new(body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let der = SecretBytes::new(STANDARD.decode(text.expose()).map_err(|_| malformed())?);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.expose())
            .map_err(|_| malformed())?;
        let public = p256_spki(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareKey").finish_non_exhaustive()
    }
}

impl CheckpointSigner for SoftwareKey {
    fn public_key(&self) -> &[u8] {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, AuditError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| sealing("the key refused to sign"))?;
        Ok(signature.as_ref().to_vec())
    }
}

/// A new P-256 key as PKCS#8 PEM, for `ENTRABOT_AUDIT_SIGNING=file:PATH`.
///
/// # Errors
/// [`AuditError::Sealing`] when the system has no randomness.
pub fn generate_signing_key() -> Result<SecretBytes, AuditError> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_| sealing("no key could be made"))?;
    Ok(SecretBytes::new(encode_pem(document.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{Note, VerifyingKey};

    #[test]
    fn a_made_key_signs_notes_that_its_public_key_verifies() {
        let pem = generate_signing_key().unwrap();
        let signers = signers_of(&pem).unwrap();
        let key = VerifyingKey::of_p256("entrabot.audit/test", signers.current.public_key());
        assert_eq!(VerifyingKey::parse(&key.to_string()), Ok(key.clone()));
        let mut note = Note::new("text\n".into());
        note.add(&key, signers.current.sign(note.text.as_bytes()).unwrap());
        assert!(note.is_signed_by(&key));
        assert!(!format!("{signers:?}").contains("PRIVATE"));
    }

    #[test]
    fn two_keys_are_a_rotation_and_garbage_is_none() {
        let (new, old) = (generate_signing_key().unwrap(), generate_signing_key().unwrap());
        let both = SecretBytes::new([new.expose(), old.expose()].concat());
        let signers = signers_of(&both).unwrap();
        assert_eq!(signers.current.public_key(), signers_of(&new).unwrap().current.public_key());
        assert_eq!(signers.previous.unwrap().public_key(), signers_of(&old).unwrap().current.public_key());
        assert!(signers_of(&SecretBytes::new(b"garbage".to_vec())).is_err());
    }
}
