//! What the doctor can say without a network: the log's state, room on the disk, and who else runs here.

use std::path::Path;

use entrabot_audit::{VerifyOptions, verify_with};
use entrabot_identity::Config;

use super::{Check, Status};
use crate::singleton;

/// A log up to this size is verified whole: that takes well under a second.
const VERIFY_UP_TO: u64 = 64 << 20;
/// Less room than this, and the next records may not fit.
const LITTLE_ROOM: u64 = 16 << 20;
const SOME_ROOM: u64 = 512 << 20;

/// Chain, checkpoints and anchor.
pub(super) fn audit_chain(config: &Config) -> Check {
    const NAME: &str = "audit chain";
    let (dir, data) = (config.audit_dir(), config.data_dir());
    if !dir.is_dir() {
        return Check::skip(NAME, "there is no log yet", "the first record makes it");
    }
    let status = match entrabot_audit::status(dir, data) {
        Ok(status) => status,
        Err(error) => return Check::failed(NAME, &error.into()),
    };
    if status.bytes > VERIFY_UP_TO {
        let detail = format!("{} events, too many to read here", status.events);
        return Check::skip(NAME, &detail, "run entrabot audit verify");
    }
    let mut options = VerifyOptions::new();
    if data.is_dir() {
        options = options.with_data_dir(data);
    }
    match verify_with(dir, &options) {
        Err(error) => Check::failed(NAME, &error.into()),
        Ok(report) => match report.first_error {
            Some(error) => Check::new(
                NAME,
                Status::Fail,
                format!("not intact: {}:{}: {}", error.file, error.line, error.reason),
                Some("run entrabot audit verify, and keep the directory as evidence"),
            ),
            None => {
                let orphans = report.pending.iter().filter(|span| !span.in_flight).count();
                let detail = format!("intact ({} level), {} events", report.level.as_str(), report.events);
                if orphans > 0 {
                    let detail = format!("{detail}; {orphans} calls whose process died have no outcome");
                    Check::new(
                        NAME,
                        Status::Warn,
                        detail,
                        Some("look at their effect, then run entrabot audit close-orphans"),
                    )
                } else {
                    Check::pass(NAME, detail)
                }
            }
        },
    }
}

/// No audit, no action: with a full disk the agent stops.
pub(super) fn disk_space(config: &Config) -> Check {
    const NAME: &str = "disk space";
    const HINT: &str = "make room: without it no record can be written, and the agent does nothing";
    // The nearest directory that is there already lies on the same disk.
    let Some(dir) = config.audit_dir().ancestors().find(|dir| dir.is_dir()) else {
        return Check::skip(NAME, "there is no directory to look at", "see audit directory");
    };
    match room(dir) {
        Err(error) => Check::new(NAME, Status::Warn, format!("cannot be told: {error}"), None),
        Ok(bytes) => {
            let detail = format!("{} MiB for {}", bytes >> 20, config.audit_dir().display());
            match bytes {
                ..LITTLE_ROOM => Check::new(NAME, Status::Fail, detail, Some(HINT)),
                LITTLE_ROOM..SOME_ROOM => Check::new(NAME, Status::Warn, detail, Some(HINT)),
                _ => Check::pass(NAME, detail),
            }
        }
    }
}

/// What this user may still write.
#[cfg(unix)]
fn room(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn room(_: &Path) -> std::io::Result<u64> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Ours run side by side; the Python original runs alone.
pub(super) fn instances(config: &Config) -> Check {
    const NAME: &str = "other instances";
    match singleton::original_runs(config.data_dir()) {
        Ok(None) => Check::pass(NAME, "no Python original runs on this data directory"),
        Ok(Some(failure)) => Check::failed(NAME, &failure),
        Err(error) => Check::new(NAME, Status::Warn, format!("cannot be told: {error}"), None),
    }
}
