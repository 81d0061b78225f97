//! Looks for secrets that Python's `keyring` left in its file backends.
//!
//! Without a keyring, Python's `keyring` with `keyrings.alt` installed falls through to a file, silently:
//! `python_keyring/keyring_pass.cfg` in the data home holds every value in base64, readable by whoever reads the file
//! or a backup of it. [`scan`] says which entries of ours lie in such files. Values are never decoded.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::{EntryName, Surroundings};

/// A file of Python's file backends that holds entries of ours.
#[derive(Clone, Debug)]
pub struct LeakFinding {
    file: PathBuf,
    storage: LeakStorage,
    entries: Vec<EntryName>,
}

/// How the values lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeakStorage {
    /// `keyring_pass.cfg`: base64 of the value.
    Cleartext,
    /// `crypted_pass.cfg`: encrypted with a password of the user's.
    PasswordEncrypted,
}

impl LeakFinding {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How the values lie in it.
    #[must_use]
    pub fn storage(&self) -> LeakStorage {
        self.storage
    }

    /// The names of our entries in it; never a value.
    #[must_use]
    pub fn entries(&self) -> &[EntryName] {
        &self.entries
    }

    /// Whether the blueprint's private key is among them.
    #[must_use]
    pub fn holds_blueprint_key(&self) -> bool {
        self.entries.contains(&EntryName::blueprint_private_key())
    }
}

/// What the scan saw: the findings, and the files it could not read (which may hold anything).
#[derive(Clone, Debug, Default)]
pub struct LeakScan {
    findings: Vec<LeakFinding>,
    unreadable: Vec<PathBuf>,
}

impl LeakScan {
    /// The files that hold entries of ours.
    #[must_use]
    pub fn findings(&self) -> &[LeakFinding] {
        &self.findings
    }

    /// The files that are there and could not be read.
    #[must_use]
    pub fn unreadable(&self) -> &[PathBuf] {
        &self.unreadable
    }
}

/// Our services begin so; the Python original used the same ones.
const OURS: &str = "entrabot";
const FILES: &[(&str, LeakStorage)] =
    &[("keyring_pass.cfg", LeakStorage::Cleartext), ("crypted_pass.cfg", LeakStorage::PasswordEncrypted)];
/// Nobody's password file is larger.
const LARGEST: u64 = 4 << 20;

/// Looks into the files that Python's `keyring` would have used for this user.
#[must_use]
pub fn scan(surroundings: &Surroundings) -> LeakScan {
    let mut scan = LeakScan::default();
    for home in surroundings.data_homes() {
        for (name, storage) in FILES {
            look_into(home.join("python_keyring").join(name), *storage, &mut scan);
        }
    }
    scan
}

fn look_into(file: PathBuf, storage: LeakStorage, scan: &mut LeakScan) {
    match read(&file) {
        Ok(content) => {
            let mut entries = entry_names(&content);
            entries.retain(|entry| entry.service().starts_with(OURS));
            if !entries.is_empty() {
                scan.findings.push(LeakFinding { file, storage, entries });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(_) => scan.unreadable.push(file),
    }
}

/// The clear-text files that hold the blueprint's private key.
pub(crate) fn leaked_blueprint_keys(surroundings: &Surroundings) -> Vec<PathBuf> {
    let clear =
        |finding: &LeakFinding| finding.storage == LeakStorage::Cleartext && finding.holds_blueprint_key();
    scan(surroundings).findings.into_iter().filter(clear).map(|finding| finding.file).collect()
}

fn read(file: &Path) -> std::io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // A FIFO in the place of the file must not make us wait.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    // Filled within its capacity, so that no copy is left behind.
    let mut content = zeroize::Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or_default()]);
    let mut length = 0;
    while length < content.len() {
        match (&file).read(&mut content[length..])? {
            0 => break,
            more => length += more,
        }
    }
    content.truncate(length);
    Ok(content)
}

/// The names of the entries in a `keyring_pass.cfg`: an INI file whose section is the service and whose option is the
/// user name, both escaped. Values, which may span lines, are passed over unread; so is what is no name.
#[must_use]
pub fn entry_names(content: &[u8]) -> Vec<EntryName> {
    let mut names = Vec::new();
    let mut service = None;
    for line in content.split(|byte| matches!(byte, b'\n' | b'\r')) {
        match line.first() {
            None | Some(b'#' | b';') => {}
            // A value goes on in an indented line.
            Some(first) if first.is_ascii_whitespace() => {}
            Some(b'[') => {
                service = line[1..].iter().position(|byte| *byte == b']').map(|end| unescape(&line[1..=end]))
            }
            Some(_) => {
                let end = line.iter().position(|byte| matches!(byte, b'=' | b':'));
                if let (Some(service), Some(end)) = (&service, end) {
                    names.extend(EntryName::new(service.as_str(), unescape(line[..end].trim_ascii())).ok());
                }
            }
        }
    }
    names
}

/// `keyrings.alt` writes all but ASCII letters and digits as `_` and two hex digits; the INI library then folds the
/// case of an option's name.
fn unescape(escaped: &[u8]) -> String {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((byte, after)) = rest.split_first() {
        let hex =
            after.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, hex) {
            (b'_', Some(code)) => {
                plain.push(code);
                rest = &after[2..];
            }
            _ => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAKED: &str = "[keyring_2Dsetting]\nx = y\n\n[entrabot]\nblueprint_2dprivate_2dkey = \n\tLS0tLS1CRUdJTi\n\
                          \tBQUklWQVRF\n[entrabot_2Dprovisioner_2Dcert]\n0000 = \n\tUExBTlRFRA==\n[other]\nme = \n\tx\n";

    fn surroundings(home: &Path) -> Surroundings {
        Surroundings::from_vars(&[("XDG_DATA_HOME".into(), home.to_string_lossy().into_owned())])
    }

    #[test]
    fn entries_of_ours_are_found_with_their_file_and_without_their_values() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("python_keyring")).unwrap();
        let file = home.path().join("python_keyring/keyring_pass.cfg");
        std::fs::write(&file, LEAKED).unwrap();
        std::fs::write(home.path().join("python_keyring/crypted_pass.cfg"), "[elsewhere]\nme = x\n").unwrap();

        let scan = scan(&surroundings(home.path()));
        let [finding] = scan.findings() else { panic!("{scan:?}") };
        assert_eq!((finding.file(), finding.storage()), (file.as_path(), LeakStorage::Cleartext));
        assert!(finding.holds_blueprint_key());
        assert_eq!(finding.entries()[1], EntryName::new("entrabot-provisioner-cert", "0000").unwrap());
        assert!(!format!("{scan:?}").contains("LS0t") && !format!("{scan:?}").contains("UExB"));
        assert_eq!(leaked_blueprint_keys(&surroundings(home.path())), [file]);
    }

    #[test]
    fn both_places_that_python_may_have_used_are_looked_into() {
        let home = tempfile::tempdir().unwrap();
        let variables = [("XDG_DATA_HOME", home.path().join("data")), ("HOME", home.path().join("home"))];
        let variables = variables.map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()));
        for folder in ["data/python_keyring", "home/.local/share/python_keyring"] {
            std::fs::create_dir_all(home.path().join(folder)).unwrap();
            std::fs::write(home.path().join(folder).join("keyring_pass.cfg"), LEAKED).unwrap();
        }
        assert_eq!(leaked_blueprint_keys(&Surroundings::from_vars(&variables)).len(), 2);
    }

    #[test]
    fn a_home_without_such_files_has_no_leak() {
        let home = tempfile::tempdir().unwrap();
        let scan = scan(&surroundings(home.path()));
        assert!(scan.findings().is_empty() && scan.unreadable().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_reported_and_not_taken_for_clean() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("python_keyring/keyring_pass.cfg")).unwrap();
        assert_eq!(scan(&surroundings(home.path())).unreadable().len(), 1);
    }

    proptest! {
        #[test]
        fn no_content_is_too_strange(content in prop::collection::vec(any::<u8>(), 0..400)) {
            drop(entry_names(&content));
        }

        #[test]
        fn what_the_original_escapes_is_read_back(service in "[ -~äß]{1,20}", username in "[ -~äß]{1,20}") {
            // As `keyrings.alt` escapes, and with the case of the option folded as its INI library does.
            let escape = |text: &str| text.bytes().map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                other => format!("_{other:02X}"),
            }).collect::<String>();
            let content = format!("[{}]\n{} = \n\tdmFsdWU=\n", escape(&service), escape(&username).to_lowercase());
            let names = entry_names(content.as_bytes());
            prop_assert_eq!(names.len(), 1);
            prop_assert_eq!(names[0].service(), service);
            prop_assert!(names[0].username().eq_ignore_ascii_case(&username));
        }
    }
}
