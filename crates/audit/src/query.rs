//! What a reader of the log looks for.

use crate::StoredEvent;
use crate::time::{Day, Timestamp};

/// What to look for. Everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    action: Option<String>,
    outcome: Option<String>,
    agent: Option<String>,
    call: Option<String>,
    event: Option<String>,
    source: Option<String>,
}

impl Query {
    /// Every event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// At or after this time.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }
    /// Before this time.
    #[must_use]
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }
    /// This action; with `*` at the end, any action that begins so.
    #[must_use]
    pub fn action(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }
    /// This outcome.
    #[must_use]
    pub fn outcome(mut self, outcome: &str) -> Self {
        self.outcome = Some(outcome.to_owned());
        self
    }
    /// Acted by this one.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        self.agent = Some(agent.to_owned());
        self
    }
    /// The lines of this call.
    #[must_use]
    pub fn call_id(mut self, call: &str) -> Self {
        self.call = Some(call.to_ascii_lowercase());
        self
    }
    /// This line.
    #[must_use]
    pub fn event_id(mut self, event: &str) -> Self {
        self.event = Some(event.to_ascii_lowercase());
        self
    }
    /// Written by this part of the product: `transport`, `tool`, `cli`, `provisioning`, `system`.
    #[must_use]
    pub fn source(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// What is set, for a person.
    #[cfg(feature = "report")]
    pub(crate) fn terms(&self) -> Vec<(&'static str, String)> {
        [
            ("time from", self.since.map(|time| time.to_string())),
            ("time before", self.until.map(|time| time.to_string())),
            ("action", self.action.clone()),
            ("outcome", self.outcome.clone()),
            ("agent", self.agent.clone()),
            ("call", self.call.clone()),
            ("event", self.event.clone()),
            ("source", self.source.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Whether the file of this day may hold anything that is wanted.
    pub(crate) fn may_hold(&self, day: Day) -> bool {
        // A day's file may hold lines whose clock had stepped back, never ones of a later day.
        self.since.is_none_or(|since| since.day() <= day)
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        let time = match (self.since, self.until) {
            (None, None) => true,
            (since, until) => event.time().is_some_and(|time| {
                since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until)
            }),
        };
        time && self.matches_kind(&Kind::of(event))
            && equals(self.call.as_deref(), event.call_id())
            && equals(self.event.as_deref(), Some(event.event_id()))
    }

    /// Whether lines of this kind are wanted, whatever their time and ids are.
    pub(crate) fn matches_kind(&self, kind: &Kind<'_>) -> bool {
        let action = self.action.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => kind.action.starts_with(prefix),
            None => kind.action == wanted,
        });
        action
            && equals(self.outcome.as_deref(), Some(kind.outcome))
            && equals(self.agent.as_deref(), Some(kind.agent))
            && equals(self.source.as_deref(), kind.source)
    }

    /// Whether a time is asked for.
    pub(crate) fn has_times(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether any time from the first to the last, in microseconds, is wanted.
    pub(crate) fn overlaps(&self, first: i64, last: i64) -> bool {
        self.since.is_none_or(|since| since.as_micros() <= last)
            && self.until.is_none_or(|until| first < until.as_micros())
    }

    pub(crate) fn wanted_event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    pub(crate) fn wanted_call(&self) -> Option<&str> {
        self.call.as_deref()
    }
}

fn equals(wanted: Option<&str>, is: Option<&str>) -> bool {
    wanted.is_none_or(|text| is == Some(text))
}

/// What many lines have in common: who did what, how it ended, and which part of the product wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind<'a> {
    pub(crate) agent: &'a str,
    pub(crate) action: &'a str,
    pub(crate) outcome: &'a str,
    /// None for a foreign line.
    pub(crate) source: Option<&'a str>,
}

impl<'a> Kind<'a> {
    fn of(event: &'a StoredEvent) -> Self {
        Self {
            agent: event.agent_id(),
            action: event.action(),
            outcome: event.outcome(),
            source: event.source(),
        }
    }
}
