//! `cargo xtask lint`.

use crate::Failure;
use crate::build::{self, cargo, has_subcommand, run_cargo};

pub(crate) fn run() -> Result<(), Failure> {
    run_cargo(["fmt", "--all", "--check"])?;
    run_cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ])?;
    let documentation = ["doc", "--workspace", "--no-deps", "--all-features", "--quiet"];
    build::run(cargo().args(documentation).env("RUSTDOCFLAGS", "--deny warnings"))?;
    if has_subcommand("deny") {
        run_cargo(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])?;
    } else {
        eprintln!("note: cargo-deny is not installed; licences and bans were not checked");
    }
    Ok(())
}
