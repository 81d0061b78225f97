use std::io;

/// Keeps this process's memory, and the secrets in it, out of core files and away from debuggers of the same user.
///
/// Call it first in `main`, before any secret is read. On Linux it sets the core size limit to 0 and makes the process
/// not dumpable (`prctl(PR_SET_DUMPABLE)`), which also covers core handlers that ignore the limit.
///
/// It also ignores SIGXFSZ: a write over the limit on a file's size is to fail with an error that names the file, and
/// not to end the process in the middle of a call.
///
/// # Errors
/// When the system refuses; nothing secret should be read then.
pub fn harden_process() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    #[cfg(unix)]
    super::signals::ignore(libc::SIGXFSZ)?;
    Ok(())
}
