//! PEM in a third less room: the DER of its blocks, one after the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::SecretBytes;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const LINE: usize = 64;

/// The value is what a packed PEM looks like, and would come back as PEM.
#[derive(Debug)]
pub(super) struct NotPem;

/// The DER of a PEM text that can be made from it again byte for byte; any other value as it is.
pub(super) fn pack(value: &SecretBytes) -> Result<SecretBytes, NotPem> {
    if let Some(der) = blocks(value.expose())
        && pem(&der).is_some_and(|again| again.as_bytes() == value.expose())
    {
        return Ok(SecretBytes::new(der.to_vec()));
    }
    if pem(value.expose()).is_some() { Err(NotPem) } else { Ok(SecretBytes::new(value.expose().to_vec())) }
}

pub(super) fn unpack(stored: SecretBytes) -> SecretBytes {
    match pem(stored.expose()) {
        Some(text) => SecretBytes::new(text.as_bytes().to_vec()),
        None => stored,
    }
}

/// The contents of all blocks of a text that is nothing but PEM.
fn blocks(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut der = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut lines = text.lines();
    while let Some(first) = lines.next() {
        first.strip_prefix("-----BEGIN ")?;
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            match lines.next()? {
                line if line.starts_with("-----END ") => break,
                line => body.push_str(line),
            }
        }
        // Room enough: growing would leave a copy behind in freed memory.
        STANDARD.decode_vec(body.as_bytes(), &mut der).ok()?;
    }
    Some(der)
}

/// PEM (RFC 7468) of private keys and certificates in DER, which fill the whole of it.
fn pem(der: &[u8]) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(der.len() * 2 + 256));
    let mut rest = der;
    while !rest.is_empty() {
        let (block, after) = element(rest)?;
        let label = match *block.get(header(block)?)? {
            // PrivateKeyInfo begins with its version, a certificate with what is signed.
            INTEGER => "PRIVATE KEY",
            SEQUENCE => "CERTIFICATE",
            _ => return None,
        };
        let body = Zeroizing::new(STANDARD.encode(block));
        text.push_str(&format!("-----BEGIN {label}-----\n"));
        for line in body.as_bytes().chunks(LINE) {
            text.push_str(std::str::from_utf8(line).ok()?);
            text.push('\n');
        }
        text.push_str(&format!("-----END {label}-----\n"));
        rest = after;
    }
    (!der.is_empty()).then_some(text)
}

/// The first SEQUENCE, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = header(der)?;
    let length = der.get(2..header)?.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let length = if header == 2 { usize::from(der[1]) } else { length };
    der.split_at_checked(header.checked_add(length)?)
}

/// How long tag and length of a SEQUENCE are.
fn header(der: &[u8]) -> Option<usize> {
    match der {
        [SEQUENCE, 0..=0x7f, ..] => Some(2),
        [SEQUENCE, 0x81, ..] => Some(3),
        [SEQUENCE, 0x82, ..] => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(value: &[u8]) -> Option<(usize, Vec<u8>)> {
        let packed = pack(&SecretBytes::new(value.to_vec())).ok()?;
        let length = packed.expose().len();
        Some((length, unpack(packed).expose().to_vec()))
    }

    /// As large as that of an RSA key of 2,048 bits.
    fn key() -> Vec<u8> {
        [&[0x30, 0x82, 0x04, 0xbd, 0x02, 0x01, 0x00][..], &[0xa5; 1_210]].concat()
    }

    fn certificate() -> Vec<u8> {
        [&[0x30, 0x82, 0x03, 0x20, 0x30, 0x82, 0x02, 0x08][..], &[0x5a; 796]].concat()
    }

    #[test]
    fn keys_and_certificates_lose_a_quarter_and_nothing_else() {
        for der in [key(), certificate(), [certificate(), key()].concat(), vec![0x30, 3, 2, 1, 0]] {
            let text = pem(&der).unwrap();
            assert_eq!(round(text.as_bytes()), Some((der.len(), text.as_bytes().to_vec())));
        }
    }

    #[test]
    fn a_text_that_would_not_come_back_as_it_was_is_kept_as_it_is() {
        let text = pem(&key()).unwrap();
        for other in [
            text.replace('\n', "\r\n"),
            text.trim_end().to_owned(),
            format!("comment\n{}", *text),
            text.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
            text.replacen('M', "", 1),
            "-----BEGIN PRIVATE KEY-----\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(round(other.as_bytes()), Some((other.len(), other.clone().into_bytes())));
        }
    }

    #[test]
    fn what_looks_packed_already_is_refused() {
        assert_eq!(round(&key()), None);
        assert_eq!(round(&certificate()), None);
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_back(value in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some((_, back)) = round(&value) {
                prop_assert_eq!(back, value);
            }
        }

        #[test]
        fn pem_of_any_content_comes_back(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = STANDARD.encode(content);
            let text = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            prop_assert_eq!(round(text.as_bytes()).unwrap().1, text.into_bytes());
        }
    }
}
