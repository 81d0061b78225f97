//! Signed notes and the public keys that verify them, as the C2SP specifications `signed-note` and `tlog-checkpoint`
//! define them: <https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::chain::{Hash, sha256};
use crate::json::{hex, parse_hash};

/// ECDSA over P-256 with SHA-256, the key as SubjectPublicKeyInfo, its id the front of the SHA-256 of that.
pub(crate) const TYPE_ECDSA: u8 = 0x02;
const TYPE_ED25519: u8 = 0x01;
/// Ed25519 cosignature with a time (<https://c2sp.org/tlog-cosignature>).
const TYPE_COSIGNATURE: u8 = 0x04;

/// What precedes the 65 bytes of an uncompressed P-256 point in a SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const DASH: &str = "\u{2014} ";
/// A note is some hundred bytes; a file of them is read whole.
pub(crate) const MAX_NOTE: usize = 64 * 1024;

/// A public key that verifies notes, with the name of its owner: `name+hash+base64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: [u8; 4],
    kind: u8,
    material: Vec<u8>,
}

impl VerifyingKey {
    /// Of a P-256 key in SubjectPublicKeyInfo form.
    pub(crate) fn of_p256(name: &str, spki: &[u8]) -> Self {
        Self { name: name.to_owned(), id: front(&sha256(spki)), kind: TYPE_ECDSA, material: spki.to_vec() }
    }

    /// Reads `name+hash+base64`.
    ///
    /// # Errors
    /// Says what is malformed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("not of the form name+hash+key");
        };
        if name.is_empty() || name.chars().any(char::is_whitespace) {
            return Err("the name is empty or holds a space");
        }
        let id = u32::from_str_radix(id, 16)
            .ok()
            .filter(|_| id.len() == 8)
            .ok_or("the hash is not 8 hex digits")?;
        let key = STANDARD.decode(key).map_err(|_| "the key is not base64")?;
        let (kind, material) = key.split_first().ok_or("the key is empty")?;
        let computed = match (*kind, material.len()) {
            (TYPE_ECDSA, 91) if material.starts_with(&P256_SPKI) => front(&sha256(material)),
            (TYPE_ED25519 | TYPE_COSIGNATURE, 32) => {
                let mut hashed = name.as_bytes().to_vec();
                hashed.extend_from_slice(b"\n");
                hashed.push(*kind);
                hashed.extend_from_slice(material);
                front(&sha256(&hashed))
            }
            _ => return Err("a key type that is not supported"),
        };
        if computed != id.to_be_bytes() {
            return Err("the hash does not fit the key");
        }
        Ok(Self { name: name.to_owned(), id: computed, kind: *kind, material: material.to_vec() })
    }

    /// The owner's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_witness(&self) -> bool {
        self.kind == TYPE_COSIGNATURE
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            TYPE_ECDSA => {
                let point = &self.material[P256_SPKI.len()..];
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(text, signature).is_ok()
            }
            TYPE_ED25519 => UnparsedPublicKey::new(&ED25519, &self.material).verify(text, signature).is_ok(),
            TYPE_COSIGNATURE => {
                let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
                let mut signed = format!("cosignature/v1\ntime {}\n", u64::from_be_bytes(*time)).into_bytes();
                signed.extend_from_slice(text);
                UnparsedPublicKey::new(&ED25519, &self.material).verify(&signed, signature).is_ok()
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![self.kind];
        key.extend_from_slice(&self.material);
        write!(f, "{}+{}+{}", self.name, hex(&self.id), STANDARD.encode(key))
    }
}

/// The SubjectPublicKeyInfo of an uncompressed P-256 point.
pub(crate) fn p256_spki(point: &[u8]) -> Vec<u8> {
    [&P256_SPKI[..], point].concat()
}

fn front(hash: &Hash) -> [u8; 4] {
    [hash[0], hash[1], hash[2], hash[3]]
}

/// A text and the signatures below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Ends with a LF, which is signed too.
    pub(crate) text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Note {
    pub(crate) fn new(text: String) -> Self {
        Self { text, signatures: Vec::new() }
    }

    pub(crate) fn add(&mut self, key: &VerifyingKey, signature: Vec<u8>) {
        self.signatures.push(Signature { name: key.name.clone(), id: key.id, bytes: signature });
    }

    pub(crate) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.signatures.iter().any(|signature| {
            signature.name == key.name
                && signature.id == key.id
                && key.verifies(self.text.as_bytes(), &signature.bytes)
        })
    }

    /// Whether a line claims to be this key's signature and is not.
    pub(crate) fn is_forged_for(&self, key: &VerifyingKey) -> bool {
        self.signatures.iter().any(|signature| {
            signature.name == key.name
                && signature.id == key.id
                && !key.verifies(self.text.as_bytes(), &signature.bytes)
        })
    }

    pub(crate) fn encode(&self) -> String {
        let mut out = self.text.clone();
        out.push('\n');
        for signature in &self.signatures {
            let bytes = [&signature.id[..], &signature.bytes].concat();
            out.push_str(&format!("{DASH}{} {}\n", signature.name, STANDARD.encode(bytes)));
        }
        out
    }
}

/// A note and the line of its file that it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) note: Note,
    pub(crate) line: u64,
}

/// Reads a file of notes, one after the other. Also says how many bytes the whole notes take: an unfinished one at
/// the end was never relied on.
///
/// # Errors
/// The line that is wrong and why.
pub(crate) fn parse_notes(bytes: &[u8]) -> Result<(Vec<Located>, usize), (u64, &'static str)> {
    let mut notes = Vec::new();
    let mut whole = 0;
    let mut at = 0;
    let mut line = 1;
    while at < bytes.len() {
        if bytes[at] == b'\n' {
            at += 1;
            line += 1;
            whole = at;
            continue;
        }
        let Some(end) = note_end(&bytes[at..]) else { break };
        let note = parse_note(&bytes[at..at + end]).map_err(|reason| (line, reason))?;
        notes.push(Located { note, line });
        line += memchr::memchr_iter(b'\n', &bytes[at..at + end]).count() as u64;
        at += end;
        whole = at;
    }
    Ok((notes, whole))
}

/// Where the first note ends: behind its last signature line.
fn note_end(bytes: &[u8]) -> Option<usize> {
    let mut at = memchr::memmem::find(bytes, b"\n\n")? + 2;
    let mut end = None;
    while bytes[at..].starts_with(DASH.as_bytes()) {
        match memchr::memchr(b'\n', &bytes[at..]) {
            Some(length) => at += length + 1,
            // An unfinished signature line: so far the note may be whole all the same, but more was coming.
            None => return None,
        }
        end = Some(at);
    }
    let rest = &bytes[at..];
    if !rest.is_empty() && rest.len() < DASH.len() && DASH.as_bytes().starts_with(rest) {
        return None;
    }
    // Text instead of a signature is no unfinished note but a wrong one: let the parser say so.
    end.or_else(|| (at < bytes.len()).then_some(at))
}

/// Reads one note.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn parse_note(bytes: &[u8]) -> Result<Note, &'static str> {
    if bytes.len() > MAX_NOTE {
        return Err("a note over 64 KiB");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "a note that is no UTF-8")?;
    if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err("a note with a control character");
    }
    let split = text.find("\n\n").ok_or("a note without signatures")?;
    let (body, signatures) = (&text[..=split], &text[split + 2..]);
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err("a note without signatures");
    }
    let mut note = Note::new(body.to_owned());
    for line in signatures.lines() {
        let (name, encoded) = line
            .strip_prefix(DASH)
            .and_then(|rest| rest.split_once(' '))
            .ok_or("a malformed signature line")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "a signature that is not base64")?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or("a signature without a key id")?;
        if name.is_empty() || bytes.is_empty() {
            return Err("a malformed signature line");
        }
        note.signatures.push(Signature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() });
    }
    Ok(note)
}

/// How many whole notes a file of notes holds, and whether this key signed the last.
///
/// # Errors
/// The line that is wrong and why.
pub fn check_notes(bytes: &[u8], key: &VerifyingKey) -> Result<(usize, bool), (u64, &'static str)> {
    let (notes, _whole) = parse_notes(bytes)?;
    let signed = notes.last().is_some_and(|located| located.note.is_signed_by(key));
    Ok((notes.len(), signed))
}

/// What a checkpoint states: the log's first `size` lines have this tree and this running hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) chain: Hash,
    pub(crate) closed: Option<ClosedDay>,
}

/// A day that is over: nothing is added to its file any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedDay {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    /// The first and the last `seq` in it; none when all of it is foreign.
    pub(crate) seqs: Option<(u64, u64)>,
}

impl Checkpoint {
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}\n{}\n{}\nchain {}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root),
            hex(&self.chain)
        );
        if let Some(day) = &self.closed {
            let seqs = day.seqs.map_or_else(|| "-".to_owned(), |(first, last)| format!("{first}-{last}"));
            text.push_str(&format!("closed {} {} {seqs}\n", day.file, day.bytes));
        }
        text
    }

    /// # Errors
    /// Says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or("a checkpoint without an origin")?;
        let size = lines.next().and_then(number).ok_or("a checkpoint without a size")?;
        let root =
            lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        let root: Hash = root.ok_or("a checkpoint without a root")?;
        let mut chain = None;
        let mut closed = None;
        for line in lines {
            if let Some(digits) = line.strip_prefix("chain ") {
                let hash = parse_hash(digits.as_bytes()).ok_or("a malformed chain line")?;
                if chain.replace(hash).is_some() {
                    return Err("two chain lines");
                }
            } else if let Some(rest) = line.strip_prefix("closed ")
                && closed.replace(parse_closed(rest).ok_or("a malformed closed line")?).is_some()
            {
                return Err("two closed lines");
            }
            // Other extension lines are signed like all and say nothing to us.
        }
        let chain = chain.ok_or("a checkpoint without a chain line")?;
        Ok(Self { origin: origin.to_owned(), size, root, chain, closed })
    }
}

fn parse_closed(rest: &str) -> Option<ClosedDay> {
    let mut words = rest.split(' ');
    let (file, bytes, seqs) = (words.next()?, number(words.next()?)?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let seqs = match seqs {
        "-" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            Some((number(first)?, number(last)?))
        }
    };
    Some(ClosedDay { file: file.to_owned(), bytes, seqs })
}

/// A decimal number without leading zeros.
pub(crate) fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of c2sp.org/signed-note, from Go's sumdb.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_published_note_verifies_and_a_changed_one_does_not() {
        let key = VerifyingKey::parse(VKEY).unwrap();
        assert_eq!(key.to_string(), VKEY);
        let note = parse_note(NOTE.as_bytes()).unwrap();
        assert!(note.is_signed_by(&key));
        assert_eq!(note.encode(), NOTE);
        let changed = parse_note(NOTE.replace("answer", "anSwer").as_bytes()).unwrap();
        assert!(!changed.is_signed_by(&key) && changed.is_forged_for(&key));
    }

    #[test]
    fn an_unfinished_note_is_left_out_and_no_error() {
        let two = format!("{NOTE}\n{NOTE}");
        for cut in 0..two.len() {
            let (notes, whole) = parse_notes(&two.as_bytes()[..cut]).unwrap();
            assert_eq!(notes.len(), usize::from(cut >= NOTE.len()), "cut at {cut}");
            assert!(whole <= cut);
        }
        let (notes, whole) = parse_notes(two.as_bytes()).unwrap();
        assert_eq!((notes.len(), whole), (2, two.len()));
        assert_eq!(notes[1].line, 6);
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let checkpoint = Checkpoint {
            origin: "entrabot.audit/x".into(),
            size: 10,
            root: [7; 32],
            chain: [9; 32],
            closed: Some(ClosedDay { file: "2026-07-12.jsonl".into(), bytes: 99, seqs: Some((3, 9)) }),
        };
        assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
        assert!(Checkpoint::parse("o\n01\n\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _result = parse_notes(&bytes);
            let _text = Checkpoint::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
