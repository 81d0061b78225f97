//! Which days can go, and how the log stands at the end of each.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Pruned;
use crate::AuditError;
use crate::chain::{GENESIS, Hash, extend, prev_of};
use crate::checkpoint::read_note_files;
use crate::export::cursor::{self, Position};
use crate::merkle::Frontier;
use crate::note::Checkpoint;
use crate::reader::{DayFile, Snapshot, lines_of, walk};
use crate::scan::{Call, Piece, scan};
use crate::storage::Folder;
use crate::time::Day;
use crate::tombstone::{self, PrunedDay};

/// At most so many days in a tombstone, and so many calls that go over its end: a note is short.
const MAX_DAYS: usize = 256;
const MAX_CARRIED: usize = 256;

/// A day, and how the log stands at its end.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) pruned: PrunedDay,
    pub(super) tree: Frontier,
    pub(super) chain: Hash,
    pub(super) next_seq: u64,
    /// Calls that were opened so far and not closed.
    open: HashSet<u128>,
}

#[derive(Debug)]
pub(super) struct Survey {
    /// Days that a tombstone names already and whose files are still there.
    pub(super) left_behind: Vec<Day>,
    /// The leaf hash of the log's very first line.
    pub(super) first: Hash,
    surveyed: Vec<Surveyed>,
    kept: Option<String>,
    pub(super) carried: Vec<Uuid>,
}

/// The log so far.
struct State {
    tree: Frontier,
    chain: Hash,
    next_seq: u64,
    first: Hash,
    open: HashSet<u128>,
}

impl Survey {
    /// Of a log that was verified. Only what is sealed counts, unless it will be.
    pub(super) fn take(
        folder: Arc<dyn Folder>,
        data: &dyn Folder,
        before: Day,
        sealed: bool,
    ) -> Result<Self, AuditError> {
        let (snapshot, _none) = Snapshot::take(folder)?;
        let last = tombstone::last(&*snapshot.folder, data)?;
        let gone = last.as_ref().and_then(|tombstone| tombstone.days.last()).map(|day| day.day);
        let (left, files): (Vec<&DayFile>, Vec<&DayFile>) =
            snapshot.files.iter().partition(|file| gone.is_some_and(|gone| file.day <= gone));
        let mut state = match last {
            Some(tombstone) => State {
                tree: tombstone.tree,
                chain: tombstone.chain,
                next_seq: tombstone.next_seq,
                first: tombstone.first,
                open: tombstone.carried.iter().map(Uuid::as_u128).collect(),
            },
            None => State {
                tree: Frontier::default(),
                chain: GENESIS,
                next_seq: 0,
                first: GENESIS,
                open: HashSet::new(),
            },
        };
        let closed = closed_days(&*snapshot.folder)?;
        let takers = cursor::all(data, snapshot.folder.path())?;
        let mut survey = Self {
            left_behind: left.iter().map(|file| file.day).collect(),
            first: GENESIS,
            surveyed: Vec::new(),
            kept: None,
            carried: Vec::new(),
        };
        // The newest file is never over.
        let over = files.split_last().map_or(&[][..], |(_newest, over)| over);
        for file in over.iter().take_while(|file| file.day < before) {
            if survey.surveyed.len() == MAX_DAYS {
                survey.kept = Some(format!("{MAX_DAYS} days at once; run it again for {}", file.name));
                break;
            }
            if let Some(reason) = obstacle(file, &closed, sealed).or_else(|| unexported(file, &takers)) {
                survey.kept = Some(reason);
                break;
            }
            let day = read_day(&snapshot, file, &mut state)?;
            survey.surveyed.push(day);
        }
        survey.first = state.first;
        survey.settle(&snapshot, &files)?;
        Ok(survey)
    }

    /// The days that go.
    pub(super) fn days(&self) -> &[Surveyed] {
        &self.surveyed
    }

    pub(super) fn last(&self) -> Option<&Surveyed> {
        self.surveyed.last()
    }

    pub(super) fn outcome(&self) -> Pruned {
        Pruned {
            days: self.surveyed.iter().map(|day| day.pruned.day.to_string()).collect(),
            lines: self.surveyed.iter().map(|day| day.pruned.lines).sum(),
            bytes: self.surveyed.iter().map(|day| day.pruned.bytes).sum(),
            finished: self.left_behind.len() as u64,
            kept: self.kept.clone(),
            tombstone: None,
        }
    }

    /// Takes days back until what stays can stand on a tombstone.
    fn settle(&mut self, snapshot: &Snapshot, files: &[&DayFile]) -> Result<(), AuditError> {
        let open = self.surveyed.iter().flat_map(|day| day.open.iter().copied()).collect();
        let closed = closed_among(snapshot, files, &open)?;
        while let Some(day) = self.surveyed.last() {
            let next = files[self.surveyed.len()];
            let never = day.open.iter().find(|call| !closed.contains(*call));
            let name = day.pruned.day.file_name();
            let reason = if let Some(call) = never {
                Some(format!("{name}: call {} has no outcome", Uuid::from_u128(*call)))
            } else if day.open.len() > MAX_CARRIED {
                Some(format!("{name}: more than {MAX_CARRIED} calls go over its end"))
            } else if !begins_native(snapshot, next, &day.chain)? {
                Some(format!("{name}: the next file does not begin with a line of ours"))
            } else if day.tree.size() == 0 {
                Some(format!("{name}: nothing is on record up to its end"))
            } else {
                None
            };
            match reason {
                None => {
                    self.carried = day.open.iter().map(|call| Uuid::from_u128(*call)).collect();
                    self.carried.sort_unstable();
                    return Ok(());
                }
                // The oldest obstacle is the one that counts.
                Some(reason) => self.kept = Some(reason),
            }
            self.surveyed.pop();
        }
        Ok(())
    }
}

/// Why a day that is old enough stays.
fn obstacle(file: &DayFile, closed: &HashMap<String, u64>, sealed: bool) -> Option<String> {
    match closed.get(&file.name) {
        Some(bytes) if *bytes == file.size => None,
        Some(_) => Some(format!("{}: it was closed with another size", file.name)),
        None if sealed => Some(format!("{}: no checkpoint closed it", file.name)),
        None => None,
    }
}

/// Whether somebody who follows the log has not taken all of the day.
fn unexported(file: &DayFile, takers: &[(String, Position)]) -> Option<String> {
    let behind = |at: &Position| at.day < file.day || (at.day == file.day && at.offset < file.size);
    let (name, _) = takers.iter().find(|(_, at)| behind(at))?;
    Some(format!("{}: `audit export --follow` has not sent it yet (its place is in {name})", file.name))
}

/// What checkpoints say of days that are over.
fn closed_days(audit: &dyn Folder) -> Result<HashMap<String, u64>, AuditError> {
    let files = read_note_files(audit)?;
    let notes = files.into_iter().filter_map(|file| file.notes.ok()).flat_map(|(notes, _torn)| notes);
    Ok(notes
        .filter_map(|located| Checkpoint::parse(&located.note.text).ok()?.closed)
        .map(|day| (day.file, day.bytes))
        .collect())
}

fn read_day(snapshot: &Snapshot, file: &DayFile, state: &mut State) -> Result<Surveyed, AuditError> {
    let mut hash = Sha256::new();
    let mut piece = Piece::default();
    let before = state.tree.size();
    walk::<io::Error>(&*file.file, 0, file.size, |_offset, bytes| {
        hash.update(&bytes);
        scan(&mut piece, &bytes, file.day, true);
        for (line, (leaf, fact)) in lines_of(&bytes).zip(piece.leaves.iter().zip(&piece.facts)) {
            if state.tree.size() == 0 {
                state.first = *leaf;
            }
            state.tree.push(*leaf);
            state.chain = extend(&state.chain, line);
            let Some(native) = &fact.native else { continue };
            state.next_seq = native.seq + 1;
            match &native.call {
                Call::Unknown => {}
                Call::Opens { call, .. } => {
                    state.open.insert(*call);
                }
                Call::Closes { call, .. } => {
                    state.open.remove(call);
                }
            }
        }
        Ok(bytes)
    })
    .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
    Ok(Surveyed {
        pruned: PrunedDay {
            day: file.day,
            bytes: file.size,
            lines: state.tree.size() - before,
            sha256: hash.finalize().into(),
        },
        tree: state.tree.clone(),
        chain: state.chain,
        next_seq: state.next_seq,
        open: state.open.clone(),
    })
}

/// Which of these calls have an outcome.
fn closed_among(
    snapshot: &Snapshot,
    files: &[&DayFile],
    calls: &HashSet<u128>,
) -> Result<HashSet<u128>, AuditError> {
    let mut found = HashSet::new();
    let mut piece = Piece::default();
    for file in files {
        if found.len() == calls.len() {
            break;
        }
        walk::<io::Error>(&*file.file, 0, file.size, |_offset, bytes| {
            scan(&mut piece, &bytes, file.day, false);
            for fact in &piece.facts {
                if let Some(Call::Closes { call, .. }) = fact.native.as_ref().map(|native| &native.call)
                    && calls.contains(call)
                {
                    found.insert(*call);
                }
            }
            Ok(bytes)
        })
        .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
    }
    Ok(found)
}

/// Whether a file's first line is ours and goes on from this hash: then the chain's end can be found from it alone.
fn begins_native(snapshot: &Snapshot, file: &DayFile, chain: &Hash) -> Result<bool, AuditError> {
    let mut begins = false;
    walk::<io::Error>(&*file.file, 0, file.size.min(64 * 1024), |offset, bytes| {
        if offset == 0 {
            begins = lines_of(&bytes).next().and_then(prev_of).as_ref() == Some(chain);
        }
        Ok(bytes)
    })
    .map_err(|e| AuditError::storage("read", snapshot.folder.file_path(&file.name), &e))?;
    Ok(begins)
}
