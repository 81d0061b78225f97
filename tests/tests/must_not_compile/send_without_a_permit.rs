// error: E0308
// says: mismatched types
// No audit, no action.
use entrabot_a365::{ToolCall, Transport};
use entrabot_identity::TokenSource;
async fn unrecorded(transport: &Transport, tokens: &dyn TokenSource, call: ToolCall) {
    let _ = transport.send(call, tokens).await;
}
fn main() {}
