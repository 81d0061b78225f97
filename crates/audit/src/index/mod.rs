//! A query's index: for each day file, which of its lines cannot match. It lies in the data directory and may be thrown
//! away: it is made on the way of a query that reads the lines anyway, and a missing, torn or changed one costs that
//! query its time and nothing else. It is never trusted over the log: what it says may match is read from the log and
//! compared, and what it says of a piece counts only while the piece still ends as it did. As a line's `prev` is a hash
//! over all before it, that binds the whole piece as far as the chain does; `verify` is for the rest.

mod segment;
mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use self::segment::{Builder, Segment, Wanted};
use self::store::{Known, Store};
use crate::StoredEvent;
use crate::read::{Ended, Look, Remember};
use crate::reader::{PIECE, Snapshot};
use crate::storage::read_range;

pub(crate) use self::store::forget;

/// A smaller log is read as fast as an index.
const WORTH_IT: u64 = if cfg!(test) { 32 * 1024 } else { 8 * 1024 * 1024 };
/// Lines that lie closer together are read at once.
const GAP: u64 = if cfg!(test) { 1024 } else { 8 * 1024 };

/// The index of one log.
#[derive(Debug)]
pub(crate) struct Index {
    store: Store,
}

impl Index {
    /// `None` where there is no place for one, or nothing to gain.
    pub(crate) fn open(data_dir: &Path, snapshot: &Snapshot) -> Option<Self> {
        let total: u64 = snapshot.files.iter().map(|file| file.size).sum();
        if total < WORTH_IT {
            return None;
        }
        Some(Self { store: Store::open(data_dir, snapshot)? })
    }

    /// Looks at the lines of a file that may match, and remembers those that were not known yet.
    pub(crate) fn look(&self, look: &mut Look<'_>, newest: bool) -> Result<(), Ended> {
        let mut known = self.store.load(look.file);
        let mut at = 0;
        let mut kept = 0;
        for (segment, end) in known.segments() {
            // Where the lines are not what was remembered, the rest of the file is read.
            if !look_at(look, &segment)? {
                break;
            }
            (at, kept) = (segment.place.to, end);
        }
        known.keep(kept);
        let mut recorder = Recorder { builder: Builder::default(), known, newest };
        let looked = look.at_rest(at, &mut recorder);
        self.store.save(look.file, recorder.known);
        looked
    }
}

/// `false`, and nothing handed out, when a line is not there as the segment says.
fn look_at(look: &mut Look<'_>, segment: &Segment<'_>) -> Result<bool, Ended> {
    let before = look.line;
    match segment.wanted(look.query) {
        Wanted::Whole => {
            let place = segment.place;
            look.at_piece(&read_range(&*look.file.file, place.from, place.to)?, &mut ())?;
        }
        Wanted::Lines(lines) => match events(look, segment.place.from, &lines)? {
            Some(events) => events.into_iter().try_for_each(|event| look.at_event(event))?,
            None => return Ok(false),
        },
    }
    look.line = before + u64::from(segment.lines);
    Ok(true)
}

/// The events on these lines, or `None` when there are other lines.
fn events(look: &Look<'_>, from: u64, mut lines: &[(u64, u32)]) -> io::Result<Option<Vec<StoredEvent>>> {
    let end = |(at, length): (u64, u32)| at + u64::from(length) + 1;
    let mut events = Vec::with_capacity(lines.len());
    while let Some(first) = lines.first() {
        let near = lines.windows(2).take_while(|pair| pair[1].0 - end(pair[0]) < GAP).count() + 1;
        let (run, rest) = lines.split_at(near);
        lines = rest;
        let last = end(run[near - 1]);
        let bytes = read_range(&*look.file.file, from + first.0, from + last)?;
        for (at, length) in run {
            let start = usize::try_from(at - first.0).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let Some(line) = bytes.get(start..=start + *length as usize) else { return Ok(None) };
            let Some((b'\n', text)) = line.split_last() else { return Ok(None) };
            let Ok(event) = StoredEvent::from_line(text) else { return Ok(None) };
            events.push(event);
        }
    }
    Ok(Some(events))
}

/// Remembers what a query reads.
struct Recorder {
    builder: Builder,
    known: Known,
    newest: bool,
}

impl Remember for Recorder {
    fn line(&mut self, length: usize, event: Option<&StoredEvent>) {
        self.builder.push(length, event);
    }

    fn piece(&mut self, from: u64, bytes: &[u8]) {
        let builder = std::mem::take(&mut self.builder);
        // The newest file goes on growing: a short piece at its end is not worth remembering.
        if !self.newest || bytes.len() >= PIECE / 2 {
            self.known.add(&builder, from, bytes);
        }
    }
}
