//! MCP over stdio, with a framing of our own under rmcp.
//!
//! rmcp 3.11 drops lines that it cannot parse (the client waits for ever), answers some without their id, and ends the
//! process on a notification before `initialize`. Here every line is bounded and looked at before rmcp sees it: what
//! can be a request is answered with its own id, whatever else is wrong with it.
//!
//! One task reads, one task writes, both queues are bounded. A client that does not read its answers is not read from
//! any more.

mod line;
mod reader;
mod salvage;
mod traffic;
mod verdict;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use traffic::Traffic;
pub(crate) use verdict::{Refusal, Verdict, judge};
use writer::{Outgoing, Written};

/// Longest line that is read, in bytes without its newline.
pub(crate) const MAX_LINE: usize = 16 * 1024 * 1024;
/// Requests that are worked on at a time; the next one waits unread.
const MAX_IN_FLIGHT: usize = 256;
/// Messages that wait for rmcp.
const INCOMING_QUEUE: usize = 16;
/// How long calls in flight may go on after the input ended.
const GRACE: Duration = Duration::from_millis(3500);
/// How long the last answers may take to be written.
const FLUSH: Duration = Duration::from_millis(500);

/// The two ends of the connection, for rmcp.
pub(crate) struct StdioTransport {
    incoming: mpsc::Receiver<ClientJsonRpcMessage>,
    outgoing: Option<Outgoing>,
    written: Option<Written>,
    traffic: Arc<Traffic>,
    /// Cancels whatever is still in flight when the grace is over.
    abandon: CancellationToken,
    ended: Option<Instant>,
}

impl StdioTransport {
    /// Starts the two tasks. `stop` ends reading, as the end of the input does; `abandon` is the token that rmcp serves
    /// under.
    pub(crate) fn start<R, W>(
        input: R,
        output: W,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let traffic = Arc::new(Traffic::new(MAX_IN_FLIGHT));
        let (outgoing, written) = writer::start(output, Arc::clone(&traffic), stop.clone());
        let (to_rmcp, incoming) = mpsc::channel(INCOMING_QUEUE);
        tokio::spawn(reader::run(input, to_rmcp, outgoing.clone(), Arc::clone(&traffic), stop));
        Self { incoming, outgoing: Some(outgoing), written: Some(written), traffic, abandon, ended: None }
    }
}

impl Transport<RoleServer> for StdioTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        let traffic = Arc::clone(&self.traffic);
        async move {
            let answered = match &item {
                JsonRpcMessage::Response(response) => Some((response.id.clone(), true)),
                JsonRpcMessage::Error(error) => error.id.clone().map(|id| (id, false)),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
            };
            if let Some((id, succeeded)) = &answered {
                traffic.answering(id, *succeeded);
            }
            let line = serde_json::to_vec(&item).map_err(io::Error::other)?;
            let answers = answered.map(|(id, _)| id);
            let outgoing = outgoing.ok_or(io::ErrorKind::NotConnected)?;
            let sent = outgoing.send(line, answers.clone()).await;
            if let (Err(_), Some(id)) = (&sent, &answers) {
                traffic.settled(id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        if let Some(message) = self.incoming.recv().await {
            return Some(message);
        }
        // The input ended. rmcp must not learn of it before the calls in flight are answered: it gives them no
        // deadline that we could choose.
        let ended = *self.ended.get_or_insert_with(Instant::now);
        tokio::select! {
            biased;
            () = self.traffic.idle() => None,
            () = tokio::time::sleep_until(ended + GRACE) => {
                tracing::warn!("calls were still in flight when the connection ended; they are abandoned");
                self.abandon.cancel();
                std::future::pending().await
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        drop(self.outgoing.take());
        self.incoming.close();
        if let Some(written) = self.written.take()
            && tokio::time::timeout(FLUSH, written.finished()).await.is_err()
        {
            tracing::warn!("the client did not take the last answers");
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod test_client;
#[cfg(test)]
mod tests;
