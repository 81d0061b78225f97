//! Stores a value, reads it back and removes it: all there is to the keystore's use.
//!
//! `cargo run --example roundtrip`
#![allow(clippy::print_stdout, reason = "an example prints")]

use entrabot_keystore::{EntryName, KeystoreError, KeystorePolicy, SecretBytes, harden_process};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // First of all: nothing of this process goes into a core file.
    harden_process()?;

    // Refuses, with a reason, anything but a keyring that passed the guard.
    let keystore = KeystorePolicy::default().open()?;
    println!("{}: {}", keystore.backend(), keystore.finding());

    let entry = EntryName::new("entrabot-example", "roundtrip")?;
    keystore.put(&entry, &SecretBytes::new(b"correct horse battery staple".to_vec()))?;
    let value = keystore.get(&entry)?;
    println!("{entry}: {} bytes came back", value.expose().len());

    keystore.delete(&entry)?;
    match keystore.get(&entry) {
        Err(KeystoreError::NoEntry) => println!("{entry}: removed"),
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("the entry is still there".into()),
    }
    Ok(())
}
