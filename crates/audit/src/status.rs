use std::path::Path;

use serde::Serialize;

use crate::AuditError;
use crate::anchor::{place_of, read_anchors, read_vkeys};
use crate::checkpoint::read_note_files;
use crate::event::StoredEvent;
use crate::note::Checkpoint;
use crate::read::tail;
use crate::reader::{Snapshot, open_folder};
use crate::time::{Clock as _, SystemClock};

/// How the log stands, without reading all of it. Serialises to what `entrabot audit status --json` prints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The audit directory.
    pub dir: String,
    /// Day files.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
    /// Records of ours so far: the next `seq`.
    pub events: u64,
    /// When the last event was written.
    pub last_event: Option<String>,
    /// How many lines the last checkpoint covers.
    pub sealed_lines: Option<u64>,
    /// How many lines the anchor knows of.
    pub anchored_lines: Option<u64>,
    /// Records of ours that no anchor covers yet.
    pub unsealed_events: Option<u64>,
    /// How many public keys are known.
    pub keys: u64,
    /// Names in the directory that are not the log's.
    pub ignored_names: u64,
    /// What needs attention.
    pub warnings: Vec<String>,
}

/// How the log in `dir` stands. Writes nothing.
///
/// # Errors
/// The directory cannot be read.
pub fn status(dir: &Path, data_dir: &Path) -> Result<Status, AuditError> {
    const STALE_MICROS: i64 = 600_000_000;
    let (snapshot, no_plain_file) = Snapshot::take(open_folder(dir)?)?;
    let mut warnings = snapshot.warnings.clone();
    if let Some(none) = no_plain_file {
        warnings.push(format!("{} is a link or no plain file", none.name));
    }
    let last = tail(dir, 256)?;
    let events = last.iter().rev().find_map(StoredEvent::seq).map_or(0, |seq| seq + 1);
    let checkpoint = read_note_files(&*snapshot.folder)?
        .into_iter()
        .filter_map(|file| file.notes.ok())
        .filter_map(|(notes, _)| Checkpoint::parse(&notes.last()?.note.text).ok())
        .next_back();
    let (mut keys, mut anchor) = (0, None);
    match open_folder(data_dir) {
        Ok(data) => {
            keys = read_vkeys(&*data)?.len() as u64;
            let place = place_of(snapshot.folder.path());
            anchor = read_anchors(&*data)?.into_iter().rev().find(|anchor| anchor.place == place);
        }
        Err(error) => warnings.push(format!("no anchor and no public keys: {error}")),
    }
    let unsealed = anchor.as_ref().map(|anchor| events.saturating_sub(anchor.next_seq));
    if let Some(event) = last.iter().find(|event| {
        let seq = event.seq().unwrap_or(0);
        anchor.as_ref().is_some_and(|anchor| seq >= anchor.next_seq)
    }) && event.time().is_some_and(|time| SystemClock.now().as_micros() - time.as_micros() > STALE_MICROS)
    {
        warnings.push("events older than ten minutes are under no checkpoint".to_owned());
    }
    Ok(Status {
        dir: snapshot.folder.path().display().to_string(),
        files: snapshot.files.len() as u64,
        bytes: snapshot.files.iter().map(|file| file.size).sum(),
        events,
        last_event: last.last().map(|event| event.timestamp().to_owned()),
        sealed_lines: checkpoint.map(|checkpoint| checkpoint.size),
        anchored_lines: anchor.as_ref().map(|anchor| anchor.size),
        unsealed_events: unsealed,
        keys,
        ignored_names: snapshot.ignored,
        warnings,
    })
}
