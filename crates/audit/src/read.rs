//! Reading for people and programs: the last events, those that match, those that come.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::reader::{Snapshot, Walked, open_folder, walk};
use crate::storage::Folder;
use crate::time::{Day, Timestamp};
use crate::{AuditError, StoredEvent};

/// What to look for. Everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    action: Option<String>,
    outcome: Option<String>,
    agent: Option<String>,
    call: Option<String>,
    event: Option<String>,
    source: Option<String>,
}

impl Query {
    /// Every event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// At or after this time.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }
    /// Before this time.
    #[must_use]
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }
    /// This action; with `*` at the end, any action that begins so.
    #[must_use]
    pub fn action(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }
    /// This outcome.
    #[must_use]
    pub fn outcome(mut self, outcome: &str) -> Self {
        self.outcome = Some(outcome.to_owned());
        self
    }
    /// Acted by this one.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        self.agent = Some(agent.to_owned());
        self
    }
    /// The lines of this call.
    #[must_use]
    pub fn call_id(mut self, call: &str) -> Self {
        self.call = Some(call.to_ascii_lowercase());
        self
    }
    /// This line.
    #[must_use]
    pub fn event_id(mut self, event: &str) -> Self {
        self.event = Some(event.to_ascii_lowercase());
        self
    }
    /// Written by this part of the product: `transport`, `tool`, `cli`, `provisioning`, `system`.
    #[must_use]
    pub fn source(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// What is set, for a person.
    #[cfg(feature = "report")]
    pub(crate) fn terms(&self) -> Vec<(&'static str, String)> {
        [
            ("time from", self.since.map(|time| time.to_string())),
            ("time before", self.until.map(|time| time.to_string())),
            ("action", self.action.clone()),
            ("outcome", self.outcome.clone()),
            ("agent", self.agent.clone()),
            ("call", self.call.clone()),
            ("event", self.event.clone()),
            ("source", self.source.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    fn may_hold(&self, day: Day) -> bool {
        // A day's file may hold lines whose clock had stepped back, never ones of a later day.
        self.since.is_none_or(|since| since.day() <= day)
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        let equal =
            |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|text| is == Some(text));
        let action = self.action.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => event.action().starts_with(prefix),
            None => event.action() == wanted,
        });
        let time = match (self.since, self.until) {
            (None, None) => true,
            (since, until) => event.time().is_some_and(|time| {
                since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until)
            }),
        };
        action
            && time
            && equal(&self.outcome, Some(event.outcome()))
            && equal(&self.agent, Some(event.agent_id()))
            && equal(&self.call, event.call_id())
            && equal(&self.event, Some(event.event_id()))
            && equal(&self.source, event.source())
    }
}

/// A line that could not be read as an event; the reader went on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedLine {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: &'static str,
}

/// What a query hands out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seen {
    /// An event that matches.
    Event(Box<StoredEvent>),
    /// A line that is no event.
    Skipped(SkippedLine),
}

enum Ended {
    Io(io::Error),
    Enough,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Hands out the events that match, in the order of the log, until `each` has enough. Writes nothing.
///
/// # Errors
/// The directory cannot be read.
pub fn query(dir: &Path, query: &Query, each: impl FnMut(Seen) -> ControlFlow<()>) -> Result<(), AuditError> {
    query_folder(open_folder(dir)?, query, each)
}

pub(crate) fn query_folder(
    folder: Arc<dyn Folder>,
    query: &Query,
    mut each: impl FnMut(Seen) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    let (snapshot, _none) = Snapshot::take(folder)?;
    for file in snapshot.files.iter().filter(|file| query.may_hold(file.day)) {
        let mut line = 0;
        let walked = walk::<Ended>(&*file.file, 0, file.size, |_offset, bytes| {
            for text in lines_of(&bytes) {
                line += 1;
                let seen = match StoredEvent::from_line(text) {
                    Ok(event) if query.matches(&event) => Seen::Event(Box::new(event)),
                    Ok(_) => continue,
                    Err(reason) => Seen::Skipped(SkippedLine { file: file.name.clone(), line, reason }),
                };
                if each(seen).is_break() {
                    return Err(Ended::Enough);
                }
            }
            Ok(bytes)
        });
        match walked {
            Ok(Walked::Whole { .. }) => {}
            Ok(Walked::TooLong) => {
                let reason = "a line longer than any writer writes; the rest of the file is passed over";
                let skipped = SkippedLine { file: file.name.clone(), line: line + 1, reason };
                if each(Seen::Skipped(skipped)).is_break() {
                    return Ok(());
                }
            }
            Err(Ended::Enough) => return Ok(()),
            Err(Ended::Io(error)) => {
                return Err(AuditError::storage("read", snapshot.folder.file_path(&file.name), &error));
            }
        }
    }
    Ok(())
}

/// The last `count` events, oldest first. Writes nothing.
///
/// # Errors
/// The directory cannot be read.
pub fn tail(dir: &Path, count: usize) -> Result<Vec<StoredEvent>, AuditError> {
    Ok(Follower::open(dir, count)?.1)
}

/// Follows a log as it grows, from file to file.
#[derive(Debug)]
pub struct Follower {
    dir: std::path::PathBuf,
    /// The file that is read and how far.
    at: Option<(Day, u64)>,
}

impl Follower {
    /// The last `count` events, and what follows them.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn open(dir: &Path, count: usize) -> Result<(Self, Vec<StoredEvent>), AuditError> {
        let (snapshot, _none) = Snapshot::take(open_folder(dir)?)?;
        let mut at = None;
        let mut last: VecDeque<StoredEvent> = VecDeque::new();
        for file in snapshot.files.iter().rev() {
            let (lines, end) = last_lines(file, count - last.len())
                .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
            if at.is_none() {
                at = Some((file.day, end));
            }
            for line in lines.into_iter().rev() {
                last.push_front(line);
            }
            if last.len() >= count {
                break;
            }
        }
        Ok((Self { dir: dir.to_owned(), at }, last.into()))
    }

    /// What came since the last look. Does not wait.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn poll(&mut self) -> Result<Vec<StoredEvent>, AuditError> {
        let (snapshot, _none) = Snapshot::take(open_folder(&self.dir)?)?;
        let mut events = Vec::new();
        for file in &snapshot.files {
            let from = match self.at {
                Some((day, _)) if file.day < day => continue,
                Some((day, end)) if file.day == day => end.min(file.size),
                _ => 0,
            };
            let mut end = from;
            walk::<io::Error>(&*file.file, from, file.size, |offset, bytes| {
                end = offset + bytes.len() as u64;
                events.extend(lines_of(&bytes).filter_map(|line| StoredEvent::from_line(line).ok()));
                Ok(bytes)
            })
            .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
            self.at = Some((file.day, end));
        }
        Ok(events)
    }
}

fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.strip_suffix(b"\n").into_iter().flat_map(|all| all.split(|byte| *byte == b'\n'))
}

/// The last events of a file, oldest first, and where its last whole line ends.
fn last_lines(file: &crate::reader::DayFile, count: usize) -> io::Result<(Vec<StoredEvent>, u64)> {
    let mut window = 64 * 1024;
    loop {
        let from = file.size.saturating_sub(window);
        let bytes = crate::storage::read_range(&*file.file, from, file.size)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        let start = match from {
            0 => 0,
            _ => memchr::memchr(b'\n', &bytes).map_or(whole, |at| at + 1),
        };
        let mut events: Vec<StoredEvent> = bytes
            .get(start..whole)
            .into_iter()
            .flat_map(lines_of)
            .filter_map(|line| StoredEvent::from_line(line).ok())
            .collect();
        if from == 0 || events.len() >= count {
            events.drain(..events.len().saturating_sub(count));
            return Ok((events, from + whole as u64));
        }
        window *= 4;
    }
}
