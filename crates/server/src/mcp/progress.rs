//! What a client that gave a progress token hears of its call: how far the service says that it is, and every few seconds
//! that it is still at work, because many clients give up on silence.

use std::time::Duration;

use entrabot_a365::{Progress, ProgressSink};
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at, sleep_until};

/// How often a client hears that a call is at work.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// How often it hears from the service at most: what comes in between is skipped for the newest.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// The reports of one call.
pub(super) struct Reports {
    token: Option<ProgressToken>,
    peer: Peer<RoleServer>,
    heartbeat: Interval,
    not_before: Instant,
    upstream: Option<watch::Receiver<Option<Progress>>>,
    scale: Scale,
}

impl Reports {
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let now = Instant::now();
        Self {
            token: context.meta.get_progress_token(),
            peer: context.peer.clone(),
            heartbeat: interval_at(now + HEARTBEAT, HEARTBEAT),
            not_before: now,
            upstream: None,
            scale: Scale::starting(now),
        }
    }

    /// Where the service's call is to say how far it is, if the client asked.
    pub(super) fn sink(&mut self) -> Option<ProgressSink> {
        self.token.as_ref()?;
        let (newest, upstream) = watch::channel(None);
        self.upstream = Some(upstream);
        Some(ProgressSink::new(move |progress| drop(newest.send_replace(Some(progress)))))
    }

    /// Reports until `work` is done; `waiting` says what is waited for while the service says nothing.
    pub(super) async fn during<T>(&mut self, waiting: &str, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.next(waiting) => {}
            }
        }
    }

    /// Tells the next thing there is to tell. Never ends when nobody asked; may be dropped at any point.
    async fn next(&mut self, waiting: &str) {
        let Some(token) = self.token.clone() else { return std::future::pending().await };
        let (progress, total, message) = tokio::select! {
            said = newest(&mut self.upstream, self.not_before) => {
                let Some((progress, total)) = self.scale.service(said.progress, said.total) else { return };
                self.heartbeat.reset();
                self.not_before = Instant::now() + AT_MOST_EVERY;
                (progress, total, said.message)
            }
            now = self.heartbeat.tick() => {
                let (progress, total) = self.scale.heartbeat(now);
                (progress, total, None)
            }
        };
        let message = message.unwrap_or_else(|| waiting.to_owned());
        let mut report = ProgressNotificationParam::new(token, progress).with_message(message);
        report.total = total;
        if self.peer.notify_progress(report).await.is_err() {
            // Nobody listens any more; the call itself will notice.
            self.token = None;
        }
    }
}

/// The newest that the service said, when the time for it has come.
async fn newest(upstream: &mut Option<watch::Receiver<Option<Progress>>>, not_before: Instant) -> Progress {
    sleep_until(not_before).await;
    loop {
        let Some(newest) = upstream else { return std::future::pending().await };
        if newest.changed().await.is_err() {
            *upstream = None;
        } else if let Some(progress) = newest.borrow_and_update().clone() {
            return progress;
        }
    }
}

/// Two sources on one scale that only grows, as the protocol demands: seconds until the service says something, then
/// what the service counts.
struct Scale {
    started: Instant,
    told: f64,
    /// What was told before the service said anything, and the total that it names.
    service: Option<(f64, Option<f64>)>,
}

impl Scale {
    fn starting(now: Instant) -> Self {
        Self { started: now, told: 0.0, service: None }
    }

    /// Progress and total to tell; `None` when the service did not get further.
    fn service(&mut self, progress: f64, total: Option<f64>) -> Option<(f64, Option<f64>)> {
        let before = self.service.map_or(self.told, |(before, _)| before);
        let total = total.map(|total| before + total);
        self.service = Some((before, total));
        let progress = before + progress;
        if progress <= self.told {
            return None;
        }
        self.told = progress;
        Some((progress, total))
    }

    fn heartbeat(&mut self, now: Instant) -> (f64, Option<f64>) {
        match self.service {
            // A little more, so that it is more, and not so much that it means anything.
            Some((_, total)) => {
                self.told += 0.001;
                (self.told, total)
            }
            None => {
                self.told = now.duration_since(self.started).as_secs_f64().round().max(self.told + 0.001);
                (self.told, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_only_ever_grows_whoever_tells_it() {
        let started = Instant::now();
        let mut scale = Scale::starting(started);
        assert_eq!(scale.heartbeat(started + HEARTBEAT), (4.0, None));
        assert_eq!(scale.heartbeat(started + 2 * HEARTBEAT), (8.0, None));
        assert_eq!(scale.service(1.0, Some(3.0)), Some((9.0, Some(11.0))));
        assert_eq!(scale.service(1.0, Some(3.0)), None);
        assert_eq!(scale.service(0.5, None), None);
        let (told, total) = scale.heartbeat(started + 3 * HEARTBEAT);
        assert!(told > 9.0 && told < 9.1 && total.is_none());
        assert_eq!(scale.service(3.0, Some(3.0)), Some((11.0, Some(11.0))));
    }
}
