// error: E0308
// says: mismatched types
// A permit for one kind of act is none for a tool call.
use entrabot_a365::Transport;
use entrabot_audit::{Auditable, Permit, ServerName, Subject, ToolName};
use entrabot_identity::TokenSource;
struct Harmless;
impl Auditable for Harmless {
    fn subject(&self) -> Subject {
        let server = ServerName::parse("s").expect("a name");
        Subject::WorkIq { server, tool: ToolName::parse("t").expect("a name") }
    }
}
async fn disguise(transport: &Transport, tokens: &dyn TokenSource, permit: Permit<Harmless>) {
    let _ = transport.send(permit, tokens).await;
}
fn main() {}
