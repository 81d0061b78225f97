//! What lies outside the audit directory: how far the log is known to have come, and the public keys. Both are files
//! of lines that only ever grow; an unfinished last line was never relied on, and the next writer cuts it off.

use std::io;
use std::path::Path;

use crate::chain::{Hash, sha256};
use crate::data::DataDir;
use crate::json::{hex, parse_hash};
use crate::note::{VerifyingKey, number};
use crate::storage::{Folder, Kind, read_range};
use crate::{AuditError, journal};

pub(crate) const ANCHOR: &str = "audit-anchor";
pub(crate) const VKEYS: &str = "audit-vkeys";
const MAGIC: &str = "entrabot-anchor-v1";

/// One line of the anchor: `entrabot-anchor-v1 SIZE ROOT CHAIN SEQ FIRST PLACE`, hashes in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// How many lines the log had.
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) chain: Hash,
    /// The `seq` that came next.
    pub(crate) next_seq: u64,
    /// The leaf hash of the log's first line: tells one log from another wherever it lies.
    pub(crate) first: Hash,
    /// The SHA-256 of the audit directory's path: a log that was put in the place of another is found out.
    pub(crate) place: Hash,
}

impl Anchor {
    pub(crate) fn line(&self) -> String {
        format!(
            "{MAGIC} {} {} {} {} {} {}\n",
            self.size,
            hex(&self.root),
            hex(&self.chain),
            self.next_seq,
            hex(&self.first),
            hex(&self.place)
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [MAGIC, size, root, chain, next_seq, first, place] = words.as_slice() else { return None };
        let hash = |digits: &str| parse_hash(digits.as_bytes());
        Some(Self {
            size: number(size)?,
            root: hash(root)?,
            chain: hash(chain)?,
            next_seq: number(next_seq)?,
            first: hash(first)?,
            place: hash(place)?,
        })
    }
}

/// The hash that stands for a directory.
pub(crate) fn place_of(path: &Path) -> Hash {
    sha256(path.as_os_str().as_encoded_bytes())
}

/// All anchors, oldest first.
pub(crate) fn read_anchors(data: &dyn Folder) -> Result<Vec<Anchor>, AuditError> {
    let path = data.file_path(ANCHOR);
    read_lines(data, ANCHOR)?
        .iter()
        .map(|line| {
            Anchor::parse(line).ok_or_else(|| AuditError::Malformed {
                path: path.clone(),
                reason: "a line that is no anchor".into(),
            })
        })
        .collect()
}

/// The `seq` that the log in this directory is known to have reached. Only for a note in the log: what cannot be read
/// here is said by the verification.
pub(crate) fn floor(data: &DataDir, audit_dir: &Path) -> u64 {
    let place = place_of(audit_dir);
    let anchors =
        data.open_existing().ok().flatten().and_then(|data| read_anchors(&*data).ok()).unwrap_or_default();
    anchors.iter().rev().find(|anchor| anchor.place == place).map_or(0, |anchor| anchor.next_seq)
}

/// All public keys, oldest first.
pub(crate) fn read_vkeys(data: &dyn Folder) -> Result<Vec<VerifyingKey>, AuditError> {
    parse_vkeys(&read_lines(data, VKEYS)?, &data.file_path(VKEYS))
}

pub(crate) fn parse_vkeys(lines: &[String], path: &Path) -> Result<Vec<VerifyingKey>, AuditError> {
    lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            VerifyingKey::parse(line)
                .map_err(|reason| AuditError::Malformed { path: path.to_owned(), reason: reason.to_owned() })
        })
        .collect()
}

/// The whole lines of a file; none when there is no file.
fn read_lines(folder: &dyn Folder, name: &str) -> Result<Vec<String>, AuditError> {
    let fail = |error: io::Error| AuditError::storage("read", folder.file_path(name), &error);
    let Some(stat) = folder.stat(name).map_err(fail)? else { return Ok(Vec::new()) };
    if stat.kind != Kind::File {
        return Err(AuditError::unsafe_place(folder.file_path(name), "it is a link or no plain file"));
    }
    let file = folder.open(name).map_err(fail)?;
    let bytes = read_range(&*file, 0, stat.size).map_err(fail)?;
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
    let text = String::from_utf8(bytes[..whole].to_vec()).map_err(|_| AuditError::Malformed {
        path: folder.file_path(name),
        reason: "it is no UTF-8".into(),
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Appends whole lines durably, after cutting off what an earlier writer left unfinished. `whole` says how many bytes
/// of the present content are whole.
pub(crate) fn append_durably(
    folder: &dyn Folder,
    name: &str,
    bytes: &[u8],
    whole: impl FnOnce(&[u8]) -> usize,
) -> Result<(), AuditError> {
    let path = folder.file_path(name);
    let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
    if let Some(stat) = folder.stat(name).map_err(|e| fail("inspect", e))?
        && (stat.kind != Kind::File || stat.links > 1)
    {
        return Err(AuditError::unsafe_place(&path, "it is a link or no plain file"));
    }
    let file = match folder.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder.open_append(name),
        other => other,
    }
    .map_err(|e| fail("open", e))?;
    let size = file.stat().map_err(|e| fail("inspect", e))?.size;
    let present = read_range(&*file, 0, size).map_err(|e| fail("read", e))?;
    let keep = whole(&present) as u64;
    if keep < size {
        file.truncate(keep).map_err(|e| fail("cut the torn tail of", e))?;
    }
    if let Err(error) = journal::append_all(&*file, bytes) {
        // A torn line: cut now if that works, else by the next writer.
        let _next_writer_cuts = file.truncate(keep);
        return Err(fail("append to", error));
    }
    file.sync_data().map_err(|e| fail("sync", e))?;
    folder.sync().map_err(|e| fail("sync the directory of", e))
}

/// How many bytes of a file of lines are whole.
pub(crate) fn whole_lines(bytes: &[u8]) -> usize {
    memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_comes_back() {
        let anchor =
            Anchor { size: 7, root: [1; 32], chain: [2; 32], next_seq: 5, first: [3; 32], place: [4; 32] };
        assert_eq!(Anchor::parse(anchor.line().trim_end()), Some(anchor));
        assert_eq!(Anchor::parse("entrabot-anchor-v1 7"), None);
    }
}
