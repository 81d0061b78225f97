// error: E0594
// says: cannot assign to data in a `&` reference
// What is sent is what was put on record.
use entrabot_a365::ToolCall;
use entrabot_audit::Permit;
fn swap(permit: Permit<ToolCall>, other: ToolCall) {
    *permit.call() = other;
}
fn main() {}
