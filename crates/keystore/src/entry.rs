use std::borrow::Cow;
use std::fmt;

use crate::{Diagnose, ErrorClass};

/// The longest service or user name, in bytes.
const LONGEST: usize = 255;

/// The name of a keyring entry: its service and its user name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName {
    service: String,
    username: String,
}

/// The name holds a control character, is empty or is too long.
#[derive(Debug, thiserror::Error)]
#[error("not a keyring entry name: {reason}")]
pub struct InvalidEntryName {
    reason: &'static str,
}

impl Diagnose for InvalidEntryName {
    fn error_type(&self) -> &'static str {
        "InvalidEntryName"
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed("give a service and a user name of 1 to 255 bytes without control characters"))
    }

    fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }
}

impl EntryName {
    /// # Errors
    /// When a part is empty, longer than 255 bytes or holds a control character.
    pub fn new(service: impl Into<String>, username: impl Into<String>) -> Result<Self, InvalidEntryName> {
        let (service, username) = (service.into(), username.into());
        check(&service)?;
        check(&username)?;
        Ok(Self { service, username })
    }

    /// `entrabot` / `blueprint-private-key`: the agent blueprint's private key, PKCS#8 PEM.
    #[must_use]
    pub fn blueprint_private_key() -> Self {
        Self { service: "entrabot".into(), username: "blueprint-private-key".into() }
    }

    /// `entrabot` / `audit-signing-key`.
    #[must_use]
    pub fn audit_signing_key() -> Self {
        Self { service: "entrabot".into(), username: "audit-signing-key".into() }
    }

    /// `entrabot` / `http-bearer`: what an HTTP client of the MCP server must show.
    #[must_use]
    pub fn http_bearer() -> Self {
        Self { service: "entrabot".into(), username: "http-bearer".into() }
    }

    /// `entrabot` / `otlp-headers`: what the operator's collector wants to see.
    #[must_use]
    pub fn otlp_headers() -> Self {
        Self { service: "entrabot".into(), username: "otlp-headers".into() }
    }

    /// `entrabot` / `delegated-sign-in`: a person's sign-in, so that the next start needs no prompt.
    #[must_use]
    pub fn delegated_sign_in() -> Self {
        Self { service: "entrabot".into(), username: "delegated-sign-in".into() }
    }

    /// `entrabot` / `active_client_id`: left by the Python original, only ever read.
    #[must_use]
    pub fn active_client_id() -> Self {
        Self { service: "entrabot".into(), username: "active_client_id".into() }
    }

    /// The service, e.g. `entrabot`.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The user name, e.g. `blueprint-private-key`.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.username)
    }
}

fn check(part: &str) -> Result<(), InvalidEntryName> {
    let reason = if part.is_empty() {
        "a part is empty"
    } else if part.len() > LONGEST {
        "a part is longer than 255 bytes"
    } else if part.chars().any(char::is_control) {
        "a part holds a control character"
    } else {
        return Ok(());
    };
    Err(InvalidEntryName { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_two_printable_parts() {
        assert_eq!(EntryName::new("entrabot", "Schlüssel").unwrap().to_string(), "entrabot/Schlüssel");
        for part in ["", "a\0b", "line\nbreak", &"x".repeat(256)] {
            assert!(EntryName::new(part, "user").is_err());
            assert!(EntryName::new("service", part).is_err());
        }
    }
}
