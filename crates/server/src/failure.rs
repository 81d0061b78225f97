//! Any error of any layer, as the command line and the MCP server tell it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use entrabot_keystore::{Diagnose, ErrorClass};
use serde_json::{Value, json};

/// Longest message or hint that is told.
const MAX_TEXT: usize = 2000;

/// What failed, its stable name, what to do, and the family that decides the exit code.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    message: String,
    error_type: &'static str,
    hint: Option<String>,
    class: ErrorClass,
}

impl<E: Diagnose> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

impl Failure {
    /// From an error, with the texts of its sources.
    pub(crate) fn of(error: &dyn Diagnose) -> Self {
        Self {
            message: cleaned(&with_sources(error)),
            error_type: error.error_type(),
            hint: error.hint().map(|hint| cleaned(&hint)),
            class: error.class(),
        }
    }

    /// Wrong usage of a command.
    pub(crate) fn usage(message: impl Into<String>, hint: &str) -> Self {
        Self::new("UsageError", message, Some(hint), ErrorClass::Configuration)
    }

    /// A file or stream of the command itself.
    pub(crate) fn io(what: &str, error: &std::io::Error) -> Self {
        Self::new("IoError", format!("cannot {what}: {error}"), None, ErrorClass::Configuration)
    }

    /// One of the server's own.
    pub(crate) fn new(
        error_type: &'static str,
        message: impl Into<String>,
        hint: Option<&str>,
        class: ErrorClass,
    ) -> Self {
        Self { message: cleaned(&message.into()), error_type, hint: hint.map(cleaned), class }
    }

    /// A part of this program broke. The details are in the log.
    pub(crate) fn internal(what: &'static str) -> Self {
        Self::new(
            "InternalError",
            format!("{what} stopped unexpectedly"),
            Some("the log says where; please report it"),
            ErrorClass::Failed,
        )
    }

    /// Something took longer than it may.
    pub(crate) fn timed_out(what: &str) -> Self {
        Self::new(
            "TimeoutError",
            format!("{what} took too long"),
            Some("try again later"),
            ErrorClass::Unavailable,
        )
    }

    /// The same with another exit code.
    pub(crate) fn with_class(mut self, class: ErrorClass) -> Self {
        self.class = class;
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn error_type(&self) -> &'static str {
        self.error_type
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code of a command that ends with it.
    pub(crate) fn exit_code(&self) -> u8 {
        self.class as u8
    }

    /// `{"error", "error_type", "hint"}`: what scripts and MCP clients see.
    pub(crate) fn to_json(&self) -> Value {
        json!({"error": self.message, "error_type": self.error_type, "hint": self.hint})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

/// The error's line, and those of its sources that say something more.
fn with_sources(error: &dyn Diagnose) -> String {
    let mut text = error.to_string();
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        let line = cause.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        source = cause.source();
    }
    text
}

/// One bounded line, without anything that could steer a terminal.
pub(crate) fn cleaned(text: &str) -> String {
    let mut line = visible(text);
    if line.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
        line.truncate(end);
        line.push('…');
    }
    line
}

/// On one line, with everything spelt out that could steer a terminal or hide or reorder text.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => Cow::Borrowed(" "),
            c if c.is_control() || is_invisible(c) => Cow::Owned(c.escape_unicode().to_string()),
            c => Cow::Owned(c.to_string()),
        })
        .collect()
}

/// Marks that reorder or hide the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer part failed")]
    struct Outer(#[source] std::io::Error);

    impl Diagnose for Outer {
        fn error_type(&self) -> &'static str {
            "OuterError"
        }
        fn hint(&self) -> Option<Cow<'static, str>> {
            Some("do\nthis".into())
        }
        fn class(&self) -> ErrorClass {
            ErrorClass::NotFound
        }
    }

    #[test]
    fn the_sources_are_told_and_the_class_is_the_exit_code() {
        let failure = Failure::from(Outer(std::io::Error::other("the disk\u{1b}[2J said no")));
        assert_eq!(failure.message(), "the outer part failed: the disk\\u{1b}[2J said no");
        assert_eq!(failure.exit_code(), 4);
        assert_eq!(failure.to_json()["hint"], "do this");
    }

    #[test]
    fn a_text_is_bounded() {
        assert!(Failure::usage("é".repeat(5000), "").message().len() < 2010);
    }
}
