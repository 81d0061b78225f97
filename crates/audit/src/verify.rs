use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use uuid::Uuid;

use crate::AuditError;
use crate::announced::Announced;
use crate::chain::{Hash, Raced};
use crate::data::DataDir;
use crate::evidence::{Evidence, Trusted, Unweighed, anchor_knows};
use crate::examine::{Examined, SECOND_OUTCOME, short};
use crate::owners;
use crate::reader::{DayFile, Snapshot, Walked, open_folder, walk};
use crate::scan::{Call, Native, Piece, scan};
use crate::storage::Folder;
use crate::time::Day;
use crate::tombstone::{self, PrunedDay, Tombstone};

/// How much the verification proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VerifyLevel {
    /// The lines hang together.
    Chain,
    /// A signed checkpoint covers them.
    Signed,
    /// The anchor outside the directory agrees.
    Anchored,
    /// A witness cosigned.
    Witnessed,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FirstError {
    /// The file's name in the audit directory, or the path of one outside of it.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

/// A pending line without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OpenSpan {
    /// The call's id.
    pub call_id: String,
    /// The pending line's id.
    pub event_id: String,
    /// What was to be done.
    pub action: String,
    /// When the line was written.
    pub timestamp: String,
    /// Whether the process that opened it still runs: then it is at work, else nobody will ever close it.
    pub in_flight: bool,
}

/// Days that were removed, by a signed tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PrunedDays {
    /// The first of them.
    pub from: String,
    /// The last of them.
    pub to: String,
    /// How many days had a file.
    pub days: u64,
    /// How many lines those had.
    pub lines: u64,
    /// When it was done.
    pub at: String,
    /// Who did it: `uid` and the number of the user on that machine.
    pub by: String,
}

impl PrunedDays {
    fn of(tombstone: &Tombstone) -> Self {
        let day = |day: Option<&PrunedDay>| day.map_or_else(String::new, |day| day.day.to_string());
        Self {
            from: day(tombstone.days.first()),
            to: day(tombstone.days.last()),
            days: tombstone.days.len() as u64,
            lines: tombstone.days.iter().map(|day| day.lines).sum(),
            at: crate::event::shown(&tombstone.at),
            by: crate::event::shown(&tombstone.by),
        }
    }
}

/// What the verification found. Serialises to what `entrabot audit verify --json` prints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Whether nothing was changed, removed or added.
    pub ok: bool,
    /// How much is proved.
    pub level: VerifyLevel,
    /// Lines of our own writers.
    pub events: u64,
    /// Lines of writers without a chain, such as the Python original. The chain covers them.
    pub foreign: u64,
    /// How many calls have no outcome. That is no tampering: a process died, or is at work.
    pub pending_without_outcome: u64,
    /// Those calls, oldest first, at most 1,000.
    pub pending: Vec<OpenSpan>,
    /// Bytes of an unfinished last line. It was never acknowledged; the next writer moves it aside.
    pub torn_tail_bytes: u64,
    /// Lines of a later version of the format, verified by their bytes.
    pub newer_version: u64,
    /// What was pruned, oldest first.
    pub pruned: Vec<PrunedDays>,
    /// Names in the directory that are not the log's.
    pub ignored_names: u64,
    /// Day files.
    pub files: u64,
    /// Signed checkpoints.
    pub checkpoints: u64,
    /// How many lines the last checkpoint covers; the rest hangs on the chain alone.
    pub sealed_lines: u64,
    /// What a person should look at, though nothing is proved wrong.
    pub warnings: Vec<String>,
    /// The first thing that is wrong; `None` when `ok`.
    pub first_error: Option<FirstError>,
}

/// What is verified, and against what.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    strict: bool,
    threads: Option<usize>,
    data_dir: Option<PathBuf>,
    vkeys: Option<PathBuf>,
    read: Arc<AtomicU64>,
}

impl VerifyOptions {
    /// The log alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Foreign lines and `*.jsonl` names that fit no day are errors.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
    /// The data directory, with the anchor and the public keys.
    #[must_use]
    pub fn with_data_dir(mut self, data_dir: &Path) -> Self {
        self.data_dir = Some(data_dir.to_owned());
        self
    }
    /// A file of public keys (`name+hash+key`, one a line, oldest first) instead of those in the data directory.
    #[must_use]
    pub fn with_vkeys(mut self, vkeys: &Path) -> Self {
        self.vkeys = Some(vkeys.to_owned());
        self
    }
    /// Counts the bytes of the log that are read, for whoever shows how far it is.
    #[must_use]
    pub fn counting(mut self, read: Arc<AtomicU64>) -> Self {
        self.read = read;
        self
    }
    /// What was given to [`VerifyOptions::counting`].
    #[cfg(feature = "report")]
    pub(crate) fn read(&self) -> &AtomicU64 {
        &self.read
    }
    /// How many threads read. Default: one per core, at most four.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }
}

/// Reads the directory and says whether anything was changed, removed or added, as far as its lines alone can say
/// it. Needs no keystore and no network.
///
/// # Errors
/// The directory cannot be read.
pub fn verify(dir: &Path) -> Result<VerifyReport, AuditError> {
    verify_with(dir, &VerifyOptions::new())
}

/// [`verify`] with options; with a data directory or public keys it also checks the signed checkpoints, and with a
/// data directory the anchor.
///
/// # Errors
/// The directory, the keys or the anchor cannot be read.
pub fn verify_with(dir: &Path, options: &VerifyOptions) -> Result<VerifyReport, AuditError> {
    let data = match &options.data_dir {
        Some(data) => DataDir::at(data, true).open_existing()?,
        None => None,
    };
    match open_folder(dir) {
        Err(AuditError::Storage(error))
            if error.kind() == io::ErrorKind::NotFound
                && data.as_ref().is_some_and(|data| anchor_knows(&**data, dir)) =>
        {
            let mut report = VerifyReport::empty();
            let reason = "the directory is gone, and the anchor knows of a log in it".to_owned();
            report.first_error = Some(FirstError { file: dir.display().to_string(), line: 0, reason });
            Ok(report)
        }
        Err(error) => Err(error),
        Ok(folder) => verify_folder(folder, data.as_deref(), options),
    }
}

pub(crate) fn verify_folder(
    folder: Arc<dyn Folder>,
    data: Option<&dyn Folder>,
    options: &VerifyOptions,
) -> Result<VerifyReport, AuditError> {
    let unweighed = Unweighed::read(&*folder, Trusted { data, vkeys: options.vkeys.as_deref() })?;
    let (mut snapshot, no_plain_file) = Snapshot::take(folder)?;
    // After the files: they are removed only once it is there.
    let tombstones = tombstone::read(&*snapshot.folder)?;
    let first = first_leaf(&snapshot)?;
    let evidence = Evidence::weigh(unweighed, snapshot.folder.path(), first, tombstones)?;
    let mut verification = Verification::new(&snapshot, evidence);
    verification.go_on_behind_what_was_pruned(&mut snapshot)?;
    if let Some(none) = no_plain_file {
        verification.fail(&none.name, 0, "it is a link or no plain file");
    } else if options.strict
        && let Some(name) = snapshot.strange_days.first()
    {
        verification.fail(name, 0, "a .jsonl name that is no day");
    }
    if verification.is_clean() {
        verification.read(&snapshot, options)?;
    }
    if verification.is_clean() {
        verification.look_twice(&snapshot)?;
    }
    if verification.is_clean() {
        verification.compare(&snapshot);
    }
    if options.strict && verification.is_clean() && verification.examined.foreign > 0 {
        let reason = format!("{} lines of writers without a chain", verification.examined.foreign);
        verification.fail("", 0, &reason);
    }
    Ok(verification.finish(data))
}

/// The leaf hash of the log's first line: it tells one log from another.
fn first_leaf(snapshot: &Snapshot) -> Result<Option<Hash>, AuditError> {
    for file in &snapshot.files {
        let mut first = None;
        let walked = walk::<Ended>(&*file.file, 0, file.size, |_offset, bytes| {
            let end = memchr::memchr(b'\n', &bytes).unwrap_or(bytes.len());
            first = Some(crate::merkle::leaf(&bytes[..end]));
            Err(Ended::Found)
        });
        if let Err(Ended::Io(error)) = walked {
            return Err(AuditError::storage("read", snapshot.folder.file_path(&file.name), &error));
        }
        if first.is_some() {
            return Ok(first);
        }
    }
    Ok(None)
}

/// About the size of a line of ours.
const USUAL_LINE: u64 = 512;

struct Verification {
    report: VerifyReport,
    examined: Examined,
    evidence: Evidence,
    announced: Option<Announced>,
    /// The first of the expectations that the lines have not reached.
    next_expected: usize,
}

/// A piece of a file on its way through the threads.
struct Job {
    bytes: Vec<u8>,
    day: Day,
    /// Memory to be used again.
    piece: Piece,
    reply: mpsc::SyncSender<(Vec<u8>, Piece)>,
}

/// Pieces of one file that are read, in order.
#[derive(Default)]
struct UnderWay {
    answers: VecDeque<mpsc::Receiver<(Vec<u8>, Piece)>>,
    /// Memory of pieces that were joined.
    spare: Vec<(Vec<u8>, Piece)>,
    /// How many lines of the file were joined.
    line: u64,
}

/// Why reading ended.
enum Ended {
    Io(io::Error),
    /// A line was wrong; the report says which.
    Found,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Verification {
    fn new(snapshot: &Snapshot, mut evidence: Evidence) -> Self {
        let mut report = VerifyReport::empty();
        report.ignored_names = snapshot.ignored;
        report.files = snapshot.files.len() as u64;
        report.warnings.clone_from(&snapshot.warnings);
        report.warnings.append(&mut evidence.warnings);
        report.checkpoints = evidence.checkpoints;
        report.sealed_lines = evidence.sealed;
        let total: u64 = snapshot.files.iter().map(|file| file.size).sum();
        let examined = Examined::with_room(usize::try_from(total / USUAL_LINE).unwrap_or(0));
        Self { report, examined, evidence, announced: snapshot.announced, next_expected: 0 }
    }

    /// Leaves the lines that a tombstone stands for out. A file of them that is still there, or again, has to be the
    /// one that was pruned.
    fn go_on_behind_what_was_pruned(&mut self, snapshot: &mut Snapshot) -> Result<(), AuditError> {
        if self.evidence.unknown_beginning {
            self.report.first_error = self.evidence.first_error.take();
            return Ok(());
        }
        let Some(last) = self.evidence.pruned.last() else { return Ok(()) };
        self.examined.go_on_behind(last);
        self.report.pruned = self.evidence.pruned.iter().map(PrunedDays::of).collect();
        let days: Vec<PrunedDay> =
            self.evidence.pruned.iter().flat_map(|tombstone| tombstone.days.clone()).collect();
        for file in std::mem::take(&mut snapshot.files) {
            let Some(day) = days.iter().find(|day| day.day == file.day) else {
                snapshot.files.push(file);
                continue;
            };
            let same = day.is(&file).map_err(|error| {
                AuditError::storage("read", snapshot.folder.file_path(&file.name), &error)
            })?;
            if same {
                self.report.warnings.push(format!("{} was pruned and is still there, unchanged", file.name));
            } else {
                self.fail(&file.name, 0, "a day that was pruned is here again, with other lines");
            }
        }
        Ok(())
    }

    fn is_clean(&self) -> bool {
        self.report.first_error.is_none()
    }

    fn fail(&mut self, file: &str, line: u64, reason: &str) {
        if self.report.first_error.is_none() {
            self.report.first_error =
                Some(FirstError { file: file.to_owned(), line, reason: reason.to_owned() });
        }
    }

    /// Whether anything says what the tree's root has to be.
    fn needs_tree(&self) -> bool {
        !self.evidence.expected.is_empty()
    }

    fn read(&mut self, snapshot: &Snapshot, options: &VerifyOptions) -> Result<(), AuditError> {
        let total: u64 = snapshot.files.iter().map(|file| file.size).sum();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // A small log is read before a thread has started.
        let threads = if total < 256 * 1024 { 0 } else { options.threads.unwrap_or(cores.min(4)) };
        let leaves = self.needs_tree();
        let (jobs, queue) = mpsc::sync_channel::<Job>(threads.max(1));
        let queue = Mutex::new(queue);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let spawned = std::thread::Builder::new().spawn_scoped(scope, || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(Job { bytes, day, mut piece, reply }) = job else { return };
                        scan(&mut piece, &bytes, day, leaves);
                        // Nobody listens once an error was found.
                        let _unheard = reply.send((bytes, piece));
                    }
                });
                spawned
                    .map_err(|e| AuditError::storage("start a thread to read", snapshot.folder.path(), &e))?;
            }
            let jobs = jobs;
            for (index, file) in snapshot.files.iter().enumerate() {
                let newest = index + 1 == snapshot.files.len();
                let go_on = self.read_file(file, newest, threads, &jobs, &options.read).map_err(|error| {
                    AuditError::storage("read", snapshot.folder.file_path(&file.name), &error)
                })?;
                if !go_on {
                    break;
                }
            }
            Ok(())
        })
    }

    /// `false` when something was wrong.
    fn read_file(
        &mut self,
        file: &DayFile,
        newest: bool,
        threads: usize,
        jobs: &mpsc::SyncSender<Job>,
        read: &AtomicU64,
    ) -> io::Result<bool> {
        self.examined.begin_file();
        let leaves = self.needs_tree();
        let mut under_way = UnderWay::default();
        let walked = walk::<Ended>(&*file.file, 0, file.size, |_offset, bytes| {
            read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if threads == 0 || under_way.answers.len() > threads {
                self.join_next(file, &mut under_way)?;
            }
            let (buffer, mut piece) = under_way.spare.pop().unwrap_or_default();
            if threads == 0 {
                scan(&mut piece, &bytes, file.day, leaves);
                self.join(file, &mut under_way.line, &bytes, &piece)?;
                under_way.spare.push((buffer, piece));
                return Ok(bytes);
            }
            let (reply, answer) = mpsc::sync_channel(1);
            under_way.answers.push_back(answer);
            jobs.send(Job { bytes, day: file.day, piece, reply }).map_err(|_| Ended::Found)?;
            Ok(buffer)
        });
        let walked = walked.and_then(|walked| {
            while !under_way.answers.is_empty() {
                self.join_next(file, &mut under_way)?;
            }
            Ok(walked)
        });
        let line = under_way.line;
        match walked {
            Ok(Walked::Whole { torn: 0 }) => {}
            Ok(Walked::Whole { torn }) if newest => self.report.torn_tail_bytes = torn,
            Ok(Walked::Whole { .. }) => {
                self.fail(&file.name, line + 1, "an unfinished line at the end of a day that is over");
            }
            Ok(Walked::TooLong) => self.fail(&file.name, line + 1, "a line longer than any writer writes"),
            Err(Ended::Found) => {}
            Err(Ended::Io(error)) => return Err(error),
        }
        if newest && let Some(raced) = self.examined.chain.unexplained() {
            self.judge_unexplained(&file.name, line, raced);
        }
        Ok(self.report.first_error.is_none())
    }

    /// The log ends in a batch that a foreign line slipped in front of. Its writer announced it, or the line was put there
    /// later.
    fn judge_unexplained(&mut self, file: &str, line: u64, raced: Raced) {
        if self.announced.is_some_and(|announced| announced.is(raced)) {
            self.report.warnings.push(format!(
                "{file} ends in a batch of {} lines in front of which a writer without the lock slipped a line, and whose \
                 own writer died before it put that on record; the next writer does",
                raced.lines
            ));
        } else {
            self.fail(file, line, "a foreign line inside a batch that no audit.raced explains");
        }
    }

    fn join_next(&mut self, file: &DayFile, under_way: &mut UnderWay) -> Result<(), Ended> {
        let Some(answer) = under_way.answers.pop_front() else { return Ok(()) };
        let (bytes, piece) =
            answer.recv().map_err(|_| Ended::Io(io::Error::other("a reading thread ended")))?;
        self.join(file, &mut under_way.line, &bytes, &piece)?;
        under_way.spare.push((bytes, piece));
        Ok(())
    }

    fn join(&mut self, file: &DayFile, line: &mut u64, bytes: &[u8], piece: &Piece) -> Result<(), Ended> {
        let expected = &self.evidence.expected;
        let next = &mut self.next_expected;
        let joined = self.examined.join(piece, bytes, |size, chain, tree| {
            while let Some(due) = expected.get(*next).filter(|due| due.size <= size) {
                if due.size == size && (due.chain != *chain || due.root != tree.root()) {
                    return Err(format!(
                        "the lines up to here are not those that {} line {} covers",
                        due.file, due.line
                    ));
                }
                *next += 1;
            }
            Ok(())
        });
        match joined {
            Ok(()) => {
                *line += piece.facts.len() as u64;
                Ok(())
            }
            Err((index, reason)) => {
                self.fail(&file.name, *line + index as u64 + 1, &reason);
                Err(Ended::Found)
            }
        }
    }

    /// What the lines together have to agree with.
    fn compare(&mut self, snapshot: &Snapshot) {
        let lines = self.examined.lines();
        // A checkpoint or anchor of nothing agrees with everything.
        let missing = self.evidence.expected.iter().rev().find(|expected| expected.size > lines);
        if let Some(missing) = missing {
            let reason = format!(
                "the log ends after {lines} lines, but {} line {} covers {}: lines were removed",
                missing.file, missing.line, missing.size
            );
            let file = snapshot.files.last().map_or("", |file| file.name.as_str());
            return self.fail(file, 0, &reason);
        }
        if let Some(last) = self.evidence.pruned.last()
            && !self.examined.prunings.contains(&last.record.as_u128())
        {
            let reason = "days were pruned by a tombstone of which nothing is on record";
            return self.fail("", 0, reason);
        }
        let pruned = |name: &str| {
            let mut days = self.evidence.pruned.iter().flat_map(|tombstone| &tombstone.days);
            days.any(|day| day.day.file_name() == name)
        };
        for closed in self.evidence.closed.iter().filter(|closed| !pruned(&closed.name)) {
            let size = snapshot.files.iter().find(|file| file.name == closed.name).map(|file| file.size);
            if size != Some(closed.bytes) {
                let reason = format!(
                    "{} line {} closed this day at {} bytes; it has {}",
                    closed.said_in.0,
                    closed.said_in.1,
                    closed.bytes,
                    size.map_or_else(|| "no file".to_owned(), |size| size.to_string())
                );
                let name = closed.name.clone();
                return self.fail(&name, 0, &reason);
            }
        }
        self.report.level = match &self.evidence {
            evidence if !evidence.signed => VerifyLevel::Chain,
            evidence if evidence.witnessed => VerifyLevel::Witnessed,
            evidence if evidence.anchored => VerifyLevel::Anchored,
            _ => VerifyLevel::Signed,
        };
    }

    /// Ids whose short forms met: are the ids themselves the same?
    fn look_twice(&mut self, snapshot: &Snapshot) -> Result<(), AuditError> {
        let (events, calls) = self.examined.take_suspects();
        if events.is_empty() && calls.is_empty() {
            return Ok(());
        }
        let mut seen_events: HashMap<u128, bool> = HashMap::new();
        let mut seen_calls: HashSet<u128> = HashSet::new();
        let mut doubled_foreign = 0_u64;
        let mut piece = Piece::default();
        for file in &snapshot.files {
            let mut line = 0;
            let walked = walk::<Ended>(&*file.file, 0, file.size, |_offset, bytes| {
                scan(&mut piece, &bytes, file.day, false);
                for fact in &piece.facts {
                    line += 1;
                    if events.contains(&short(fact.event)) {
                        let native = fact.native.is_some();
                        match seen_events.insert(fact.event, native) {
                            None => {}
                            Some(false) if !native => doubled_foreign += 1,
                            Some(_) => {
                                self.fail(&file.name, line, "an event_id that was used before");
                                return Err(Ended::Found);
                            }
                        }
                    }
                    if let Some(Native { call: Call::Closes { call, .. }, .. }) = &fact.native
                        && calls.contains(&short(*call))
                        && !seen_calls.insert(*call)
                    {
                        self.fail(&file.name, line, SECOND_OUTCOME);
                        return Err(Ended::Found);
                    }
                }
                Ok(bytes)
            });
            match walked {
                Ok(_) => {}
                Err(Ended::Found) => return Ok(()),
                Err(Ended::Io(error)) => {
                    return Err(AuditError::storage("read", snapshot.folder.file_path(&file.name), &error));
                }
            }
        }
        if doubled_foreign > 0 {
            self.report
                .warnings
                .push(format!("{doubled_foreign} foreign lines use an event_id a second time"));
        }
        Ok(())
    }

    fn finish(self, data: Option<&dyn Folder>) -> VerifyReport {
        let Self { mut report, examined, evidence, .. } = self;
        if report.first_error.is_none() {
            report.first_error = evidence.first_error;
        }
        report.ok = report.first_error.is_none();
        if !report.ok {
            report.level = VerifyLevel::Chain;
        }
        report.events = examined.native;
        report.foreign = examined.foreign;
        report.newer_version = examined.newer;
        report.pending_without_outcome = examined.open.len() as u64;
        report.pending = examined
            .open
            .iter()
            .take(1000)
            .map(|(call, open)| OpenSpan {
                call_id: Uuid::from_u128(*call).to_string(),
                event_id: Uuid::from_u128(open.event).to_string(),
                action: crate::event::shown(&open.action),
                timestamp: open.time.to_string(),
                in_flight: data.is_some_and(|data| owners::is_in_flight(data, *call)),
            })
            .collect();
        report
    }
}

impl VerifyReport {
    fn empty() -> Self {
        Self {
            ok: false,
            level: VerifyLevel::Chain,
            events: 0,
            foreign: 0,
            pending_without_outcome: 0,
            pending: Vec::new(),
            torn_tail_bytes: 0,
            newer_version: 0,
            pruned: Vec::new(),
            ignored_names: 0,
            files: 0,
            checkpoints: 0,
            sealed_lines: 0,
            warnings: Vec::new(),
            first_error: None,
        }
    }

    /// For a person: one statement a line, nothing in it that could steer a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = Vec::new();
        match &self.first_error {
            None => lines.push(format!("intact ({} level)", self.level.as_str())),
            Some(error) => {
                let place = match (error.file.as_str(), error.line) {
                    ("", _) => String::new(),
                    (file, 0) => format!("{file}: "),
                    (file, line) => format!("{file}:{line}: "),
                };
                lines.push(format!("NOT intact: {place}{}", error.reason));
            }
        }
        lines.push(format!("events: {} ({} foreign lines besides)", self.events, self.foreign));
        for pruned in &self.pruned {
            let PrunedDays { from, to, days, lines: count, at, by } = pruned;
            lines.push(format!("pruned: {from} to {to} ({days} days, {count} lines), at {at} by {by}"));
        }
        lines.push(format!("checkpoints: {}, covering {} lines", self.checkpoints, self.sealed_lines));
        if self.torn_tail_bytes > 0 {
            lines.push(format!(
                "torn tail: {} bytes of a line that was never acknowledged; the next writer moves them aside",
                self.torn_tail_bytes
            ));
        }
        if self.pending_without_outcome > 0 {
            let working = self.pending.iter().filter(|span| span.in_flight).count();
            lines.push(format!(
                "pending without outcome: {} ({working} in flight)",
                self.pending_without_outcome
            ));
            for span in &self.pending {
                let state = if span.in_flight { "in flight" } else { "orphan" };
                lines.push(format!("  {} {} {} ({state})", span.timestamp, span.action, span.call_id));
            }
        }
        if self.newer_version > 0 {
            lines.push(format!("lines of a newer format: {}", self.newer_version));
        }
        if self.ignored_names > 0 {
            lines.push(format!("names that are not the log's: {}", self.ignored_names));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        let mut text = String::new();
        for line in lines {
            text.push_str(&crate::event::shown(&line));
            text.push('\n');
        }
        text
    }
}

impl VerifyLevel {
    /// As it stands in the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Signed => "signed",
            Self::Anchored => "anchored",
            Self::Witnessed => "witnessed",
        }
    }
}
