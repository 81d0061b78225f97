// error: E0624
// says: `new` is private
// What provisioning does is a closed set too.
fn leak(title: &'static str) -> entrabot_identity::Action {
    entrabot_identity::Action::new(title, None)
}
fn main() {}
