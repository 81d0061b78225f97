//! The `.env` file: lines of `NAME=VALUE`, understood as people write them, taken only from a file that nobody
//! else can write.

use std::io::Read;
use std::path::Path;

use super::ConfigError;

const MAX_BYTES: u64 = 1 << 20;

/// Opens and reads the settings file. `Ok(None)` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    read_named("ENTRABOT_ENV_FILE", path)
}

/// The same for any small text that must come from nobody else; `setting` says in an error what named it.
pub(crate) fn read_named(setting: &'static str, path: &Path) -> Result<Option<String>, ConfigError> {
    let shown = path.display();
    let io = |error: &std::io::Error| ConfigError::file(setting, format!("{shown}: {error}"));
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(&error)),
    };
    // Checked on the open file, not on the name: nobody can swap it in between.
    let metadata = file.metadata().map_err(|error| io(&error))?;
    if !metadata.is_file() {
        return Err(ConfigError::file(setting, format!("{shown} is not a regular file")));
    }
    if let Err(reason) = trusted(&metadata) {
        return Err(ConfigError::file(setting, format!("{shown} {reason}")));
    }
    if metadata.len() > MAX_BYTES {
        return Err(ConfigError::file(setting, format!("{shown} is larger than 1 MiB")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| io(&error))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| ConfigError::file(setting, format!("{shown} is not UTF-8 text")))?;
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}

#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    // NONBLOCK: a FIFO put in its place must not make us wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::open(path)
}

#[cfg(unix)]
fn trusted(metadata: &std::fs::Metadata) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt;
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err("belongs to another user");
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("can be written by others (chmod go-w would cure it)");
    }
    Ok(())
}

#[cfg(not(unix))]
fn trusted(_metadata: &std::fs::Metadata) -> Result<(), &'static str> {
    Ok(()) // The profile's ACL guards it.
}

/// What the file sets a name to now: its first line counts. `None` also when the file cannot be read.
pub(super) fn setting(path: &Path, wanted: &str) -> Option<String> {
    let text = read(path).ok()??;
    text.lines().find_map(|line| match parse_line(line) {
        Line::Setting(name, value) if name == wanted => Some(value),
        _ => None,
    })
}

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Blank or a comment.
    Nothing,
    /// `NAME=VALUE`, unquoted.
    Setting(&'a str, String),
    /// Anything else.
    Malformed,
}

/// `export `, matching quotes, comments after an unquoted value (` #`) or after the closing quote.
pub(crate) fn parse_line(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let Some((name, value)) = line.split_once('=') else {
        return Line::Malformed;
    };
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Line::Malformed;
    }
    match unquote(value.trim()) {
        Some(value) => Line::Setting(name, value),
        None => Line::Malformed,
    }
}

/// The line that [`parse_line`] reads as this setting: quoted only where it has to be.
#[cfg(feature = "provisioning")]
pub(crate) fn line(name: &str, value: &str) -> String {
    let plain = format!("{name}={value}");
    if parse_line(&plain) == Line::Setting(name, value.to_owned()) && !value.contains(['\n', '\r']) {
        return plain;
    }
    let mut line = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '"' | '\\' => line.extend(['\\', c]),
            c => line.push(c),
        }
    }
    line.push('"');
    line
}

fn unquote(value: &str) -> Option<String> {
    let mut chars = value.chars();
    match chars.next() {
        Some('\'') => {
            let (inside, after) = value[1..].split_once('\'')?;
            only_comment(after).then(|| inside.to_owned())
        }
        Some('"') => {
            let mut inside = String::new();
            while let Some(c) = chars.next() {
                match c {
                    '"' => return only_comment(chars.as_str()).then_some(inside),
                    '\\' => match chars.next()? {
                        'n' => inside.push('\n'),
                        't' => inside.push('\t'),
                        c @ ('"' | '\\' | '$') => inside.push(c),
                        // A Windows path in double quotes keeps its backslashes.
                        c => inside.extend(['\\', c]),
                    },
                    c => inside.push(c),
                }
            }
            None
        }
        _ => {
            let end = value
                .match_indices('#')
                .map(|(at, _)| at)
                .find(|at| *at == 0 || value[..*at].ends_with(|before: char| before.is_ascii_whitespace()));
            Some(value[..end.unwrap_or(value.len())].trim_end().to_owned())
        }
    }
}

fn only_comment(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_as_people_write_them() {
        let setting = |name, value: &str| Line::Setting(name, value.to_owned());
        for (line, expected) in [
            ("A=b", setting("A", "b")),
            ("  A = b  ", setting("A", "b")),
            ("export A=b", setting("A", "b")),
            ("A=\"b c\"", setting("A", "b c")),
            ("A='b # c' # comment", setting("A", "b # c")),
            ("A=b # comment", setting("A", "b")),
            ("A=b#c", setting("A", "b#c")),
            ("A=", setting("A", "")),
            ("A=# only a comment", setting("A", "")),
            ("A=b=c", setting("A", "b=c")),
            (r#"A="C:\x\\y\"z""#, setting("A", r#"C:\x\y"z"#)),
            ("", Line::Nothing),
            ("# A=b", Line::Nothing),
            ("just words", Line::Malformed),
            ("=b", Line::Malformed),
            ("A=\"open", Line::Malformed),
            ("A='b' c", Line::Malformed),
            ("A B=c", Line::Malformed),
        ] {
            assert_eq!(parse_line(line), expected, "{line}");
        }
    }

    #[cfg(feature = "provisioning")]
    #[test]
    fn a_written_line_is_read_as_it_was_meant() {
        assert_eq!(line("A", "b@c.example"), "A=b@c.example");
        proptest::proptest!(|(value in "[ -~äß\\n\\t]{0,24}")| {
            let value = value.trim();
            let line = line("A", value);
            proptest::prop_assert!(!line.contains('\n'));
            proptest::prop_assert_eq!(parse_line(&line), Line::Setting("A", value.to_owned()), "{}", line);
        });
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_write_is_refused_and_a_missing_one_is_not_an_error() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        assert!(read(&path).unwrap().is_none());
        std::fs::write(&path, "A=b\n").unwrap();
        for (mode, accepted) in [(0o600, true), (0o644, true), (0o664, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), accepted, "{mode:o}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).is_err(), "a link is judged by what it leads to");
        assert!(read(dir.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_fifo_in_its_place_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(read(&path).is_err());
    }
}
