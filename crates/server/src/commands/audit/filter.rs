//! Which records: the same words for every command that reads the log.

use clap::Args;
use entrabot_audit::{Query, Timestamp};

use crate::failure::Failure;

/// Which records are wanted.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    whole: WholeCalls,
    /// Only this outcome: success, failure, pending
    #[arg(long)]
    outcome: Option<String>,
    /// Only this call: its pending and its outcome
    #[arg(long)]
    call_id: Option<String>,
    /// Only this record
    #[arg(long)]
    event_id: Option<String>,
    /// Only from this part: transport, tool, cli, provisioning, system
    #[arg(long)]
    source: Option<String>,
}

/// Which records, where pending and outcome must stay together.
#[derive(Debug, Args)]
pub(crate) struct WholeCalls {
    /// Only from this time on (RFC 3339, e.g. 2026-07-01T00:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this action; with * at the end, any that begins so
    #[arg(long)]
    action: Option<String>,
    /// Only this agent, by its id
    #[arg(long)]
    agent: Option<String>,
}

impl Filter {
    /// Whether every record is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { whole: WholeCalls { since, until, action, agent }, outcome, call_id, event_id, source } =
            self;
        [since, until, action, agent, outcome, call_id, event_id, source].iter().all(|term| term.is_none())
    }

    /// # Errors
    /// A time is none.
    pub(crate) fn query(&self) -> Result<Query, Failure> {
        let mut query = self.whole.query()?;
        query = with(query, self.outcome.as_deref(), Query::outcome);
        query = with(query, self.call_id.as_deref(), Query::call_id);
        query = with(query, self.event_id.as_deref(), Query::event_id);
        Ok(with(query, self.source.as_deref(), Query::source))
    }
}

impl WholeCalls {
    /// # Errors
    /// A time is none.
    pub(crate) fn query(&self) -> Result<Query, Failure> {
        let mut query = Query::new();
        if let Some(since) = &self.since {
            query = query.since(time("since", since)?);
        }
        if let Some(until) = &self.until {
            query = query.until(time("until", until)?);
        }
        query = with(query, self.action.as_deref(), Query::action);
        Ok(with(query, self.agent.as_deref(), Query::agent))
    }
}

fn with(query: Query, value: Option<&str>, add: impl FnOnce(Query, &str) -> Query) -> Query {
    match value {
        Some(value) => add(query, value),
        None => query,
    }
}

fn time(name: &str, text: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse(text).ok_or_else(|| {
        Failure::usage(format!("--{name} is no time"), "give one such as 2026-07-01T00:00:00Z")
    })
}
