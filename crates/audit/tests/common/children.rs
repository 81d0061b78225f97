//! The example that appends, as a child to be killed, starved and lied to.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses its part, and says what it skips"
)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use entrabot_audit::{Query, Seen, query};

/// The example that appends. `cargo test` of the whole package builds it; a run of this file alone does not.
pub fn append_loop() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let build = || {
        let tests = std::env::current_exe().unwrap();
        let target = tests.parent().unwrap().parent().unwrap();
        let path = target.join("examples/append_loop");
        if !path.exists() {
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--package",
                    "entrabot-audit",
                    "--example",
                    "append_loop",
                    "--target-dir",
                ])
                .arg(target.parent().unwrap())
                .status();
            assert!(built.unwrap().success() && path.exists(), "{} cannot be built", path.display());
        }
        path
    };
    BUILT.get_or_init(build).clone()
}

/// Ids of records, and how often each stands in the log.
pub fn ids(dir: &Path) -> HashMap<String, u32> {
    let mut ids = HashMap::new();
    query(dir, &Query::new(), |seen| {
        match seen {
            Seen::Event(event) => *ids.entry(event.event_id().to_owned()).or_default() += 1,
            other => panic!("{other:?}"),
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    ids
}

/// The ids that it printed.
pub fn acknowledged(child: &mut Child) -> Vec<String> {
    // A line that was cut by the kill is no acknowledgement.
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.len() == 36)
        .collect()
}

/// Says so when it is not there.
pub fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if !has {
        println!("skipped: strace is not installed");
    }
    has
}
