//! Whatever bytes stand in a line of the log, reading it ends, and what is shown of it is printable ASCII.
#![no_main]

use entrabot_audit::StoredEvent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Ok(event) = StoredEvent::from_line(line) {
        assert!(event.to_text().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        assert!(event.to_json().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }
});
