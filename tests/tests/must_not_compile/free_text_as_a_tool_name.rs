// error: E0308
// says: mismatched types
// A name in a record is a validated name, not a string that happens to be at hand.
use entrabot_audit::{ServerName, Subject};
fn leak(server: ServerName, argument: String) -> Subject {
    Subject::WorkIq { server, tool: argument }
}
fn main() {}
