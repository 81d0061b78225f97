//! The one task that reads stdin.

use std::sync::Arc;

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::MAX_LINE;
use super::line::{Line, Lines};
use super::traffic::{DuplicateId, Traffic};
use super::verdict::{Refusal, Verdict, judge};
use super::writer::Outgoing;

/// Reads until the input ends, `stop` is cancelled, or nobody takes the messages.
pub(super) async fn run<R>(
    input: R,
    to_rmcp: mpsc::Sender<ClientJsonRpcMessage>,
    outgoing: Outgoing,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) where
    R: AsyncRead + Send + Unpin + 'static,
{
    let reading = async {
        let mut lines = Lines::new(input, MAX_LINE);
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return tracing::debug!("the input ended"),
                Err(error) => return tracing::warn!(%error, "the input cannot be read any more"),
            };
            if take(line, &to_rmcp, &outgoing, &traffic).await.is_none() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = stop.cancelled() => tracing::debug!("reading was stopped"),
    }
}

/// `None`: one of the queues has no other end any more.
async fn take(
    line: Line,
    to_rmcp: &mpsc::Sender<ClientJsonRpcMessage>,
    outgoing: &Outgoing,
    traffic: &Traffic,
) -> Option<()> {
    let verdict = match line {
        Line::Whole(line) => judge(&line),
        Line::Overlong(head) => match Refusal::overlong(&head) {
            Some(refusal) => Verdict::Refuse(vec![refusal]),
            None => Verdict::Ignore("an overlong answer"),
        },
    };
    match verdict {
        Verdict::Ignore(what) => tracing::debug!(what, "ignored a line"),
        Verdict::Refuse(refusals) => {
            for refusal in refusals {
                outgoing.send(refusal.line(), None).await.ok()?;
            }
        }
        Verdict::Deliver(message) => deliver(*message, to_rmcp, outgoing, traffic).await?,
    }
    Some(())
}

async fn deliver(
    message: ClientJsonRpcMessage,
    to_rmcp: &mpsc::Sender<ClientJsonRpcMessage>,
    outgoing: &Outgoing,
    traffic: &Traffic,
) -> Option<()> {
    match &message {
        JsonRpcMessage::Request(request) => {
            let opens =
                !matches!(request.request, ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_));
            if traffic.admit(&request.id, opens).await == Err(DuplicateId) {
                return outgoing.send(Refusal::duplicate_id(&request.id).line(), None).await.ok();
            }
        }
        // Before the opening rmcp takes anything but a request for a reason to end.
        _ if !traffic.is_open() => {
            tracing::debug!("ignored a message before initialize");
            return Some(());
        }
        JsonRpcMessage::Notification(notification) => {
            if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                && let Some(id) = cancelled.params.request_id.clone()
            {
                to_rmcp.send(message).await.ok()?;
                // A cancelled request is not answered.
                traffic.settled(&id);
                return Some(());
            }
        }
        JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
    }
    to_rmcp.send(message).await.ok()
}
