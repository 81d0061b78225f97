// error: E0451
// says: of struct `AccessToken`
// An access token comes from a token response alone.
fn main() {
    let _ = entrabot_identity::AccessToken { ..unreachable!() };
}
