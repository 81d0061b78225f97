//! The day files under the lock: where the chain's end is, how a batch is linked and written, how a torn tail is
//! moved aside. Everything here runs while the directory's lock is held, except where it says otherwise.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::AuditError;
use crate::chain::{GENESIS, extend, prev_of, sha256};
use crate::disk::check_owner;
use crate::error::{ClockStepped, LogShrunk};
use crate::line::{Body, Record, StoredLine};
use crate::storage::{Folder, Kind, LogFile, Stat, read_range};
use crate::tail::{self, Tail};
use crate::time::{Clock, Day, Timestamp};

/// The most that one write(2) carries.
pub(crate) const MAX_WRITE: usize = 1024 * 1024;
/// The clock may step back by this much before somebody has to accept it.
const CLOCK_TOLERANCE_HOURS: i64 = 48;
/// A directory changed this recently may change again without its time of change moving.
const LISTING_GRANULARITY: Duration = Duration::from_millis(20);
/// When others wrote more than this since our last look, the tail is read anew instead of all of it.
const MAX_CATCH_UP: u64 = 16 * 1024 * 1024;

/// What a commit did.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The file whose sync makes it durable: earlier files are synced already.
    pub(crate) file: Arc<dyn LogFile>,
    /// For messages.
    pub(crate) name: Arc<str>,
}

/// How far the log goes.
#[derive(Debug)]
pub(crate) struct Extent {
    /// The newest file's day.
    pub(crate) day: Day,
    /// Its size.
    pub(crate) size: u64,
    pub(crate) file: Arc<dyn LogFile>,
}

/// Why a commit did not happen.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing of it counts as written; the next commit may work.
    Refused(AuditError),
    /// A sync failed: what is on the disk is not known, nothing may be written any more.
    Fatal(AuditError),
}

impl From<AuditError> for Failed {
    fn from(error: AuditError) -> Self {
        Self::Refused(error)
    }
}

/// The end of the log as far as it is known here.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: Arc<dyn Folder>,
    clock: Arc<dyn Clock>,
    as_root: bool,
    head: Option<Head>,
    /// The directory's time of change when its names were last read, once that can be relied on.
    listed: Option<i128>,
    buffer: Vec<u8>,
    notices: Vec<String>,
    /// Events that were found out under the lock and go on record with the next batch.
    findings: Vec<(&'static str, Map<String, Value>)>,
    accept_clock: bool,
    accept_shrunk: bool,
    /// The `seq` that the anchor says the log had reached.
    floor: u64,
    /// Whether the day changed.
    rolled: bool,
}

/// The newest day file and the chain at its end.
#[derive(Debug)]
struct Head {
    day: Day,
    name: Arc<str>,
    file: Arc<dyn LogFile>,
    device: u64,
    inode: u64,
    /// Whom it belonged to when it was opened and found right.
    owner: u32,
    /// Every byte before this is part of `tail`.
    end: u64,
    tail: Tail,
}

impl Journal {
    pub(crate) fn new(folder: Arc<dyn Folder>, clock: Arc<dyn Clock>, as_root: bool, floor: u64) -> Self {
        Self {
            folder,
            clock,
            as_root,
            head: None,
            listed: None,
            buffer: Vec::new(),
            notices: Vec::new(),
            findings: Vec::new(),
            accept_clock: false,
            accept_shrunk: false,
            floor,
            rolled: false,
        }
    }

    /// Whether the day changed since this was last asked.
    pub(crate) fn take_rolled(&mut self) -> bool {
        std::mem::take(&mut self.rolled)
    }

    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Lets the next commit go over a clock that stepped back, and puts that on record.
    pub(crate) fn accept_clock(&mut self) {
        self.accept_clock = true;
    }

    /// Lets the next commit go on behind a cut log, and puts that on record.
    pub(crate) fn accept_shrunk(&mut self) {
        self.accept_shrunk = true;
    }

    /// The newest file and its size, all of it read: what a checkpoint may cover once it is synced.
    pub(crate) fn snapshot(&mut self) -> Result<Option<Extent>, Failed> {
        if self.folder_is_empty()? {
            return Ok(None);
        }
        self.refresh()?;
        Ok(self.head.as_ref().map(|head| Extent {
            day: head.day,
            size: head.end,
            file: Arc::clone(&head.file),
        }))
    }

    /// The next `seq`, after [`Journal::snapshot`].
    pub(crate) fn next_seq(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.tail.next_seq)
    }

    fn folder_is_empty(&self) -> Result<bool, AuditError> {
        Ok(self.head.is_none() && self.days()?.is_empty())
    }

    /// Links the records to the chain and writes them. Not synced.
    pub(crate) fn commit(&mut self, records: &[Record]) -> Result<Written, Failed> {
        self.refresh()?;
        self.check_clock(records)?;
        self.write_findings()?;
        self.write(records)?;
        let head = self.head.as_ref().expect("a commit leaves an open file");
        Ok(Written { file: Arc::clone(&head.file), name: Arc::clone(&head.name) })
    }

    /// What was found out goes on record before what comes after it.
    fn write_findings(&mut self) -> Result<(), Failed> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let records = self
            .findings
            .iter()
            .map(|(action, metadata)| {
                Record::new(&Body::system(action, "audit.log", metadata), "success", None, now)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.write(&records)?;
        self.findings.clear();
        Ok(())
    }

    fn check_clock(&mut self, records: &[Record]) -> Result<(), AuditError> {
        let Some(head) = &self.head else { return Ok(()) };
        let Some(now) = records.iter().map(|record| record.reading).max() else { return Ok(()) };
        let last = head.tail.last_reading.unwrap_or(head.day.start());
        if now >= last.minus_hours(CLOCK_TOLERANCE_HOURS) {
            return Ok(());
        }
        if std::mem::take(&mut self.accept_clock) {
            let metadata =
                [("last".to_owned(), json!(last.to_string())), ("now".to_owned(), json!(now.to_string()))];
            self.findings.push(("audit.clock_accepted", Map::from_iter(metadata)));
            return Ok(());
        }
        Err(AuditError::ClockStepped(Box::new(ClockStepped { now, last, file: head.name.to_string() })))
    }

    fn write(&mut self, records: &[Record]) -> Result<(), Failed> {
        let mut rest = records;
        while let Some(first) = rest.first() {
            self.roll_to(first.reading.day())?;
            let head = self.head.as_mut().expect("rolling opens a file");
            // While somebody without the lock writes too, each line goes alone: a line that slips in between then
            // never stands inside a batch.
            let most = if head.tail.foreign { 1 } else { rest.len() };
            self.buffer.clear();
            let mut tail = head.tail.clone();
            let mut count = 0;
            for record in &rest[..most] {
                if record.reading.day() > head.day || self.buffer.len() + crate::line::MAX_LINE > MAX_WRITE {
                    break;
                }
                let time =
                    record.reading.max(tail.last_time.unwrap_or(head.day.start())).max(head.day.start());
                let apart = time.as_micros().abs_diff(record.reading.as_micros()) > 1_000_000;
                let start = self.buffer.len();
                record.push(
                    &mut self.buffer,
                    time,
                    apart.then_some(record.reading),
                    tail.next_seq,
                    &tail.hash,
                );
                tail.hash = extend(&tail.hash, &self.buffer[start..]);
                tail.next_seq += 1;
                tail.last_time = Some(time);
                tail.last_reading = Some(record.reading);
                self.buffer.push(b'\n');
                count += 1;
            }
            self.append(tail, count)?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Writes the buffer, whose end leaves the chain at `tail`.
    fn append(&mut self, tail: Tail, lines: usize) -> Result<(), Failed> {
        let head = self.head.as_mut().expect("the caller opened a file");
        let fail = |operation, name: &str, error: &io::Error| {
            AuditError::storage(operation, self.folder.file_path(name), error)
        };
        let mut done = 0;
        while done < self.buffer.len() {
            let failure = match head.file.append(&self.buffer[done..]) {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(count) => {
                    done += count;
                    continue;
                }
                Err(error) => error,
            };
            take_back(&*head.file, head.end, done as u64);
            return Err(Failed::Refused(fail("append to", &head.name, &failure)));
        }
        let position = head.file.position().map_err(|e| fail("inspect", &head.name, &e))?;
        if position == head.end + self.buffer.len() as u64 {
            head.end = position;
            head.tail = tail;
            return Ok(());
        }
        // A line of a writer without the lock slipped in before ours. The first of ours still names a hash that the
        // rules allow; what follows must go on from the true one.
        let from = head.end;
        self.catch_up(position)?;
        let head = self.head.as_mut().expect("still open");
        head.tail.foreign = true;
        if lines > 1 {
            let metadata = [
                ("lines".to_owned(), json!(lines)),
                ("foreign_bytes".to_owned(), json!(position - from - self.buffer.len() as u64)),
            ];
            let body = Body::system("audit.raced", "audit.log", &Map::from_iter(metadata));
            let record = Record::new(&body, "success", None, self.clock.now())?;
            self.write(std::slice::from_ref(&record))?;
        }
        Ok(())
    }

    /// Goes on to the file of `day` when that is later than the newest one.
    fn roll_to(&mut self, day: Day) -> Result<(), Failed> {
        if let Some(head) = &self.head {
            if day <= head.day {
                return Ok(());
            }
            // Another process's last lines may not be synced yet, and the first line of the new file covers them.
            head.file.sync_data().map_err(|e| {
                Failed::Fatal(AuditError::storage("sync", self.folder.file_path(&head.name), &e))
            })?;
            self.rolled = true;
        }
        let tail = match self.head.take() {
            Some(head) => Tail { last_time: None, ..head.tail },
            None => Tail::genesis(),
        };
        self.open_day(day, tail)?;
        Ok(())
    }

    fn open_day(&mut self, day: Day, tail: Tail) -> Result<(), AuditError> {
        let name = day.file_name();
        let path = self.folder.file_path(&name);
        let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
        let file = match self.folder.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_existing(&name)?,
            other => other.map_err(|e| fail("create", e))?,
        };
        // Whoever created the file may have died before its name was durable.
        self.folder.sync().map_err(|e| fail("sync the directory of", e))?;
        let stat = file.stat().map_err(|e| fail("inspect", e))?;
        let tail = Tail { foreign: false, ..tail };
        self.head = Some(Head {
            day,
            name: name.into(),
            file,
            device: stat.device,
            inode: stat.inode,
            owner: stat.owner,
            end: 0,
            tail,
        });
        self.listed = None;
        self.catch_up(stat.size)
    }

    fn open_existing(&mut self, name: &str) -> Result<Arc<dyn LogFile>, AuditError> {
        let path = self.folder.file_path(name);
        // A device's or FIFO's open can have effects: look first. The descriptor is looked at again below.
        let before = self.folder.stat(name).map_err(|e| AuditError::storage("inspect", &path, &e))?;
        if let Some(stat) = before {
            self.check_file(name, &stat)?;
        }
        let file = self.folder.open_append(name).map_err(|e| AuditError::storage("open", &path, &e))?;
        let stat = file.stat().map_err(|e| AuditError::storage("inspect", &path, &e))?;
        self.check_file(name, &stat)?;
        if stat.mode & 0o077 != 0 {
            file.tighten().map_err(|e| AuditError::storage("tighten the rights of", &path, &e))?;
            self.notices.push(format!(
                "tightened the rights of {} from {:o} to 600",
                path.display(),
                stat.mode & 0o777
            ));
        }
        Ok(file)
    }

    fn check_file(&self, name: &str, stat: &Stat) -> Result<(), AuditError> {
        let path = self.folder.file_path(name);
        if stat.kind != Kind::File {
            return Err(AuditError::unsafe_place(path, "it is a link or no plain file"));
        }
        if stat.links > 1 {
            return Err(AuditError::unsafe_place(path, "it has more than one name (a hard link)"));
        }
        check_owner(&path, stat.owner, self.as_root)
    }

    /// The day files, oldest first.
    fn days(&self) -> Result<Vec<Day>, AuditError> {
        let (names, _strange) =
            self.folder.names().map_err(|e| AuditError::storage("list", self.folder.path(), &e))?;
        let mut days: Vec<Day> = names.iter().filter_map(|name| Day::of_file_name(name)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Makes `head` the newest file and its tail the true end, whatever others did since the last look.
    fn refresh(&mut self) -> Result<(), Failed> {
        let Some(head) = &self.head else { return Ok(self.open_cold()?) };
        let fail = |path: &Path, error: io::Error| AuditError::storage("inspect", path, &error);
        let folder = self.folder.stat_self().map_err(|e| fail(self.folder.path(), e))?;
        let open = head.file.stat().map_err(|e| fail(&self.folder.file_path(&head.name), e))?;
        // As long as the directory has not changed since its names were looked at, the open file is the one of that
        // name and the newest one.
        if self.listed == Some(folder.changed) && open.links == 1 && open.owner == head.owner {
            return Ok(self.take_over(open.size)?);
        }
        self.listed = None;
        self.check_head()?;
        self.follow_newer_days()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let settled = i128::try_from(now.saturating_sub(LISTING_GRANULARITY).as_nanos()).unwrap_or(i128::MAX);
        self.listed = (folder.changed < settled).then_some(folder.changed);
        Ok(())
    }

    /// The open file has this size now.
    fn take_over(&mut self, size: u64) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller looked");
        if size < head.end {
            return self.shrunk(size);
        }
        self.catch_up(size)
    }

    fn check_head(&mut self) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("refresh looked");
        let named = self
            .folder
            .stat(&head.name)
            .map_err(|error| AuditError::storage("inspect", self.folder.file_path(&head.name), &error))?;
        match named {
            // Our descriptor keeps the inode's number from being used again: what stands under the name is the open
            // file, and this one look says all about it.
            Some(named) if named.device == head.device && named.inode == head.inode => {
                self.check_file(&head.name, &named)?;
                self.take_over(named.size)
            }
            named => {
                // Removed or renamed under us. The chain goes on in a new file, so that the gap shows.
                let (day, mut tail) = (head.day, head.tail.clone());
                let name = Arc::clone(&head.name);
                if let Some(named) = named {
                    self.check_file(&name, &named)?;
                }
                if self.findings.iter().all(|(action, _)| *action != "audit.file_missing") {
                    let metadata = Map::from_iter([("file".to_owned(), json!(&*name))]);
                    self.findings.push(("audit.file_missing", metadata));
                }
                tail.foreign = false;
                self.open_day(day, tail)
            }
        }
    }

    fn shrunk(&mut self, now: u64) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller looked");
        if !std::mem::take(&mut self.accept_shrunk) {
            let path = self.folder.file_path(&head.name);
            return Err(AuditError::Shrunk(Box::new(LogShrunk {
                path,
                known: head.end,
                now,
                unit: "bytes",
            })));
        }
        let metadata = [("known".to_owned(), json!(head.end)), ("now".to_owned(), json!(now))];
        self.findings.push(("audit.shrunk", Map::from_iter(metadata)));
        self.head = None;
        self.floor = 0;
        self.open_cold()
    }

    fn follow_newer_days(&mut self) -> Result<(), AuditError> {
        let head_day = self.head.as_ref().expect("refresh looked").day;
        let newer: Vec<Day> = self.days()?.into_iter().filter(|day| *day > head_day).collect();
        for day in newer {
            let tail = self.head.as_ref().expect("refresh looked").tail.clone();
            self.open_day(day, Tail { last_time: None, ..tail })?;
        }
        Ok(())
    }

    /// The first look: opens the newest file and finds the chain's end from the tail alone.
    fn open_cold(&mut self) -> Result<(), AuditError> {
        let days = self.days()?;
        let Some(newest) = days.last() else {
            self.check_floor(0);
            return Ok(());
        };
        let name = newest.file_name();
        let file = self.open_existing(&name)?;
        let path = self.folder.file_path(&name);
        let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
        self.folder.sync().map_err(|e| fail("sync the directory of", e))?;
        let stat = file.stat().map_err(|e| fail("inspect", e))?;
        file.forget_cache(stat.size.saturating_sub(MAX_WRITE as u64));
        let found = tail::find(&*self.folder, &days, stat.size)?;
        self.head = Some(Head {
            day: *newest,
            name: name.into(),
            file,
            device: stat.device,
            inode: stat.inode,
            owner: stat.owner,
            end: found.end,
            tail: found.tail,
        });
        self.catch_up(stat.size)?;
        self.check_floor(self.next_seq());
        Ok(())
    }

    /// A log that begins anew behind its anchor is no reason to stop the agent, and is put on record.
    fn check_floor(&mut self, now: u64) {
        if now < self.floor {
            let metadata = [("known".to_owned(), json!(self.floor)), ("now".to_owned(), json!(now))];
            self.findings.push(("audit.shrunk", Map::from_iter(metadata)));
        }
        self.floor = 0;
    }

    /// Reads what others wrote, up to `size`, and moves an unterminated rest aside.
    fn catch_up(&mut self, size: u64) -> Result<(), AuditError> {
        let head = self.head.as_mut().expect("the caller opened a file");
        if size == head.end {
            return Ok(());
        }
        let path = self.folder.file_path(&head.name);
        let fail = |error: io::Error| AuditError::storage("read", &path, &error);
        if size - head.end > MAX_CATCH_UP {
            let days = self.days()?;
            let head = self.head.as_mut().expect("the caller opened a file");
            let found = tail::find(&*self.folder, &days, size)?;
            head.end = found.end;
            head.tail = Tail { foreign: head.tail.foreign || found.tail.foreign, ..found.tail };
        }
        let head = self.head.as_mut().expect("the caller opened a file");
        let bytes = read_range(&*head.file, head.end, size).map_err(fail)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        head.tail.extend_over(&bytes[..whole]);
        head.end += whole as u64;
        let torn = &bytes[whole..];
        if torn.is_empty() { Ok(()) } else { self.move_aside(torn) }
    }

    /// A line that was never finished was never acknowledged. Its bytes are kept in `YYYY-MM-DD.torn`.
    fn move_aside(&mut self, torn: &[u8]) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller opened a file");
        let name = format!("{}.torn", head.day);
        let path = self.folder.file_path(&name);
        let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
        let aside = match self.folder.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let stat = self.folder.stat(&name).map_err(|e| fail("inspect", e))?;
                if let Some(stat) = stat {
                    self.check_file(&name, &stat)?;
                }
                self.folder.open_append(&name)
            }
            other => other,
        }
        .map_err(|e| fail("create", e))?;
        append_all(&*aside, torn)
            .and_then(|()| append_all(&*aside, b"\n"))
            .map_err(|e| fail("append to", e))?;
        aside.sync_data().map_err(|e| fail("sync", e))?;
        self.folder.sync().map_err(|e| fail("sync the directory of", e))?;
        let log = self.folder.file_path(&head.name);
        head.file.truncate(head.end).map_err(|e| AuditError::storage("cut the torn tail of", log, &e))?;
        let metadata = [
            ("bytes".to_owned(), json!(torn.len())),
            ("file".to_owned(), json!(&*head.name)),
            ("sha256".to_owned(), json!(crate::json::hex(&sha256(torn)))),
        ];
        self.findings.push(("audit.recovered", Map::from_iter(metadata)));
        Ok(())
    }
}

/// Cuts a failed write off again, unless somebody else's bytes follow. When that fails too, the next commit finds a
/// torn tail and deals with it.
fn take_back(file: &dyn LogFile, end: u64, written: u64) {
    if written > 0 && file.stat().is_ok_and(|stat| stat.size == end + written) {
        let _torn_when_it_fails = file.truncate(end);
    }
}

pub(crate) fn append_all(file: &dyn LogFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.append(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
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
