use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::capability::Process;
use crate::BackendId;

/// Where distributions install the providers we know. The file must be root's.
const PROGRAMS: &[(BackendId, &[&str])] = &[
    (BackendId::GnomeKeyring, &["/usr/bin/gnome-keyring-daemon"]),
    (BackendId::KeePassXc, &["/usr/bin/keepassxc"]),
    (BackendId::KWallet, &["/usr/bin/ksecretd", "/usr/bin/kwalletd6", "/usr/bin/kwalletd5"]),
    (BackendId::Oo7, &["/usr/libexec/oo7-daemon", "/usr/lib/oo7-daemon"]),
];

/// The program that a provider's process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// An installed one that we know. `inode` is its device and inode number.
    Known { backend: BackendId, path: PathBuf, inode: (u64, u64), told_by: ToldBy },
    /// Not one that we know.
    Foreign { path: Option<PathBuf>, why: &'static str },
    /// One that we knew, but its file was replaced (an upgrade) while it ran.
    Replaced { path: Option<PathBuf> },
    /// The system does not let us look, and nothing else tells what it is.
    Unreadable { why: &'static str },
}

/// How it is known which program a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldBy {
    /// The file that it runs was looked at.
    ItsFile,
    /// The system does not show that file; it holds the capability that only this program's file gives.
    ItsCapability,
}

/// Looks at the program of a process.
///
/// What the link `/proc/PID/exe` *says* is what the process sees, and a bind mount in a mount namespace of its own
/// makes any program say `/usr/bin/gnome-keyring-daemon`. So the file behind the link is compared with the installed
/// one by device and inode number.
pub(super) fn program_of(process: u32) -> Program {
    let link = PathBuf::from(format!("/proc/{process}/exe"));
    let running = match fs::metadata(&link) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return told_by_capability(process),
        Err(_) => return Program::Foreign { path: None, why: "its process cannot be found" },
    };
    let inode = (running.dev(), running.ino());
    for (backend, paths) in PROGRAMS {
        for path in *paths {
            let Ok(installed) = fs::metadata(path) else { continue };
            if (installed.dev(), installed.ino()) != inode {
                continue;
            }
            if !is_roots_alone(&installed) {
                let why = "its file can be changed by others than root";
                return Program::Foreign { path: Some(PathBuf::from(path)), why };
            }
            let told_by = ToldBy::ItsFile;
            return Program::Known { backend: *backend, path: PathBuf::from(path), inode, told_by };
        }
    }
    let path = fs::read_link(&link).ok();
    if running.nlink() == 0 && running.uid() == 0 {
        return Program::Replaced { path };
    }
    let why = if running.uid() == 0 { "it is no keyring program that we know" } else { "it is not root's" };
    Program::Foreign { path, why }
}

/// The installed program that alone can have made this process, which the system does not let us look at.
fn told_by_capability(process: u32) -> Program {
    let Some(seen) = Process::look_at(process) else {
        return Program::Unreadable { why: "not even its state can be read" };
    };
    let installed = PROGRAMS.iter().find_map(|(backend, paths)| {
        let path = paths.iter().map(Path::new).find(|path| seen.is_named_after(path))?;
        Some((*backend, path, fs::metadata(path).ok()?))
    });
    let Some((backend, path, file)) = installed else {
        return Program::Unreadable { why: "its name is not that of an installed keyring program" };
    };
    match seen.must_run(path, &file) {
        Ok(()) => Program::Known {
            backend,
            path: path.to_owned(),
            inode: (file.dev(), file.ino()),
            told_by: ToldBy::ItsCapability,
        },
        Err(why) => Program::Unreadable { why },
    }
}

/// Whether nobody but root can put other content into an installed file.
pub(super) fn is_roots_alone(file: &fs::Metadata) -> bool {
    file.is_file() && file.uid() == 0 && file.mode() & 0o022 == 0
}

/// The data home of the provider, seen from the provider: its own counts, not ours.
///
/// `None` when the system does not let us look, or the process says nothing of it.
pub(super) fn data_home(process: u32) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let variable = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            (!value.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(value)))
        })
    };
    let data_home = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?;
    // Through the process's own root, should it live in another mount namespace.
    let inside = data_home.strip_prefix("/").ok()?;
    Some(Path::new("/proc").join(process.to_string()).join("root").join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_no_provider() {
        assert!(matches!(program_of(std::process::id()), Program::Foreign { path: Some(_), .. }));
    }

    #[test]
    fn a_process_that_is_not_there_is_foreign() {
        assert!(matches!(program_of(u32::MAX - 1), Program::Foreign { path: None, .. }));
        assert_eq!(data_home(u32::MAX - 1), None);
    }
}
