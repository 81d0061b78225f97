//! What an HTTP client must show: a random secret of this installation, in the keyring or in a mounted file.

use std::fmt::Write as _;
use std::path::Path;

use entrabot_identity::Config;
use entrabot_keystore::{EntryName, KeystoreError, SecretBytes};
use subtle::ConstantTimeEq;

use super::BEARER_CLASS;
use crate::failure::Failure;
use crate::mounted_secret;

/// Bytes of randomness.
const RANDOM_BYTES: usize = 32;
/// Shortest and longest secret that a file may hold.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=1024;

/// The secret.
pub(crate) struct Bearer(SecretBytes);

impl Bearer {
    /// From `ENTRABOT_HTTP_BEARER_FILE`, else from the keyring, where it is made at first use. Blocks.
    ///
    /// # Errors
    /// The file holds no usable secret; the keyring refuses.
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        match config.http_bearer_file() {
            Some(path) => Self::from_file(path),
            None => Self::from_keyring(config),
        }
    }

    fn from_keyring(config: &Config) -> Result<Self, Failure> {
        let (keystore, entry) = (config.keystore_policy().open()?, EntryName::http_bearer());
        match keystore.get(&entry) {
            Ok(secret) => Self::checked(secret),
            // Only "no such entry" after a passed guard means that there is none.
            Err(KeystoreError::NoEntry) => {
                keystore.put(&entry, &random()?)?;
                // What another process may have put there at the same time counts.
                Self::checked(keystore.get(&entry)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn from_file(path: &Path) -> Result<Self, Failure> {
        // With a line's end.
        let secret = mounted_secret::read("ENTRABOT_HTTP_BEARER_FILE", path, *LENGTHS.end() + 2)?;
        Self::checked(SecretBytes::new(secret.expose().trim_ascii_end().to_vec()))
    }

    fn checked(secret: SecretBytes) -> Result<Self, Failure> {
        let text = secret.expose();
        if !LENGTHS.contains(&text.len()) || !text.iter().all(u8::is_ascii_graphic) {
            return Err(Failure::new(
                "ConfigError",
                "the HTTP bearer is not 32 to 1024 printable characters",
                Some(
                    "put a random text there, or delete the entry entrabot/http-bearer and let a new one be made",
                ),
                BEARER_CLASS,
            ));
        }
        Ok(Self(secret))
    }

    /// The text, for the one command that shows it.
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Whether an `Authorization` header shows it; takes the same time however much of it is right.
    pub(super) fn is_shown_by(&self, header: &[u8]) -> bool {
        let Some((scheme, token)) = header.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && token.ct_eq(self.0.expose()).into()
    }
}

fn random() -> Result<SecretBytes, Failure> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| Failure::internal("the system's random numbers"))?;
    let mut text = String::with_capacity(2 * RANDOM_BYTES);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes any text");
    }
    Ok(SecretBytes::new(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_right() {
        let bearer = Bearer::checked(SecretBytes::new(vec![b'a'; 64])).unwrap_or_else(|_| panic!("a bearer"));
        let header = |length: usize| [b"Bearer ".as_slice(), &vec![b'a'; length]].concat();
        assert!(bearer.is_shown_by(&header(64)));
        assert!(bearer.is_shown_by(&[b"bearer ".as_slice(), &[b'a'; 64]].concat()));
        for wrong in
            [header(63), header(65), header(0), b"Bearer".to_vec(), b"Basic aaaa".to_vec(), Vec::new()]
        {
            assert!(!bearer.is_shown_by(&wrong));
        }
    }

    #[test]
    fn a_weak_or_broken_file_is_refused_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bearer");
        for text in ["PLANTED", "", &"PLANTED ".repeat(10), &"P".repeat(2000)] {
            std::fs::write(&path, text).unwrap();
            let failure = Bearer::from_file(&path).err().expect("refused");
            assert!(!failure.to_string().contains("PLANTED"), "{failure}");
        }
        std::fs::write(&path, format!("{}\n", "x".repeat(32))).unwrap();
        assert!(Bearer::from_file(&path).is_ok());
    }
}
