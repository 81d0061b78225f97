// error: E0451
// says: of struct `LogEntry` are private
// What comes through a door for free text never says that the transport wrote it.
use entrabot_audit::{LogEntry, Source};
fn pretend(asserted: LogEntry) -> LogEntry {
    LogEntry { source: Source::Transport, ..asserted }
}
fn main() {}
