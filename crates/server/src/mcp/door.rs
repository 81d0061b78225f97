//! The way from a tool call to the audited door, and back as an answer.

use entrabot_a365::{A365Error, Answered, ProgressSink, WorkIqProvider};
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;

use super::answer;
use crate::compose::Parts;
use crate::failure::Failure;

/// The door, after the sign-in that may be under way; where acts are a person's, somebody has to be signed in.
pub(super) async fn open(parts: &Parts) -> Result<WorkIqProvider, Failure> {
    parts.sign_in().ready().await?;
    let opening = parts.clone();
    match tokio::task::spawn_blocking(move || opening.provider()).await {
        Ok(door) => door,
        Err(_) => Err(Failure::internal("opening the audit log")),
    }
}

/// One call through the door, of whose progress `sink` hears.
pub(super) async fn through<T, F, Answer>(
    parts: &Parts,
    sink: Option<ProgressSink>,
    call: F,
) -> CallToolResult
where
    T: Serialize,
    F: FnOnce(WorkIqProvider) -> Answer,
    Answer: Future<Output = Result<Answered<T>, A365Error>>,
{
    through_with(parts, sink, |_| None, call).await
}

/// The same, with what stands beside the reply.
pub(super) async fn through_with<T, F, Answer>(
    parts: &Parts,
    sink: Option<ProgressSink>,
    beside: impl FnOnce(&T) -> Option<ContentBlock>,
    call: F,
) -> CallToolResult
where
    T: Serialize,
    F: FnOnce(WorkIqProvider) -> Answer,
    Answer: Future<Output = Result<Answered<T>, A365Error>>,
{
    let door = match (open(parts).await, sink) {
        (Ok(door), Some(sink)) => door.reporting_to(sink),
        (Ok(door), None) => door,
        (Err(failure), _) => return answer::failure(&failure, None),
    };
    match call(door).await {
        Ok(Answered { reply, recorded, .. }) => {
            answer::success(&reply, beside(&reply), Some(answer::ids(recorded)))
        }
        Err(error) => answer::failure(&Failure::of(&error), error.recorded().map(answer::ids)),
    }
}
