//! `entrabot audit export`: the log in other people's formats.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use entrabot_audit::{AuditOptions, ExportFormat, Exported, Query};
use serde_json::json;

use super::filter::Filter;
use super::follow::FollowArgs;
use super::{Dir, unreadable};
use crate::commands::{NO, YES, config};
use crate::failure::{Failure, cleaned};
use crate::private_files::Replacement;
use crate::terminal;
use crate::working::{Work, Working};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The format
    #[arg(long, value_enum, required_unless_present = "follow")]
    format: Option<Format>,
    /// Where to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    dir: Dir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The records as they stand
    Jsonl,
    /// OpenTelemetry logs, OTLP's JSON encoding
    OtlpJson,
    /// OCSF 1.6.0 API Activity, for a SIEM
    Ocsf,
    /// Agent Audit Trail (draft-sharif-agent-audit-trail-06), each record signed with the audit's key
    Aat,
    /// The last signed checkpoint: some 300 bytes that show later whether the log was rewritten
    Checkpoint,
}

pub(super) fn run(args: &ExportArgs, json: bool) -> Result<u8, Failure> {
    let config = config()?;
    let dir = args.dir.dir.as_deref().unwrap_or(config.audit_dir());
    let Some(format) = args.format else { return super::follow::run(&args.follow, dir, &config, json) };
    let query = args.filter.query()?;
    let format = match format {
        Format::Checkpoint if !args.filter.is_empty() => {
            return Err(Failure::usage("a checkpoint covers the whole log", "leave the filters out"));
        }
        Format::Checkpoint => return checkpoint(dir, args.output.as_deref(), json),
        Format::Jsonl => ExportFormat::Jsonl,
        Format::OtlpJson => ExportFormat::OtlpJson,
        Format::Ocsf => ExportFormat::Ocsf,
        Format::Aat => ExportFormat::Aat(AuditOptions::from_config(&config)?.signing().clone()),
    };
    // Filtered, nobody knows how many there will be.
    let all = args.filter.is_empty().then(|| entrabot_audit::status(dir, config.data_dir()).ok()).flatten();
    let exporting = |quiet: bool| {
        let total = all.as_ref().map(|status| status.events);
        Working::on("writing", Some(Work::Things { unit: "records", total }), json || quiet)
    };
    let Some(output) = &args.output else {
        // Where the records are shown themselves, nothing else is.
        let working = exporting(terminal::is_stdout_a_terminal());
        lines(dir, &query, &format, &mut terminal::stream(), "write to stdout", &working)?;
        return Ok(YES);
    };
    let failed = |error: std::io::Error| Failure::io(&writing(output), &error);
    let mut file = Replacement::of(output).map_err(failed)?;
    let working = exporting(false);
    let count = lines(dir, &query, &format, &mut file, &writing(output), &working)?;
    drop(working);
    file.put().map_err(failed)?;
    told(output, count, json)
}

fn writing(output: &Path) -> String {
    format!("write {}", output.display())
}

fn told(output: &Path, count: u64, json: bool) -> Result<u8, Failure> {
    let file = output.display().to_string();
    if json {
        terminal::json(&json!({"file": file, "lines": count}))?;
    } else {
        terminal::line(&file)?;
    }
    Ok(YES)
}

/// How many lines were written.
fn lines(
    dir: &Path,
    query: &Query,
    format: &ExportFormat,
    out: &mut impl Write,
    what: &str,
    working: &Working,
) -> Result<u64, Failure> {
    let mut count = 0;
    let mut written = Ok(());
    let exported = entrabot_audit::export(dir, query, format, |piece| {
        match piece {
            Exported::Line(line) => {
                count += 1;
                working.step();
                written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
            }
            Exported::Skipped(line) => {
                let note = format!("warning: {}:{}: {}, left out", line.file, line.line, line.reason);
                terminal::note(&cleaned(&note));
            }
            _ => {}
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written.and_then(|()| out.flush()).map_err(|error| Failure::io(what, &error))?;
    exported.map_err(unreadable)?;
    Ok(count)
}

fn checkpoint(dir: &Path, output: Option<&Path>, json: bool) -> Result<u8, Failure> {
    let Some(note) = entrabot_audit::last_checkpoint(dir).map_err(unreadable)? else {
        terminal::note("no checkpoint was signed yet");
        terminal::note("hint: run entrabot audit checkpoint");
        return Ok(NO);
    };
    match output {
        None => terminal::bytes(note.as_bytes())?,
        Some(output) => {
            crate::private_files::replace(output, note.as_bytes())
                .map_err(|error| Failure::io(&writing(output), &error))?;
            return told(output, 1, json);
        }
    }
    Ok(YES)
}
