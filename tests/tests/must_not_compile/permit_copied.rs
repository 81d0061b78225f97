// error: E0599
// says: no method named `clone` found for struct `Permit<C>`
// A permit cannot be doubled.
fn double(permit: entrabot_audit::Permit<entrabot_a365::ToolCall>) {
    let _ = (permit.clone(), permit);
}
fn main() {}
