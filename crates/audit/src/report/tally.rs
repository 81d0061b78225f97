//! What a log comes to: one pass over it, in memory that does not grow with its length.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::durations::Durations;
use super::timeline::{Mark, Timeline};
use crate::{Source, StoredEvent, Timestamp};

/// Different keys that a table counts; what comes after is counted together.
const MAX_KEYS: usize = 1_000;
/// Calls that are listed one by one.
pub(crate) const MAX_CALLS: usize = 200;
/// Failures that are listed one by one.
pub(crate) const MAX_FAILURES: usize = 100;

/// A table that counts a bounded number of keys by themselves.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    pub(crate) rows: BTreeMap<K, V>,
    /// What keys beyond the bound were counted for.
    pub(crate) beyond: u64,
}

impl<K: Ord, V: Default> Table<K, V> {
    fn new() -> Self {
        Self { rows: BTreeMap::new(), beyond: 0 }
    }

    fn count(&mut self, key: K, with: impl FnOnce(&mut V)) {
        if self.rows.len() < MAX_KEYS || self.rows.contains_key(&key) {
            with(self.rows.entry(key).or_default());
        } else {
            self.beyond += 1;
        }
    }
}

/// Who acts, and how he came to be named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Actor {
    pub(crate) id: String,
    pub(crate) attribution: String,
    pub(crate) via: String,
}

#[derive(Debug, Default)]
pub(crate) struct ActorTally {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    /// Records that are no calls.
    pub(crate) statements: u64,
    pub(crate) last: String,
}

#[derive(Debug, Default)]
pub(crate) struct ToolTally {
    pub(crate) success: u64,
    pub(crate) failure: u64,
    pub(crate) unknown: u64,
    pub(crate) durations: Durations,
}

impl ToolTally {
    pub(crate) fn calls(&self) -> u64 {
        self.success + self.failure + self.unknown
    }
}

#[derive(Debug, Default)]
pub(crate) struct CountedUntil {
    pub(crate) count: u64,
    pub(crate) last: String,
}

#[derive(Debug, Default)]
pub(crate) struct StatementTally {
    pub(crate) success: u64,
    pub(crate) failure: u64,
    pub(crate) other: u64,
    pub(crate) last: String,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    /// With the error's name, where the record has room for it.
    Failure(Option<String>),
    /// Its process died; somebody closed the span afterwards.
    ClosedAfterwards,
    /// No outcome was on record when the log was read.
    Open,
}

impl End {
    pub(crate) fn mark(&self) -> Mark {
        match self {
            Self::Success => Mark::Success,
            Self::Failure(_) => Mark::Failure,
            Self::ClosedAfterwards | Self::Open => Mark::Unknown,
        }
    }
}

/// One call: its pending line and its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) call_id: String,
    pub(crate) actor: String,
    pub(crate) action: String,
    /// The pending line's time as it stands there; the outcome's where there is no pending line in the range.
    pub(crate) timestamp: String,
    began: Option<Timestamp>,
    /// In microseconds.
    pub(crate) duration: Option<u64>,
    pub(crate) end: End,
}

impl Call {
    /// Where it stands among others.
    fn place(&self) -> (&str, &str) {
        (&self.timestamp, &self.call_id)
    }
}

/// Everything a page tells of the events.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    /// Times of the first and the last event.
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
    pub(crate) success: u64,
    pub(crate) failure: u64,
    /// Closed afterwards, or never.
    pub(crate) unknown: u64,
    pub(crate) actors: Table<Actor, ActorTally>,
    pub(crate) tools: Table<String, ToolTally>,
    pub(crate) reasons: Table<(String, Option<String>), CountedUntil>,
    pub(crate) statements: Table<(String, String), StatementTally>,
    pub(crate) timeline: Timeline,
    pub(crate) latest: VecDeque<Call>,
    pub(crate) failures: VecDeque<Call>,
    /// Without an outcome, by the order in which they began; complete only after [`Tally::finish`].
    pub(crate) open: Vec<Call>,
    pending: HashMap<String, (Actor, Call)>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            events: 0,
            first: None,
            last: None,
            success: 0,
            failure: 0,
            unknown: 0,
            actors: Table::new(),
            tools: Table::new(),
            reasons: Table::new(),
            statements: Table::new(),
            timeline: Timeline::new(),
            latest: VecDeque::new(),
            failures: VecDeque::new(),
            open: Vec::new(),
            pending: HashMap::new(),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.success + self.failure + self.unknown
    }

    pub(crate) fn add(&mut self, event: &StoredEvent) {
        self.events += 1;
        self.first.get_or_insert_with(|| event.timestamp().to_owned());
        self.last = Some(event.timestamp().to_owned());
        let source = event.source().unwrap_or("foreign");
        match event.call_id() {
            Some(call) if event.outcome() == "pending" => {
                self.pending.insert(call.to_owned(), (actor_of(event), call_of(event, call, End::Open)));
            }
            Some(call) => match self.pending.remove(call) {
                Some((actor, pending)) => {
                    let duration = match (pending.began, event.time()) {
                        (Some(began), Some(ended)) => {
                            u64::try_from(ended.as_micros() - began.as_micros()).ok()
                        }
                        _ => None,
                    };
                    self.ended(actor, Call { duration, end: end_of(event), ..pending });
                }
                None if is_observed(source) => {
                    self.ended(actor_of(event), call_of(event, call, end_of(event)))
                }
                None => self.stated(event, source),
            },
            None => self.stated(event, source),
        }
    }

    /// What is still pending has no outcome.
    pub(crate) fn finish(&mut self) {
        let mut open: Vec<_> = std::mem::take(&mut self.pending).into_values().collect();
        open.sort_unstable_by(|(_, one), (_, other)| one.place().cmp(&other.place()));
        for (actor, call) in open {
            self.open.push(call.clone());
            self.ended(actor, call);
        }
        self.latest.make_contiguous().sort_unstable_by(|one, other| one.place().cmp(&other.place()));
    }

    fn ended(&mut self, actor: Actor, call: Call) {
        let failed = u64::from(call.end.mark() == Mark::Failure);
        self.actors.count(actor, |tally| {
            tally.calls += 1;
            tally.failures += failed;
            later(&mut tally.last, &call.timestamp);
        });
        self.tools.count(call.action.clone(), |tally| {
            match call.end.mark() {
                Mark::Success => tally.success += 1,
                Mark::Failure => tally.failure += 1,
                Mark::Unknown => tally.unknown += 1,
            }
            // When a span was closed afterwards says nothing about the call.
            if let Some(micros) = call.duration.filter(|_| call.end != End::ClosedAfterwards) {
                tally.durations.add(micros);
            }
        });
        match &call.end {
            End::Success => self.success += 1,
            End::Failure(reason) => {
                self.failure += 1;
                self.reasons.count((call.action.clone(), reason.clone()), |tally| {
                    tally.count += 1;
                    later(&mut tally.last, &call.timestamp);
                });
                push_bounded(&mut self.failures, call.clone(), MAX_FAILURES);
            }
            End::ClosedAfterwards | End::Open => self.unknown += 1,
        }
        if let Some(began) = call.began {
            self.timeline.add(began.as_micros(), call.end.mark(), call.duration);
        }
        push_bounded(&mut self.latest, call, MAX_CALLS);
    }

    /// A record that stands for itself.
    fn stated(&mut self, event: &StoredEvent, source: &str) {
        let last = event.timestamp();
        self.actors.count(actor_of(event), |tally| {
            tally.statements += 1;
            later(&mut tally.last, last);
        });
        self.statements.count((source.to_owned(), event.action().to_owned()), |tally| {
            match event.outcome() {
                "success" => tally.success += 1,
                "failure" => tally.failure += 1,
                _ => tally.other += 1,
            }
            later(&mut tally.last, last);
        });
    }
}

/// Whether the product itself saw what happened; others say so.
fn is_observed(source: &str) -> bool {
    [Source::Transport, Source::Provisioning].iter().any(|observed| observed.as_str() == source)
}

fn actor_of(event: &StoredEvent) -> Actor {
    Actor {
        id: event.agent_id().to_owned(),
        attribution: event.attribution_type().to_owned(),
        via: event.via().unwrap_or("none").to_owned(),
    }
}

fn call_of(event: &StoredEvent, call: &str, end: End) -> Call {
    Call {
        call_id: call.to_owned(),
        actor: event.agent_id().to_owned(),
        action: event.action().to_owned(),
        timestamp: event.timestamp().to_owned(),
        began: event.time(),
        duration: None,
        end,
    }
}

fn end_of(event: &StoredEvent) -> End {
    match event.outcome() {
        "success" => End::Success,
        _ if event.source() == Some(Source::System.as_str()) => End::ClosedAfterwards,
        _ => End::Failure(event.error_type()),
    }
}

/// Keeps the later of two times. In our own lines all have one form, so their order is that of their text.
fn later(last: &mut String, timestamp: &str) {
    if timestamp > last.as_str() {
        timestamp.clone_into(last);
    }
}

fn push_bounded(list: &mut VecDeque<Call>, call: Call, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(call);
}
