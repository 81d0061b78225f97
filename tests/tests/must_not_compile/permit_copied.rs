// error: E0599
// says: the method `clone` exists for struct `Permit<ToolCall>`, but its trait bounds were not satisfied
// A permit cannot be doubled.
fn double(permit: entrabot_audit::Permit<entrabot_a365::ToolCall>) {
    let _ = (permit.clone(), permit);
}
fn main() {}
