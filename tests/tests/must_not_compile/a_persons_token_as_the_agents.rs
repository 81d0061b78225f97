// error: E0308
// says: mismatched types
// A person's token is never one that the transport could send for the agent.
fn main() {}
pub fn stand_in(token: entrabot_identity::DelegatedToken) -> entrabot_identity::AccessToken {
    token
}
