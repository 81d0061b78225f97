use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `child` in a fork of this process and gives the code that it ended with; `None` when a signal ended it. For
/// tests of what must not go on behind a fork.
///
/// # Errors
/// The system makes no process.
#[expect(unsafe_code, reason = "there is no safe fork")]
pub fn in_a_fork(child: impl FnOnce() -> u8) -> io::Result<Option<i32>> {
    // SAFETY: the child has this thread alone. It runs `child`, which allocates and opens files, both sound behind the
    // C library's own fork; then it ends at once, without the destructors of what belongs to the parent.
    let forked = unsafe { libc::fork() };
    match forked {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: ends this process, which is the child.
            unsafe { libc::_exit(code.into()) }
        }
        pid => {
            let pid = rustix::process::Pid::from_raw(pid);
            let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())?;
            Ok(ended.and_then(|(_, status)| status.exit_status()))
        }
    }
}
