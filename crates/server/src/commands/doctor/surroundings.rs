//! The log's state, room on the disk, who else runs here, and who hears of it.

use std::path::Path;

use entrabot_audit::{VerifyOptions, verify_with};
use entrabot_identity::{Config, OtlpProtocol, OtlpSender, OtlpSignal};

use super::check::{Check, Status};
use super::network::{Network, briefly};
use crate::compose::Parts;
use crate::failure::Failure;
use crate::singleton;
use crate::working::size;

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
        Err(error) => Check::new(NAME, Status::Warn, format!("cannot be told: {error}"), Some(HINT)),
        Ok(bytes) => {
            let detail = format!("{} free for {}", size(bytes), config.audit_dir().display());
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
        Ok(Some(failure)) => Check::failed(NAME, &failure),
        Err(error) => {
            let detail = format!("cannot be told: {error}");
            Check::new(NAME, Status::Warn, detail, Some("make ENTRABOT_DATA_DIR a directory of this user"))
        }
        Ok(None) => match singleton::servers(config.data_dir()).as_slice() {
            [] => Check::pass(NAME, "none runs on this data directory"),
            servers => {
                let pids: Vec<_> = servers.iter().map(ToString::to_string).collect();
                let noun = if servers.len() == 1 { "server" } else { "servers" };
                let detail =
                    format!("{} {noun} of ours (pid {}), which is fine", servers.len(), pids.join(", "));
                Check::pass(NAME, detail)
            }
        },
    }
}

/// Whether the collector takes what is sent, with an empty request. The agent works without it.
pub(super) fn telemetry(parts: &Parts, network: Option<&Network>) -> Check {
    const NAME: &str = "telemetry";
    let otlp = match parts.config().otlp() {
        Ok(otlp) => otlp,
        Err(error) => return Check::doubtful(NAME, &Failure::of(error)),
    };
    let Some(target) = otlp.target(OtlpSignal::Traces).or(otlp.target(OtlpSignal::Metrics)) else {
        let hint = "set OTEL_EXPORTER_OTLP_ENDPOINT for traces and metrics";
        return Check::skip(NAME, "off: no OpenTelemetry collector is named", hint);
    };
    let host = target.endpoint().host();
    let Some(network) = network else {
        return Check::skip(NAME, &format!("the collector at {host} was not asked"), "see network");
    };
    let sender = OtlpSender::new(target, parts.egress());
    let nothing = if target.protocol() == OtlpProtocol::HttpJson { b"{}".to_vec() } else { Vec::new() };
    match network.run(briefly("the collector", async { Ok(sender.send(nothing).await?) })) {
        Ok(_) => Check::pass(NAME, format!("the collector at {host} takes it")),
        Err(failure) => Check::doubtful(NAME, &failure),
    }
}
