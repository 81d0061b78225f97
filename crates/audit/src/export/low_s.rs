//! An ECDSA signature as two plain numbers, the second in its lower form: what JOSE calls ES256.

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Half of it, rounded down.
const HALF: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// `r || s` of a signature in ASN.1 DER. `None` when it is none on P-256.
pub(crate) fn from_der(der: &[u8]) -> Option<[u8; 64]> {
    let [0x30, length, rest @ ..] = der else { return None };
    if usize::from(*length) != rest.len() {
        return None;
    }
    let (r, rest) = integer(rest)?;
    let (s, []) = integer(rest)? else { return None };
    let s = if s > HALF { minus(&ORDER, &s)? } else { s };
    let mut both = [0; 64];
    both[..32].copy_from_slice(&r);
    both[32..].copy_from_slice(&s);
    Some(both)
}

/// A positive INTEGER of at most 256 bits, and what follows it.
fn integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let [0x02, length, rest @ ..] = der else { return None };
    let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
    // A first bit that is set would make it negative, so a zero stands before it.
    let bytes = match bytes {
        [] | [0x80..=0xff, ..] => return None,
        [0, more @ ..] if !more.is_empty() => more,
        bytes => bytes,
    };
    let mut number = [0; 32];
    number[32_usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some((number, rest))
}

/// `None` when the second is larger.
fn minus(one: &[u8; 32], other: &[u8; 32]) -> Option<[u8; 32]> {
    let mut difference = [0; 32];
    let mut borrow = false;
    for at in (0..32).rev() {
        let (byte, first) = one[at].overflowing_sub(other[at]);
        let (byte, second) = byte.overflowing_sub(u8::from(borrow));
        difference[at] = byte;
        borrow = first || second;
    }
    (!borrow).then_some(difference)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn what_a_key_signs_in_der_verifies_in_the_plain_form_and_is_low() {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        // Half of all signatures are high before.
        for number in 0..64_u32 {
            let message = number.to_be_bytes();
            let plain = from_der(pair.sign(&random, &message).unwrap().as_ref()).unwrap();
            assert!(plain[32..] <= HALF[..]);
            public.verify(&message, &plain).unwrap();
        }
    }

    #[test]
    fn a_high_number_becomes_its_complement() {
        let mut der = vec![0x30, 0x26, 0x02, 0x01, 0x05, 0x02, 0x21, 0x00];
        der.extend_from_slice(&ORDER);
        *der.last_mut().unwrap() -= 1;
        let plain = from_der(&der).unwrap();
        assert_eq!((plain[31], plain[63]), (5, 1));
        assert!(plain[32..63].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for der in [
            &b""[..],
            &[0x30, 0x00],
            &[0x30, 0x06, 0x02, 0x01, 0x80, 0x02, 0x01, 0x01],
            &[0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x02, 0x01],
            &[0x30, 0x07, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01, 0x00],
        ] {
            assert_eq!(from_der(der), None, "{der:x?}");
        }
    }
}
