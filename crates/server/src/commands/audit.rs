//! `entrabot audit`: the log from the shell. Scripts and auditors rely on its contract.

mod export;
mod filter;
mod follow;
mod prune;
mod report;

use std::io::{BufRead, BufReader, Read, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use entrabot_audit::{AuditError, AuditLog, Follower, LogEntry, Sealed, Seen, StoredEvent, VerifyOptions};
use entrabot_identity::{AttributionType, Config};
use serde_json::{Map, Value, json};

use self::export::ExportArgs;
use self::filter::Filter;
use self::prune::PruneArgs;
use self::report::ReportArgs;
use super::{NO, YES};
use crate::cli::AttributionArg;
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;
use crate::working::{Work, Working, size};

/// Records that are taken from stdin before the first of them is written: what one group commit holds.
const BATCH: usize = 256;
/// Longest line of `append --stdin`: no record can be longer.
const MAX_LINE: u64 = 64 * 1024;
/// How often `tail -f` looks.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Write to the log of another user all the same, as root; for the commands that write
    #[arg(long, global = true)]
    as_root: bool,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Put something on record; prints the event id once it is durable
    Append(AppendArgs),
    /// Show the last records
    Tail {
        /// How many records
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// Go on showing as the log grows
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        dir: Dir,
    },
    /// Say whether anything was changed, removed or added; needs no keyring and no network
    Verify {
        #[command(flatten)]
        dir: Dir,
        /// Foreign lines are errors too
        #[arg(long)]
        strict: bool,
        /// Public keys, one a line, instead of those in ENTRABOT_DATA_DIR
        #[arg(long, value_name = "FILE")]
        vkey: Option<PathBuf>,
    },
    /// Find records, by way of an index that is made where the log is large
    #[command(
        after_help = "Examples:\n  entrabot audit query --outcome failure --since 2026-07-01T00:00:00Z\n  entrabot audit query --action 'a365.mcp_MailTools.*' --json"
    )]
    Query(QueryArgs),
    /// Write the log in another format: for a SIEM, a collector, an auditor
    #[command(
        after_help = "Examples:\n  entrabot audit export --format ocsf --since 2026-07-01T00:00:00Z -o events.jsonl\n  entrabot audit export --format checkpoint -o checkpoint.txt\n  entrabot audit export --follow --endpoint https://collector.example/v1/logs --headers-from-keyring"
    )]
    Export(Box<ExportArgs>),
    /// Write a page for a person: who acted, when, what failed, how far the log can be trusted
    #[command(
        after_help = "Example:\n  entrabot audit report --html report.html --since 2026-07-01T00:00:00Z"
    )]
    Report(ReportArgs),
    /// Say how the log stands: events, files, the last checkpoint
    Status {
        #[command(flatten)]
        dir: Dir,
    },
    /// Sign a checkpoint of all that is on record, and move the anchor
    Checkpoint,
    /// Remove days that need not be kept, and leave a signed tombstone; that is put on record
    #[command(
        after_help = "Examples:\n  entrabot audit prune --keep-days 400 --dry-run\n  entrabot audit prune --before 2026-01-01"
    )]
    Prune(PruneArgs),
    /// Put a failure on record for calls whose process died before their outcome was known
    CloseOrphans,
    /// Go on after something that stopped the log; that is put on record
    Resume {
        /// Although the clock stands more than 48 hours before the last record
        #[arg(long, required_unless_present = "accept_shrunk")]
        accept_clock: bool,
        /// Although something cut a file of the log
        #[arg(long)]
        accept_shrunk: bool,
    },
    /// Replace the signing key; the next checkpoint is signed by both
    RotateKey,
}

/// Which log.
#[derive(Debug, Args)]
pub(crate) struct Dir {
    /// The audit directory [default: ENTRABOT_AUDIT_DIR]
    #[arg(long = "dir", value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    /// What was done, e.g. report.sent
    #[arg(long, required_unless_present = "stdin")]
    action: Option<String>,
    /// What it was done to, as an id rather than a title
    #[arg(long, required_unless_present = "stdin")]
    resource: Option<String>,
    /// How it ended: success, failure, pending or a word of your own
    #[arg(long, required_unless_present = "stdin")]
    outcome: Option<String>,
    /// For whom the record speaks
    #[arg(long, value_enum, default_value_t)]
    attribution: AttributionArg,
    /// One more fact; can be given several times
    #[arg(long, value_name = "K=V")]
    metadata: Vec<String>,
    /// One JSON object a line on stdin; one event id a line on stdout, in order
    #[arg(long, conflicts_with_all = ["action", "resource", "outcome", "metadata"])]
    stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    filter: Filter,
    /// At most so many records
    #[arg(short = 'n', long)]
    limit: Option<usize>,
    /// Read every line, whatever the index says
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    dir: Dir,
}

pub(crate) fn run(args: AuditArgs, json: bool) -> Result<u8, Failure> {
    let writer = Writer { as_root: args.as_root };
    match args.command {
        AuditCommand::Append(append) if append.stdin => append_lines(writer, append.attribution),
        AuditCommand::Append(append) => append_one(writer, append, json),
        AuditCommand::Tail { lines, follow, dir } => tail(&dir.path()?, lines, follow, json),
        AuditCommand::Verify { dir, strict, vkey } => verify(&dir, strict, vkey.as_deref(), json),
        AuditCommand::Query(args) => query(&args, json),
        AuditCommand::Export(args) => export::run(&args, json),
        AuditCommand::Report(args) => report::run(&args, json),
        AuditCommand::Status { dir } => status(&dir, json),
        AuditCommand::Checkpoint => print_sealed(writer.act(AuditLog::checkpoint)?.as_ref(), json),
        AuditCommand::Prune(args) => prune::run(writer, &args, json),
        AuditCommand::CloseOrphans => close_orphans(writer, json),
        AuditCommand::Resume { accept_clock, accept_shrunk } => {
            resume(writer, accept_clock, accept_shrunk, json)
        }
        AuditCommand::RotateKey => print_sealed(writer.act(AuditLog::rotate_signing_key)?.as_ref(), json),
    }
}

/// How a command opens the log of the settings.
#[derive(Clone, Copy)]
struct Writer {
    as_root: bool,
}

impl Writer {
    fn open(self) -> Result<(Parts, AuditLog), Failure> {
        let parts = Parts::new(super::config()?)?;
        let audit = parts.open_audit(self.as_root)?;
        Ok((parts, audit))
    }

    /// For a command that is about the log itself.
    fn act<T>(self, act: impl FnOnce(&AuditLog) -> Result<T, AuditError>) -> Result<T, Failure> {
        let (parts, audit) = self.open()?;
        let done = act(&audit)?;
        drop(audit);
        close(&parts);
        Ok(done)
    }
}

impl Dir {
    fn path(&self) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(super::config()?.audit_dir().to_owned()),
        }
    }
}

impl AttributionArg {
    fn kind(self) -> AttributionType {
        match self {
            Self::Agent => AttributionType::Agent,
            Self::DelegatedHuman => AttributionType::DelegatedHuman,
            Self::None => AttributionType::None,
        }
    }
}

fn append_one(writer: Writer, append: AppendArgs, json: bool) -> Result<u8, Failure> {
    let AppendArgs { action: Some(action), resource: Some(resource), outcome: Some(outcome), .. } = &append
    else {
        return Err(Failure::usage("--action, --resource and --outcome are needed", "or use --stdin"));
    };
    let mut metadata = Map::new();
    for pair in &append.metadata {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::usage("--metadata is K=V", "give a name, an equals sign and a value"));
        };
        if metadata.insert(key.to_owned(), value.into()).is_some() {
            return Err(Failure::usage("--metadata names a key twice", "give each name once"));
        }
    }
    let entry = LogEntry::cli(action, resource, outcome, append.attribution.kind()).with_metadata(metadata);
    let (parts, audit) = writer.open()?;
    let id = audit.log_event(&entry)?.to_string();
    drop(audit);
    let printed = if json { terminal::json(&json!({"event_id": id})) } else { terminal::line(&id) };
    close(&parts);
    printed?;
    Ok(YES)
}

/// Seals what was written. The records are durable all the same when that fails, so it is a warning.
pub(super) fn close(parts: &Parts) {
    for warning in parts.close_audit() {
        terminal::note(&format!("warning: {}", cleaned(&warning)));
    }
}

fn append_lines(writer: Writer, default: AttributionArg) -> Result<u8, Failure> {
    let (parts, audit) = writer.open()?;
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut number = 0_u64;
    let mut any_bad = false;
    let mut ended = false;
    while !ended {
        let mut entries = Vec::new();
        let mut numbers = Vec::new();
        while entries.len() < BATCH {
            let Some(line) = next_line(&mut input)? else {
                ended = true;
                break;
            };
            number += 1;
            match line.and_then(|line| entry_of(&line, default)) {
                Ok(entry) => {
                    entries.push(entry);
                    numbers.push(number);
                }
                Err(reason) => {
                    any_bad = true;
                    terminal::note(&format!("error: line {number}: {reason}"));
                }
            }
            // What is there is taken; what is not there yet is not waited for.
            if !entries.is_empty() && !input.buffer().contains(&b'\n') {
                break;
            }
        }
        let mut printing = Ok(());
        audit.log_events(&entries, |index, result| match result {
            Ok(id) if printing.is_ok() => printing = terminal::line(&id.to_string()),
            Ok(_) => {}
            Err(error) => {
                any_bad = true;
                terminal::note(&format!("error: line {}: {}", numbers[index], Failure::from(error)));
            }
        })?;
        printing?;
    }
    drop(audit);
    close(&parts);
    Ok(if any_bad { NO } else { YES })
}

/// `None` at the end; an inner error is about this line alone.
fn next_line(input: &mut impl BufRead) -> Result<Option<Result<Vec<u8>, String>>, Failure> {
    let mut line = Vec::new();
    let failed = |error: std::io::Error| Failure::io("read stdin", &error);
    if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == MAX_LINE {
        // The rest of the line is passed over piece by piece.
        loop {
            let mut rest = Vec::new();
            let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut rest).map_err(failed)?;
            if read == 0 || rest.last() == Some(&b'\n') {
                return Ok(Some(Err(format!("longer than {MAX_LINE} bytes"))));
            }
        }
    }
    Ok(Some(Ok(line)))
}

fn entry_of(line: &[u8], default: AttributionArg) -> Result<LogEntry, String> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(line) else {
        return Err("it is no JSON object".into());
    };
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is no string")),
        None => Ok(None),
    };
    let needed = |name: &str, value: Option<String>| value.ok_or_else(|| format!("{name} is missing"));
    let (action, resource) = (needed("action", text("action")?)?, needed("resource", text("resource")?)?);
    let outcome = needed("outcome", text("outcome")?)?;
    let attribution = match text("attribution")?.as_deref() {
        None => default.kind(),
        Some("agent") => AttributionType::Agent,
        Some("delegated-human") => AttributionType::DelegatedHuman,
        Some("none") => AttributionType::None,
        Some(_) => return Err("attribution is none of agent, delegated-human, none".into()),
    };
    let metadata = match members.remove("metadata") {
        None => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err("metadata is no object".into()),
    };
    if !members.is_empty() {
        return Err("it has a member that is none of action, resource, outcome, attribution, metadata".into());
    }
    Ok(LogEntry::cli(&action, &resource, &outcome, attribution).with_metadata(metadata))
}

fn print_event(event: &StoredEvent, json: bool) -> Result<(), Failure> {
    if json { terminal::line(event.to_json()) } else { terminal::line(&event.to_text()) }
}

fn tail(dir: &Path, lines: usize, follow: bool, json: bool) -> Result<u8, Failure> {
    let (mut follower, last) = Follower::open(dir, lines).map_err(unreadable)?;
    for event in &last {
        print_event(event, json)?;
    }
    if !follow {
        return Ok(YES);
    }
    loop {
        std::thread::sleep(POLL);
        for event in follower.poll()? {
            print_event(&event, json)?;
        }
    }
}

fn verify(dir: &Dir, strict: bool, vkey: Option<&Path>, json: bool) -> Result<u8, Failure> {
    let config = super::config()?;
    let dir = dir.dir.as_deref().unwrap_or(config.audit_dir());
    let working = working("verifying", dir, config.data_dir(), 1, json);
    let options = verify_options(&config, strict, vkey).counting(working.done());
    // Whatever cannot be read is neither intact nor tampered with.
    let report = entrabot_audit::verify_with(dir, &options).map_err(unreadable)?;
    drop(working);
    if json {
        terminal::json(&serde_json::to_value(&report).map_err(|_| Failure::internal("the report"))?)?;
    } else {
        terminal::bytes(report.to_text().as_bytes())?;
    }
    Ok(if report.ok { YES } else { NO })
}

/// Tells what is done to a log of what size while it lasts, and how much of it. The log is read so many `times`.
fn working(doing: &str, dir: &Path, data_dir: &Path, times: u64, quiet: bool) -> Working {
    let (what, work) = match entrabot_audit::status(dir, data_dir) {
        Ok(status) => {
            (format!("{doing} {} of records", size(status.bytes)), Some(Work::Bytes(status.bytes * times)))
        }
        // The command itself says what is wrong.
        Err(_) => (format!("{doing} the log"), None),
    };
    Working::on(what, work, quiet)
}

/// Against the data directory, where there is one, and these keys.
fn verify_options(config: &Config, strict: bool, vkey: Option<&Path>) -> VerifyOptions {
    let mut options = VerifyOptions::new();
    if strict {
        options = options.strict();
    }
    if config.data_dir().is_dir() {
        options = options.with_data_dir(config.data_dir());
    }
    if let Some(vkey) = vkey {
        options = options.with_vkeys(vkey);
    }
    options
}

/// Exit code 2: usage or I/O.
fn unreadable(error: AuditError) -> Failure {
    Failure::of(&error).with_class(entrabot_keystore::ErrorClass::Configuration)
}

fn query(args: &QueryArgs, json: bool) -> Result<u8, Failure> {
    let config = super::config()?;
    let dir = args.dir.dir.as_deref().unwrap_or(config.audit_dir());
    let query = args.filter.query()?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut out = terminal::stream();
    let mut printing = Ok(());
    let each = |seen| {
        match seen {
            Seen::Event(event) if left > 0 => {
                left -= 1;
                let text = if json { event.to_json() } else { &event.to_text() };
                printing = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
            }
            Seen::Skipped(line) => {
                let note = format!("warning: {}:{}: {}", line.file, line.line, line.reason);
                terminal::note(&cleaned(&note));
            }
            _ => {}
        }
        if printing.is_err() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = if args.no_index {
        entrabot_audit::query(dir, &query, each)
    } else {
        entrabot_audit::query_indexed(dir, config.data_dir(), &query, each)
    };
    printing.and_then(|()| out.flush()).map_err(|error| Failure::io("write to stdout", &error))?;
    found.map_err(unreadable)?;
    Ok(YES)
}

fn status(dir: &Dir, json: bool) -> Result<u8, Failure> {
    let config = super::config()?;
    let dir = dir.dir.as_deref().unwrap_or(config.audit_dir());
    let status = entrabot_audit::status(dir, config.data_dir()).map_err(unreadable)?;
    let value = serde_json::to_value(&status).map_err(|_| Failure::internal("the status"))?;
    super::print_members(&value, json)?;
    Ok(YES)
}

fn print_sealed(sealed: Option<&Sealed>, json: bool) -> Result<u8, Failure> {
    if json {
        let (size, note) = sealed.map_or((0, None), |sealed| (sealed.size, sealed.note.as_deref()));
        terminal::json(&json!({"size": size, "note": note}))?;
    } else {
        match sealed {
            None => terminal::line("the log is empty")?,
            Some(Sealed { size, note: None, .. }) => {
                terminal::line(&format!("an earlier checkpoint covers all {size} lines"))?;
            }
            Some(Sealed { note: Some(note), .. }) => terminal::bytes(note.as_bytes())?,
        }
    }
    Ok(YES)
}

fn close_orphans(writer: Writer, json: bool) -> Result<u8, Failure> {
    let closed = writer.act(AuditLog::close_orphans)?;
    if json {
        let calls: Vec<_> = closed
            .iter()
            .map(|event| json!({"call_id": event.call_id(), "event_id": event.event_id(), "action": event.action()}))
            .collect();
        terminal::json(&json!({"closed": calls}))?;
    } else {
        for event in &closed {
            terminal::line(&event.to_text())?;
        }
    }
    Ok(YES)
}

fn resume(writer: Writer, clock: bool, shrunk: bool, json: bool) -> Result<u8, Failure> {
    let ids = writer.act(|audit| {
        let mut ids = Vec::new();
        if clock {
            ids.push(audit.accept_clock()?.to_string());
        }
        if shrunk {
            ids.push(audit.accept_shrunk()?.to_string());
        }
        Ok(ids)
    })?;
    if json {
        terminal::json(&json!({"event_ids": ids}))?;
    } else {
        ids.iter().try_for_each(|id| terminal::line(id))?;
    }
    Ok(YES)
}
