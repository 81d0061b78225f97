use std::{fs, io};

/// Puts this process, which must have no other thread yet, into a user namespace of its own, where it has every
/// capability and its user the same number. For tests of what that must not get it.
///
/// # Errors
/// The system allows no such namespace.
#[expect(unsafe_code, reason = "rustix has no safe form of it")]
pub fn enter_own_user_namespace() -> io::Result<()> {
    let user = rustix::process::geteuid();
    // SAFETY: no memory is handed over; what changes is whose permissions this process has.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(io::Error::last_os_error());
    }
    fs::write("/proc/self/uid_map", format!("{user} {user} 1", user = user.as_raw()))
}
