//! Whatever bytes stand in a file of checkpoints, reading it ends, and nothing but the key's own note passes for signed.
#![no_main]

use entrabot_audit::{VerifyingKey, check_notes};
use libfuzzer_sys::fuzz_target;

const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fuzz_target!(|bytes: &[u8]| {
    let key = VerifyingKey::parse(VKEY).expect("a published key");
    if let Ok((_, true)) = check_notes(bytes, &key) {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.contains("If you think cryptography is the answer to your problem,"));
    }
});
