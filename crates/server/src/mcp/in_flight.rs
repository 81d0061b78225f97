//! Counts the calls at work, so that the audit is closed after the last of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The calls at work.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: AtomicUsize,
    done: Notify,
}

/// One of them; counted until it is dropped.
pub(super) struct Call {
    inner: Arc<Inner>,
}

impl InFlight {
    pub(super) fn enter(&self) -> Call {
        self.inner.calls.fetch_add(1, Ordering::SeqCst);
        Call { inner: Arc::clone(&self.inner) }
    }

    /// Waits until there is none, at most so long.
    pub(crate) async fn none(&self, longest: Duration) -> bool {
        let none = async {
            loop {
                let done = self.inner.done.notified();
                tokio::pin!(done);
                done.as_mut().enable();
                if self.inner.calls.load(Ordering::SeqCst) == 0 {
                    return;
                }
                done.await;
            }
        };
        tokio::time::timeout(longest, none).await.is_ok()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.inner.calls.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.inner.done.notify_waiters();
        }
    }
}
