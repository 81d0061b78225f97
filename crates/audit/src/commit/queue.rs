//! The records that wait for a leader, in groups.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::group::{Caller, Group, Who};
use super::{Target, Until};
use crate::journal::MAX_WRITE;
use crate::line::MAX_LINE;

/// The most lines of one group.
const GROUP: usize = 1024;
/// The most groups that go without waiting.
const MOST_HURRIED: u32 = 16;

pub(super) struct Queue<T: Target> {
    /// Those that wait, oldest first; records join the last one.
    pub(super) groups: VecDeque<Waiting<T::Record>>,
    /// How many records are in them.
    pub(super) length: usize,
    /// How many threads wait for room, and which tasks.
    pub(super) outside: usize,
    pub(super) tasks_outside: Vec<Waker>,
    pub(super) leading: bool,
    pub(super) closing: bool,
    /// What the last sync did not cover.
    pub(super) unsynced: Option<Unsynced<T::Written>>,
    pub(super) leader_sleeps: bool,
    pub(super) syncer_sleeps: bool,
    /// Closed, and nothing waits any more.
    pub(super) drained: bool,
    next_ticket: u64,
    pub(super) pace: Pace,
}

/// Groups that were written and not yet synced.
#[derive(Clone)]
pub(super) struct Unsynced<W> {
    /// The last one's number.
    pub(super) number: u64,
    pub(super) written: W,
    /// When the first of them was written.
    pub(super) since: Instant,
}

/// A group that is still open.
pub(super) struct Waiting<R> {
    pub(super) group: Arc<Group>,
    pub(super) records: Vec<R>,
    /// For whom each record is.
    pub(super) callers: Vec<Caller>,
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
    /// How many of them are tasks that were just served.
    pub(super) tasks: usize,
    /// So many groups go without waiting, since it was in vain.
    pub(super) hurried: u32,
    /// How many groups went without waiting when it last was in vain.
    pub(super) vain: u32,
}

impl Pace {
    /// One straggler among many is no reason to wait for none of them: only when the wait is in vain again is it left
    /// out for longer.
    pub(super) fn in_vain(&mut self) {
        self.vain = (self.vain * 2 + 1).min(MOST_HURRIED);
        self.hurried = self.vain;
    }
}

impl<T: Target> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            groups: VecDeque::new(),
            length: 0,
            outside: 0,
            tasks_outside: Vec::new(),
            leading: false,
            closing: false,
            unsynced: None,
            leader_sleeps: false,
            syncer_sleeps: false,
            drained: false,
            next_ticket: 0,
            pace: Pace::default(),
        }
    }

    /// Whether a caller that comes now is the only one.
    pub(super) fn is_idle(&self) -> bool {
        !self.leading && self.groups.is_empty() && self.pace.expected <= 1
    }

    /// The record's place, and whether its caller, a thread, is to lead.
    pub(super) fn push(&mut self, record: T::Record, until: Until) -> (Place, bool) {
        let place = self.add(record, until, Who::Thread);
        (place, !std::mem::replace(&mut self.leading, true))
    }

    pub(super) fn add(&mut self, record: T::Record, until: Until, who: Who) -> Place {
        let caller = Caller { ticket: self.next_ticket, until, who };
        self.next_ticket += 1;
        if self.groups.back().is_none_or(Waiting::is_full) {
            self.groups.push_back(Waiting::new());
        }
        let waiting = self.groups.back_mut().expect("one was just put there");
        waiting.bytes += T::size(&record);
        waiting.records.push(record);
        waiting.callers.push(caller);
        self.length += 1;
        Place { group: Arc::clone(&waiting.group), caller }
    }

    /// Whether the record was still here to be taken away.
    pub(super) fn take_back(&mut self, place: &Place) -> bool {
        let Some(at) = self.groups.iter().position(|waiting| Arc::ptr_eq(&waiting.group, &place.group))
        else {
            return false;
        };
        let waiting = &mut self.groups[at];
        let same = |caller: &Caller| caller.ticket == place.caller.ticket;
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
        if self.unsynced.as_ref().is_some_and(|unsynced| unsynced.number <= durable) {
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
        self.callers.iter().filter(|caller| caller.until == until).count()
    }

    /// Whether a thread waits here that can lead.
    pub(super) fn has_thread(&self) -> bool {
        self.callers.iter().any(|caller| caller.who == Who::Thread)
    }

    pub(super) fn tasks(&self) -> usize {
        self.callers.iter().filter(|caller| caller.who == Who::Task).count()
    }
}
