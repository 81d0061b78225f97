//! A secret that whoever starts this process mounts for it: a file, or `/dev/fd/N`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use entrabot_keystore::{ErrorClass, SecretBytes};

use crate::failure::Failure;

/// All of it, at most `most` bytes. `named_by` is the setting or option that names the file. Blocks.
///
/// # Errors
/// The file cannot be opened or read, or holds more.
pub(crate) fn read(named_by: &str, path: &Path, most: usize) -> Result<SecretBytes, Failure> {
    let failed =
        |what: &str, error: &std::io::Error| Failure::io(&format!("{what} the file of {named_by}"), error);
    let file = File::open(path).map_err(|error| failed("open", &error))?;
    // All of it at once: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Vec::with_capacity(most + 1);
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    let secret = SecretBytes::new(bytes);
    read.map_err(|error| failed("read", &error))?;
    if secret.expose().len() > most {
        return Err(Failure::new(
            "ConfigError",
            format!("the file of {named_by}, {}, holds more than {most} bytes", path.display()),
            Some("name the file that holds the secret and nothing else"),
            ErrorClass::Configuration,
        ));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "planted!").unwrap();
        assert_eq!(read("--file", &path, 8).unwrap().expose(), b"planted!");
        let refused = read("--file", &path, 7).unwrap_err();
        assert_eq!(refused.error_type(), "ConfigError");
        let (said, hint) = (refused.message(), refused.hint().unwrap());
        assert!(said.contains("--file") && said.contains("secret, holds more than 7 bytes"), "{said}");
        assert!(!said.contains("planted") && !hint.contains("planted"));
    }
}
