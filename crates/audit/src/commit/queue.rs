//! The records that wait for a leader, in groups.

use std::collections::VecDeque;
use std::sync::Arc;

use super::group::{Caller, Group};
use super::{Target, Until};
use crate::journal::MAX_WRITE;
use crate::line::MAX_LINE;

/// The most lines of one group.
const GROUP: usize = 1024;

pub(super) struct Queue<T: Target> {
    /// Those that wait, oldest first; records join the last one.
    pub(super) groups: VecDeque<Waiting<T::Record>>,
    /// How many records are in them.
    pub(super) length: usize,
    /// How many callers wait for room.
    pub(super) outside: usize,
    pub(super) leading: bool,
    pub(super) closing: bool,
    /// What the last sync did not cover.
    pub(super) unsynced: Option<(u64, T::Written)>,
    pub(super) background_sleeps: bool,
    next_ticket: u64,
    pub(super) pace: Pace,
}

/// A group that is still open.
pub(super) struct Waiting<R> {
    pub(super) group: Arc<Group>,
    pub(super) records: Vec<R>,
    /// Who waits for each record; nobody for what a drop left.
    pub(super) callers: Vec<Option<Caller>>,
    bytes: usize,
}

/// A record's place in the queue.
pub(super) struct Place {
    pub(super) group: Arc<Group>,
    pub(super) caller: Caller,
}

/// Callers that come back at once are waited for a little, so that one sync serves all of them: without that, half of
/// them always miss the sync that the other half waits for.
#[derive(Default)]
pub(super) struct Pace {
    /// How many may come at once.
    pub(super) expected: usize,
    /// So many groups go without waiting, since it was in vain.
    pub(super) hurried: u32,
}

impl<T: Target> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            groups: VecDeque::new(),
            length: 0,
            outside: 0,
            leading: false,
            closing: false,
            unsynced: None,
            background_sleeps: false,
            next_ticket: 0,
            pace: Pace::default(),
        }
    }

    /// Whether a caller that comes now is the only one.
    pub(super) fn is_idle(&self) -> bool {
        !self.leading && self.groups.is_empty() && self.pace.expected <= 1
    }

    /// The record's place, and whether its caller is to lead.
    pub(super) fn push(&mut self, record: T::Record, until: Until) -> (Place, bool) {
        let caller = Caller { ticket: self.next_ticket, until };
        self.next_ticket += 1;
        let group = self.add(record, Some(caller));
        (Place { group, caller }, !std::mem::replace(&mut self.leading, true))
    }

    pub(super) fn add(&mut self, record: T::Record, caller: Option<Caller>) -> Arc<Group> {
        if self.groups.back().is_none_or(Waiting::is_full) {
            self.groups.push_back(Waiting::new());
        }
        let waiting = self.groups.back_mut().expect("one was just put there");
        waiting.bytes += T::size(&record);
        waiting.records.push(record);
        waiting.callers.push(caller);
        self.length += 1;
        Arc::clone(&waiting.group)
    }

    /// Whether the record was still here to be taken away.
    pub(super) fn take_back(&mut self, place: &Place) -> bool {
        let Some(at) = self.groups.iter().position(|waiting| Arc::ptr_eq(&waiting.group, &place.group))
        else {
            return false;
        };
        let waiting = &mut self.groups[at];
        let same = |caller: &Option<Caller>| caller.is_some_and(|other| other.ticket == place.caller.ticket);
        let Some(index) = waiting.callers.iter().position(same) else { return false };
        waiting.callers.remove(index);
        waiting.records.remove(index);
        if waiting.records.is_empty() {
            self.groups.remove(at);
        }
        self.length -= 1;
        true
    }

    pub(super) fn forget_synced(&mut self, durable: u64) {
        if self.unsynced.as_ref().is_some_and(|(number, _)| *number <= durable) {
            self.unsynced = None;
        }
    }
}

impl<R> Waiting<R> {
    fn new() -> Self {
        Self { group: Arc::new(Group::new()), records: Vec::new(), callers: Vec::new(), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= GROUP || self.bytes + MAX_LINE > MAX_WRITE
    }

    pub(super) fn callers_until(&self, until: Until) -> usize {
        self.callers.iter().flatten().filter(|caller| caller.until == until).count()
    }
}
