//! Whatever a `keyring_pass.cfg` holds, reading the names in it ends, and each name is one.
#![no_main]

use entrabot_keystore::{EntryName, leak_scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    for name in leak_scan::entry_names(content) {
        assert!(EntryName::new(name.service(), name.username()).is_ok());
    }
});
