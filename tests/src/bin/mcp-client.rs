//! `mcp-client [--script FILE] [--tools] -- COMMAND ARGS...`: starts an MCP server over stdio and plays
//! a script against it; each answer is one JSON line on stdout.
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::process::{Command, ExitCode};

use entrabot_tests::mcp::{Client, Step, play};
use serde_json::json;

const USAGE: &str = "usage: mcp-client [--script FILE] [--tools] -- COMMAND [ARGS...]\n\
    Starts COMMAND as an MCP server over stdio and plays a script (default: stdin).\n\
    The script is a JSON array of steps: {\"tool\", \"arguments\", \"save\", \"expect_error\"};\n\
    \"${saved.member}\" in an argument stands for a member of an earlier result.\n\
    --tools  first print the server's own description and its tools\n";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unwritable = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let (mut script, mut tools) = ("-".to_owned(), false);
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other(USAGE);
    loop {
        match arguments.next().as_deref() {
            Some("--script") => script = arguments.next().ok_or_else(usage)?,
            Some("--tools") => tools = true,
            Some("--") => break,
            Some("-h" | "--help") => return io::stdout().write_all(USAGE.as_bytes()),
            _ => return Err(usage()),
        }
    }
    let mut command = Command::new(arguments.next().ok_or_else(usage)?);
    command.args(arguments);

    let text = match script.as_str() {
        "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            text
        }
        path => std::fs::read_to_string(path)?,
    };
    let steps: Vec<Step> = serde_json::from_str(&text).map_err(io::Error::other)?;

    let client = Client::start(command)?;
    let mut stdout = io::stdout().lock();
    if tools {
        writeln!(stdout, "{}", json!({"server": client.server(), "tools": client.tools()?}))?;
    }
    play(&client, &steps, |answer| {
        let line = serde_json::to_string(answer).map_err(io::Error::other)?;
        writeln!(stdout, "{line}")?;
        stdout.flush()
    })?;
    let status = client.stop()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the server ended with {status}"))) }
}
