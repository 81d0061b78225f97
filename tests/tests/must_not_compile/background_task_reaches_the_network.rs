// error: E0616
// says: field `http` of struct `Transport` is private
// A background task has no permit, so it has no way out.
use std::sync::Arc;
use entrabot_a365::Transport;
fn start(transport: Arc<Transport>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let _ = &transport.http;
    })
}
fn main() {}
