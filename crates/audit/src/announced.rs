//! What a writer says of a batch of several lines before it writes it: where it begins. A writer without the lock can
//! slip a line in front of such a batch, and ours can die before it says so on the log. By this, whoever comes next knows
//! such a race from a line that somebody put there later. Only where such a writer was seen: each announcement costs a write,
//! an eighth of what many callers can append.

use std::{fmt, io};

use crate::chain::{Hash, Raced};
use crate::json::hex;
use crate::storage::FolderLock;
use crate::time::Day;

/// Stands in `.lock` once a writer without the lock was seen, until a batch is announced.
const OTHERS: &[u8] = b"others\n";

/// Puts on the lock that somebody writes without it. Does nothing when that stands there already.
pub(crate) fn note_others(lock: &dyn FolderLock) -> io::Result<()> {
    if knows_others(lock) { Ok(()) } else { lock.announce(OTHERS) }
}

/// Whether a writer without the lock was ever seen here.
pub(crate) fn knows_others(lock: &dyn FolderLock) -> bool {
    lock.announced().is_ok_and(|said| !said.is_empty())
}

/// The last batch of several lines. Stands in `.lock` as `FILE OFFSET LINES PREV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) day: Day,
    /// The file's size before it.
    pub(crate) offset: u64,
    /// It has no more lines than this.
    pub(crate) lines: u64,
    /// What its first line's `prev` says: the running hash at `offset`.
    pub(crate) prev: Hash,
}

impl Announced {
    /// `None` when nothing was announced, or what was is not known any more.
    pub(crate) fn read(lock: &dyn FolderLock) -> Option<Self> {
        Self::parse(&lock.announced().ok()?)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next()?.strip_suffix(b"\n")?;
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let announced = Self {
            day: Day::of_file_name(words.next()?)?,
            offset: words.next()?.parse().ok()?,
            lines: words.next()?.parse().ok()?,
            prev: crate::json::parse_hash(words.next()?.as_bytes())?,
        };
        words.next().is_none().then_some(announced)
    }

    /// Whether a raced batch can be this one.
    pub(crate) fn is(&self, raced: Raced) -> bool {
        self.prev == raced.prev && raced.lines <= self.lines
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {} {}", self.day.file_name(), self.offset, self.lines, hex(&self.prev))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_read_again_and_anything_else_is_not() {
        let day = Day::parse("2026-07-12").expect("a day");
        let announced = Announced { day, offset: 40_960, lines: 17, prev: [7; 32] };
        let text = announced.to_string();
        assert_eq!(Announced::parse(text.as_bytes()), Some(announced));
        // Shorter than the one before it.
        assert_eq!(Announced::parse(format!("{text}07\n").as_bytes()), Some(announced));
        for bad in
            ["", "\n", text.trim_end(), &text.replace("17 ", ""), &text.replace("17", "17 1"), &text[1..]]
        {
            assert_eq!(Announced::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Announced::parse(&[0; 100]), None);
    }
}
