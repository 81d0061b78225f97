//! `cargo xtask test`: README command 2.

use crate::build::{has_subcommand, run_cargo};
use crate::{Failure, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also the soaks and kill loops, which take minutes each
    #[arg(long)]
    long: bool,
    /// Only tests whose name holds this
    filter: Option<String>,
}

/// Every test of the workspace. The tests that are too long for every run are `#[ignore]`d with that reason.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    setup::ensure_keyring()?;
    setup::ensure_peers(options.long)?;
    if options.long {
        setup::ensure_oo7()?;
        setup::ensure_kwallets()?;
    }
    let filter = options.filter.iter().map(String::as_str);
    if has_subcommand("nextest") {
        let long: &[&str] = if options.long { &["--run-ignored", "all"] } else { &[] };
        let base = ["nextest", "run", "--workspace", "--no-fail-fast"];
        run_cargo(base.into_iter().chain(long.iter().copied()).chain(filter.clone()))?;
    } else {
        let long: &[&str] = if options.long { &["--", "--include-ignored"] } else { &[] };
        let base = ["test", "--workspace", "--all-targets", "--no-fail-fast"];
        run_cargo(base.into_iter().chain(filter.clone()).chain(long.iter().copied()))?;
    }
    run_cargo(["test", "--workspace", "--doc", "--no-fail-fast"].into_iter().chain(filter))
}

/// `cargo xtask layers`.
pub(crate) fn layers() -> Result<(), Failure> {
    run_cargo(["test", "--quiet", "--package", "entrabot-tests", "--test", "layers"])
}
