//! The one module that prints. `serve` prints nothing: its stdout belongs to JSON-RPC.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::failure::Failure;

/// A line on stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Bytes on stdout as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::io("write to stdout", &error))
}

/// Stdout for much text; what is written is there once it is flushed.
pub(crate) fn stream() -> impl Write {
    io::BufWriter::new(io::stdout().lock())
}

/// One JSON value on a line of stdout.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// A line for the person at the terminal, on stderr. Lost when there is nobody.
pub(crate) fn note(text: &str) {
    // Nobody to tell that nobody can be told.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// How a command ends that failed.
pub(crate) fn failure(failure: &Failure, as_json: bool) {
    note(&format!("error: {failure}"));
    if let Some(hint) = failure.hint() {
        note(&format!("hint: {hint}"));
    }
    if as_json {
        // The exit code still tells it.
        drop(json(&failure.to_json()));
    }
}

/// Whether stdout is a terminal.
pub(crate) fn is_stdout_a_terminal() -> bool {
    io::stdout().is_terminal()
}

/// `name  value` lines, the values aligned.
pub(crate) fn fields(fields: &[(&str, String)]) -> Result<(), Failure> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in fields {
        line(format!("{name:width$}  {value}").trim_end())?;
    }
    Ok(())
}
