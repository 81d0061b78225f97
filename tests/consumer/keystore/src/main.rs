//! Keeps a secret in the keyring, or says why it would not be safe there.

use entrabot_keystore::{Diagnose, EntryName, KeystoreError, KeystorePolicy, SecretBytes};

fn main() -> std::process::ExitCode {
    match round_trip() {
        Ok(backend) => {
            println!("kept and removed in {backend}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", error.error_type());
            std::process::ExitCode::from(error.class() as u8)
        }
    }
}

fn round_trip() -> Result<String, KeystoreError> {
    let keystore = KeystorePolicy::default().open()?;
    let entry = EntryName::new("consumer", "greeting").expect("a fixed name");
    keystore.put(&entry, &SecretBytes::new(b"hello".to_vec()))?;
    assert_eq!(keystore.get(&entry)?.expose(), b"hello");
    keystore.delete(&entry)?;
    assert!(matches!(keystore.get(&entry), Err(KeystoreError::NoEntry)));
    Ok(keystore.backend().to_string())
}
