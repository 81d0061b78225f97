//! Verifies an audit directory that somebody handed over: no keystore, no network.

use std::path::Path;

fn main() -> std::process::ExitCode {
    let directory = std::env::args().nth(1).expect("usage: consumer-audit DIRECTORY");
    match entrabot_audit::verify(Path::new(&directory)) {
        Ok(report) => {
            println!("{report:?}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::from(2)
        }
    }
}
