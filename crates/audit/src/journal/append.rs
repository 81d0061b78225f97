//! Links records to the chain and writes them.

use std::io;

use super::race::Race;
use super::{Failed, Journal, MAX_WRITE, Written};
use crate::AuditError;
use crate::chain::extend;
use crate::commit::Put;
use crate::line::{MAX_LINE, Record};
use crate::storage::{LogFile, read_range};
use crate::tail::Tail;

impl Journal {
    /// Links the records to the chain and writes them. Not synced.
    pub(super) fn write(&mut self, records: &[Record]) -> Result<Put<Written>, Failed> {
        self.explain_race()?;
        let mut put = self.write_some(records)?;
        while put.refused.is_none() {
            match self.go_on(&records[put.count..]) {
                Ok(None) => break,
                Ok(Some(more)) => put = Put { count: put.count + more.count, ..more },
                // What is on the log stays there, whatever becomes of the rest.
                Err(Failed::Refused(error)) => put.refused = Some(error),
                Err(fatal @ Failed::Fatal(_)) => return Err(fatal),
            }
        }
        Ok(put)
    }

    fn go_on(&mut self, rest: &[Record]) -> Result<Option<Put<Written>>, Failed> {
        self.explain_race()?;
        if rest.is_empty() { Ok(None) } else { self.write_some(rest).map(Some) }
    }

    /// As many of the records as one write(2) takes.
    pub(super) fn write_some(&mut self, records: &[Record]) -> Result<Put<Written>, Failed> {
        self.roll_to(records[0].reading.day())?;
        let head = self.head.as_ref().expect("rolling opens a file");
        // While somebody without the lock writes too, each line goes alone: a line that slips in between then never
        // stands inside a batch.
        let together = records.len() > 1 && !head.tail.foreign && self.announce(records.len());
        let most = if together { records.len() } else { 1 };
        let head = self.head.as_ref().expect("rolling opens a file");
        self.buffer.clear();
        let mut tail = head.tail.clone();
        let mut count = 0;
        for record in &records[..most] {
            if record.reading.day() > head.day || self.buffer.len() + MAX_LINE > MAX_WRITE {
                break;
            }
            let time = record.reading.max(tail.last_time.unwrap_or(head.day.start())).max(head.day.start());
            let apart = time.as_micros().abs_diff(record.reading.as_micros()) > 1_000_000;
            let start = self.buffer.len();
            record.push(&mut self.buffer, time, apart.then_some(record.reading), tail.next_seq, &tail.hash);
            tail.hash = extend(&tail.hash, &self.buffer[start..]);
            tail.next_seq += 1;
            tail.last_time = Some(time);
            tail.last_reading = Some(record.reading);
            self.buffer.push(b'\n');
            count += 1;
        }
        self.append(tail, count)
    }

    /// Writes the buffer of so many lines, whose end leaves the chain at `tail`.
    fn append(&mut self, tail: Tail, lines: usize) -> Result<Put<Written>, Failed> {
        let head = self.head.as_mut().expect("the caller opened a file");
        let mut done = 0;
        let appended = append_counting(&*head.file, &self.buffer, &mut done)
            .map_err(|e| ("append to", e))
            .and_then(|()| head.file.position().map_err(|e| ("inspect", e)));
        let expected = head.end + self.buffer.len() as u64;
        match appended {
            Ok(position) if position == expected => {
                head.end = position;
                head.tail = tail;
                Ok(Put { written: head.written(self.others_wrote), count: lines, refused: None })
            }
            Ok(position) => Ok(self.note_race(position, lines)),
            Err((operation, error)) => {
                let path = self.folder.file_path(&head.name);
                self.give_back(done, AuditError::storage(operation, path, &error))
            }
        }
    }

    /// After a write that failed with so many bytes done: cuts them off again. Where that cannot be done, or somebody
    /// else's bytes follow, the lines that are whole stay on the log.
    fn give_back(&mut self, done: usize, error: AuditError) -> Result<Put<Written>, Failed> {
        let head = self.head.as_mut().expect("the caller opened a file");
        if done == 0 || cut_off(&*head.file, head.end, done as u64) {
            return Err(Failed::Refused(error));
        }
        let (from, written) = (head.end, head.written(self.others_wrote));
        let Ok((count, foreign_bytes)) = self.count_ours(from) else {
            // A torn line alone is for the next commit to deal with.
            let torn_only = !self.buffer[..done].contains(&b'\n');
            return Err(if torn_only { Failed::Refused(error) } else { Failed::Fatal(error) });
        };
        if count == 0 {
            return Err(Failed::Refused(error));
        }
        self.race = Race::of(count, foreign_bytes);
        Ok(Put { written, count, refused: Some(error) })
    }

    /// How many of the buffer's lines stand in the file behind `from`, and how many bytes that are none of ours. The
    /// chain is taken to the file's end.
    fn count_ours(&mut self, from: u64) -> Result<(usize, u64), AuditError> {
        let head = self.head.as_ref().expect("the caller opened a file");
        let path = self.folder.file_path(&head.name);
        let fail = |error: io::Error| AuditError::storage("read", &path, &error);
        let size = head.file.stat().map_err(fail)?.size;
        let bytes = read_range(&*head.file, from, size).map_err(fail)?;
        let mut ours = self.buffer.split_inclusive(|byte| *byte == b'\n').peekable();
        let (mut count, mut length) = (0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line.ends_with(b"\n") && ours.next_if_eq(&line).is_some() {
                count += 1;
                length += line.len();
            }
        }
        self.catch_up(size)?;
        let end = self.head.as_ref().expect("still open").end;
        Ok((count, end.saturating_sub(from + length as u64)))
    }
}

/// Cuts a failed write off again, unless somebody else's bytes follow.
fn cut_off(file: &dyn LogFile, end: u64, written: u64) -> bool {
    file.stat().is_ok_and(|stat| stat.size == end + written) && file.truncate(end).is_ok()
}

pub(crate) fn append_all(file: &dyn LogFile, bytes: &[u8]) -> io::Result<()> {
    append_counting(file, bytes, &mut 0)
}

/// Counts the bytes that are written, also when it fails.
fn append_counting(file: &dyn LogFile, bytes: &[u8], done: &mut usize) -> io::Result<()> {
    while *done < bytes.len() {
        match file.append(&bytes[*done..])? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => *done += count,
        }
    }
    Ok(())
}
