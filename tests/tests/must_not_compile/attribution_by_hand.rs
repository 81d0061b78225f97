// error: E0451
// says: of struct `Attribution`
// Nobody names itself.
fn main() {
    let _ = entrabot_identity::Attribution { ..unreachable!() };
}
