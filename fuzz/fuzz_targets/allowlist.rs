//! No text of `ENTRABOT_KEYRING_BACKEND_ALLOWLIST` yields a backend that it does not name, or an error of several lines.
#![no_main]

use entrabot_keystore::{Allowlist, KeystorePolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Allowlist::with(text) {
        Ok(list) => {
            for id in list.ids() {
                let class_path = text.contains("keyring.backends.");
                assert!(class_path || text.contains(id.as_str()) || Allowlist::default().contains(*id));
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
    if let Err(refusal) = KeystorePolicy::from_settings(Some(text), None).allowlist() {
        assert!(!refusal.to_string().contains(char::is_control));
    }
});
