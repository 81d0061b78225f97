//! `entrabot audit`: the log from the shell. Scripts and auditors rely on its contract.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use entrabot_audit::{
    AuditError, Follower, LogEntry, Query, Seen, StoredEvent, Timestamp, VerifyOptions, VerifyReport,
};
use entrabot_identity::AttributionType;
use serde_json::{Map, Value, json};

use super::{NO, YES};
use crate::cli::AttributionArg;
use crate::compose::Parts;
use crate::failure::{Failure, cleaned};
use crate::terminal;

/// Records that are taken from stdin before the first of them is written: what one group commit holds.
const BATCH: usize = 256;
/// Longest line of `append --stdin`: no record can be longer.
const MAX_LINE: u64 = 64 * 1024;
/// How often `tail -f` looks.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Put something on record; prints the event id once it is durable
    Append(AppendArgs),
    /// The last records
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// Go on as the log grows
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
    },
    /// Find records
    Query(QueryArgs),
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
    /// What was done
    #[arg(long, required_unless_present = "stdin")]
    action: Option<String>,
    /// To what
    #[arg(long, required_unless_present = "stdin")]
    resource: Option<String>,
    /// How it ended
    #[arg(long, required_unless_present = "stdin")]
    outcome: Option<String>,
    /// For whom the record speaks
    #[arg(long, value_enum, default_value_t)]
    attribution: AttributionArg,
    /// More facts
    #[arg(long, value_name = "K=V")]
    metadata: Vec<String>,
    /// One JSON object a line on stdin; one event id a line on stdout, in order
    #[arg(long, conflicts_with_all = ["action", "resource", "outcome", "metadata"])]
    stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// From this time on (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// Before this time (RFC 3339)
    #[arg(long)]
    until: Option<String>,
    /// This action
    #[arg(long)]
    action: Option<String>,
    /// This outcome
    #[arg(long)]
    outcome: Option<String>,
    /// This agent
    #[arg(long)]
    agent: Option<String>,
    /// This call: its pending and its outcome
    #[arg(long)]
    call_id: Option<String>,
    /// This record
    #[arg(long)]
    event_id: Option<String>,
    /// From this part: transport, tool, cli, provisioning, system
    #[arg(long)]
    source: Option<String>,
    /// At most so many
    #[arg(short = 'n', long)]
    limit: Option<usize>,
    #[command(flatten)]
    dir: Dir,
}

pub(crate) fn run(command: AuditCommand, json: bool) -> Result<u8, Failure> {
    match command {
        AuditCommand::Append(append) if append.stdin => append_lines(append.attribution),
        AuditCommand::Append(append) => append_one(append, json),
        AuditCommand::Tail { lines, follow, dir } => tail(&dir.path()?, lines, follow, json),
        AuditCommand::Verify { dir, strict } => verify(&dir.path()?, strict, json),
        AuditCommand::Query(args) => query(args, json),
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

fn append_one(append: AppendArgs, json: bool) -> Result<u8, Failure> {
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
    let parts = Parts::new(super::config()?)?;
    let id = parts.audit()?.log_event(entry)?.to_string();
    close(&parts);
    if json {
        terminal::json(&json!({"event_id": id}))?
    } else {
        terminal::line(&id)?
    }
    Ok(YES)
}

/// Seals what was written. The record is durable all the same when that fails.
fn close(parts: &Parts) {
    if let Ok(audit) = parts.audit() {
        for notice in audit.take_notices() {
            terminal::note(&format!("warning: {}", cleaned(&notice)));
        }
    }
    parts.close_audit();
}

fn append_lines(default: AttributionArg) -> Result<u8, Failure> {
    let parts = Parts::new(super::config()?)?;
    let audit = parts.audit()?;
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
    let (mut follower, last) = Follower::open(dir, lines)?;
    for event in &last {
        print_event(event, json)?;
    }
    while follow {
        std::thread::sleep(POLL);
        for event in follower.poll()? {
            print_event(&event, json)?;
        }
    }
    Ok(YES)
}

fn verify(dir: &Path, strict: bool, json: bool) -> Result<u8, Failure> {
    let options = if strict { VerifyOptions::new().strict() } else { VerifyOptions::new() };
    // Whatever cannot be read is neither intact nor tampered with.
    let report = entrabot_audit::verify_with(dir, &options).map_err(unreadable)?;
    if json {
        terminal::json(&serde_json::to_value(&report).map_err(|_| Failure::internal("the report"))?)?;
    } else {
        print_report(dir, &report)?;
    }
    Ok(if report.ok { YES } else { NO })
}

/// Exit code 2: usage or I/O.
fn unreadable(error: AuditError) -> Failure {
    Failure::of(&error).with_class(entrabot_keystore::ErrorClass::Configuration)
}

fn print_report(dir: &Path, report: &VerifyReport) -> Result<(), Failure> {
    let level = serde_json::to_value(report.level).unwrap_or_default();
    terminal::line(&format!(
        "{}: {} events, {} foreign lines, {} files in {}",
        if report.ok { "intact" } else { "NOT INTACT" },
        report.events,
        report.foreign,
        report.files,
        dir.display()
    ))?;
    terminal::line(&format!("level: {}", level.as_str().unwrap_or("unknown")))?;
    if let Some(error) = &report.first_error {
        terminal::line(&cleaned(&format!("first error: {}:{}: {}", error.file, error.line, error.reason)))?;
    }
    if report.torn_tail_bytes > 0 {
        terminal::line(&format!(
            "torn tail: {} bytes of an unfinished last line, never acknowledged",
            report.torn_tail_bytes
        ))?;
    }
    if report.pending_without_outcome > 0 {
        terminal::line(&format!("pending without outcome: {}", report.pending_without_outcome))?;
        for span in &report.pending {
            let line = format!("  {}  {}  call {}", span.timestamp, span.action, span.call_id);
            terminal::line(&cleaned(&line))?;
        }
    }
    for warning in &report.warnings {
        terminal::line(&cleaned(&format!("warning: {warning}")))?;
    }
    Ok(())
}

fn query(args: QueryArgs, json: bool) -> Result<u8, Failure> {
    let dir = args.dir.path()?;
    let time = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => Timestamp::parse(text).map(Some).ok_or_else(|| {
            Failure::usage(format!("--{name} is no time"), "give one such as 2026-07-01T00:00:00Z")
        }),
    };
    let mut query = Query::new();
    if let Some(since) = time("since", &args.since)? {
        query = query.since(since);
    }
    if let Some(until) = time("until", &args.until)? {
        query = query.until(until);
    }
    for (value, add) in [
        (&args.action, Query::action as fn(Query, &str) -> Query),
        (&args.outcome, Query::outcome),
        (&args.agent, Query::agent),
        (&args.call_id, Query::call_id),
        (&args.event_id, Query::event_id),
        (&args.source, Query::source),
    ] {
        if let Some(value) = value {
            query = add(query, value);
        }
    }
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut printing = Ok(());
    entrabot_audit::query(&dir, &query, |seen| {
        match seen {
            Seen::Event(event) if left > 0 => {
                left -= 1;
                printing = print_event(&event, json);
            }
            Seen::Skipped(line) => {
                let note = format!("warning: {}:{}: {}", line.file, line.line, line.reason);
                terminal::note(&cleaned(&note));
            }
            _ => {}
        }
        if printing.is_err() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(unreadable)?;
    printing?;
    Ok(YES)
}
