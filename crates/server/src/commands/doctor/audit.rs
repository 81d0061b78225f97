//! The audit's directory and how it is sealed.

use entrabot_identity::{AuditSigning, Config};
use entrabot_keystore::Keystore;

use super::check::{Check, Status};
use crate::failure::Failure;

pub(super) fn directory(config: &Config) -> Check {
    const NAME: &str = "audit directory";
    let dir = config.audit_dir();
    match std::fs::symlink_metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Check::skip(NAME, &format!("{} is not there yet", dir.display()), "the first record makes it")
        }
        Err(error) => Check::failed(NAME, &Failure::io(&format!("look at {}", dir.display()), &error)),
        Ok(metadata) if !metadata.is_dir() => Check::new(
            NAME,
            Status::Fail,
            format!("{} is no directory", dir.display()),
            Some("make ENTRABOT_AUDIT_DIR name a directory of this user"),
        ),
        Ok(_) if !is_writable(dir) => Check::new(
            NAME,
            Status::Fail,
            format!("{} cannot be written to, so no call is possible", dir.display()),
            Some("make ENTRABOT_AUDIT_DIR a directory that this user may write to"),
        ),
        Ok(_) => match entrabot_audit::tail(dir, 1) {
            Ok(last) => Check::pass(
                NAME,
                last.last().map_or_else(
                    || format!("{} holds nothing yet", dir.display()),
                    |event| format!("{}, last record of {}", dir.display(), event.timestamp()),
                ),
            ),
            Err(error) => Check::failed(NAME, &error.into()),
        },
    }
}

#[cfg(unix)]
fn is_writable(dir: &std::path::Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(dir: &std::path::Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|metadata| !metadata.permissions().readonly())
}

pub(super) fn signing(config: &Config, keystore: Option<&Keystore>) -> Check {
    const NAME: &str = "audit signing";
    match config.audit_signing() {
        AuditSigning::Keystore if config.needs_no_keystore() => Check::new(
            NAME,
            Status::Warn,
            "checkpoints are signed with a key in the keyring, and nothing else here needs one",
            Some("set ENTRABOT_AUDIT_SIGNING to file:PATH (a mounted secret), or to off"),
        ),
        AuditSigning::Keystore if keystore.is_none() => {
            Check::skip(NAME, "the key is in the keyring, which did not pass", "see keyring")
        }
        AuditSigning::Keystore => Check::pass(NAME, "with the key in the keyring"),
        AuditSigning::File(path) => Check::pass(NAME, format!("with the key in {}", path.display())),
        AuditSigning::Off => Check::new(
            NAME,
            Status::Warn,
            "off: the chain alone, without signed checkpoints",
            Some("set ENTRABOT_AUDIT_SIGNING to file:PATH, or to keystore"),
        ),
        _ => {
            Check::skip(NAME, "set to something that this version does not know", "see entrabot config show")
        }
    }
}
