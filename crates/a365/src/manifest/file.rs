//! Reading a manifest: a regular file of at most 1 MiB, looked at before it is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

use super::Finding;

const MAX_BYTES: u64 = 1024 * 1024;

/// Why there are no bytes.
pub(super) enum Unreadable {
    /// There is no such file.
    Absent,
    /// There is something that will not be read.
    Refused(Finding),
}

impl Unreadable {
    fn refused(message: &'static str, hint: &'static str) -> Self {
        Self::Refused(Finding::error("", message, hint))
    }
}

/// The bytes of a manifest. Opens without following a link and without waiting for a pipe's writer.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let link = std::fs::symlink_metadata(path).map_err(|error| failed(&error))?;
    if link.is_symlink() {
        return Err(Unreadable::refused("is a symbolic link", "name the file itself"));
    }
    if !link.is_file() {
        return Err(Unreadable::refused("is not a regular file", "name a regular file"));
    }
    let file = open(path).map_err(|error| failed(&error))?;
    // Again, on what was really opened.
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(Unreadable::refused("is not a regular file", "name a regular file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> Unreadable {
    Unreadable::refused("is larger than 1 MiB", "a manifest names servers and nothing else")
}

fn failed(error: &io::Error) -> Unreadable {
    if error.kind() == io::ErrorKind::NotFound {
        return Unreadable::Absent;
    }
    let message = format!("cannot be read ({})", error.kind());
    Unreadable::Refused(Finding::error("", message, "check the file's owner and mode"))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}
