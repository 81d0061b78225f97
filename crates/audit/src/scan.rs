//! Reads one piece of a day file, whole lines only, without knowing what stands before it: the part of a verification
//! that many threads can do at once. What needs the order of the pieces is in `examine`.

use uuid::Uuid;

use crate::chain::{Hash, Link, extend, prev_of};
use crate::line::{StoredLine, VERSION};
use crate::merkle;
use crate::record::Source;
use crate::time::{Day, Timestamp};

/// What a piece says, line by line.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) facts: Vec<Fact>,
    /// The leaf hash of each line.
    pub(crate) leaves: Vec<Hash>,
    /// The running hash after each line, on the assumption that the first native line's `prev` leaves nothing out.
    /// Empty hashes before that line.
    pub(crate) after: Vec<Hash>,
    /// The first native line's index and its `prev`.
    pub(crate) first_native: Option<(usize, Hash)>,
    /// Whether every later native line's `prev` is the running hash.
    pub(crate) linked: bool,
    /// The first line that is no event: its index and what is wrong with it.
    pub(crate) broken: Option<(usize, &'static str)>,
}

/// What is kept of a line.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) event: u128,
    pub(crate) native: Option<Native>,
}

#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) link: Link,
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) newer: bool,
    /// Whether it says that days are pruned.
    pub(crate) prunes: bool,
    pub(crate) call: Call,
}

/// What a native line says of its call.
#[derive(Debug)]
pub(crate) enum Call {
    /// A version of the format that we do not know.
    Unknown,
    Opens {
        call: u128,
        action: Box<str>,
    },
    Closes {
        call: u128,
        /// Whether there has to be a pending line.
        needs_pending: bool,
    },
}

/// Reads whole lines of the file of `day` into `piece`, whose memory is used again.
pub(crate) fn scan(piece: &mut Piece, bytes: &[u8], day: Day, with_leaves: bool) {
    piece.facts.clear();
    piece.leaves.clear();
    piece.after.clear();
    (piece.first_native, piece.linked, piece.broken) = (None, true, None);
    let mut date = String::new();
    std::fmt::Write::write_fmt(&mut date, format_args!("{day}")).expect("a string takes everything");
    let mut hash: Option<Hash> = None;
    let mut start = 0;
    for (index, end) in memchr::memchr_iter(b'\n', bytes).enumerate() {
        let line = &bytes[start..end];
        start = end + 1;
        let fact = match fact(line, &date) {
            Ok(fact) => fact,
            Err(reason) => {
                piece.broken = Some((index, reason));
                return;
            }
        };
        if let Some(native) = &fact.native {
            match hash {
                None => {
                    piece.first_native = Some((index, native.link.prev));
                    hash = Some(native.link.prev);
                }
                Some(hash) => piece.linked &= hash == native.link.prev,
            }
        }
        if let Some(hash) = &mut hash {
            *hash = extend(hash, line);
        }
        piece.after.push(hash.unwrap_or_default());
        if with_leaves {
            piece.leaves.push(merkle::leaf(line));
        }
        piece.facts.push(fact);
    }
}

fn fact(line: &[u8], date: &str) -> Result<Fact, &'static str> {
    let stored = StoredLine::parse(line)?;
    let native = if stored.is_native() { Some(native(line, &stored, date)?) } else { None };
    let event = match (Uuid::try_parse(&stored.event_id), &native) {
        (Ok(id), _) => id.as_u128(),
        (Err(_), Some(_)) => return Err("an event_id that is no UUID"),
        // A foreign writer may use any text.
        (Err(_), None) => u128::from_be_bytes(
            crate::chain::sha256(stored.event_id.as_bytes())[..16].try_into().expect("16 of 32 bytes"),
        ),
    };
    Ok(Fact { event, native })
}

fn native(line: &[u8], stored: &StoredLine<'_>, date: &str) -> Result<Native, &'static str> {
    let prev = prev_of(line).ok_or("a line whose last member is no prev hash")?;
    // The suffix could also stand inside a string: the parsed member has to be the same text.
    let digits = &line[line.len() - 66..line.len() - 2];
    if stored.prev.as_deref().map(str::as_bytes) != Some(digits) {
        return Err("a line whose last member is no prev hash");
    }
    let seq = stored.seq.ok_or("a line of ours without seq")?;
    let version = stored.v.ok_or("a line of ours without v")?;
    let time = Timestamp::parse(&stored.timestamp).ok_or("a timestamp that is no time")?;
    if version == 0 {
        return Err("a line of version 0");
    }
    if version > VERSION {
        let link = Link { prev, explains: false };
        return Ok(Native { link, seq, time, newer: true, prunes: false, call: Call::Unknown });
    }
    if !stored.timestamp.starts_with(date) {
        return Err("a timestamp of another day than its file's");
    }
    if line.len() > crate::line::MAX_LINE {
        return Err("a line over 16 KiB");
    }
    let call = stored.call_id.as_deref().and_then(|id| Uuid::try_parse(id).ok());
    let call = call.ok_or("a line of ours without a call_id")?.as_u128();
    let source = stored.src.as_deref().and_then(Source::parse).ok_or("a line of ours without a known src")?;
    if stored.via.is_none() {
        return Err("a line of ours without via");
    }
    let call = if stored.outcome == "pending" {
        Call::Opens { call, action: stored.action.as_ref().into() }
    } else {
        Call::Closes { call, needs_pending: matches!(source, Source::Transport | Source::Provisioning) }
    };
    let link = Link { prev, explains: stored.explains_a_race() };
    let prunes = source == Source::System && stored.action == crate::prune::ACTION;
    Ok(Native { link, seq, time, newer: false, prunes, call })
}
