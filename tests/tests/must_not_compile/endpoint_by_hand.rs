// error: E0451
// says: of struct `Endpoint`
// Only the allowlist check makes an endpoint.
fn main() {
    let _ = entrabot_a365::Endpoint { ..unreachable!() };
}
