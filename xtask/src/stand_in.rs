//! `cargo xtask stand-in`: the cloud's stand-in for a developer's own experiments.

use crate::Failure;
use crate::build::{self, binary, run_cargo};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON line with the addresses, ids and files first
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    run_cargo(["build", "--quiet", "--package", "entrabot-tests", "--bin", "stand-in"])?;
    let mut command = std::process::Command::new(binary("stand-in"));
    if options.json {
        command.arg("--json");
    }
    build::run(&mut command)
}
