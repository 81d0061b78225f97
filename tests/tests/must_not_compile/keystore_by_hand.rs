// error: E0451
// says: of struct `Keystore`
// A keystore is only what passed the guard.
fn main() {
    let _ = entrabot_keystore::Keystore { ..unreachable!() };
}
