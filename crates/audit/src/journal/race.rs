//! A foreign line that slips in front of a batch of ours: the batch goes on behind a hash that is not the true one any
//! more, and a record has to say so before anything else.

use std::io;
use std::sync::Arc;

use serde_json::{Map, json};

use super::{Failed, Journal, Written};
use crate::AuditError;
use crate::announced::{Announced, note_others};
use crate::chain::{ChainState, Link, prev_of};
use crate::commit::Put;
use crate::line::{Body, MAX_LINE, Record};
use crate::storage::{LogFile, read_range};
use crate::time::Day;

/// The most that is read again to see whether a batch was raced: it has at most one mebibyte, and what slips in front of
/// it within some microseconds is little.
const MAX_LOOK: u64 = 8 * 1024 * 1024;

/// A batch that a foreign line slipped in front of, with nothing on record of it yet.
#[derive(Debug)]
pub(super) struct Race {
    lines: usize,
    foreign_bytes: u64,
}

impl Race {
    /// When so many lines of ours stand behind so many bytes that are none. A single line needs no explanation.
    pub(super) fn of(lines: usize, foreign_bytes: u64) -> Option<Self> {
        (lines > 1 && foreign_bytes > 0).then_some(Self { lines, foreign_bytes })
    }
}

impl Journal {
    /// Batches are announced from now on, also by those that come later and see no foreign line.
    pub(super) fn note_others(&mut self) {
        if !self.beside_others {
            self.beside_others = true;
            // What cannot be put there is seen anew by the next foreign line.
            let _seen_anew = note_others(&*self.lock);
        }
    }

    /// Says where a batch of several lines begins, for the case that it is raced and this process dies before it can
    /// say that. `false` when it cannot: then lines go alone.
    pub(super) fn announce(&self, lines: usize) -> bool {
        if !self.beside_others {
            return true;
        }
        let head = self.head.as_ref().expect("the caller opened a file");
        let announced =
            Announced { day: head.day, offset: head.end, lines: lines as u64, prev: head.tail.hash };
        self.lock.announce(announced.to_string().as_bytes()).is_ok()
    }

    /// A foreign line slipped in before what was just written. The first of ours still names a hash that the rules
    /// allow; what follows must go on from the true one.
    pub(super) fn note_race(&mut self, position: u64, lines: usize) -> Put<Written> {
        let head = self.head.as_mut().expect("still open");
        head.tail.foreign = true;
        let foreign_bytes = position.saturating_sub(head.end + self.buffer.len() as u64);
        let written = head.written(self.others_wrote);
        self.race = Race::of(lines, foreign_bytes);
        // When that fails the next commit does it: ours are on the log either way.
        Put { written, count: lines, refused: self.catch_up(position).err() }
    }

    /// A batch that was raced is followed by the word that says so, before anything else.
    pub(super) fn explain_race(&mut self) -> Result<(), Failed> {
        let Some(race) = &self.race else { return Ok(()) };
        let metadata = [
            ("lines".to_owned(), json!(race.lines)),
            ("foreign_bytes".to_owned(), json!(race.foreign_bytes)),
        ];
        let body = Body::system("audit.raced", "audit.log", &Map::from_iter(metadata));
        let record = Record::new(&body, "success", None, self.clock.now())?;
        self.write_some(std::slice::from_ref(&record))?;
        self.race = None;
        Ok(())
    }

    /// Whether the last batch of several lines was raced, and its writer died before it could say so. `from`: before this
    /// place of the newest file nothing is new.
    pub(super) fn look_for_race(&mut self, from: u64) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller opened a file");
        let Some(announced) = Announced::read(&*self.lock) else { return Ok(()) };
        let seen = announced.day > head.day || announced.day == head.day && announced.offset < from;
        if seen || self.race.is_some() {
            return Ok(());
        }
        let Some(followed) = self.follow(&announced)? else { return Ok(()) };
        let head = self.head.as_mut().expect("the caller opened a file");
        // The search for the chain's end takes a line of such a batch at its word, which is not the true hash.
        head.tail.hash = followed.chain.hash;
        if let Some(raced) = followed.chain.unexplained().filter(|raced| announced.is(*raced)) {
            self.race = Race::of(usize::try_from(raced.lines).unwrap_or(usize::MAX), followed.foreign_bytes);
        }
        Ok(())
    }

    /// The chain from where a batch was announced to the log's end, if a foreign line stands there.
    fn follow(&self, announced: &Announced) -> Result<Option<Followed>, AuditError> {
        let last = self.head.as_ref().expect("the caller opened a file").day;
        let mut followed =
            Followed { chain: ChainState::behind(announced.prev), foreign_bytes: 0, begun: false };
        let mut left = MAX_LOOK;
        for day in self.days()?.into_iter().filter(|day| (announced.day..=last).contains(day)) {
            let fail = |error: io::Error| {
                AuditError::storage("read", self.folder.file_path(&day.file_name()), &error)
            };
            let (file, end) = self.file_of(day).map_err(fail)?;
            let from = if day == announced.day { announced.offset } else { 0 };
            let first = read_range(&*file, from, end.min(from + MAX_LINE as u64)).map_err(fail)?;
            let ours = first.split(|byte| *byte == b'\n').next().and_then(prev_of).is_some();
            let size = end.saturating_sub(from);
            if size > left || ours && followed.foreign_bytes == 0 {
                return Ok(None);
            }
            left -= size;
            if followed.take(&read_range(&*file, from, end).map_err(fail)?).is_err() {
                return Ok(None);
            }
        }
        Ok(followed.begun.then_some(followed))
    }

    /// A day's file, and where its whole lines end.
    fn file_of(&self, day: Day) -> io::Result<(Arc<dyn LogFile>, u64)> {
        if let Some(head) = self.head.as_ref().filter(|head| head.day == day) {
            return Ok((Arc::clone(&head.file), head.end));
        }
        let file = self.folder.open(&day.file_name())?;
        let end = file.stat()?.size;
        Ok((file, end))
    }
}

/// The lines behind the place where a batch was announced.
struct Followed {
    chain: ChainState,
    /// What stands before the first line of ours.
    foreign_bytes: u64,
    /// Whether there was one: its `prev` confirms what was announced.
    begun: bool,
}

impl Followed {
    fn take(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            let link = Link::of(line);
            self.begun |= link.is_some();
            if !self.begun {
                self.foreign_bytes += line.len() as u64 + 1;
            }
            self.chain.step(line, link)?;
        }
        Ok(())
    }
}
