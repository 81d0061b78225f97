//! The real file system, through descriptors: no link is ever followed at the last step, nothing blocks on a FIFO,
//! and modes are set on the descriptor, so the umask has no say.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, openat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

use crate::AuditError;
use crate::storage::{Folder, FolderLock, Kind, LogFile, Stat};

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const FOLDER_MODE: Mode = Mode::RWXU;
const COMMON: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A directory on disk.
#[derive(Debug)]
pub(crate) struct DiskFolder {
    descriptor: OwnedFd,
    /// For its names. Open from the start: when descriptors run out, a log that is open must go on.
    listing: Mutex<Dir>,
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Whether the directory may be made, and for whom it may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) create: bool,
    /// Lets root use another user's directory.
    pub(crate) as_root: bool,
    /// Reading only: rights are left as they are.
    pub(crate) read_only: bool,
}

impl DiskFolder {
    /// Opens `path`, whose last component must be a real directory of ours. Missing components are made 0700, each
    /// made durable in its parent.
    pub(crate) fn open(path: &Path, access: Access) -> Result<(Arc<Self>, Vec<String>), AuditError> {
        let path = std::path::absolute(path).map_err(|e| AuditError::storage("resolve", path, &e))?;
        let mut notices = Vec::new();
        let descriptor = match open_directory(&path) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT) if access.create => {
                create_path(&path)?;
                open_directory(&path).map_err(|e| refused(&path, e))?
            }
            Err(error) => return Err(refused(&path, error)),
        };
        let folder = Self::over(descriptor, path.clone())
            .map_err(|e| AuditError::storage("open", &path, &e.into()))?;
        let stat = look_at(&folder.descriptor)
            .map_err(|e| AuditError::storage("inspect", &folder.path, &e.into()))?;
        check_owner(&folder.path, stat.owner, access.as_root || access.read_only)?;
        if !access.read_only && stat.mode & 0o077 != 0 {
            fchmod(&folder.descriptor, FOLDER_MODE)
                .map_err(|e| AuditError::storage("tighten the rights of", &folder.path, &e.into()))?;
            notices.push(format!(
                "tightened the rights of {} from {:o} to 700",
                folder.path.display(),
                stat.mode & 0o777
            ));
        }
        if !access.read_only && folder.is_remote() {
            notices.push(format!(
                "{} lies on a network or FUSE file system: whether a sync there outlives a power cut is up to it",
                folder.path.display()
            ));
        }
        Ok((Arc::new(folder), notices))
    }
}

/// Refuses another user's file or directory.
pub(crate) fn check_owner(path: &Path, owner: u32, as_root: bool) -> Result<(), AuditError> {
    let me = rustix::process::geteuid();
    if owner == me.as_raw() || (me.is_root() && as_root) {
        return Ok(());
    }
    Err(AuditError::unsafe_place(
        path,
        if me.is_root() {
            "it belongs to another user than root (--as-root allows it)"
        } else {
            "it belongs to another user"
        },
    ))
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| {
        openat(
            rustix::fs::CWD,
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    })
}

fn refused(path: &Path, error: Errno) -> AuditError {
    match error {
        Errno::LOOP => AuditError::unsafe_place(path, "it is a symbolic link"),
        // With O_NOFOLLOW and O_DIRECTORY together Linux says ENOTDIR for a link as well.
        Errno::NOTDIR if path.is_symlink() => AuditError::unsafe_place(path, "it is a symbolic link"),
        Errno::NOTDIR => AuditError::unsafe_place(path, "it is not a directory"),
        error => AuditError::storage("open", path, &error.into()),
    }
}

fn create_path(path: &Path) -> Result<(), AuditError> {
    let fail = |at: &Path, error: io::Error| AuditError::storage("create", at, &error);
    let mut missing: Vec<&Path> = path.ancestors().take_while(|at| at.symlink_metadata().is_err()).collect();
    missing.reverse();
    for at in missing {
        let parent = at.parent().unwrap_or(Path::new("/"));
        let parent_descriptor = openat(
            rustix::fs::CWD,
            parent,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| fail(parent, e.into()))?;
        match mkdirat(&parent_descriptor, at.file_name().unwrap_or_default(), FOLDER_MODE) {
            Ok(()) => {
                let made = open_directory(at).map_err(|e| fail(at, e.into()))?;
                fchmod(&made, FOLDER_MODE).map_err(|e| fail(at, e.into()))?;
            }
            // Another process was faster; it may have died before the sync below.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(at, error.into())),
        }
        rustix::fs::fsync(&parent_descriptor).map_err(|e| fail(parent, e.into()))?;
    }
    Ok(())
}

fn kind_of(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode as _) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        _ => Kind::Other,
    }
}

/// Whether a file system of this type, as `statfs(2)` gives it, keeps its files somewhere else than on this machine's
/// disks, or leaves it to a process what a sync is worth (`linux/magic.h`, and the file systems' own headers).
#[cfg(target_os = "linux")]
fn is_remote_type(magic: u32) -> bool {
    const NFS: u32 = 0x6969;
    const SMB: [u32; 3] = [0x517b, 0xfe53_4d42, 0xff53_4d42];
    const FUSE: u32 = 0x6573_5546;
    const NINE_P: u32 = 0x0102_1997;
    const CEPH: u32 = 0x00c3_6400;
    const AFS: [u32; 2] = [0x5346_414f, 0x6b41_4653];
    const LUSTRE: u32 = 0x0bd0_0bd0;
    const SHARED_WITH_A_HOST: [u32; 2] = [0x786f_4256, 0xbacb_acbc];
    [NFS, FUSE, NINE_P, CEPH, LUSTRE].contains(&magic)
        || [&SMB[..], &AFS, &SHARED_WITH_A_HOST].iter().any(|those| those.contains(&magic))
}

/// A name in a directory, or with `EMPTY_PATH` what is open itself.
#[cfg(target_os = "linux")]
fn look(at: impl AsFd, name: impl Arg, flags: AtFlags) -> Result<Stat, Errno> {
    use rustix::fs::{StatxFlags, makedev, statx};
    let wanted = StatxFlags::TYPE
        | StatxFlags::MODE
        | StatxFlags::NLINK
        | StatxFlags::UID
        | StatxFlags::INO
        | StatxFlags::SIZE;
    let found = statx(at, name, flags, wanted)?;
    Ok(Stat {
        device: makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        links: u64::from(found.stx_nlink),
        size: found.stx_size,
        owner: found.stx_uid,
        mode: u32::from(found.stx_mode) & 0o7777,
        kind: kind_of(u32::from(found.stx_mode)),
    })
}

#[cfg(target_os = "linux")]
fn look_at(open: impl AsFd) -> Result<Stat, Errno> {
    // Already as the system wants it: this is asked before every write.
    look(open, c"", AtFlags::EMPTY_PATH)
}

#[cfg(not(target_os = "linux"))]
fn look(at: impl AsFd, name: impl Arg, flags: AtFlags) -> Result<Stat, Errno> {
    Ok(stat_of(&rustix::fs::statat(at, name, flags)?))
}

#[cfg(not(target_os = "linux"))]
fn look_at(open: impl AsFd) -> Result<Stat, Errno> {
    Ok(stat_of(&fstat(open)?))
}

#[cfg(not(target_os = "linux"))]
#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the field types differ between systems"
)]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        device: stat.st_dev as u64,
        inode: u64::from(stat.st_ino),
        links: u64::from(stat.st_nlink),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        owner: stat.st_uid,
        mode: u32::from(stat.st_mode) & 0o7777,
        kind: kind_of(u32::from(stat.st_mode)),
    }
}

impl DiskFolder {
    #[cfg(target_os = "linux")]
    fn is_remote(&self) -> bool {
        #[expect(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a magic number of 32 bits"
        )]
        rustix::fs::fstatfs(&self.descriptor).is_ok_and(|found| is_remote_type(found.f_type as u32))
    }

    #[cfg(not(target_os = "linux"))]
    fn is_remote(&self) -> bool {
        false
    }

    fn over(descriptor: OwnedFd, path: PathBuf) -> Result<Self, Errno> {
        let listing = Mutex::new(retry_on_intr(|| Dir::read_from(&descriptor))?);
        let stat = look_at(&descriptor)?;
        Ok(Self { descriptor, listing, path, device: stat.device, inode: stat.inode })
    }

    fn open_file(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<DiskFile> {
        let descriptor = retry_on_intr(|| openat(&self.descriptor, name, flags | COMMON, mode))?;
        Ok(DiskFile { file: File::from(descriptor), failed_sync: Mutex::new(None) })
    }
}

#[allow(clippy::useless_conversion, reason = "the field types differ between systems")]
fn changed(stat: &rustix::fs::Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

impl Folder for DiskFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<(Vec<String>, u64)> {
        let mut names = Vec::new();
        let mut strange = 0;
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        listing.rewind();
        while let Some(entry) = listing.read() {
            match entry?.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => names.push(name.to_owned()),
                Err(_) => strange += 1,
            }
        }
        Ok((names, strange))
    }

    fn changed(&self) -> io::Result<i128> {
        Ok(changed(&fstat(&self.descriptor)?))
    }

    fn is_in_place(&self) -> io::Result<bool> {
        match look(rustix::fs::CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok((stat.device, stat.inode) == (self.device, self.inode)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match look(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(self.open_file(name, OFlags::RDONLY, Mode::empty())?))
    }

    fn open_append(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(self.open_file(name, OFlags::RDWR | OFlags::APPEND, Mode::empty())?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file =
            self.open_file(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
        fchmod(&file.file, FILE_MODE)?;
        Ok(Arc::new(file))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!(".{name}.{}.tmp", std::process::id());
        match rustix::fs::unlinkat(&self.descriptor, &temporary, AtFlags::empty()) {
            // A leftover of a process that died here and whose number we have now.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut file =
            self.open_file(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?.file;
        fchmod(&file, FILE_MODE)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.descriptor, &temporary, &self.descriptor, name)?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }

    fn folder(&self, name: &str, create: bool) -> io::Result<Arc<dyn Folder>> {
        let open = || {
            retry_on_intr(|| {
                openat(
                    &self.descriptor,
                    name,
                    OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
            })
        };
        let descriptor = match open() {
            Err(Errno::NOENT) if create => {
                match mkdirat(&self.descriptor, name, FOLDER_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let descriptor = open()?;
                fchmod(&descriptor, FOLDER_MODE)?;
                self.sync()?;
                descriptor
            }
            other => other?,
        };
        Ok(Arc::new(Self::over(descriptor, self.path.join(name))?))
    }

    fn lock(&self, name: &str, read_only: bool) -> io::Result<Arc<dyn FolderLock>> {
        let flags = if read_only { OFlags::RDONLY } else { OFlags::RDWR | OFlags::CREATE };
        let file = self.open_file(name, flags, FILE_MODE)?.file;
        let stat = look_at(&file)?;
        if stat.kind != Kind::File || stat.links != 1 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the lock is not a plain file with one name",
            ));
        }
        if !read_only && stat.mode & 0o777 != 0o600 {
            fchmod(&file, FILE_MODE)?;
        }
        Ok(Arc::new(DiskLock { file, device: stat.device, inode: stat.inode }))
    }
}

/// A file on disk.
#[derive(Debug)]
struct DiskFile {
    file: File,
    /// The sync that failed. The system says so once per descriptor: of two at once only one would be told, and the
    /// next one would be told that all is well.
    failed_sync: Mutex<Option<Errno>>,
}

impl LogFile for DiskFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::write(&self.file, bytes))?)
    }

    fn position(&self) -> io::Result<u64> {
        Ok(rustix::fs::tell(&self.file)?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut failed = self.failed_sync.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = *failed {
            return Err(error.into());
        }
        // Not `File::sync_data`: that retries EINTR, and a sync that did not say "done" counts as failed.
        #[cfg(target_os = "linux")]
        let synced = rustix::fs::fdatasync(&self.file);
        #[cfg(not(target_os = "linux"))]
        let synced = rustix::fs::fsync(&self.file);
        Ok(synced.inspect_err(|error| *failed = Some(*error))?)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(look_at(&self.file)?)
    }

    fn changed(&self) -> io::Result<i128> {
        Ok(changed(&fstat(&self.file)?))
    }

    fn tighten(&self) -> io::Result<()> {
        Ok(fchmod(&self.file, FILE_MODE)?)
    }

    fn forget_cache(&self, offset: u64) {
        // Advice: a system that does not take it just serves the next read from its cache.
        #[cfg(not(target_os = "linux"))]
        let _not_used = offset;
        #[cfg(target_os = "linux")]
        let _advice = rustix::fs::fadvise(&self.file, offset, None, rustix::fs::Advice::DontNeed);
    }
}

/// `flock(2)` on a file that holds nothing but what its last holder announced.
#[derive(Debug)]
struct DiskLock {
    file: File,
    device: u64,
    inode: u64,
}

impl DiskLock {
    fn try_lock(&self, operation: FlockOperation) -> io::Result<bool> {
        match retry_on_intr(|| flock(self.file.as_fd(), operation)) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl FolderLock for DiskLock {
    fn try_exclusive(&self) -> io::Result<bool> {
        self.try_lock(FlockOperation::NonBlockingLockExclusive)
    }

    fn try_shared(&self) -> io::Result<bool> {
        self.try_lock(FlockOperation::NonBlockingLockShared)
    }

    fn exclusive(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| flock(self.file.as_fd(), FlockOperation::LockExclusive))?)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| flock(self.file.as_fd(), FlockOperation::Unlock))?)
    }

    fn announce(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, 0)
    }

    fn announced(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 256];
        let count = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// From `/proc/locks`: `7: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`.
    fn holder(&self) -> Option<u32> {
        let (major, minor) = (rustix::fs::major(self.device), rustix::fs::minor(self.device));
        let wanted = format!("{major:02x}:{minor:02x}:{}", self.inode);
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            match fields.as_slice() {
                [_, "FLOCK", _, "WRITE", pid, place, ..] if *place == wanted => pid.parse().ok(),
                _ => None,
            }
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn case_51_a_file_system_is_known_by_its_type() {
        let remote = [
            ("nfs", 0x6969),
            ("smb", 0x517b),
            ("smb3", 0xfe53_4d42),
            ("cifs", 0xff53_4d42),
            ("fuse (sshfs, s3fs, gcsfuse, rclone)", 0x6573_5546),
            ("9p (also a drive of Windows in WSL)", 0x0102_1997),
            ("ceph", 0x00c3_6400),
            ("afs", 0x5346_414f),
            ("kafs", 0x6b41_4653),
            ("lustre", 0x0bd0_0bd0),
            ("vboxsf", 0x786f_4256),
            ("vmhgfs", 0xbacb_acbc),
        ];
        let local = [
            ("ext4", 0xef53),
            ("xfs", 0x5846_5342),
            ("btrfs", 0x9123_683e),
            ("tmpfs", 0x0102_1994),
            ("overlay", 0x794c_7630),
            ("zfs", 0x2fc1_2fc1),
            ("f2fs", 0xf2f5_2010),
        ];
        for (name, magic) in remote {
            assert!(is_remote_type(magic), "{name}");
        }
        for (name, magic) in local {
            assert!(!is_remote_type(magic), "{name}");
        }
    }
}
