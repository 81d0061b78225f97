//! `TSS2 PRIVATE KEY`: the ASN.1 that OpenSSL's TPM providers keep such keys in ("ASN.1 Specification for TPM 2.0 Key
//! Files"): `SEQUENCE { type OID, emptyAuth [0] BOOLEAN, parent INTEGER, pubkey OCTET STRING, privkey OCTET STRING }`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN TSS2 PRIVATE KEY-----";
const END: &str = "-----END TSS2 PRIVATE KEY-----";
/// 2.23.133.10.1.3: a key to be loaded under its parent.
const LOADABLE: &[u8] = &[0x06, 0x06, 0x67, 0x81, 0x05, 0x0A, 0x01, 0x03];
/// It has no password.
const EMPTY_AUTH: &[u8] = &[0xA0, 0x03, 0x01, 0x01, 0xFF];
/// The owner hierarchy: the parent is derived from it.
const PARENT: &[u8] = &[0x02, 0x04, 0x40, 0x00, 0x00, 0x01];

/// Of a `TPMT_PUBLIC` and the private half without their lengths.
pub(super) fn write(public: &[u8], private: &[u8]) -> String {
    let content = [LOADABLE, EMPTY_AUTH, PARENT, &octets(public), &octets(private)].concat();
    let body = STANDARD.encode(der(0x30, &content));
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

/// The two halves; `None` for anything that is not exactly such a file.
pub(super) fn read(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let packed: String = body.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).ok()?;
    let (content, rest) = element(0x30, &bytes)?;
    let halves =
        [LOADABLE, EMPTY_AUTH, PARENT].iter().try_fold(content, |left, part| left.strip_prefix(*part))?;
    let (public, halves) = element(0x04, halves)?;
    let (private, end) = element(0x04, halves)?;
    let unwrapped = |sized: &[u8]| {
        let (length, bytes) = sized.split_at_checked(2)?;
        (usize::from(u16::from_be_bytes(length.try_into().ok()?)) == bytes.len()).then(|| bytes.to_vec())
    };
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    Some((unwrapped(public)?, unwrapped(private)?))
}

/// A `TPM2B` in an OCTET STRING.
fn octets(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a buffer of a TPM is short");
    der(0x04, &[&length.to_be_bytes(), bytes].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a key file is short").to_be_bytes();
    let head: &[u8] = match content.len() {
        0..=0x7f => &[tag, length[1]],
        0x80..=0xff => &[tag, 0x81, length[1]],
        _ => &[tag, 0x82, length[0], length[1]],
    };
    [head, content].concat()
}

/// The content of an element, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match rest.split_first()? {
        (short @ 0..=0x7f, rest) => (usize::from(*short), rest),
        (0x81, rest) => (usize::from(*rest.first()?), rest.get(1..)?),
        (0x82, rest) => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back_as_it_was_and_nothing_else_is_one() {
        let (public, private) = (vec![7; 280], vec![9; 190]);
        let text = write(&public, &private);
        assert_eq!(read(&text), Some((public, private)));
        for wrong in [
            String::new(),
            text.replace("TSS2 ", ""),
            text.replacen("MII", "MIJ", 1),
            text.replace('\n', "\nA"),
            format!("{BEGIN}\n{END}\n"),
            format!("{BEGIN}\nMAA=\n{END}\n"),
        ] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}
