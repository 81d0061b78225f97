//! `entrabot audit report`: the log as a page for a person.

use std::path::PathBuf;

use clap::Args;
use entrabot_audit::Report;
use serde_json::json;

use super::filter::WholeCalls;
use super::{Dir, unreadable, verify_options, working};
use crate::commands::{NO, YES, config};
use crate::failure::Failure;
use crate::{private_files, terminal};

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Where to write the page; - is stdout
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    #[command(flatten)]
    filter: WholeCalls,
    /// Public keys, one a line, instead of those in ENTRABOT_DATA_DIR
    #[arg(long, value_name = "FILE")]
    vkey: Option<PathBuf>,
    #[command(flatten)]
    dir: Dir,
}

pub(super) fn run(args: &ReportArgs, json: bool) -> Result<u8, Failure> {
    let config = config()?;
    let dir = args.dir.dir.as_deref().unwrap_or(config.audit_dir());
    let query = args.filter.query()?;
    // What is told and what is verified: the log is read twice.
    let working = working("reading", dir, config.data_dir(), 2, json);
    let options = verify_options(&config, false, args.vkey.as_deref()).counting(working.done());
    let report = Report::collect(dir, &query, &options).map_err(unreadable)?;
    let page = report.to_html();
    drop(working);
    if args.html.as_os_str() == "-" {
        terminal::bytes(page.as_bytes())?;
    } else {
        private_files::replace(&args.html, page.as_bytes())
            .map_err(|error| Failure::io(&format!("write {}", args.html.display()), &error))?;
        if json {
            terminal::json(&json!({
                "file": args.html.display().to_string(),
                "events": report.events(),
                "calls": report.calls(),
                "intact": report.is_intact(),
            }))?;
        } else {
            terminal::line(&args.html.display().to_string())?;
        }
    }
    if !report.is_intact() {
        terminal::note("warning: the log is not intact; the page says where");
    }
    Ok(if report.is_intact() { YES } else { NO })
}
