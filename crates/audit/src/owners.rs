//! Which process has which calls open. Each process that opens calls has a mark, which ends the ids of its calls, and
//! a file of that name in the data directory that says which process it is: number and start time, so that a reused
//! number is not taken for it.

use std::io;

use uuid::Uuid;

use crate::AuditError;
use crate::storage::Folder;

pub(crate) const FOLDER: &str = "audit-owners";

/// The last six bytes of the ids of one process's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark([u8; 6]);

impl Mark {
    pub(crate) fn new() -> Self {
        let random = Uuid::new_v4();
        let mut mark = [0; 6];
        mark.copy_from_slice(&random.as_bytes()[..6]);
        Self(mark)
    }

    pub(crate) fn of(call: u128) -> Self {
        let bytes = call.to_be_bytes();
        let mut mark = [0; 6];
        mark.copy_from_slice(&bytes[10..]);
        Self(mark)
    }

    /// A call id of this process.
    pub(crate) fn put_on(self, id: Uuid) -> Uuid {
        let mut bytes = id.into_bytes();
        bytes[10..].copy_from_slice(&self.0);
        Uuid::from_bytes(bytes)
    }

    fn file_name(self) -> String {
        crate::json::hex(&self.0)
    }
}

/// Says that this process is alive; taken back when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    folder: std::sync::Arc<dyn Folder>,
    name: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Left behind, it names a process that is gone, which is what it says by then.
        let _left_behind = self.folder.remove(&self.name);
    }
}

pub(crate) fn register(data: &dyn Folder, mark: Mark) -> Result<Registered, AuditError> {
    let fail = |error: io::Error| AuditError::storage("write", data.file_path(FOLDER), &error);
    let folder = data.folder(FOLDER, true).map_err(fail)?;
    sweep(&*folder);
    let name = mark.file_name();
    let me = std::process::id();
    let text = format!("{me} {}\n", start_of(me).unwrap_or(0));
    let file = folder.create(&name).map_err(fail)?;
    crate::journal::append_all(&*file, text.as_bytes()).map_err(fail)?;
    Ok(Registered { folder, name })
}

/// Takes away what processes left that are gone.
fn sweep(folder: &dyn Folder) {
    let Ok((names, _)) = folder.names() else { return };
    for name in names {
        if alive(folder, &name) == Some(false) {
            // Somebody else was faster.
            let _gone_already = folder.remove(&name);
        }
    }
}

/// Whether the process that opened a call still runs.
pub(crate) fn is_in_flight(data: &dyn Folder, call: u128) -> bool {
    let Ok(folder) = data.folder(FOLDER, false) else { return false };
    alive(&*folder, &Mark::of(call).file_name()) == Some(true)
}

fn alive(folder: &dyn Folder, name: &str) -> Option<bool> {
    let file = folder.open(name).ok()?;
    let bytes = crate::storage::read_range(&*file, 0, 64).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (pid, start) = text.trim_end().split_once(' ')?;
    let (pid, start): (u32, u64) = (pid.parse().ok()?, start.parse().ok()?);
    Some(start_of(pid) == Some(start))
}

/// When a process started, in ticks since the system did: field 22 of `/proc/PID/stat`, counted behind the name,
/// which may hold anything.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let behind_name = &stat[stat.rfind(')')? + 1..];
    behind_name.split_ascii_whitespace().nth(19)?.parse().ok()
}
