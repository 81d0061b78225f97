//! Work that blocks, on a thread where it may.

use std::any::Any;

use tokio::task::JoinError;

/// What work gives back. Whoever gave the work knows its type.
type Answer = Box<dyn Any + Send>;

/// As [`tokio::task::spawn_blocking`]: the work begins at once, and goes on when nobody waits for it any more. All work
/// is one type to the runtime: with a task of its own for each closure, some fifty of them are 2 kB of machine code each.
///
/// # Errors
/// The work panicked, or the runtime is going down.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Lost>> + Send {
    let task = tokio::task::spawn_blocking::<Box<dyn FnOnce() -> Answer + Send>, _>(Box::new(|| {
        Box::new(work()) as Answer
    }));
    async {
        match task.await.map_err(Lost)?.downcast() {
            Ok(answer) => Ok(*answer),
            Err(_) => unreachable!("the work's own answer is of the work's own type"),
        }
    }
}

/// The same for a caller that waits: the work's panic is its own.
pub async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(lost) => lost.pass_on().await,
    }
}

/// The work has no answer. Says nothing of why: a panic may quote what was being worked on.
#[derive(Debug, thiserror::Error)]
#[error("the work was cut short")]
pub struct Lost(JoinError);

impl Lost {
    /// Goes on with the work's panic. Where the runtime is going down, so is the future that waits here.
    async fn pass_on<T>(self) -> T {
        match self.0.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_gives_its_own_answer_and_its_panic_is_the_callers() {
        assert_eq!(spawn_blocking(|| String::from("done")).await.unwrap(), "done");
        let lost = spawn_blocking(|| -> u8 { panic!("secret") }).await.unwrap_err();
        assert_eq!(lost.to_string(), "the work was cut short");
        let passed_on = tokio::spawn(async { lost.pass_on::<u8>().await }).await.unwrap_err();
        assert_eq!(*passed_on.into_panic().downcast::<&str>().unwrap(), "secret");
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        drop(spawn_blocking(move || done.send(())));
        is_done.await.unwrap();
    }
}
