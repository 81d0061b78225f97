//! Shows the last ten events, then those that come: `tail AUDIT_DIRECTORY`. Nothing it prints can steer a terminal.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::path::Path;
use std::time::Duration;

use entrabot_audit::{AuditError, Follower};

fn main() -> Result<(), AuditError> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let (mut follower, mut events) = Follower::open(Path::new(&directory), 10)?;
    loop {
        for event in events {
            println!("{}", event.to_text());
        }
        std::thread::sleep(Duration::from_millis(200));
        events = follower.poll()?;
    }
}
