//! The way from a tool call to the audited door, and back as an answer.

use std::sync::Arc;

use entrabot_a365::{A365Error, Answered, CallObserver, ProgressSink, WorkIqProvider};
use rmcp::model::ContentBlock;
use serde::Serialize;

use super::answer::{self, Answer};
use crate::compose::Parts;
use crate::failure::Failure;

/// The door, after the sign-in that may be under way; where acts are a person's, somebody has to be signed in.
pub(super) async fn open(parts: &Parts) -> Result<WorkIqProvider, Failure> {
    parts.sign_in().ready().await?;
    parts.provider_async().await
}

/// Who hears of a call.
pub(super) struct Audience {
    /// Its progress.
    pub(super) progress: Option<ProgressSink>,
    /// Its beginning and its end.
    pub(super) observer: Option<Arc<dyn CallObserver>>,
}

/// One call through the door, of which `audience` hears.
pub(super) async fn through<T, F, Call>(parts: &Parts, audience: Audience, call: F) -> Answer
where
    T: Serialize,
    F: FnOnce(WorkIqProvider) -> Call,
    Call: Future<Output = Result<Answered<T>, A365Error>>,
{
    through_with(parts, audience, |_| None, call).await
}

/// The same, with what stands beside the reply.
pub(super) async fn through_with<T, F, Call>(
    parts: &Parts,
    audience: Audience,
    beside: impl FnOnce(&T) -> Option<ContentBlock>,
    call: F,
) -> Answer
where
    T: Serialize,
    F: FnOnce(WorkIqProvider) -> Call,
    Call: Future<Output = Result<Answered<T>, A365Error>>,
{
    let mut door = match open(parts).await {
        Ok(door) => door,
        Err(failure) => return answer::failure(&failure, None),
    };
    if let Some(progress) = audience.progress {
        door = door.reporting_to(progress);
    }
    if let Some(observer) = audience.observer {
        door = door.observed_by(observer);
    }
    match call(door).await {
        Ok(Answered { reply, recorded, .. }) => {
            answer::success(&reply, beside(&reply), Some(answer::ids(recorded)))
        }
        Err(error) => answer::failure(&Failure::of(&error), error.recorded().map(answer::ids)),
    }
}
