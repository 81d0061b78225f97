//! The last signed checkpoint: some 300 bytes that, kept elsewhere, show later whether the log was rewritten.

use std::path::Path;

use crate::AuditError;
use crate::checkpoint::read_note_files;
use crate::reader::open_folder;

/// The last whole checkpoint of the log in `dir`, as a signed note; `None` when there is none. Says nothing about
/// whether it fits the lines: [`crate::verify_with`] does.
///
/// # Errors
/// The directory cannot be read.
pub fn last_checkpoint(dir: &Path) -> Result<Option<String>, AuditError> {
    let folder = open_folder(dir)?;
    Ok(read_note_files(&*folder)?
        .into_iter()
        .rev()
        .filter_map(|file| file.notes.ok())
        .find_map(|(notes, _unfinished)| Some(notes.last()?.note.encode())))
}
