//! What differs between operating systems.

#[cfg(all(feature = "test-util", unix))]
mod fork;
mod harden;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(feature = "test-util", target_os = "linux"))]
mod namespace;
#[cfg(any(test, not(target_os = "linux")))]
pub(crate) mod native;
mod process;
mod provider;
#[cfg(unix)]
mod signals;

#[cfg(all(feature = "test-util", unix))]
pub use fork::in_a_fork;
pub use harden::harden_process;
#[cfg(all(feature = "test-util", target_os = "linux"))]
pub use namespace::enter_own_user_namespace;
pub use process::ThisProcess;
pub(crate) use provider::{Detected, Provider, Touch};
#[cfg(unix)]
pub(crate) use signals::Deferred;

use crate::deadline::Deadline;
use crate::{KeystoreError, Surroundings};

/// Looks for the keyring of these surroundings, without touching a secret.
pub(crate) fn detect(surroundings: &Surroundings, deadline: Deadline) -> Result<Detected, KeystoreError> {
    #[cfg(any(test, not(target_os = "linux")))]
    if let Some(system) = surroundings.system() {
        return native::detect(&system, deadline);
    }
    #[cfg(target_os = "linux")]
    return linux::detect(surroundings, deadline);
    #[cfg(not(target_os = "linux"))]
    return Ok(native::none_of_this_system());
}

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
