//! `cargo xtask fuzz`: each fuzz target for a bounded time, from its committed seeds.
//!
//! cargo-fuzz asks the compiler for instrumentation that only a nightly one gives. The pinned compiler gives it too where
//! `RUSTC_BOOTSTRAP=1` says so, for this one child process: no second toolchain is needed, and what is fuzzed is what
//! is shipped.

use std::process::Command;

use crate::Failure;
use crate::build::{self, cargo, has_subcommand, root};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Only this target
    target: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if !has_subcommand("fuzz") {
        return Err("cargo-fuzz is not installed: cargo install cargo-fuzz --locked".into());
    }
    let listed = cargo_fuzz().arg("list").output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let wanted = |name: &&str| options.target.as_deref().is_none_or(|only| only == *name);
    let mut ran = 0;
    for target in listed.lines().filter(wanted) {
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(root().join(&corpus))?;
        let seeds = format!("fuzz/seeds/{target}");
        build::run(
            cargo_fuzz()
                .args(["run", target, &corpus])
                .args(root().join(&seeds).is_dir().then_some(seeds))
                .args(["--", &format!("-max_total_time={}", options.seconds)]),
        )?;
        ran += 1;
    }
    if ran == 0 {
        return Err(format!("no such target; there are: {}", listed.replace('\n', " ")).into());
    }
    Ok(())
}

fn cargo_fuzz() -> Command {
    let mut command = cargo();
    command.arg("fuzz").env("RUSTC_BOOTSTRAP", "1");
    command
}
