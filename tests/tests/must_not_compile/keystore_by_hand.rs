// error: E0451
// says: of struct `Keystore` is private
// A keystore is only what passed the guard.
fn main() {
    let _ = entrabot_keystore::Keystore { ..unreachable!() };
}
