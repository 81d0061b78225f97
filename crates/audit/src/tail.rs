//! Finds the end of the chain without reading the whole log.
//!
//! A native line's `prev` is the running hash before it, so one line near the end would be enough, were it not for
//! one exception: `prev` may leave out foreign lines that slipped in right before it. The `prev` of a native line
//! that directly follows another native line cannot, so the search goes back to the last such line. (Inside a batch that a
//! foreign line slipped in front of it can. That batch was announced, and is looked at by `journal/race.rs`.)

use crate::AuditError;
use crate::chain::{GENESIS, Hash, extend, prev_of};
use crate::line::StoredLine;
use crate::storage::{Folder, LogFile, read_full, read_range};
use crate::time::{Day, Timestamp};

/// The chain at the end of a log.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) hash: Hash,
    /// The `seq` of the next native line.
    pub(crate) next_seq: u64,
    /// The last record's timestamp; none may be before it in this file.
    pub(crate) last_time: Option<Timestamp>,
    /// The last record's reading of the clock, which differs from its timestamp after a step back.
    pub(crate) last_reading: Option<Timestamp>,
    /// Whether a line without a chain was seen in this file: then somebody without the lock may be writing.
    pub(crate) foreign: bool,
}

impl Tail {
    pub(crate) fn genesis() -> Self {
        Self { hash: GENESIS, next_seq: 0, last_time: None, last_reading: None, foreign: false }
    }

    /// Goes on over whole lines.
    pub(crate) fn extend_over(&mut self, bytes: &[u8]) {
        let mut start = 0;
        let mut last_native = None;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            self.hash = extend(&self.hash, line);
            if prev_of(line).is_some() {
                self.next_seq += 1;
                last_native = Some(line);
            } else {
                self.foreign = true;
            }
            start = end + 1;
        }
        if let Some(line) = last_native {
            self.note_native(line);
        }
    }

    pub(crate) fn note_native(&mut self, line: &[u8]) {
        let Ok(stored) = StoredLine::parse(line) else { return };
        if let Some(seq) = stored.seq {
            self.next_seq = seq.saturating_add(1);
        }
        self.last_time = Timestamp::parse(&stored.timestamp);
        self.last_reading = stored.wall.as_deref().and_then(Timestamp::parse).or(self.last_time);
    }
}

/// A tail, and up to where in the newest file it goes.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) tail: Tail,
    pub(crate) end: u64,
}

const WINDOWS: [u64; 3] = [64 * 1024, 1024 * 1024, 8 * 1024 * 1024];

/// The end of the chain in the newest of `days`, whose first `size` bytes count.
pub(crate) fn find(folder: &dyn Folder, days: &[Day], size: u64) -> Result<Found, AuditError> {
    let Some((newest, older)) = days.split_last() else { return Ok(Found { tail: Tail::genesis(), end: 0 }) };
    let name = newest.file_name();
    let fail = |error: std::io::Error| AuditError::storage("read", folder.file_path(&name), &error);
    let file = folder.open(&name).map_err(fail)?;
    for window in WINDOWS {
        let from = size.saturating_sub(window);
        let bytes = read_range(&*file, from, size).map_err(fail)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        if whole == 0 && from == 0 {
            // No whole line in the newest file: the chain ends in the one before it.
            return match older.last() {
                Some(previous) => {
                    let size = size_of(folder, *previous)?;
                    let found = find(folder, older, size)?;
                    Ok(Found { tail: Tail { last_time: None, foreign: false, ..found.tail }, end: 0 })
                }
                None => Ok(Found { tail: Tail::genesis(), end: 0 }),
            };
        }
        // A window that begins inside the file begins inside a line.
        let start =
            if from == 0 { 0 } else { memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |at| at + 1) };
        let before = match (from, older.last()) {
            (0, None) => Before::Nothing,
            (0, Some(day)) if ends_native(folder, *day)? => Before::Native,
            _ => Before::Unknown,
        };
        if start < whole
            && let Some(tail) = from_window(&bytes[start..whole], before)
        {
            return Ok(Found { tail, end: from + whole as u64 });
        }
        if from == 0 {
            break;
        }
    }
    let (tail, end) = read_everything(folder, days, size)?;
    Ok(Found { tail, end })
}

/// What stands before a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The log begins with it.
    Nothing,
    Native,
    Unknown,
}

fn from_window(bytes: &[u8], before: Before) -> Option<Tail> {
    let mut after_native = before != Before::Unknown;
    let mut sure = None;
    let mut foreign = false;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        let prev = prev_of(&bytes[start..end]);
        if let (true, Some(prev)) = (after_native, prev) {
            sure = Some((start, prev));
        }
        foreign |= prev.is_none();
        after_native = prev.is_some();
        start = end + 1;
    }
    let (hash, from) = match (sure, before) {
        (Some((at, prev)), _) => (prev, at),
        (None, Before::Nothing) => (GENESIS, 0),
        (None, _) => return None,
    };
    let mut tail = Tail { hash, ..Tail::genesis() };
    tail.extend_over(&bytes[from..]);
    tail.foreign = foreign;
    Some(tail)
}

fn size_of(folder: &dyn Folder, day: Day) -> Result<u64, AuditError> {
    let name = day.file_name();
    let stat = folder.stat(&name).map_err(|e| AuditError::storage("inspect", folder.file_path(&name), &e))?;
    Ok(stat.map_or(0, |stat| stat.size))
}

fn ends_native(folder: &dyn Folder, day: Day) -> Result<bool, AuditError> {
    let name = day.file_name();
    let fail = |error: std::io::Error| AuditError::storage("read", folder.file_path(&name), &error);
    let size = size_of(folder, day)?;
    let file = folder.open(&name).map_err(fail)?;
    let bytes =
        read_range(&*file, size.saturating_sub(2 * crate::line::MAX_LINE as u64), size).map_err(fail)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(prev_of(line).is_some() && bytes.ends_with(b"\n"))
}

/// The slow way, for a log whose tail holds no two native lines in a row: all of it from its first line. Where days were
/// pruned that line is ours, and says itself what stood before it.
fn read_everything(folder: &dyn Folder, days: &[Day], size: u64) -> Result<(Tail, u64), AuditError> {
    let mut tail = Tail::genesis();
    let (mut begun, mut end) = (false, 0);
    for (index, day) in days.iter().enumerate() {
        let name = day.file_name();
        let fail = |error: std::io::Error| AuditError::storage("read", folder.file_path(&name), &error);
        let file = folder.open(&name).map_err(fail)?;
        let limit = if index + 1 == days.len() { size } else { size_of(folder, *day)? };
        tail.foreign = false;
        tail.last_time = None;
        end = read_lines(&*file, limit, |lines| {
            let first = lines.split(|byte| *byte == b'\n').next().and_then(prev_of);
            if let (Some(prev), false) = (first, std::mem::replace(&mut begun, true)) {
                tail.hash = prev;
            }
            tail.extend_over(lines);
        })
        .map_err(fail)?;
    }
    Ok((tail, end))
}

/// Hands out whole lines in pieces of about a mebibyte; says where the last whole line ended.
fn read_lines(file: &dyn LogFile, limit: u64, mut each: impl FnMut(&[u8])) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1024 * 1024];
    let mut done = 0;
    loop {
        let most = usize::try_from(limit - done).unwrap_or(usize::MAX).min(buffer.len());
        let filled = read_full(file, &mut buffer[..most], done)?;
        match memchr::memrchr(b'\n', &buffer[..filled]) {
            Some(at) => {
                each(&buffer[..=at]);
                done += at as u64 + 1;
            }
            // A line longer than the buffer: make room and read it again.
            None if filled == buffer.len() => buffer.resize(buffer.len() * 2, 0),
            None => return Ok(done),
        }
    }
}
