//! The official MCP conformance suite against a fixture behind our stack, against the product, and against our client.
//!
//! `cargo xtask conformance` runs it; so does `cargo xtask test --long`.

mod journey;

use std::io;
use std::path::Path;
use std::process::Command;

use entrabot_tests::built;
use entrabot_tests::conformance::{Expected, Finding, Suite};
use entrabot_tests::listening::Listening;
use entrabot_tests::peers::Node;
use entrabot_tests::stand_in::Options;
use journey::Home;

/// The sets of server scenarios: the run's name, the suite that has it, how it is chosen, and whether it is of the
/// revisions with sessions.
const SERVER_SETS: &[(&str, Suite, &[&str], bool)] = &[
    ("2025-11-25", Suite::Of2025, &["--suite", "all"], true),
    ("2025-11-25 by the newer suite", Suite::Of2026, &["--requirements", "2025-11-25"], true),
    ("2026-07-28", Suite::Of2026, &["--requirements", "2026-07-28"], false),
];

fn node() -> io::Result<Node> {
    Node::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

#[expect(clippy::print_stdout, reason = "the figures are what `cargo xtask conformance` shows")]
#[track_caller]
fn hold(run: &str, findings: &[Finding]) -> io::Result<()> {
    match Expected::of(run)?.judge(findings) {
        Ok(figures) => println!("{run}: {figures}"),
        Err(wrong) => panic!("{run}: {wrong}"),
    }
    Ok(())
}

#[test]
#[ignore = "long: the whole suite, and its installation"]
fn all_of_both_server_sets_pass_behind_our_stack() -> io::Result<()> {
    let node = node()?;
    for (set, suite, chosen, sessions) in SERVER_SETS {
        let mut command = Command::new(built::example("entrabot-tests", "conformance_server"));
        command.args(sessions.then_some("--sessions"));
        let server = Listening::start(command)?;
        hold(&format!("fixture, {set}"), &suite.server(&node, server.url(), chosen)?)?;
    }
    Ok(())
}

#[test]
#[ignore = "long: the whole suite, and its installation"]
fn entrabot_passes_whatever_needs_no_fixture() -> io::Result<()> {
    let node = node()?;
    let home = Home::ready(Options::default())?;
    let server = home.serve_http(&["--no-bearer"])?;
    for (set, suite, chosen, _) in SERVER_SETS {
        hold(&format!("entrabot, {set}"), &suite.server(&node, server.url(), chosen)?)?;
    }
    Ok(())
}

/// Our client behind TLS and with a real token, as [the gateway](../examples/conformance_gateway.rs) says.
fn client(run: &str, suite: Suite, chosen: &[&str]) -> io::Result<()> {
    let gateway = built::example("entrabot-tests", "conformance_gateway");
    let client = built::example("entrabot-a365", "conformance_client");
    let command = format!("{} {}", gateway.display(), client.display());
    hold(run, &suite.client(&node()?, &command, chosen)?)
}

#[test]
#[ignore = "long: a stand-in cloud for each scenario"]
fn the_client_passes_what_applies_to_it_of_2025_11_25() -> io::Result<()> {
    client("client, 2025-11-25", Suite::Of2025, &["--suite", "core"])
}

#[test]
#[ignore = "long: a stand-in cloud for each scenario"]
fn the_client_passes_what_applies_to_it_of_2026_07_28() -> io::Result<()> {
    client("client, 2026-07-28", Suite::Of2026, &["--requirements", "2026-07-28"])
}
