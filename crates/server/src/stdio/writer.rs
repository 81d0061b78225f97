//! The one task that writes to stdout.

use std::io;
use std::sync::Arc;

use rmcp::model::RequestId;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::traffic::Traffic;

/// Messages that wait to be written.
const QUEUE: usize = 64;
/// Messages are written together up to this size.
const BATCH: usize = 64 * 1024;

struct Message {
    line: Vec<u8>,
    answers: Option<RequestId>,
}

/// The way to the writer; waits while the client does not read.
#[derive(Clone)]
pub(super) struct Outgoing(mpsc::Sender<Message>);

impl Outgoing {
    /// Queues one line (without its newline); `answers` is settled when it is written.
    pub(super) async fn send(&self, line: Vec<u8>, answers: Option<RequestId>) -> io::Result<()> {
        self.0.send(Message { line, answers }).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The writer's end.
pub(super) struct Written(JoinHandle<()>);

impl Written {
    /// Waits until everything is written; all [`Outgoing`] must be gone.
    pub(super) async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the writer failed");
        }
    }
}

pub(super) fn start<W>(output: W, traffic: Arc<Traffic>, stop: CancellationToken) -> (Outgoing, Written)
where
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Outgoing(sender), Written(tokio::spawn(run(output, receiver, traffic, stop))))
}

async fn run<W>(
    mut output: W,
    mut queue: mpsc::Receiver<Message>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) where
    W: AsyncWrite + Send + Unpin + 'static,
{
    let mut batch = Vec::new();
    let mut answered = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(message) = next.take() {
            batch.extend_from_slice(&message.line);
            batch.push(b'\n');
            answered.extend(message.answers);
            if batch.len() < BATCH {
                next = queue.try_recv().ok();
            }
        }
        if let Err(error) = write(&mut output, &batch).await {
            // Nobody reads any more: no further request is taken, and what is in flight only settles its records.
            tracing::info!(%error, "the client closed our output");
            stop.cancel();
            queue.close();
            while let Some(message) = queue.recv().await {
                answered.extend(message.answers);
            }
            for id in answered {
                traffic.settled(&id);
            }
            return;
        }
        for id in answered.drain(..) {
            traffic.settled(&id);
        }
        batch.clear();
        batch.shrink_to(BATCH);
    }
}

async fn write<W: AsyncWrite + Unpin>(output: &mut W, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes).await?;
    output.flush().await
}
