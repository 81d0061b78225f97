//! `cargo xtask bench`: each crate's own benchmark, in the release profile, beside its peers in the same run.

use std::process::Command;

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};

use crate::build::{self, cargo};
use crate::{Failure, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which benchmark
    #[arg(value_enum)]
    subject: Subject,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// Get, set, delete and guard, beside Python's keyring
    Keystore,
    /// Appends, verification and queries, beside the bare limit and the Python original's append
    Audit,
    /// Cold and warm agent tokens, beside PyPI's msal
    Identity,
    /// A call through the audited door, beside bare reqwest and rmcp's client
    A365,
    /// Start, memory, calls and connections of the MCP server, beside a bare rmcp server and PyPI's mcp
    Server,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    setup::ensure_keyring()?;
    setup::ensure_peers(false)?;
    match options.subject {
        Subject::Keystore => run_on_a_keyring(example("entrabot-keystore", "bench_keystore")),
        Subject::Audit => {
            build_the_binary()?;
            let mut command = example("entrabot-audit", "bench_audit");
            command.args(["--features", "async"]);
            run_on_a_keyring(command)
        }
        Subject::Identity => build::run(&mut example("entrabot-tests", "bench_identity")),
        Subject::A365 => build::run(&mut example("entrabot-tests", "bench_a365")),
        Subject::Server => {
            build_the_binary()?;
            build::run_cargo([
                "build",
                "--release",
                "--package",
                "entrabot-tests",
                "--example",
                "bare_rmcp",
            ])?;
            build::run(&mut example("entrabot-tests", "bench_server"))
        }
    }
}

fn build_the_binary() -> Result<(), Failure> {
    build::run_cargo(["build", "--release", "--package", "entrabot-server", "--bin", "entrabot"])
}

fn example(package: &str, name: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--package", package, "--example", name]);
    command
}

fn run_on_a_keyring(mut command: Command) -> Result<(), Failure> {
    let keyring = PrivateKeyring::start(Mode::Encrypted)?;
    build::run(command.envs(keyring.env()))
}
