//! What is remembered of a server between calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Endpoint;
use crate::definitions::Definition;

/// Calls of one server at the same time: a server that hangs takes no more than these.
const MAX_PARALLEL: usize = 16;
/// How long a listing of tools is taken for true.
const LISTING_AGE: Duration = Duration::from_secs(300);

/// How a server wants to be spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// One request, one answer, nothing before it.
    #[default]
    Plain,
    /// In a session that `initialize` opened.
    Session(Option<String>),
    /// The stateless revision of 2026-07-28.
    Stateless,
}

/// One server, as found out.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) slots: Semaphore,
    mode: Mutex<Mode>,
    listing: Mutex<Option<(Instant, Arc<[Definition]>)>>,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl ServerState {
    fn new() -> Self {
        Self { slots: Semaphore::new(MAX_PARALLEL), mode: Mutex::default(), listing: Mutex::default() }
    }
    pub(super) fn mode(&self) -> Mode {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(super) fn set_mode(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
    pub(super) fn listing(&self) -> Option<Arc<[Definition]>> {
        let listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        listing.as_ref().filter(|(at, _)| at.elapsed() < LISTING_AGE).map(|(_, listing)| Arc::clone(listing))
    }
    pub(super) fn set_listing(&self, definitions: Arc<[Definition]>) {
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), definitions));
    }
}

/// All servers spoken to so far, by address and audience.
#[derive(Debug, Default)]
pub(super) struct ServerStates {
    states: Mutex<HashMap<(String, String), Arc<ServerState>>>,
}

impl ServerStates {
    pub(super) fn of(&self, endpoint: &Endpoint) -> Arc<ServerState> {
        let key = (endpoint.url().as_str().to_owned(), endpoint.resource().scope().to_owned());
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(states.entry(key).or_insert_with(|| Arc::new(ServerState::new())))
    }
}
