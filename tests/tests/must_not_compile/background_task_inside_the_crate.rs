// inside: entrabot-a365
// error: E0616
// says: field `http` of struct `transport::Transport` is private
// The same holds for a task that is written inside the crate itself, beside the transport.
use std::sync::Arc;
use crate::Transport;
async fn poll(transport: Arc<Transport>) {
    let _ = &transport.http;
}
fn start(transport: Arc<Transport>) {
    drop(tokio::spawn(poll(transport)));
}
