// error: E0451
// says: field `source` of struct `LogEntry` is private
// What comes through a door for free text never says that the transport wrote it.
use entrabot_audit::{LogEntry, Source};
fn pretend(asserted: LogEntry) -> LogEntry {
    LogEntry { source: Source::Transport, ..asserted }
}
fn main() {}
