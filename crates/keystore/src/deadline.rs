#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is waited for elsewhere yet"))]

use std::time::{Duration, Instant};

/// A moment after which nothing is waited for any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// The longest that one operation may wait for the keyring.
    pub(crate) const OPERATION: Duration = Duration::from_secs(2);
    /// What cleaning up may take beyond that.
    pub(crate) const CLEANUP: Duration = Duration::from_millis(400);

    pub(crate) fn within(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
