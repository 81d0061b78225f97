// error: E0616
// says: field `http` of struct `Transport` is private
// The HTTP client is the transport's own.
use entrabot_a365::Transport;
fn reach(transport: &Transport) {
    let _ = &transport.http;
}
fn main() {}
