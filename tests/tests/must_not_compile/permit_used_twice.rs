// error: E0382
// says: use of moved value: `permit`
// One record, one request.
use entrabot_a365::{ToolCall, Transport};
use entrabot_audit::Permit;
use entrabot_identity::TokenSource;
async fn twice(transport: &Transport, tokens: &dyn TokenSource, permit: Permit<ToolCall>) {
    let _first = transport.send(permit, tokens).await;
    let _second = transport.send(permit, tokens).await;
}
fn main() {}
