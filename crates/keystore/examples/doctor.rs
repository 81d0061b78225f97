//! Says whether this machine has a safe place for a secret, and what to do when it has none.
//!
//! `cargo run --example doctor`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::process::ExitCode;

use entrabot_keystore::leak_scan::{self, LeakStorage};
use entrabot_keystore::{Diagnose, KeystorePolicy, Surroundings};

fn main() -> ExitCode {
    let mut sound = true;
    match KeystorePolicy::default().open() {
        Ok(keystore) => {
            println!("guard   pass  {}", keystore.finding());
            match keystore.sanity_probe() {
                Ok(report) => {
                    println!("probe   pass  {} bytes, {:?}", report.stored_bytes(), report.timings())
                }
                Err(error) => sound = fail("probe", &error),
            }
        }
        Err(error) => sound = fail("guard", &error),
    }

    let scan = leak_scan::scan(&Surroundings::from_env());
    for finding in scan.findings() {
        sound &= finding.storage() != LeakStorage::Cleartext;
        println!("leaks   fail  {} entries of ours in {}", finding.entries().len(), finding.file().display());
    }
    for file in scan.unreadable() {
        sound = false;
        println!("leaks   fail  {} cannot be read", file.display());
    }
    if scan.findings().is_empty() && scan.unreadable().is_empty() {
        println!("leaks   pass  no file of Python's keyring holds an entry of ours");
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(check: &str, error: &dyn Diagnose) -> bool {
    println!("{check}   fail  {error}");
    if let Some(hint) = error.hint() {
        println!("              hint: {hint}");
    }
    false
}
