//! How far a log was handed out to somebody: a small file in the data directory, replaced as a whole and durably, moved
//! only once what lies before it was taken. It also says what stood there, so that another log in the same place is not
//! taken for this one.

use std::path::Path;
use std::sync::Arc;

use crate::AuditError;
use crate::anchor::place_of;
use crate::chain::Hash;
use crate::json::{hex, parse_hash};
use crate::note::number;
use crate::reader::DayFile;
use crate::storage::{Folder, FolderLock, Kind, read_range};
use crate::time::Day;

const MAGIC: &str = "entrabot-cursor-v1";
/// How many bytes before the cursor stand for what was handed out: a line's `prev` is a hash over all before it.
const TAIL: u64 = 512;

/// A place in the log, at the beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) day: Day,
    pub(crate) offset: u64,
    /// The SHA-256 of what stands right before it.
    pub(crate) tail: Hash,
    /// How many lines the last checkpoint covered that was handed out.
    pub(crate) sealed: u64,
}

/// The cursor of one log and one taker, held by this process alone.
#[derive(Debug)]
pub(crate) struct Cursor {
    data: Arc<dyn Folder>,
    name: String,
    _held: Arc<dyn FolderLock>,
}

fn prefix(audit: &Path) -> String {
    format!("audit-cursor-{}-", &hex(&place_of(audit))[..16])
}

/// `a` to `z`, digits and `-`, at most 32.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

impl Cursor {
    /// # Errors
    /// Another process has it; the data directory cannot be written to.
    pub(crate) fn open(data: Arc<dyn Folder>, audit: &Path, taker: &str) -> Result<Self, AuditError> {
        if !is_name(taker) {
            let reason = "only a to z, digits and `-`, at most 32";
            return Err(AuditError::InvalidEntry { part: "cursor's name", reason });
        }
        let name = format!("{}{taker}", prefix(audit));
        let lock_name = format!(".{name}.lock");
        let fail = |error| AuditError::storage("lock", data.file_path(&lock_name), &error);
        let held = data.lock(&lock_name, false).map_err(fail)?;
        if !held.try_exclusive().map_err(fail)? {
            return Err(AuditError::LockTimeout { waited: std::time::Duration::ZERO, holder: held.holder() });
        }
        Ok(Self { data, name, _held: held })
    }

    /// `None` when nothing was handed out yet.
    pub(crate) fn read(&self) -> Result<Option<Position>, AuditError> {
        read(&*self.data, &self.name)
    }

    /// Durable when it returns.
    pub(crate) fn put(&self, position: &Position) -> Result<(), AuditError> {
        let Position { day, offset, tail, sealed } = position;
        let text = format!("{MAGIC} {day} {offset} {} {sealed}\n", hex(tail));
        self.data
            .replace(&self.name, text.as_bytes())
            .map_err(|e| AuditError::storage("write", self.data.file_path(&self.name), &e))
    }
}

fn read(data: &dyn Folder, name: &str) -> Result<Option<Position>, AuditError> {
    let path = data.file_path(name);
    let fail = |error| AuditError::storage("read", &path, &error);
    let Some(stat) = data.stat(name).map_err(fail)? else { return Ok(None) };
    if stat.kind != Kind::File {
        return Err(AuditError::unsafe_place(path, "it is a link or no plain file"));
    }
    let file = data.open(name).map_err(fail)?;
    let bytes = read_range(&*file, 0, stat.size.min(1024)).map_err(fail)?;
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    let position = match words.as_slice() {
        [MAGIC, day, offset, tail, sealed] => (|| {
            Some(Position {
                day: Day::parse(day)?,
                offset: number(offset)?,
                tail: parse_hash(tail.as_bytes())?,
                sealed: number(sealed)?,
            })
        })(),
        _ => None,
    };
    let malformed =
        || AuditError::Malformed { path: path.clone(), reason: "it is no cursor of an export".into() };
    position.map(Some).ok_or_else(malformed)
}

/// The hash of what stands right before this offset.
pub(crate) fn tail_at(file: &DayFile, offset: u64) -> std::io::Result<Hash> {
    Ok(crate::chain::sha256(&read_range(&*file.file, offset.saturating_sub(TAIL), offset)?))
}

/// Where all takers of this log stand, with the names of their files.
pub(crate) fn all(data: &dyn Folder, audit: &Path) -> Result<Vec<(String, Position)>, AuditError> {
    let prefix = prefix(audit);
    let (names, _strange) = data.names().map_err(|e| AuditError::storage("list", data.path(), &e))?;
    let mut cursors = Vec::new();
    for name in names.into_iter().filter(|name| name.starts_with(&prefix)) {
        if let Some(position) = read(data, &name)? {
            cursors.push((name, position));
        }
    }
    Ok(cursors)
}
