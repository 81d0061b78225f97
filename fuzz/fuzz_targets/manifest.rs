//! No manifest makes the reader panic, and no finding repeats a line of it.
#![no_main]

use entrabot_a365::lint_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for finding in lint_bytes(bytes) {
        assert!(!finding.to_string().contains(char::is_control));
        assert!(finding.to_string().len() < 1024);
    }
});
