//! A piece of a day file, some thousand whole lines, as the index sees it: for each line how long it is, which kind of
//! line it is, and a short form of its ids. Enough to tell which lines cannot match; whether one does match only the
//! line itself says. A piece with a line that is out of the ordinary has no rows: it is read whole.

use std::collections::HashMap;
use std::io;

use crate::StoredEvent;
use crate::chain::sha256;
use crate::query::{Kind, Query};
use crate::storage::{LogFile, is_settled};

const MAX_KINDS: usize = 4096;
const MAX_KIND_BYTES: usize = 256 * 1024;
/// How many bytes at a piece's end stand for all of it: the `prev` in its last line is a hash over what precedes it.
pub(super) const TAIL: u64 = 512;
const FIXED: usize = 69;
const DIGEST: usize = 16;
const NO_SOURCE: u16 = u16::MAX;

/// Where a piece lies and what it was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The first byte and the one behind the last, both at the beginning of a line.
    pub(super) from: u64,
    pub(super) to: u64,
    /// The file's size and time of change when it was read; no time when that was not settled.
    pub(super) seen_size: u64,
    pub(super) seen_changed: i64,
    /// The front of the SHA-256 of the piece's end.
    pub(super) tail: [u8; 8],
}

/// A day file as it is when it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Its time of change, in nanoseconds.
    pub(super) changed: i64,
}

impl Seen {
    pub(super) fn of(file: &dyn LogFile) -> io::Result<Self> {
        // Time and size of one moment, or of a later one: then the size is another next time.
        let changed = i64::try_from(file.changed()?).unwrap_or(0);
        let stat = file.stat()?;
        Ok(Self { device: stat.device, inode: stat.inode, size: stat.size, changed })
    }

    /// No time when it is too young to be relied on.
    fn settled(&self) -> i64 {
        if is_settled(i128::from(self.changed)) { self.changed } else { 0 }
    }
}

/// A piece that was read from the index.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) place: Place,
    pub(super) lines: u32,
    rows: Option<Rows<'a>>,
}

#[derive(Debug)]
struct Rows<'a> {
    /// The earliest and the latest time, where any line has one.
    times: Option<(i64, i64)>,
    kinds: Vec<Kind<'a>>,
    lengths: &'a [u8],
    kind_of: &'a [u8],
    events: &'a [u8],
    calls: &'a [u8],
}

/// What of a piece has to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These lines: where each begins in the piece, and its length without the LF.
    Lines(Vec<(u64, u32)>),
}

/// The front of a hash of some bytes.
pub(super) fn digest<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut front = [0; N];
    front.copy_from_slice(&sha256(bytes)[..N]);
    front
}

/// A short form of an id: one that differs is another id, one that is equal may be.
fn short(id: &str) -> u16 {
    // FNV-1a, 64 bits, folded.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let folded = hash ^ (hash >> 32);
    u16::try_from((folded ^ (folded >> 16)) & 0xffff).expect("masked to 16 bits")
}

impl<'a> Segment<'a> {
    /// Whether the piece at the front of `bytes` is whole and as it was written.
    pub(super) fn is_sound(bytes: &[u8]) -> bool {
        parts(bytes).is_some_and(|(body, sum)| digest::<DIGEST>(body) == sum)
    }

    /// Reads the piece at the front of `bytes`; also says how many bytes it takes. `None` when it is none.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (body, _sum) = parts(bytes)?;
        let mut cursor = Cursor(body);
        let (from, to, seen_size) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let (seen_changed, earliest, latest) = (cursor.i64()?, cursor.i64()?, cursor.i64()?);
        let tail = cursor.take(8)?.try_into().ok()?;
        let lines = cursor.u32()?;
        let (has_rows, has_times) = match cursor.take(1)? {
            [0] => (false, false),
            [1] => (true, false),
            [3] => (true, true),
            _ => return None,
        };
        let kind_count = cursor.u32()?;
        let rows = if has_rows {
            let kinds = (0..kind_count).map(|_| kind(&mut cursor)).collect::<Option<Vec<_>>>()?;
            let width = 2 * lines as usize;
            let rows = Rows {
                times: has_times.then_some((earliest, latest)),
                kinds,
                lengths: cursor.take(width)?,
                kind_of: cursor.take(width)?,
                events: cursor.take(width)?,
                calls: cursor.take(width)?,
            };
            let spans: u64 = numbers(rows.lengths).map(|length| u64::from(length) + 1).sum();
            if spans != to.checked_sub(from)?
                || numbers(rows.kind_of).any(|kind| usize::from(kind) >= rows.kinds.len())
            {
                return None;
            }
            Some(rows)
        } else {
            None
        };
        let place = Place { from, to, seen_size, seen_changed, tail };
        let size = 4 + body.len() + DIGEST;
        (cursor.0.is_empty() && from < to).then_some((Self { place, lines, rows }, size))
    }

    /// What may match.
    pub(super) fn wanted(&self, query: &Query) -> Wanted {
        let Some(rows) = &self.rows else { return Wanted::Whole };
        if query.has_times() && !rows.times.is_some_and(|(first, last)| query.overlaps(first, last)) {
            return Wanted::Lines(Vec::new());
        }
        let kinds: Vec<bool> = rows.kinds.iter().map(|kind| query.matches_kind(kind)).collect();
        if !kinds.contains(&true) {
            return Wanted::Lines(Vec::new());
        }
        let (event, call) = (query.wanted_event().map(short), query.wanted_call().map(short));
        let mut lines = Vec::new();
        let mut at = 0_u64;
        let columns = numbers(rows.lengths)
            .zip(numbers(rows.kind_of))
            .zip(numbers(rows.events))
            .zip(numbers(rows.calls));
        for (((length, kind), its_event), its_call) in columns {
            if kinds[usize::from(kind)]
                && event.is_none_or(|event| event == its_event)
                && call.is_none_or(|call| call == its_call)
            {
                lines.push((at, u32::from(length)));
            }
            at += u64::from(length) + 1;
        }
        Wanted::Lines(lines)
    }
}

/// The piece at the front, and its digest.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut cursor = Cursor(bytes);
    let length = cursor.u32()? as usize;
    cursor.take(length)?.split_at_checked(length.checked_sub(DIGEST)?)
}

fn numbers(column: &[u8]) -> impl Iterator<Item = u16> + '_ {
    column.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

fn kind<'a>(cursor: &mut Cursor<'a>) -> Option<Kind<'a>> {
    Some(Kind {
        agent: cursor.text()??,
        action: cursor.text()??,
        outcome: cursor.text()??,
        source: cursor.text()?,
    })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    /// The inner value is `None` for a text that is not there.
    fn text(&mut self) -> Option<Option<&'a str>> {
        match self.u16()? {
            NO_SOURCE => Some(None),
            length => Some(Some(std::str::from_utf8(self.take(usize::from(length))?).ok()?)),
        }
    }
}

/// A piece under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    lines: u32,
    extraordinary: bool,
    times: Option<(i64, i64)>,
    known: HashMap<Box<[u8]>, u16>,
    kinds: Vec<u8>,
    kind: Vec<u8>,
    lengths: Vec<u8>,
    kind_of: Vec<u8>,
    events: Vec<u8>,
    calls: Vec<u8>,
}

impl Builder {
    /// The next line; no event when it is none.
    pub(super) fn push(&mut self, length: usize, event: Option<&StoredEvent>) {
        self.lines += 1;
        if self.extraordinary {
            return;
        }
        let (Ok(length), Some(event)) = (u16::try_from(length), event) else {
            self.extraordinary = true;
            return;
        };
        let Some(kind) = self.kind_number(event) else {
            self.extraordinary = true;
            return;
        };
        if let Some(time) = event.time().map(crate::Timestamp::as_micros) {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
        self.lengths.extend_from_slice(&length.to_le_bytes());
        self.kind_of.extend_from_slice(&kind.to_le_bytes());
        self.events.extend_from_slice(&short(event.event_id()).to_le_bytes());
        self.calls.extend_from_slice(&event.call_id().map_or(0, short).to_le_bytes());
    }

    fn kind_number(&mut self, event: &StoredEvent) -> Option<u16> {
        self.kind.clear();
        for text in [Some(event.agent_id()), Some(event.action()), Some(event.outcome()), event.source()] {
            let length = match text {
                Some(text) => u16::try_from(text.len()).ok().filter(|length| *length != NO_SOURCE)?,
                None => NO_SOURCE,
            };
            self.kind.extend_from_slice(&length.to_le_bytes());
            self.kind.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        if let Some(number) = self.known.get(&*self.kind) {
            return Some(*number);
        }
        if self.known.len() >= MAX_KINDS || self.kinds.len() + self.kind.len() > MAX_KIND_BYTES {
            return None;
        }
        let number = u16::try_from(self.known.len()).expect("bounded above");
        self.known.insert(self.kind.as_slice().into(), number);
        self.kinds.extend_from_slice(&self.kind);
        Some(number)
    }

    /// The piece's bytes in the index; `content` is the piece itself, which begins at `from` of a file of this kind.
    pub(super) fn encode(&self, from: u64, content: &[u8], seen: &Seen) -> Vec<u8> {
        let mut body = Vec::with_capacity(FIXED + self.kinds.len() + 4 * self.lengths.len() + DIGEST);
        for number in [from, from + content.len() as u64, seen.size] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        let (first, last) = self.times.unwrap_or_default();
        for number in [seen.settled(), first, last] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&tail_of(content));
        body.extend_from_slice(&self.lines.to_le_bytes());
        let flags = if self.extraordinary { 0 } else { 1 + 2 * u8::from(self.times.is_some()) };
        body.push(flags);
        let kinds = if self.extraordinary { 0 } else { self.known.len() };
        body.extend_from_slice(&u32::try_from(kinds).expect("at most 4,096").to_le_bytes());
        if !self.extraordinary {
            for column in [&self.kinds, &self.lengths, &self.kind_of, &self.events, &self.calls] {
                body.extend_from_slice(column);
            }
        }
        let sum = digest::<DIGEST>(&body);
        body.extend_from_slice(&sum);
        let length = u32::try_from(body.len()).expect("some kibibytes");
        [&length.to_le_bytes()[..], &body].concat()
    }
}

/// What stands for a piece.
pub(super) fn tail_of(content: &[u8]) -> [u8; 8] {
    let length = usize::try_from(TAIL).expect("a small number").min(content.len());
    digest(&content[content.len() - length..])
}
