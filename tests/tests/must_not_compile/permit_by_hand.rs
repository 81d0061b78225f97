// error: E0451
// says: of struct `Permit`
// Only the log grants a permit.
fn main() {
    let _: entrabot_audit::Permit<entrabot_a365::ToolCall> = entrabot_audit::Permit { ..unreachable!() };
}
