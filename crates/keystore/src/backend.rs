use std::fmt;

/// The stable id of a keyring backend, as it stands in `ENTRABOT_KEYRING_BACKEND` and in the allowlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendId {
    /// `secret-service:gnome-keyring`
    GnomeKeyring,
    /// `secret-service:keepassxc`
    KeePassXc,
    /// `secret-service:kwallet`: kwalletd5, kwalletd6 or ksecretd
    KWallet,
    /// `secret-service:oo7`
    Oo7,
    /// `secret-service:unverified`: a provider that the system does not let us inspect.
    Unverified,
    /// `macos-keychain`
    MacosKeychain,
    /// `windows-credential-manager`
    WindowsCredentialManager,
}

impl BackendId {
    /// Every id there is.
    pub const ALL: [Self; 7] = [
        Self::GnomeKeyring,
        Self::KeePassXc,
        Self::KWallet,
        Self::Oo7,
        Self::Unverified,
        Self::MacosKeychain,
        Self::WindowsCredentialManager,
    ];

    /// The id as settings spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GnomeKeyring => "secret-service:gnome-keyring",
            Self::KeePassXc => "secret-service:keepassxc",
            Self::KWallet => "secret-service:kwallet",
            Self::Oo7 => "secret-service:oo7",
            Self::Unverified => "secret-service:unverified",
            Self::MacosKeychain => "macos-keychain",
            Self::WindowsCredentialManager => "windows-credential-manager",
        }
    }

    /// What a setting names: one of our ids, or the class path that Python's `keyring` knows the backend by.
    ///
    /// `keyring.backends.SecretService.Keyring` stands for any Secret Service that can be verified, so the answer is
    /// a list. `None`: no such backend.
    pub(crate) fn named(text: &str) -> Option<&'static [Self]> {
        Some(match text {
            "secret-service:gnome-keyring" => &[Self::GnomeKeyring],
            "secret-service:keepassxc" => &[Self::KeePassXc],
            "secret-service:kwallet" | "keyring.backends.kwallet.DBusKeyring" => &[Self::KWallet],
            "secret-service:oo7" => &[Self::Oo7],
            "secret-service:unverified" => &[Self::Unverified],
            "macos-keychain" | "keyring.backends.macOS.Keyring" => &[Self::MacosKeychain],
            "windows-credential-manager" | "keyring.backends.Windows.WinVaultKeyring" => {
                &[Self::WindowsCredentialManager]
            }
            "keyring.backends.SecretService.Keyring" | "keyring.backends.libsecret.Keyring" => {
                &[Self::GnomeKeyring, Self::KeePassXc, Self::KWallet, Self::Oo7]
            }
            _ => return None,
        })
    }

    /// The backends whose safety this system lets us verify.
    pub(crate) const fn of_this_system() -> &'static [Self] {
        if cfg!(target_os = "linux") {
            &[Self::GnomeKeyring, Self::KeePassXc, Self::KWallet, Self::Oo7]
        } else if cfg!(target_os = "macos") {
            &[Self::MacosKeychain]
        } else if cfg!(windows) {
            &[Self::WindowsCredentialManager]
        } else {
            &[]
        }
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_names_itself_alone() {
        for id in BackendId::ALL {
            assert_eq!(BackendId::named(id.as_str()), Some(&[id][..]));
        }
    }

    #[test]
    fn no_insecure_backend_has_a_name() {
        for name in [
            "keyring.backends.null.Keyring",
            "keyring.backends.fail.Keyring",
            "keyring.backends.chainer.ChainerBackend",
            "keyrings.alt.file.PlaintextKeyring",
            "keyrings.alt.file.EncryptedKeyring",
            "mock",
            "sample",
            "null",
            "keyutils",
            "linux-keyutils",
            "secret-service",
            "secret-service:",
            "Secret-Service:gnome-keyring",
            "*",
            "",
        ] {
            assert_eq!(BackendId::named(name), None, "{name}");
        }
    }
}
