//! Which requests are in flight, and whether the connection is open yet.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::model::RequestId;
use tokio::sync::Notify;

/// What both tasks know of the connection.
pub(super) struct Traffic {
    state: Mutex<State>,
    changed: Notify,
    most: usize,
}

#[derive(Default)]
struct State {
    in_flight: HashSet<RequestId>,
    /// Requests before the opening that may open the connection when rmcp answers them with a result.
    openers: HashSet<RequestId>,
    open: bool,
}

/// Why a request was not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DuplicateId;

impl Traffic {
    pub(super) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), most }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in; waits while too many are in flight.
    pub(super) async fn admit(&self, id: &RequestId, opens: bool) -> Result<(), DuplicateId> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.in_flight.contains(id) {
                    return Err(DuplicateId);
                }
                if state.in_flight.len() < self.most {
                    state.in_flight.insert(id.clone());
                    if opens && !state.open {
                        state.openers.insert(id.clone());
                    }
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// rmcp has an answer to a request.
    pub(super) fn answering(&self, id: &RequestId, succeeded: bool) {
        let mut state = self.state();
        if state.openers.remove(id) && succeeded {
            state.open = true;
            state.openers.clear();
        }
    }

    /// A request's answer is written, or there will be none.
    pub(super) fn settled(&self, id: &RequestId) {
        self.state().in_flight.remove(id);
        self.changed.notify_waiters();
    }

    /// Whether notifications may reach rmcp: before the opening, one would end the process.
    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Waits until no request is in flight.
    pub(super) async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().in_flight.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> RequestId {
        RequestId::Number(number)
    }

    #[tokio::test]
    async fn an_id_in_flight_is_not_taken_twice_and_is_free_again_after_its_answer() {
        let traffic = Traffic::new(8);
        traffic.admit(&id(1), false).await.unwrap();
        assert_eq!(traffic.admit(&id(1), false).await, Err(DuplicateId));
        traffic.settled(&id(1));
        traffic.admit(&id(1), false).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_over_the_limit_waits_for_a_place() {
        let traffic = Traffic::new(1);
        traffic.admit(&id(1), false).await.unwrap();
        let next = id(2);
        let second = traffic.admit(&next, false);
        tokio::pin!(second);
        assert!(futures_poll(second.as_mut()).await.is_none());
        traffic.settled(&id(1));
        second.await.unwrap();
    }

    #[tokio::test]
    async fn only_a_successful_opener_opens() {
        let traffic = Traffic::new(8);
        traffic.admit(&id(1), true).await.unwrap();
        traffic.answering(&id(1), false);
        assert!(!traffic.is_open());
        traffic.admit(&id(2), true).await.unwrap();
        traffic.answering(&id(2), true);
        assert!(traffic.is_open());
    }

    async fn futures_poll<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::time::timeout(std::time::Duration::from_millis(20), future).await.ok()
    }
}
