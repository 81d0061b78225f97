//! What differs between operating systems.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(all(feature = "test-util", unix))]
mod fork;
mod harden;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(feature = "test-util", target_os = "linux"))]
mod namespace;
#[cfg(unix)]
mod signals;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{Pinned, Touch, detect};
#[cfg(all(feature = "test-util", unix))]
pub use fork::in_a_fork;
pub use harden::harden_process;
#[cfg(target_os = "linux")]
pub(crate) use linux::{Pinned, Touch, detect};
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub use namespace::enter_own_user_namespace;
#[cfg(unix)]
pub(crate) use signals::Deferred;

/// Nothing to hold back: the probe's entry is swept by the next one.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Deferred;

#[cfg(not(unix))]
impl Deferred {
    pub(crate) fn start() -> Self {
        Self
    }

    pub(crate) fn arrived(&self) -> bool {
        false
    }
}
