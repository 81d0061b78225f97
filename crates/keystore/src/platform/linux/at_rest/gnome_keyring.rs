use std::fs;
use std::path::{Path, PathBuf};

use super::read_head;
use crate::AtRest;

/// How an encrypted keyring file of gnome-keyring begins: the magic, then version 0.0, AES-128 and MD5. The daemon
/// itself loads no file that begins otherwise as an encrypted one.
const ENCRYPTED: &[u8; 20] = b"GnomeKeyring\n\r\0\n\0\0\0\0";
const CLEARTEXT: &[u8] = b"[keyring]";

/// A collection of gnome-keyring: one file in a directory of them.
#[derive(Debug)]
pub(in crate::platform::linux) struct Keyring {
    directory: PathBuf,
    collection: String,
}

impl Keyring {
    pub(super) fn new(directory: &Path, collection: &str) -> Self {
        Self { directory: directory.to_owned(), collection: collection.to_owned() }
    }

    /// Reads the beginning of the collection's file: microseconds. Where its file cannot be told surely, every keyring
    /// file of the directory must be encrypted.
    pub(super) fn state(&self) -> AtRest {
        let own = file_name(&self.collection).map(|name| self.directory.join(name));
        if let Some(file) = own.filter(|file| file.exists()) {
            return state_of(&file);
        }
        let mut all = AtRest::Unknown;
        let Ok(entries) = fs::read_dir(&self.directory) else { return all };
        for entry in entries {
            let Ok(path) = entry.map(|entry| entry.path()) else { return AtRest::Unknown };
            if path.extension().is_none_or(|extension| extension != "keyring") {
                continue;
            }
            match state_of(&path) {
                AtRest::Encrypted => all = AtRest::Encrypted,
                worse => return worse,
            }
        }
        all
    }
}

/// What the beginning of an encrypted keyring file says of the collection, in clear, and the daemon says as well.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::platform::linux) struct Description {
    label: String,
    /// When it was made and last changed, in seconds since 1970, the earlier first: gnome-keyring (42.1) writes the two in
    /// one order, reads them in the other, and so exchanges them whenever it saves the file.
    times: [u64; 2],
}

impl Description {
    pub(in crate::platform::linux) fn new(label: String, one_time: u64, other_time: u64) -> Self {
        Self { label, times: [one_time.min(other_time), one_time.max(other_time)] }
    }
}

/// Which of these directories holds the collection that the provider describes so, where the provider's own data home
/// cannot be learnt. One where the collection's file is in clear text comes first: it shall be refused.
pub(in crate::platform::linux) fn directory_of(
    directories: &[PathBuf],
    collection: &str,
    described: &Description,
) -> Option<PathBuf> {
    let name = file_name(collection)?;
    let in_clear = |directory: &&PathBuf| state_of(&directory.join(&name)) == AtRest::Cleartext;
    let agrees = |directory: &&PathBuf| description(&directory.join(&name)).as_ref() == Some(described);
    directories.iter().find(in_clear).or_else(|| directories.iter().find(agrees)).cloned()
}

fn description(file: &Path) -> Option<Description> {
    let head = read_head(file, 512)?;
    let rest = head.strip_prefix(ENCRYPTED)?;
    let (label_length, rest) = rest.split_first_chunk()?;
    let (label, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*label_length)).ok()?)?;
    let (one_time, rest) = rest.split_first_chunk()?;
    let other_time = rest.first_chunk()?;
    let label = String::from_utf8(label.to_vec()).ok()?;
    Some(Description::new(label, u64::from_be_bytes(*one_time), u64::from_be_bytes(*other_time)))
}

/// The file of a collection: gnome-keyring escapes all but letters and digits of its name as `_` and two hex digits.
fn file_name(collection: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(collection.len() + 8);
    let mut bytes = collection.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'_' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    let name = String::from_utf8(plain).ok()?;
    let plain_name =
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-'));
    plain_name.then(|| format!("{name}.keyring"))
}

fn state_of(file: &Path) -> AtRest {
    match read_head(file, ENCRYPTED.len()) {
        Some(head) if head == ENCRYPTED => AtRest::Encrypted,
        Some(head) if head.starts_with(CLEARTEXT) => AtRest::Cleartext,
        _ => AtRest::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        directory
    }

    fn inspect(directory: &Path, collection: &str) -> AtRest {
        Keyring::new(directory, collection).state()
    }

    fn encrypted() -> Vec<u8> {
        [&ENCRYPTED[..], b"rest"].concat()
    }

    #[test]
    fn the_beginning_of_the_file_decides() {
        for (content, state) in [
            (encrypted().as_slice(), AtRest::Encrypted),
            (b"[keyring]\ndisplay-name=x", AtRest::Cleartext),
            (b"", AtRest::Unknown),
            (b"GnomeKeyring\n\r\0\n", AtRest::Unknown),
            (b"GnomeKeyring\n\r\0\n\x01\0\0\0", AtRest::Unknown),
            (b"; comment\n[keyring]\n", AtRest::Unknown),
        ] {
            let directory = directory(&[("login.keyring", content)]);
            assert_eq!(inspect(directory.path(), "login"), state, "{content:?}");
        }
    }

    #[test]
    fn a_collection_is_matched_with_its_own_file() {
        let directory =
            directory(&[("Other_thing.keyring", &encrypted()), ("login.keyring", b"[keyring]\n")]);
        assert_eq!(inspect(directory.path(), "Other_5fthing"), AtRest::Encrypted);
        assert_eq!(inspect(directory.path(), "login"), AtRest::Cleartext);
    }

    #[test]
    fn without_a_sure_match_every_file_must_be_encrypted() {
        let mixed =
            directory(&[("a.keyring", &encrypted()), ("b.keyring", b"[keyring]\n"), ("user.keystore", b"x")]);
        assert_eq!(inspect(mixed.path(), "elsewhere"), AtRest::Cleartext);
        assert_eq!(inspect(mixed.path(), "_2e_2e_2fa"), AtRest::Cleartext);
        let sound = directory(&[("a.keyring", &encrypted()), ("user.keystore", b"x")]);
        assert_eq!(inspect(sound.path(), "elsewhere"), AtRest::Encrypted);
        assert_eq!(inspect(directory(&[]).path(), "login"), AtRest::Unknown);
        assert_eq!(inspect(Path::new("/nonexistent"), "login"), AtRest::Unknown);
    }

    fn described(label: &str, one_time: u64, other_time: u64) -> (Description, Vec<u8>) {
        let length = u32::try_from(label.len()).unwrap().to_be_bytes();
        let times = [one_time.to_be_bytes(), other_time.to_be_bytes()].concat();
        let content = [&ENCRYPTED[..], &length, label.as_bytes(), &times, b"salt and so on"].concat();
        (Description::new(label.to_owned(), other_time, one_time), content)
    }

    #[test]
    fn a_directory_is_found_by_what_the_provider_says_of_its_collection() {
        let (word, content) = described("Login", 0, 1_795_525_992);
        let (_, other) = described("Login", 0, 1_795_525_993);
        let (right, wrong) =
            (directory(&[("login.keyring", &content)]), directory(&[("login.keyring", &other)]));
        let clear = directory(&[("login.keyring", b"[keyring]\n")]);
        let paths =
            |all: &[&tempfile::TempDir]| all.iter().map(|one| one.path().to_owned()).collect::<Vec<_>>();
        let find = |all: &[&tempfile::TempDir]| directory_of(&paths(all), "login", &word);
        assert_eq!(find(&[&wrong, &right]).as_deref(), Some(right.path()));
        assert_eq!(find(&[&wrong]), None);
        assert_eq!(
            find(&[&right, &clear]).as_deref(),
            Some(clear.path()),
            "what is in clear is not passed over"
        );
        assert_eq!(directory_of(&paths(&[&right]), "elsewhere", &word), None);
    }

    #[test]
    fn a_file_that_ends_too_soon_describes_nothing() {
        let (word, content) = described("Login", 1, 2);
        let directory = directory(&[]);
        let file = directory.path().join("login.keyring");
        for length in 0..=content.len() {
            fs::write(&file, &content[..length]).unwrap();
            let complete = length >= ENCRYPTED.len() + 4 + 5 + 16;
            assert_eq!(description(&file).as_ref(), complete.then_some(&word), "{length}");
        }
        fs::write(&file, [&ENCRYPTED[..], &[0xff; 4], b"Login"].concat()).unwrap();
        assert_eq!(description(&file), None);
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_does_not_hang() {
        let directory = directory(&[]);
        let path = directory.path().join("login.keyring");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(inspect(directory.path(), "login"), AtRest::Unknown);
    }

    #[test]
    fn an_object_path_cannot_name_a_file_elsewhere() {
        assert_eq!(file_name("login").as_deref(), Some("login.keyring"));
        assert_eq!(file_name("Other_5fthing").as_deref(), Some("Other_thing.keyring"));
        for strange in ["", "_2e_2e_2flogin", "_", "_5", "_zz", "a_00b", "_ff"] {
            assert_eq!(file_name(strange), None, "{strange}");
        }
    }
}
