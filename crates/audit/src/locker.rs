//! Takes the directory's lock within a deadline. `flock(2)` has none: when the lock is not free at once, a thread of
//! its own waits for it, and whoever asked waits for that thread only as long as it wants to.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::storage::FolderLock;

/// How long a busy lock is tried again before a thread waits for it: a holder needs some microseconds, and waking a
/// thread takes longer than that.
const PATIENCE: Duration = Duration::from_micros(200);

#[derive(Debug)]
pub(crate) struct Locker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lock: Arc<dyn FolderLock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiter_runs: bool,
    wanted: bool,
    got: Option<io::Result<()>>,
    closed: bool,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum NotLocked {
    Io(io::Error),
    Timeout { holder: Option<u32> },
}

/// The lock, until dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    lock: &'a dyn FolderLock,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Unlocking an open descriptor cannot fail but for an interrupt, which is retried below.
        let _cannot_fail = self.lock.unlock();
    }
}

impl Locker {
    pub(crate) fn new(lock: Arc<dyn FolderLock>) -> Self {
        Self { inner: Arc::new(Inner { lock, state: Mutex::default(), changed: Condvar::new() }) }
    }

    pub(crate) fn acquire(&self, limit: Duration) -> Result<Held<'_>, NotLocked> {
        let lock = &*self.inner.lock;
        if !lock.try_exclusive().map_err(NotLocked::Io)? {
            self.acquire_busy(limit)?;
        }
        Ok(Held { lock })
    }

    fn acquire_busy(&self, limit: Duration) -> Result<(), NotLocked> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE.min(limit) {
            std::thread::yield_now();
            if self.inner.lock.try_exclusive().map_err(NotLocked::Io)? {
                return Ok(());
            }
        }
        self.wait(begin + limit)
    }

    fn wait(&self, deadline: Instant) -> Result<(), NotLocked> {
        let inner = &self.inner;
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wanted = true;
        if !state.waiter_runs {
            let for_thread = Arc::clone(inner);
            std::thread::Builder::new()
                .name("audit-lock".to_owned())
                .spawn(move || for_thread.run())
                .map_err(NotLocked::Io)?;
            state.waiter_runs = true;
        }
        inner.changed.notify_all();
        loop {
            if let Some(got) = state.got.take() {
                state.wanted = false;
                return got.map_err(NotLocked::Io);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                state.wanted = false;
                return Err(NotLocked::Timeout { holder: inner.lock.holder() });
            }
            state = inner.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inner {
    fn run(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while !(state.closed || state.wanted && state.got.is_none()) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            drop(state);
            let got = self.lock.exclusive();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.wanted {
                state.got = Some(got);
                self.changed.notify_all();
            } else if got.is_ok() {
                // Nobody waits any more. A failure to unlock would show at the next lock.
                let _shows_later = self.lock.unlock();
            }
        }
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.inner.changed.notify_all();
    }
}
