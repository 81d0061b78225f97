// error: E0624
// says: `bootstrap` is private
// "No identity yet" can be said only inside provisioning.
fn main() {
    let _ = entrabot_identity::Attribution::bootstrap();
}
