use std::fmt;

/// The stable id of a keyring backend, as it stands in `ENTRABOT_KEYRING_BACKEND` and in the allowlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendId {
    /// `secret-service:gnome-keyring`
    GnomeKeyring,
    /// `secret-service:keepassxc`
    KeePassXc,
    /// `secret-service:kwallet`
    KWallet,
    /// `secret-service:oo7`
    Oo7,
    /// `secret-service:unverified`
    Unverified,
    /// `macos-keychain`
    MacosKeychain,
    /// `windows-credential-manager`
    WindowsCredentialManager,
}

impl fmt::Display for BackendId {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!("keystore")
    }
}

/// The backends that secrets may be put in: the defaults of this system and what the operator added.
#[derive(Clone, Debug)]
pub struct Allowlist {
    _ids: Vec<BackendId>,
}
