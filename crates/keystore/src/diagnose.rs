use std::borrow::Cow;

/// What every error of entrabot tells the operator beside its message.
///
/// All crates above this one implement it for their own errors, so that the command line and the MCP server render
/// any failure in one way: `error: {message}`, `hint: {hint}`, the stable type name and the exit code.
pub trait Diagnose: std::error::Error {
    /// The stable name that scripts, MCP clients and the audit know this error by, e.g. `TokenExchangeError`.
    fn error_type(&self) -> &'static str;

    /// What to do next. `None` only where there is nothing a person could do.
    fn hint(&self) -> Option<Cow<'static, str>>;

    /// The family of the error, which decides the exit code of a command.
    fn class(&self) -> ErrorClass;
}

/// The families of errors. The numbers are the exit codes of the `entrabot` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorClass {
    /// The answer is no: a check failed, a log was tampered with, a call failed.
    Failed = 1,
    /// Usage, configuration or I/O.
    Configuration = 2,
    /// The keyring backend is not one that secrets may be put in.
    InsecureKeyring = 3,
    /// What was asked for is not there.
    NotFound = 4,
    /// Locked, or timed out.
    Unavailable = 5,
    /// Not signed in, or a token was refused.
    NotSignedIn = 6,
    /// The audit log cannot take a record, so nothing may happen.
    AuditUnavailable = 7,
}
