//! `cargo xtask demo`: README command 1. Set-up and the main job, embedded: a private keyring, a stand-in cloud, a
//! new agent, a real MCP client that writes a real document, and the audit that says so.

mod account;

mod journey;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use serde_json::json;

use crate::build::{root, run_cargo, target_dir};
use crate::cloud::Cloud;
use crate::{Failure, setup};
use account::Account;
use journey::Agent;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave everything running and print the MCP client configuration to paste
    #[arg(long)]
    hold: bool,
    /// One JSON value at the end instead of the account
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    setup::ensure_keyring()?;
    eprintln!("building (the first time takes minutes) ...");
    run_cargo(["build", "--quiet", "--package", "entrabot-server", "--bin", "entrabot"])?;
    run_cargo([
        "build",
        "--quiet",
        "--package",
        "entrabot-tests",
        "--bin",
        "stand-in",
        "--bin",
        "mcp-client",
    ])?;

    let started = Instant::now();
    let home = fresh_home()?;
    let mut account = Account::new(options.json);
    let keyring = PrivateKeyring::start(Mode::Encrypted)?;
    account.step("keyring", "gnome-keyring on a private session bus, encrypted at rest");
    let cloud = Cloud::start(&home.join("cloud"))?;
    account.step("cloud", "stand-in for Entra, Graph and Work IQ over HTTPS, with its own CA");

    let agent = Agent::provision(&home, &keyring, &cloud, &mut account)?;
    let work = agent.write_document(&root().join("demo/coastal-report.html"), &mut account)?;
    let document = cloud.newest_document()?;
    let audit = agent.verify_audit(&mut account)?;
    agent.show_tampering_is_seen(&mut account)?;

    account.finish(&agent, &work, &document, &audit, started.elapsed());
    if options.json {
        let value = json!({
            "document": document,
            "audit_dir": agent.audit_dir(),
            "events": audit.events,
            "verify": audit.report,
            "agent": work.who,
            "seconds": started.elapsed().as_secs_f64(),
        });
        println!("{value}");
    }
    if options.hold {
        hold(&agent)?;
    }
    Ok(())
}

/// A new directory for this run; the last five runs are kept, so that a person can look at them.
fn fresh_home() -> Result<PathBuf, Failure> {
    let runs = target_dir().join("demo");
    fs::create_dir_all(&runs)?;
    let mut old: Vec<_> = fs::read_dir(&runs)?.flatten().map(|entry| entry.path()).collect();
    old.sort_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok());
    for path in old.iter().rev().skip(4) {
        fs::remove_dir_all(path)?;
    }
    let number = old.iter().filter_map(|path| run_number(path)).max().unwrap_or(0) + 1;
    let home = (number..number + 100)
        .map(|number| runs.join(format!("run-{number}")))
        .find(|home| fs::create_dir(home).is_ok())
        .ok_or_else(|| format!("cannot make a directory in {}", runs.display()))?;
    Ok(home.canonicalize()?)
}

fn run_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("run-")?.parse().ok()
}

/// Keeps keyring and cloud alive until the person is done.
fn hold(agent: &Agent<'_>) -> Result<(), Failure> {
    println!("\nPaste this into your MCP client's configuration while this command runs:\n");
    println!("{}", serde_json::to_string_pretty(&agent.client_configuration())?);
    println!("\nPress Enter (or close stdin) to stop the keyring and the cloud.");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
