//! `cargo xtask conformance`: the official MCP suite on the server's stack, on the product and on the client.

use crate::build::run_cargo;
use crate::{Failure, setup};

/// The tests hold the suite's findings against `tests/conformance/expected.json` and print a line of figures for each
/// set; here is only what they start, built as it is now.
pub(crate) fn run() -> Result<(), Failure> {
    setup::ensure_keyring()?;
    setup::ensure_peers(false)?;
    run_cargo(["build", "--package", "entrabot-server"])?;
    run_cargo(["build", "--package", "entrabot-tests", "--package", "entrabot-a365", "--examples"])?;
    let test = ["test", "--package", "entrabot-tests", "--test", "conformance"];
    // One at a time: a scenario waits for its peer a few seconds only.
    run_cargo(test.into_iter().chain(["--", "--ignored", "--nocapture", "--test-threads=1"]))
}
