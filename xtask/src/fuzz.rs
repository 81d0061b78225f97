//! `cargo xtask fuzz`: each fuzz target for a bounded time, from its committed seeds.

use std::process::Command;

use crate::Failure;
use crate::build::{has_subcommand, root};

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
    let listed = nightly_fuzz().arg("list").output()?;
    if !listed.status.success() {
        return Err("no nightly toolchain: rustup toolchain install nightly".into());
    }
    let listed = String::from_utf8(listed.stdout)?;
    let wanted = |name: &&str| options.target.as_deref().is_none_or(|only| only == *name);
    let mut ran = 0;
    for target in listed.lines().filter(wanted) {
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(root().join(&corpus))?;
        let seeds = format!("fuzz/seeds/{target}");
        let status = nightly_fuzz()
            .args(["run", target, &corpus])
            .args(root().join(&seeds).is_dir().then_some(seeds))
            .args(["--", &format!("-max_total_time={}", options.seconds)])
            .status()?;
        if !status.success() {
            return Err(format!("fuzz target {target}: {status}").into());
        }
        ran += 1;
    }
    if ran == 0 {
        return Err(format!("no such target; there are: {}", listed.replace('\n', " ")).into());
    }
    Ok(())
}

/// Through rustup: the cargo that runs this program is of the pinned toolchain.
fn nightly_fuzz() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).current_dir(root());
    command
}
