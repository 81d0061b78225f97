//! The running hash: `h(0)` is 32 zero bytes, `h(i) = SHA-256(h(i-1) || line i without its LF)`, over every line of
//! every day file in order. It goes over foreign lines too, so each is covered as soon as one of ours follows. What a
//! line's `prev` may be is in [`ChainState`].

use sha2::{Digest, Sha256};

use crate::line::StoredLine;

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

/// How many foreign lines in a row a `prev` may leave out.
const MAX_SKIPPED: usize = 65_536;

/// What a native line says of the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) prev: Hash,
    /// Whether it is the `audit.raced` record that explains a batch that a foreign line slipped in front of.
    pub(crate) explains: bool,
}

impl Link {
    /// `None` for a foreign line.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let prev = prev_of(line)?;
        let explains = StoredLine::parse(line).is_ok_and(|stored| stored.explains_a_race());
        Some(Self { prev, explains })
    }
}

/// A batch in front of which a foreign line slipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raced {
    /// What its first line's `prev` says.
    pub(crate) prev: Hash,
    /// How many lines of it were seen.
    pub(crate) lines: u64,
}

/// The running hash, and what a native line's `prev` may be.
#[derive(Debug)]
pub(crate) struct ChainState {
    pub(crate) hash: Hash,
    /// The running hash at the last native line and after each foreign line since, but for the present one.
    skippable: Vec<Hash>,
    /// Where such a batch goes on.
    shadow: Option<(Hash, Raced)>,
    /// The batch whose lines relied on that, and that no `audit.raced` has explained yet.
    unexplained: Option<Raced>,
}

impl Default for ChainState {
    fn default() -> Self {
        Self::behind(GENESIS)
    }
}

impl ChainState {
    pub(crate) fn behind(hash: Hash) -> Self {
        Self { hash, skippable: Vec::new(), shadow: None, unexplained: None }
    }

    pub(crate) fn unexplained(&self) -> Option<Raced> {
        self.unexplained
    }

    /// Goes on behind lines that named the running hash, each of them.
    pub(crate) fn go_on_plainly(&mut self) {
        self.skippable.clear();
        self.shadow = None;
    }

    /// # Errors
    /// The line's `prev` is none that the rules allow.
    pub(crate) fn step(&mut self, line: &[u8], link: Option<Link>) -> Result<(), &'static str> {
        let before = self.hash;
        self.hash = extend(&before, line);
        let Some(Link { prev, explains }) = link else {
            if self.skippable.len() < MAX_SKIPPED {
                self.skippable.push(before);
            }
            self.shadow = None;
            return Ok(());
        };
        let in_batch = self.shadow.take().filter(|(shadow, _)| *shadow == prev && prev != before);
        if let Some((_, Raced { prev: first, lines })) = in_batch {
            let raced = Raced { prev: first, lines: lines + 1 };
            self.unexplained = Some(raced);
            self.shadow = Some((extend(&prev, line), raced));
        } else {
            let slipped = prev != before;
            if slipped && !self.skippable.contains(&prev) || self.unexplained.is_some() && !explains {
                return Err(BROKEN);
            }
            self.unexplained = None;
            self.shadow = slipped.then(|| (extend(&prev, line), Raced { prev, lines: 1 }));
        }
        self.skippable.clear();
        Ok(())
    }
}

const BROKEN: &str = "the chain breaks here: a line before this one was changed, removed, added or moved";
