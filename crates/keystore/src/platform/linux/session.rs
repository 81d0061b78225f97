use std::fmt;

use aws_lc_rs::cipher::{
    AES_128, AES_128_KEY_LEN, AES_CBC_IV_LEN, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::iv::FixedLength;
use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams as _};
use crypto_bigint::{U256, U1024, const_monty_params};
use zeroize::Zeroizing;

use crate::SecretBytes;

/// The one algorithm of the Secret Service specification that encrypts ("Negotiation of algorithms"): Diffie-Hellman
/// in the second Oakley group, HKDF with SHA-256, AES-128 in CBC mode with PKCS #7 padding. `plain` is never spoken.
pub(super) const ALGORITHM: &str = "dh-ietf1024-sha256-aes128-cbc-pkcs7";

const PUBLIC_LENGTH: usize = 128;
const BLOCK: usize = 16;

const_monty_params!(
    OakleyGroup2,
    U1024,
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
     020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
     4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    "RFC 2409, section 6.2."
);
type Element = ConstMontyForm<OakleyGroup2, { U1024::LIMBS }>;

fn modulus() -> &'static U1024 {
    OakleyGroup2::PARAMS.modulus().as_ref()
}

/// Our half of the key agreement.
pub(super) struct KeyAgreement {
    /// 256 bits are twice what a group of 1024 bits can give in strength.
    private: Zeroizing<[u8; 32]>,
}

impl KeyAgreement {
    pub(super) fn new() -> Result<Self, Broken> {
        let mut private = Zeroizing::new([0; 32]);
        fill_randomly(private.as_mut())?;
        Ok(Self { private })
    }

    /// 2 to the private exponent, big endian.
    pub(super) fn public(&self) -> Vec<u8> {
        self.power(&U1024::from(2_u8)).to_be_bytes().as_ref().to_vec()
    }

    /// The key that both sides hold when `theirs` is the other half. `None` when the two make a secret that begins with a
    /// zero byte, about once in 256 times: not every provider keeps that byte, and the keys would differ. Agree anew then.
    pub(super) fn agree(self, theirs: &[u8], path: String) -> Result<Option<Session>, Broken> {
        // KWallet sends a zero before a number whose first bit is set, which is one byte too much.
        let theirs = theirs.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &theirs[first..]);
        let padded = PUBLIC_LENGTH.checked_sub(theirs.len()).ok_or(Broken)?;
        let mut bytes = [0; PUBLIC_LENGTH];
        bytes[padded..].copy_from_slice(theirs);
        let theirs = U1024::from_be_slice(&bytes);
        // 0, 1 and -1 would make the key the same whatever our half is.
        let minus_one = modulus().wrapping_sub(&U1024::ONE);
        if theirs <= U1024::ONE || theirs >= minus_one {
            return Err(Broken);
        }
        let shared = Zeroizing::new(self.power(&theirs).to_be_bytes().as_ref().to_vec());
        if shared.first() == Some(&0) {
            return Ok(None);
        }
        let mut key = Zeroizing::new([0; AES_128_KEY_LEN]);
        Salt::new(HKDF_SHA256, &[])
            .extract(&shared)
            .expand(&[], SessionKey)
            .and_then(|key_material| key_material.fill(key.as_mut()))
            .map_err(|_| Broken)?;
        Ok(Some(Session { path, key }))
    }

    fn power(&self, base: &U1024) -> U1024 {
        let exponent = U256::from_be_slice(self.private.as_ref());
        Element::new(base).pow(&exponent).retrieve()
    }
}

/// An open session: its object path, and the key that values travel under.
pub(super) struct Session {
    path: String,
    key: Zeroizing<[u8; AES_128_KEY_LEN]>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// The peer's half, or a value it sent, is not what it must be.
#[derive(Debug)]
pub(super) struct Broken;

impl Session {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The initialization vector and the encrypted value.
    pub(super) fn seal(&self, value: &SecretBytes) -> Result<(Vec<u8>, Vec<u8>), Broken> {
        // Room for the padding: growing would leave a copy of the value behind in freed memory.
        let mut buffer = Zeroizing::new(Vec::with_capacity(value.expose().len() + BLOCK));
        buffer.extend_from_slice(value.expose());
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(self.cipher()?).map_err(|_| Broken)?;
        let mut vector = [0; AES_CBC_IV_LEN];
        fill_randomly(&mut vector)?;
        let context = EncryptionContext::Iv128(FixedLength::from(&vector));
        drop(key.less_safe_encrypt(&mut *buffer, context).map_err(|_| Broken)?);
        Ok((vector.to_vec(), std::mem::take(&mut *buffer)))
    }

    pub(super) fn open(&self, vector: &[u8], encrypted: Vec<u8>) -> Result<SecretBytes, Broken> {
        let vector: [u8; AES_CBC_IV_LEN] = vector.try_into().map_err(|_| Broken)?;
        let mut buffer = Zeroizing::new(encrypted);
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(self.cipher()?).map_err(|_| Broken)?;
        let context = DecryptionContext::Iv128(FixedLength::from(&vector));
        let length = key.decrypt(&mut buffer, context).map_err(|_| Broken)?.len();
        zeroize::Zeroize::zeroize(&mut buffer[length..]);
        buffer.truncate(length);
        Ok(SecretBytes::new(std::mem::take(&mut *buffer)))
    }

    fn cipher(&self) -> Result<UnboundCipherKey, Broken> {
        UnboundCipherKey::new(&AES_128, self.key.as_ref()).map_err(|_| Broken)
    }
}

/// From the kernel. The library's own generator spends 50 ms on gathering entropy first, which is more than a whole
/// command takes.
fn fill_randomly(bytes: &mut [u8]) -> Result<(), Broken> {
    getrandom::fill(bytes).map_err(|_| Broken)
}

struct SessionKey;

impl KeyType for SessionKey {
    fn len(&self) -> usize {
        AES_128_KEY_LEN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (Session, Session) {
        loop {
            let (ours, theirs) = (KeyAgreement::new().unwrap(), KeyAgreement::new().unwrap());
            let (our_public, their_public) = (ours.public(), theirs.public());
            let ours = ours.agree(&their_public, "/a".into()).unwrap();
            if let (Some(ours), Some(theirs)) = (ours, theirs.agree(&our_public, "/b".into()).unwrap()) {
                return (ours, theirs);
            }
        }
    }

    #[test]
    fn both_sides_agree_on_a_key_and_no_two_sessions_share_one() {
        let (ours, theirs) = pair();
        assert_eq!(*ours.key, *theirs.key);
        assert_ne!(*ours.key, *pair().0.key);
    }

    /// Computed by another implementation (Python's `pow`, `hmac` and `hashlib`), as `secretstorage` does it.
    #[test]
    fn the_key_is_the_one_that_other_implementations_derive() {
        let ours = KeyAgreement { private: Zeroizing::new([7; 32]) };
        let theirs = KeyAgreement { private: Zeroizing::new([9; 32]) };
        let session = ours.agree(&theirs.public(), "/a".into()).unwrap().unwrap();
        let hex: String = session.key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "c0dd2b95a2b2d798ac0c5bcec60c63a7");
    }

    #[test]
    fn a_degenerate_half_is_refused() {
        let minus_one = modulus().wrapping_sub(&U1024::ONE).to_be_bytes();
        let modulus = modulus().to_be_bytes();
        let cases: [&[u8]; 6] = [&[], &[0], &[1], minus_one.as_ref(), modulus.as_ref(), &[0xff; 129]];
        for theirs in cases {
            assert!(KeyAgreement::new().unwrap().agree(theirs, "/a".into()).is_err(), "{theirs:?}");
        }
    }

    #[test]
    fn a_secret_that_begins_with_zero_is_not_used() {
        let ours = KeyAgreement { private: Zeroizing::new([7; 32]) };
        let mut private = [9; 32];
        private[30..].copy_from_slice(&[0, 59]);
        let theirs = KeyAgreement { private: Zeroizing::new(private) };
        assert!(ours.agree(&theirs.public(), "/a".into()).unwrap().is_none());
    }

    #[test]
    fn a_half_may_begin_with_zeros_or_lack_them() {
        let ours = || KeyAgreement { private: Zeroizing::new([7; 32]) };
        let theirs = KeyAgreement { private: Zeroizing::new([9; 32]) }.public();
        let key = |theirs: &[u8]| *ours().agree(theirs, "/a".into()).unwrap().unwrap().key;
        assert_eq!(key(&[&[0; 3], theirs.as_slice()].concat()), key(&theirs));
        assert_eq!(key(&[&[0; 127], [2].as_slice()].concat()), key(&[2]));
    }

    #[test]
    fn a_value_that_was_tampered_with_never_opens_as_a_longer_one() {
        let (ours, theirs) = pair();
        let (vector, sealed) = ours.seal(&SecretBytes::new(b"value".to_vec())).unwrap();
        assert!(theirs.open(&vector[1..], sealed.clone()).is_err());
        assert!(theirs.open(&vector, sealed[1..].to_vec()).is_err());
        assert!(theirs.open(&vector, Vec::new()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_is_sealed_opens_as_it_was(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let (ours, theirs) = pair();
            let (vector, sealed) = ours.seal(&SecretBytes::new(value.clone())).unwrap();
            prop_assert_eq!(sealed.len(), value.len() / BLOCK * BLOCK + BLOCK);
            let opened = theirs.open(&vector, sealed).unwrap();
            prop_assert_eq!(opened.expose(), value);
        }
    }
}
