//! Files and directories that only this user may touch, whatever the umask.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Makes a directory with mode 0700, and its parents. One that is there is tightened.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::metadata(path)?.permissions();
        if permissions.mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// Opens a plain file with mode 0600; a link is not followed, and one that is there is tightened.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options
            .mode(0o600)
            .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(file)
}

/// Replaces a file as a whole and durably; see [`Replacement`].
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Replacement::with(path, bytes)?.put()
}

/// The new text of a file, beside it until it is put in its place: a reader sees the old text or the new one. A file
/// that is there keeps its mode, a new one gets 0600; a link is followed, and what it leads to is replaced. Dropped, it
/// leaves nothing behind.
pub(crate) struct Replacement {
    file: io::BufWriter<tempfile::NamedTempFile>,
    target: PathBuf,
}

impl Replacement {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let file = tempfile::NamedTempFile::new_in(directory_of(&target))?;
        match fs::metadata(&target) {
            Ok(metadata) if metadata.is_file() => file.as_file().set_permissions(metadata.permissions())?,
            Ok(_) => return Err(io::Error::other("not a plain file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { file: io::BufWriter::new(file), target })
    }

    pub(crate) fn with(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut replacement = Self::of(path)?;
        replacement.write_all(bytes)?;
        Ok(replacement)
    }

    /// Puts it in its place.
    pub(crate) fn put(self) -> io::Result<()> {
        let Self { file, target } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        // The name itself is durable only when its directory is.
        #[cfg(unix)]
        File::open(directory_of(&target))?.sync_all()?;
        Ok(())
    }
}

impl io::Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether both describe one file.
#[cfg(unix)]
pub(crate) fn same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether both describe one file. Without inodes: whatever bears the name is taken for it.
#[cfg(not(unix))]
pub(crate) fn same_file(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// An exclusive lock, held until it is dropped.
pub(crate) fn lock_exclusively(file: &File) -> io::Result<File> {
    let held = file.try_clone()?;
    held.lock()?;
    Ok(held)
}
