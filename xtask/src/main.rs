//! Builds, tests, demonstrates and measures entrabot. `cargo xtask --help` lists the commands.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks on its terminal")]

mod bench;
mod build;
mod cloud;
mod conformance;
mod demo;
mod dist;
mod fuzz;
mod lint;
mod setup;
mod stand_in;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Why a command of xtask did not finish: one line for the developer.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests, demonstrates and measures entrabot")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Provision an agent against a stand-in cloud, let it write a Word document, verify the audit
    Demo(demo::Options),
    /// Run every test, including those that need a keyring
    Test(test::Options),
    /// Check formatting, lints, documentation and licences
    Lint,
    /// Run the stand-in for Entra, Graph and Work IQ until stdin closes
    StandIn(stand_in::Options),
    /// Measure a crate beside its peers
    Bench(bench::Options),
    /// Run the fuzz targets (needs cargo-fuzz: cargo install cargo-fuzz --locked)
    Fuzz(fuzz::Options),
    /// Run the official MCP conformance suite (from npm) on the server and the client
    Conformance,
    /// Check that each crate depends only on those below it
    Layers,
    /// Build the stripped release binary with its checksums and bill of materials (needs cargo-cyclonedx)
    Dist(dist::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Lint => lint::run(),
        Command::StandIn(options) => stand_in::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Conformance => conformance::run(),
        Command::Layers => test::layers(),
        Command::Dist(options) => dist::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
