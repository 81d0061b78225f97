// error: E0599
// says: no method named `clone` found for struct `SecretBytes`
// A secret is not copied by accident.
fn copy(secret: entrabot_keystore::SecretBytes) {
    let _ = secret.clone();
}
fn main() {}
