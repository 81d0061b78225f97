//! `entrabot`: an MCP server and a command line for an agent with its own Microsoft Entra identity.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    entrabot::main()
}
