//! The running hash: `h(0)` is 32 zero bytes, `h(i) = SHA-256(h(i-1) || line i without its LF)`, over every line of
//! every day file in order. It goes over foreign lines too, so each is covered as soon as one of ours follows.

use sha2::{Digest, Sha256};

pub(crate) type Hash = [u8; 32];

/// `h(0)`.
pub(crate) const GENESIS: Hash = [0; 32];

/// `h(i)` from `h(i-1)` and the line.
pub(crate) fn extend(hash: &Hash, line: &[u8]) -> Hash {
    Sha256::new().chain_update(hash).chain_update(line).finalize().into()
}

pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

const PREV_KEY: &[u8] = br#","prev":""#;
/// What every native line ends with: `,"prev":"` 64 hexadecimal digits `"}`.
pub(crate) const PREV_SUFFIX: usize = PREV_KEY.len() + 64 + 2;

/// The `prev` of a native line; `None` for a foreign one. In every version of the format `prev` is the last member.
pub(crate) fn prev_of(line: &[u8]) -> Option<Hash> {
    let suffix = line.get(line.len().checked_sub(PREV_SUFFIX)?..)?;
    let digits = suffix.strip_prefix(PREV_KEY)?.strip_suffix(br#""}"#)?;
    crate::json::parse_hash(digits)
}
