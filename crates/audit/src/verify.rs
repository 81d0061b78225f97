use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use uuid::Uuid;

use crate::AuditError;
use crate::examine::Examined;
use crate::reader::{DayFile, Snapshot, Walked, open_folder, walk};
use crate::scan::{Piece, scan};
use crate::time::Day;

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
    /// Names in the directory that are not the log's.
    pub ignored_names: u64,
    /// Day files.
    pub files: u64,
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
    /// How many threads read. Default: one per core, at most four.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }
}

/// Reads the directory and says whether anything was changed, removed or added. Needs no keystore and no network.
///
/// # Errors
/// The directory cannot be read.
pub fn verify(dir: &Path) -> Result<VerifyReport, AuditError> {
    verify_with(dir, &VerifyOptions::new())
}

/// [`verify`] with options.
///
/// # Errors
/// The directory cannot be read.
pub fn verify_with(dir: &Path, options: &VerifyOptions) -> Result<VerifyReport, AuditError> {
    let (snapshot, no_plain_file) = Snapshot::take(open_folder(dir)?)?;
    let mut verification = Verification::new(&snapshot);
    if let Some(none) = no_plain_file {
        verification.fail(&none.name, 0, "it is a link or no plain file");
    } else if options.strict
        && let Some(name) = snapshot.strange_days.first()
    {
        verification.fail(name, 0, "a .jsonl name that is no day");
    }
    if verification.report.first_error.is_none() {
        verification.read(&snapshot, options)?;
    }
    if verification.report.first_error.is_none() {
        verification.look_twice(&snapshot)?;
    }
    if options.strict && verification.report.first_error.is_none() && verification.examined.foreign > 0 {
        let reason = format!("{} lines of writers without a chain", verification.examined.foreign);
        verification.fail("", 0, &reason);
    }
    Ok(verification.finish())
}

struct Verification {
    report: VerifyReport,
    examined: Examined,
}

/// A piece of a file on its way through the threads.
struct Job {
    bytes: Vec<u8>,
    day: Day,
    reply: mpsc::SyncSender<(Vec<u8>, Piece)>,
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
    fn new(snapshot: &Snapshot) -> Self {
        Self {
            report: VerifyReport {
                ok: false,
                level: VerifyLevel::Chain,
                events: 0,
                foreign: 0,
                pending_without_outcome: 0,
                pending: Vec::new(),
                torn_tail_bytes: 0,
                newer_version: 0,
                ignored_names: snapshot.ignored,
                files: snapshot.files.len() as u64,
                warnings: snapshot.warnings.clone(),
                first_error: None,
            },
            examined: Examined::default(),
        }
    }

    fn fail(&mut self, file: &str, line: u64, reason: &str) {
        if self.report.first_error.is_none() {
            self.report.first_error =
                Some(FirstError { file: file.to_owned(), line, reason: reason.to_owned() });
        }
    }

    fn read(&mut self, snapshot: &Snapshot, options: &VerifyOptions) -> Result<(), AuditError> {
        let total: u64 = snapshot.files.iter().map(|file| file.size).sum();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // A small log is read before a thread has started.
        let threads = if total < 256 * 1024 { 0 } else { options.threads.unwrap_or(cores.min(4)) };
        let (jobs, queue) = mpsc::sync_channel::<Job>(threads.max(1));
        let queue = Mutex::new(queue);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let spawned = std::thread::Builder::new().spawn_scoped(scope, || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(Job { bytes, day, reply }) = job else { return };
                        let piece = scan(&bytes, day, true);
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
                let go_on = self.read_file(file, newest, threads, &jobs).map_err(|error| {
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
    ) -> io::Result<bool> {
        self.examined.begin_file();
        let mut line = 0;
        let mut under_way = std::collections::VecDeque::new();
        let walked = walk::<Ended>(&*file.file, 0, file.size, |_offset, bytes| {
            if threads == 0 {
                let piece = scan(&bytes, file.day, true);
                return self.join(file, &mut line, &bytes, &piece);
            }
            if under_way.len() > threads {
                self.join_next(file, &mut line, &mut under_way)?;
            }
            let (reply, answer) = mpsc::sync_channel(1);
            under_way.push_back(answer);
            jobs.send(Job { bytes, day: file.day, reply }).map_err(|_| Ended::Found)
        });
        let walked = walked.and_then(|walked| {
            while !under_way.is_empty() {
                self.join_next(file, &mut line, &mut under_way)?;
            }
            Ok(walked)
        });
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
        if newest && self.examined.chain.is_unexplained() {
            self.fail(&file.name, line, "a foreign line inside a batch that no audit.raced explains");
        }
        Ok(self.report.first_error.is_none())
    }

    fn join_next(
        &mut self,
        file: &DayFile,
        line: &mut u64,
        under_way: &mut std::collections::VecDeque<mpsc::Receiver<(Vec<u8>, Piece)>>,
    ) -> Result<(), Ended> {
        let Some(answer) = under_way.pop_front() else { return Ok(()) };
        let (bytes, piece) =
            answer.recv().map_err(|_| Ended::Io(io::Error::other("a reading thread ended")))?;
        self.join(file, line, &bytes, &piece)
    }

    fn join(&mut self, file: &DayFile, line: &mut u64, bytes: &[u8], piece: &Piece) -> Result<(), Ended> {
        let joined = self.examined.join(piece, bytes, |_, _, _| Ok(()));
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

    /// Ids whose short forms met: are the ids themselves the same?
    fn look_twice(&mut self, snapshot: &Snapshot) -> Result<(), AuditError> {
        let events: Vec<u128> = std::mem::take(&mut self.examined.suspects);
        let calls: Vec<u128> = std::mem::take(&mut self.examined.suspect_calls);
        if events.is_empty() && calls.is_empty() {
            return Ok(());
        }
        let mut seen_events: Vec<(u128, bool)> = Vec::new();
        let mut seen_calls: Vec<u128> = Vec::new();
        let mut doubled_foreign = 0_u64;
        for file in &snapshot.files {
            let mut line = 0;
            let walked = walk::<Ended>(&*file.file, 0, file.size, |_offset, bytes| {
                for fact in &scan(&bytes, file.day, false).facts {
                    line += 1;
                    if events.contains(&fact.event) {
                        let native = fact.native.is_some();
                        match seen_events.iter().find(|(id, _)| *id == fact.event) {
                            Some((_, false)) if !native => doubled_foreign += 1,
                            Some(_) => {
                                self.fail(&file.name, line, "an event_id that was used before");
                                return Err(Ended::Found);
                            }
                            None => seen_events.push((fact.event, native)),
                        }
                    }
                    if let Some(crate::scan::Native { call: crate::scan::Call::Closes { call, .. }, .. }) =
                        &fact.native
                        && calls.contains(call)
                    {
                        if seen_calls.contains(call) {
                            self.fail(&file.name, line, "a second outcome for one call_id");
                            return Err(Ended::Found);
                        }
                        seen_calls.push(*call);
                    }
                }
                Ok(())
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

    fn finish(self) -> VerifyReport {
        let Self { mut report, examined } = self;
        report.ok = report.first_error.is_none();
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
                action: open.action.to_string(),
                timestamp: open.time.to_string(),
            })
            .collect();
        report
    }
}
