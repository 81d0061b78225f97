//! One module for each command. They print through `terminal` and end in a `Failure`, or in an exit code that says no.

pub(crate) mod access;
pub(crate) mod audit;
mod bench;
pub(crate) mod call;
pub(crate) mod client;
pub(crate) mod config;
mod diff;
pub(crate) mod doctor;
pub(crate) mod keystore;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod migrate;
pub(crate) mod next;
pub(crate) mod provision;
pub(crate) mod provisioner;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod sign_in;
pub(crate) mod token;
pub(crate) mod whoami;

use entrabot_identity::Config;
use serde_json::Value;

use crate::failure::{Failure, cleaned};
use crate::terminal;

/// The answer of a command is yes.
const YES: u8 = 0;
/// The answer of a command is no: a check failed, a log was tampered with.
const NO: u8 = 1;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::Cli::command(), "entrabot", &mut script);
    terminal::bytes(&script)?;
    Ok(YES)
}

/// The settings, with what is odd about them said on stderr.
fn config() -> Result<Config, Failure> {
    let config = Config::from_env()?;
    for warning in config.warnings() {
        terminal::note(&format!("warning: {}", cleaned(warning)));
    }
    Ok(config)
}

/// A runtime for a command that waits for the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the runtime", &error))
}

/// An object as JSON, or as one line for each member that says something.
fn print_members(value: &Value, json: bool) -> Result<(), Failure> {
    let Value::Object(members) = value else { return terminal::json(value) };
    if json {
        return terminal::json(value);
    }
    let fields: Vec<_> = members
        .iter()
        .filter(|(_, value)| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.as_str(), cleaned(&text))
        })
        .collect();
    terminal::fields(&fields)
}
