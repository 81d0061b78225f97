//! `cargo xtask fuzz`: each fuzz target for a bounded time.

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
        return Err(
            "cargo-fuzz is not installed: cargo install cargo-fuzz (it needs a nightly toolchain)".into()
        );
    }
    let listed = cargo().args(["+nightly", "fuzz", "list"]).current_dir(root()).output()?;
    if !listed.status.success() {
        return Err("no nightly toolchain: rustup toolchain install nightly".into());
    }
    let listed = String::from_utf8(listed.stdout)?;
    for target in listed.lines().filter(|name| options.target.as_deref().is_none_or(|only| only == *name)) {
        let limit = format!("-max_total_time={}", options.seconds);
        build::run(cargo().args(["+nightly", "fuzz", "run", target, "--", &limit]))?;
    }
    Ok(())
}
