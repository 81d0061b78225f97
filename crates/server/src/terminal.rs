//! The one module that prints. `serve` prints nothing: its stdout belongs to JSON-RPC.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

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

/// A status line stands on the terminal, and has to go before anything else is written there.
static STATUS: Mutex<bool> = Mutex::new(false);

/// A line for the person at the terminal, on stderr. Lost when there is nobody.
pub(crate) fn note(text: &str) {
    clear_status();
    // Nobody to tell that nobody can be told.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// The one line that tells how far something is, in place of what it told before. For a terminal alone.
pub(crate) fn status(text: &str) {
    let mut stands = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    drop(write!(io::stderr().lock(), "\r\u{1b}[2K{text}"));
    *stands = true;
}

/// Takes the status line away, if there is one.
pub(crate) fn clear_status() {
    let mut stands = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::take(&mut *stands) {
        drop(write!(io::stderr().lock(), "\r\u{1b}[2K"));
    }
}

/// Whether stderr is a terminal that shows more than lines, and may.
pub(crate) fn decorates_stderr() -> bool {
    io::stderr().is_terminal() && wants_decoration()
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

/// What a piece of text means, for those who see colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// Whether a stream gets colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Colours on a terminal that has some, unless `NO_COLOR` says not to (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        if is_stdout_a_terminal() && wants_decoration() { Self::Coloured } else { Self::Plain }
    }

    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Cyan => 36,
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// Neither `NO_COLOR` nor a terminal that can do nothing.
fn wants_decoration() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// How many columns stdout has, where it is a terminal.
pub(crate) fn width() -> Option<usize> {
    #[cfg(unix)]
    {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }
    #[cfg(not(unix))]
    None
}

/// The text in lines that fit into `width` columns, all but the first indented.
pub(crate) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    // In less room than that, nothing is won.
    let Some(room) = width.map(|width| width.saturating_sub(indent)).filter(|room| *room >= 24) else {
        return text.to_owned();
    };
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room {
            lines.push_str(&format!("\n{:indent$}", ""));
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
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
