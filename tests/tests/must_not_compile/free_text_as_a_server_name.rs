// error: E0423
// says: cannot initialize a tuple struct which contains private fields
// Only what was validated is a name.
fn leak(argument: String) -> entrabot_audit::ServerName {
    entrabot_audit::ServerName(argument)
}
fn main() {}
