//! `entrabot`: an MCP server and a command line for an agent with its own Microsoft Entra identity.
//!
//! A program, not a library: all that others may use is [`main`]. The feature `test-util` adds the HTTP stack without
//! the tools behind it, so that a conformance suite can put its own there.
#![forbid(unsafe_code)]

mod certificate;
mod cli;
mod commands;
mod compose;
mod failure;
mod http;
mod logging;
mod mcp;
mod mounted_secret;
mod person;
mod private_files;
mod prompt;
mod serve;
mod sign_in;
mod singleton;
mod stdio;
mod telemetry;
mod terminal;
#[cfg(feature = "test-util")]
pub mod test_util;
mod working;

use std::process::ExitCode;

use crate::cli::Cli;
use crate::failure::Failure;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    // First of all: nothing of this process may end in a core file.
    if let Err(error) = entrabot_keystore::harden_process() {
        let failure = Failure::io("switch core dumps off", &error);
        terminal::failure(&failure, wants_json);
        return ExitCode::from(failure.exit_code());
    }
    let cli = match Cli::parsed() {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wants_json),
    };
    let json = cli.json;
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            terminal::failure(&failure, json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What was probably meant, where clap can tell.
fn remedy(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue};
    let meant = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| match error.get(kind)? {
            ContextValue::String(word) => Some(word.clone()),
            // The likeliest comes last.
            ContextValue::Strings(words) => words.last().cloned(),
            _ => None,
        });
    match meant {
        Some(word) => format!("is {word} meant? entrabot --help lists what there is"),
        None => "entrabot --help lists what there is".to_owned(),
    }
}

/// Help and version are answers; anything else is wrong usage.
fn usage(error: &clap::Error, wants_json: bool) -> ExitCode {
    // Lost when there is nobody to tell.
    drop(error.print());
    if error.use_stderr() {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::usage(first, &remedy(error));
        if wants_json {
            drop(terminal::json(&failure.to_json()));
        }
        return ExitCode::from(failure.exit_code());
    }
    ExitCode::SUCCESS
}
