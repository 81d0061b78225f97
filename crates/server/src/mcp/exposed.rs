//! The tools of Work IQ servers that the operator chose to offer as they are (`serve --expose`).
//!
//! A tool keeps its own name behind its server's: `mcp_MailTools__SendEmail`. What is shown of it is pinned, capped and
//! cleaned; a call goes through the same door as any other, and only while its server still defines it so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrabot_a365::{Offer, OfferedTool, ServerName};
use rmcp::model::{Tool, ToolAnnotations};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::tools::TOOLS;
use crate::compose::Parts;
use crate::failure::Failure;

/// Between a server's name and its tool's.
const SEPARATOR: &str = "__";
/// Longest name that the makers of models take.
const MAX_NAME: usize = 64;
/// More tools than that confuse a model, and some clients refuse them.
const MAX_TOOLS: usize = 128;
/// How long a server's offer is taken for true. The call itself looks again.
const OFFER_AGE: Duration = Duration::from_secs(240);
/// How long a server that did not answer is left alone: every list of tools would wait for it.
const RETRY_AFTER: Duration = Duration::from_secs(20);
/// How long a list of tools may wait for a server: the list is the first thing that a client asks for.
const OFFER_WITHIN: Duration = Duration::from_secs(15);

/// The chosen servers and what they offer. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Exposed {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    servers: Vec<ServerName>,
    offers: Mutex<Vec<Offered>>,
    /// One look at a time, whoever asks.
    looking: tokio::sync::Mutex<()>,
}

/// What one server offers.
struct Offered {
    server: ServerName,
    asked: Instant,
    answered: bool,
    /// As it answered last.
    tools: Vec<OfferedTool>,
}

impl Offered {
    fn is_fresh(&self) -> bool {
        self.asked.elapsed() < if self.answered { OFFER_AGE } else { RETRY_AFTER }
    }
}

/// What is known of the chosen servers.
pub(super) struct Listed {
    /// Sorted by name.
    pub(super) tools: Vec<Tool>,
    /// Every server was asked and answered.
    pub(super) complete: bool,
}

impl Exposed {
    pub(crate) fn new(servers: Vec<ServerName>) -> Self {
        Self { inner: Arc::new(Inner { servers, ..Inner::default() }) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.servers.is_empty()
    }

    /// The tools, after a look at the servers whose offer is old. A server that does not answer keeps what it offered
    /// last, and is in the log.
    pub(super) async fn list(&self, parts: &Parts) -> Listed {
        if self.is_empty() {
            return Listed { tools: Vec::new(), complete: true };
        }
        let complete = self.look(parts).await;
        let mut tools: Vec<Tool> = self.each(listed).into_iter().flatten().collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let room = MAX_TOOLS - TOOLS.len();
        if tools.len() > room {
            tracing::warn!(
                offered = tools.len(),
                shown = room,
                "too many tools: the last by name are left out"
            );
            tools.truncate(room);
        }
        Listed { tools, complete }
    }

    /// The tool of that name, as it was listed last.
    pub(super) fn listed(&self, name: &str) -> Option<Tool> {
        self.each(|tool| listed(tool).filter(|tool| tool.name == name)).into_iter().flatten().next()
    }

    /// The tool of that name. A client may know it from before this process began.
    pub(super) async fn find(&self, name: &str, parts: &Parts) -> Option<OfferedTool> {
        let found = || self.each(|tool| (shown_name(tool).as_deref() == Some(name)).then(|| tool.clone()));
        let known = found().into_iter().flatten().next();
        if known.is_some() || !self.inner.servers.iter().any(|server| name.starts_with(server.as_str())) {
            return known;
        }
        self.look(parts).await;
        found().into_iter().flatten().next()
    }

    fn each<T>(&self, of: impl Fn(&OfferedTool) -> T) -> Vec<T> {
        self.offers().iter().flat_map(|offered| offered.tools.iter()).map(of).collect()
    }

    /// Asks the servers whose offer is old, all at once. Whether each of them has answered.
    async fn look(&self, parts: &Parts) -> bool {
        let _alone = self.inner.looking.lock().await;
        let mut asked = JoinSet::new();
        for server in self.inner.servers.iter().filter(|server| !self.is_fresh(server)) {
            let (server, parts) = (server.clone(), parts.clone());
            asked.spawn(async move {
                let offer = timeout(OFFER_WITHIN, offer(&parts, &server)).await;
                (server, offer.unwrap_or_else(|_| Err(Failure::timed_out("the list of its tools"))))
            });
        }
        while let Some(answer) = asked.join_next().await {
            // One that panicked counts as not asked.
            if let Ok((server, answer)) = answer {
                self.keep(server, answer);
            }
        }
        let offers = self.offers();
        offers.len() == self.inner.servers.len() && offers.iter().all(|offered| offered.answered)
    }

    fn is_fresh(&self, server: &ServerName) -> bool {
        self.offers().iter().any(|offered| offered.server == *server && offered.is_fresh())
    }

    fn keep(&self, server: ServerName, answer: Result<Offer, Failure>) {
        let tools = match answer {
            Ok(offer) => {
                tell_left_out(&server, &offer);
                Some(offer.tools)
            }
            Err(failure) => {
                tracing::warn!(
                    server = server.as_str(),
                    error = failure.message(),
                    error_type = failure.error_type(),
                    hint = failure.hint(),
                    "the tools of this server cannot be offered"
                );
                None
            }
        };
        let mut offers = self.offers();
        let before =
            offers.iter().position(|offered| offered.server == server).map(|at| offers.swap_remove(at));
        let answered = tools.is_some();
        let tools = tools.or(before.map(|offered| offered.tools)).unwrap_or_default();
        offers.push(Offered { server, asked: Instant::now(), answered, tools });
    }

    fn offers(&self) -> MutexGuard<'_, Vec<Offered>> {
        self.inner.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_left_out(server: &ServerName, offer: &Offer) {
    let unnamed = offer.tools.iter().filter(|tool| shown_name(tool).is_none()).map(OfferedTool::tool);
    let unnamed = unnamed.map(|tool| (tool, "its name is too long or holds a dot"));
    let left_out = offer.left_out.iter().map(|(tool, reason)| (tool, *reason));
    for (tool, reason) in left_out.chain(unnamed) {
        tracing::warn!(server = server.as_str(), tool = tool.as_str(), reason, "a tool is not offered");
    }
}

async fn offer(parts: &Parts, server: &ServerName) -> Result<Offer, Failure> {
    let door = super::door::open(parts).await?;
    Ok(door.offer(server).await?.reply)
}

/// The name for the client; `None` where clients would not take it.
fn shown_name(tool: &OfferedTool) -> Option<String> {
    name_of(tool.server().as_str(), tool.tool().as_str())
}

fn name_of(server: &str, tool: &str) -> Option<String> {
    let name = format!("{server}{SEPARATOR}{tool}");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (name.len() <= MAX_NAME && name.bytes().all(plain)).then_some(name)
}

/// As `tools/list` gives it. The hints are ours: what a server says of its own tool could be a lie.
fn listed(tool: &OfferedTool) -> Option<Tool> {
    let (server, own_name) = (tool.server(), tool.tool());
    let mut description = format!("The tool {own_name} of Work IQ's {server}, called as the agent.");
    if let Some(said) = tool.description() {
        description.push_str(" Its server says of it: ");
        description.push_str(said);
    }
    let reads = tool.only_reads();
    let hints =
        ToolAnnotations::new().read_only(reads).destructive(!reads).idempotent(reads).open_world(true);
    let shown = Tool::new(shown_name(tool)?, description, Arc::new(tool.input_schema().clone()));
    Some(shown.with_title(format!("{own_name} ({server})")).with_annotations(hints))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_every_client_takes_or_the_tool_is_left_out() {
        assert_eq!(name_of("mcp_MailTools", "SendEmail").as_deref(), Some("mcp_MailTools__SendEmail"));
        assert_eq!(name_of("mcp_MailTools", "a.b"), None);
        assert_eq!(name_of("mcp_MailTools", &"x".repeat(60)), None);
        assert!(TOOLS.iter().all(|tool| !tool.name.contains(SEPARATOR)), "none of ours can be taken for one");
    }
}
