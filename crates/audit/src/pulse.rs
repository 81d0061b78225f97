//! Says when the next checkpoint is due.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A checkpoint is due after so many records, or so long after the first.
const SEAL_RECORDS: u64 = 1000;
const SEAL_INTERVAL: Duration = Duration::from_secs(60);

/// Counts records for the one who seals the log.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    records: AtomicU64,
    /// Whether the one who seals waits for the first record since the last checkpoint.
    idle: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: bool,
    closing: bool,
}

/// Why a wait for the next checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// For the last time.
    Closing,
}

impl Pulse {
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self, more: u64, rolled: bool) {
        let before = self.records.fetch_add(more, Ordering::SeqCst);
        let full = before / SEAL_RECORDS != (before + more) / SEAL_RECORDS;
        // The one who seals says that it goes idle before it looks at the counter for the last time.
        if !(rolled || full || self.idle.load(Ordering::SeqCst)) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.due |= rolled || full;
        self.changed.notify_all();
    }

    /// Waits until a checkpoint is due: so many records or so long after the first one that `sealed` does not count,
    /// or when a day has ended, or at the end.
    pub(crate) fn wait_until_due(&self, sealed: u64) -> Due {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut until: Option<Instant> = None;
        loop {
            if state.closing {
                return Due::Closing;
            }
            let unsealed = self.records() != sealed;
            if unsealed && std::mem::take(&mut state.due) {
                return Due::Now;
            }
            state = match (unsealed, until) {
                (false, _) => {
                    self.idle.store(true, Ordering::SeqCst);
                    if self.records() == sealed {
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    self.idle.store(false, Ordering::SeqCst);
                    state
                }
                (true, Some(time)) => {
                    let left = time.saturating_duration_since(Instant::now());
                    if left == Duration::ZERO {
                        return Due::Now;
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                (true, None) => {
                    until = Some(Instant::now() + SEAL_INTERVAL);
                    state
                }
            };
        }
    }

    /// Lets the one who seals do so for the last time.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closing = true;
        self.changed.notify_all();
    }
}
