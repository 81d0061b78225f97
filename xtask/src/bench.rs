//! `cargo xtask bench`: each crate's own benchmark, in the release profile, beside its peers in the same run.

mod serve;

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
    /// Appends and verification, beside the bare limit and the Python original's append
    Audit,
    /// Cold and warm agent tokens, beside PyPI's msal
    Identity,
    /// A call through the audited door, beside the same bytes on a bare TLS connection
    A365,
    /// Start, memory and call latency of the MCP server
    Serve,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    setup::ensure_keyring()?;
    let package = match options.subject {
        Subject::Keystore => "entrabot-keystore",
        Subject::Audit => "entrabot-audit",
        Subject::Identity => {
            let example = ["run", "--release", "--package", "entrabot-tests", "--example", "bench_identity"];
            return build::run(cargo().args(example));
        }
        Subject::A365 => {
            let example = ["run", "--release", "--package", "entrabot-tests", "--example", "bench_a365"];
            return build::run(cargo().args(example));
        }
        Subject::Serve => return serve::run(),
    };
    let keyring = PrivateKeyring::start(Mode::Encrypted)?;
    build::run(
        cargo().args(["run", "--release", "--package", package, "--example", "bench"]).envs(keyring.env()),
    )
}
