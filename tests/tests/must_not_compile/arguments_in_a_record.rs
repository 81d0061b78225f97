// error: E0559
// says: has no field named `arguments`
// A record has no place for arguments.
use entrabot_audit::{ServerName, Subject, ToolName};
fn leak(server: ServerName, tool: ToolName, arguments: String) -> Subject {
    Subject::WorkIq { server, tool, arguments }
}
fn main() {}
