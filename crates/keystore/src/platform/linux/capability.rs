//! A provider that its own user may not look at.
//!
//! Where a distribution gives gnome-keyring the file capability `cap_ipc_lock` (its memory is then never swapped out),
//! the kernel makes the process's files under `/proc` root's, and `/proc/PID/exe` cannot be read. What can be read, and
//! what no ordinary process can bring about, is the capability itself: a process has it only from root, or from a file
//! that root gave it to (capabilities(7)). So the process is taken for an installed program when it holds exactly what
//! that program's file gives.
//!
//! What is left open: another program with the very same file capability, started under the keyring's name.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::provider::is_roots_alone;

/// What the kernel says of a user namespace that is the system's own (user_namespaces(7)).
const INITIAL_NAMESPACE: [u32; 3] = [0, 0, u32::MAX];
/// The number of `CAP_IPC_LOCK` in a set.
const IPC_LOCK: u64 = 1 << 14;
/// The longest name that the kernel keeps of a program (`TASK_COMM_LEN` without the final zero).
const LONGEST_NAME: usize = 15;

/// A process as `/proc/PID/status` describes it to everybody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    name: String,
    /// Real, effective, saved and file system user.
    users: Vec<u32>,
    /// Its permitted capabilities.
    permitted: u64,
    user_namespace: Vec<u32>,
}

impl Process {
    /// `None` when even this cannot be read.
    pub(super) fn look_at(process: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
        Self::parse(&read("status")?, &read("uid_map")?)
    }

    fn parse(status: &str, uid_map: &str) -> Option<Self> {
        let value = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        Some(Self {
            name: value("Name")?.to_owned(),
            users: numbers(value("Uid")?)?,
            permitted: u64::from_str_radix(value("CapPrm")?, 16).ok()?,
            user_namespace: numbers(uid_map)?,
        })
    }

    /// Whether the kernel would call a process that runs this file so. Any process can take any name: this finds the
    /// file to compare with, and proves nothing.
    pub(super) fn is_named_after(&self, program: &Path) -> bool {
        let name = program.file_name().map(OsStr::as_bytes).unwrap_or_default();
        !name.is_empty() && self.name.as_bytes() == &name[..name.len().min(LONGEST_NAME)]
    }

    /// Whether only the installed program can be what the process runs; else what speaks against it.
    pub(super) fn must_run(&self, program: &Path, file: &Metadata) -> Result<(), &'static str> {
        let own = rustix::process::geteuid().as_raw();
        let ours = fs::read_to_string("/proc/self/uid_map").ok().and_then(|map| numbers(&map));
        // In a namespace of its own every process has every capability. That its map is like ours does not do where an
        // ordinary user could have made one like ours.
        if ours.as_ref() != Some(&self.user_namespace) || self.user_namespace != INITIAL_NAMESPACE {
            return Err("it is, or we are, in a user namespace other than the system's");
        }
        if self.users != [own; 4] {
            return Err("it does not run as this user alone");
        }
        if !is_roots_alone(file) {
            return Err("the file of the installed program can be changed by others than root");
        }
        let given = file_capability(program).filter(|given| given & IPC_LOCK != 0);
        let given = given.ok_or("the installed program has no capability that would explain it")?;
        if self.permitted != given {
            return Err("it does not hold the capability that the installed program gives");
        }
        Ok(())
    }
}

/// Numbers between white space.
fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split_whitespace().map(|number| number.parse().ok()).collect()
}

/// What executing the file permits a process, where root of the system itself gave it that.
fn file_capability(file: &Path) -> Option<u64> {
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(file, "security.capability", &mut value).ok()?;
    granted(&value[..length])
}

/// `struct vfs_cap_data` of revision 2. One of revision 3 was given by root of some user namespace, and counts only there.
fn granted(value: &[u8]) -> Option<u64> {
    const REVISION_2: u32 = 0x0200_0000;
    const EFFECTIVE: u32 = 1;
    let words: [u8; 20] = value.try_into().ok()?;
    let word = |index: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| words[4 * index + byte]));
    (word(0) & !EFFECTIVE == REVISION_2).then(|| u64::from(word(1)) | u64::from(word(3)) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tgnome-keyring-d\nUmask:\t0022\nUid:\t1000\t1000\t1000\t1000\nCapInh:\t0\n\
                          CapPrm:\t0000000000004000\nCapEff:\t0000000000004000\n";

    #[test]
    fn a_status_is_read_whole_or_not_at_all() {
        let process = Process::parse(STATUS, "         0          0 4294967295\n").unwrap();
        assert_eq!((process.name.as_str(), process.permitted), ("gnome-keyring-d", IPC_LOCK));
        assert_eq!(
            (process.users.as_slice(), process.user_namespace),
            ([1000; 4].as_slice(), vec![0, 0, u32::MAX])
        );
        for missing in ["Name", "Uid", "CapPrm"] {
            assert_eq!(Process::parse(&STATUS.replace(missing, "X"), "0 0 1"), None, "{missing}");
        }
        assert_eq!(Process::parse(STATUS, "0 0 x"), None);
        assert_eq!(Process::parse(&STATUS.replace("4000\nCapEff", "zz\nCapEff"), "0 0 1"), None);
    }

    fn data(magic: u32, words: &[u32]) -> Vec<u8> {
        std::iter::once(&magic).chain(words).flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn only_a_capability_that_the_systems_root_gave_counts() {
        let words = [1 << 14, 0, 1, 0];
        assert_eq!(granted(&data(0x0200_0001, &words)), Some(IPC_LOCK | 1 << 32));
        assert_eq!(granted(&data(0x0200_0000, &words)), Some(IPC_LOCK | 1 << 32));
        let of_a_namespace = data(0x0300_0001, &[words.as_slice(), &[1000]].concat());
        for other in [of_a_namespace, data(0x0100_0001, &words[..2]), data(0x0200_0003, &words), Vec::new()] {
            assert_eq!(granted(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_name_is_compared_as_far_as_the_kernel_keeps_it() {
        let process = Process::parse(STATUS, "0 0 1").unwrap();
        for (program, agrees) in [
            ("/usr/bin/gnome-keyring-daemon", true),
            ("/usr/bin/gnome-keyring-d", true),
            ("/usr/bin/gnome-keyring", false),
            ("/usr/bin/keepassxc", false),
            ("/", false),
        ] {
            assert_eq!(process.is_named_after(Path::new(program)), agrees, "{program}");
        }
    }

    #[test]
    fn what_this_test_runs_is_no_keyring_program() {
        let this = Process::look_at(std::process::id()).unwrap();
        let program = std::env::current_exe().unwrap();
        assert!(this.must_run(&program, &fs::metadata(&program).unwrap()).is_err());
        assert_eq!(Process::look_at(u32::MAX - 1), None);
    }
}
