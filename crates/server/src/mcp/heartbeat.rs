//! Tells a client that asked for it, every few seconds, that a call is still at work: many give up on silence.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use tokio::time::{Instant, Interval};

/// How often a client that gave a progress token hears of a call.
const EVERY: Duration = Duration::from_secs(4);

pub(super) struct Heartbeat {
    token: Option<ProgressToken>,
    peer: Peer<RoleServer>,
    every: Interval,
    started: Instant,
}

impl Heartbeat {
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let started = Instant::now();
        let every = tokio::time::interval_at(started + EVERY, EVERY);
        Self { token: context.meta.get_progress_token(), peer: context.peer.clone(), every, started }
    }

    /// Beats until `work` is done.
    pub(super) async fn during<T>(&mut self, message: &str, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.beat(message) => {}
            }
        }
    }

    async fn beat(&mut self, message: &str) {
        let Some(token) = self.token.clone() else { return std::future::pending().await };
        self.every.tick().await;
        let seconds = self.started.elapsed().as_secs_f64().round();
        let progress = ProgressNotificationParam::new(token, seconds).with_message(message);
        if self.peer.notify_progress(progress).await.is_err() {
            // Nobody listens any more; the call itself will notice.
            self.token = None;
        }
    }
}
