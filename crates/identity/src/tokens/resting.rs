//! A service that asked to be left alone (`Retry-After`): until that is over nobody sends it another request.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Until when, and what the service said then.
pub(crate) struct Resting<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Resting<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> fmt::Debug for Resting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resting")
    }
}

impl<T: Clone> Resting<T> {
    /// The service rests for so long from now.
    pub(crate) fn begin(&self, wait: Duration, said: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now() + wait, said));
    }

    /// Waits until it is over.
    ///
    /// # Errors
    /// That is after the patience's end: what is left of it, and what the service said.
    pub(crate) async fn over(&self, patience: impl Fn() -> Duration) -> Result<(), (Duration, T)> {
        loop {
            let left = {
                let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((until, said)) = resting.as_ref() else { return Ok(()) };
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    *resting = None;
                    return Ok(());
                }
                if left >= patience() {
                    return Err((left, said.clone()));
                }
                left
            };
            tokio::time::sleep(left).await;
        }
    }
}
