//! What is known of a log besides its lines: the signed checkpoints in its directory, and the public keys and anchors
//! outside of it. Says what the lines have to agree with.

use std::path::Path;

use crate::AuditError;
use crate::anchor::{ANCHOR, Anchor, parse_vkeys, place_of, read_anchors, read_vkeys};
use crate::chain::Hash;
use crate::checkpoint::{FOLDER, NoteFile, read_note_files};
use crate::json::hex;
use crate::note::{Checkpoint, Located, VerifyingKey};
use crate::storage::Folder;
use crate::tombstone::{self, PrunedDay, Tombstone};
use crate::verify::FirstError;

/// What the log's first `size` lines have to give.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) chain: Hash,
    /// Who says so.
    pub(crate) file: String,
    pub(crate) line: u64,
}

/// A day file that a checkpoint says is complete.
#[derive(Debug)]
pub(crate) struct ClosedFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) said_in: (String, u64),
}

#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// By size.
    pub(crate) expected: Vec<Expected>,
    pub(crate) closed: Vec<ClosedFile>,
    pub(crate) checkpoints: u64,
    /// How many lines the last checkpoint covers.
    pub(crate) sealed: u64,
    pub(crate) signed: bool,
    pub(crate) anchored: bool,
    pub(crate) witnessed: bool,
    /// What was pruned, oldest first.
    pub(crate) pruned: Vec<Tombstone>,
    /// Whether something is wrong with that: then nothing can be said about the lines.
    pub(crate) unknown_beginning: bool,
    pub(crate) warnings: Vec<String>,
    pub(crate) first_error: Option<FirstError>,
}

/// Where keys and anchors come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trusted<'a> {
    pub(crate) data: Option<&'a dyn Folder>,
    pub(crate) vkeys: Option<&'a Path>,
}

/// The evidence as it was read, before the lines are known.
#[derive(Debug)]
pub(crate) struct Unweighed {
    anchors: Result<Vec<Anchor>, AuditError>,
    anchor_path: std::path::PathBuf,
    notes: Vec<NoteFile>,
    keys: Result<Vec<VerifyingKey>, AuditError>,
    trusted_anchor: bool,
}

impl Unweighed {
    /// Reads it, before the lines are looked at and in the order opposite to the writing: nothing that is read here
    /// can be ahead of what is read later, so a writer at work is never taken for tampering.
    pub(crate) fn read(audit: &dyn Folder, trusted: Trusted<'_>) -> Result<Self, AuditError> {
        let data = trusted.data;
        let anchors = data.map_or_else(|| Ok(Vec::new()), read_anchors);
        let notes = read_note_files(audit)?;
        let keys = match (trusted.vkeys, data) {
            (Some(path), _) => Ok(read_vkey_file(path)?),
            (None, Some(data)) => read_vkeys(data),
            (None, None) => Ok(Vec::new()),
        };
        let anchor_path = data.map(|data| data.file_path(ANCHOR)).unwrap_or_default();
        Ok(Self { anchors, anchor_path, notes, keys, trusted_anchor: data.is_some() })
    }
}

impl Evidence {
    /// `first` is the leaf hash of the first line that is there of the log in `place`; `tombstones` stand for those
    /// before it.
    pub(crate) fn weigh(
        unweighed: Unweighed,
        place: &Path,
        first: Option<Hash>,
        tombstones: Option<NoteFile>,
    ) -> Result<Self, AuditError> {
        let mut evidence = Self::default();
        let keys = evidence.or_fail(unweighed.keys)?.unwrap_or_default();
        evidence.read_tombstones(tombstones, &keys);
        let first = evidence.pruned.last().map(|last| last.first).or(first);
        evidence.read_notes(unweighed.notes, &keys, first);
        let anchors = evidence.or_fail(unweighed.anchors)?.unwrap_or_default();
        if unweighed.trusted_anchor {
            evidence.read_anchors(&anchors, &unweighed.anchor_path, place, first);
        }
        evidence.expected.sort_by_key(|expected| expected.size);
        evidence.compare_with_pruned();
        Ok(evidence)
    }

    fn read_tombstones(&mut self, file: Option<NoteFile>, keys: &[VerifyingKey]) {
        let Some(file) = file else { return };
        let signers: Vec<&VerifyingKey> = keys.iter().filter(|key| !key.is_witness()).collect();
        let name = file.name.clone();
        match tombstone::weigh(Some(file), &signers) {
            Ok(tombstones) => self.pruned = tombstones,
            Err((line, reason)) => {
                self.unknown_beginning = true;
                self.fail(&name, line, reason);
            }
        }
    }

    /// What is said of lines that were pruned can no longer be compared with them: it has to agree among itself.
    fn compare_with_pruned(&mut self) {
        for tombstone in std::mem::take(&mut self.pruned) {
            let closed = |day: &PrunedDay| {
                let name = day.day.file_name();
                self.closed.iter().any(|closed| closed.name == name && closed.bytes == day.bytes)
            };
            let size = tombstone.tree.size();
            let at_end: Vec<&Expected> =
                self.expected.iter().filter(|expected| expected.size == size).collect();
            let agrees = |expected: &&Expected| {
                expected.root == tombstone.tree.root() && expected.chain == tombstone.chain
            };
            if at_end.is_empty() || !at_end.iter().all(agrees) || !tombstone.days.iter().all(closed) {
                self.unknown_beginning = true;
                self.fail(
                    &name_of(tombstone::FILE),
                    0,
                    "a tombstone of days that no checkpoint closed as it says",
                );
            }
            self.pruned.push(tombstone);
        }
        let pruned = self.pruned.last().map_or(0, |last| last.tree.size());
        let apart = self.expected.windows(2).find(|pair| {
            pair[1].size <= pruned
                && pair[0].size == pair[1].size
                && (pair[0].root, pair[0].chain) != (pair[1].root, pair[1].chain)
        });
        if let Some([one, other]) = apart.map(|pair| [&pair[0], &pair[1]]) {
            let reason =
                format!("it says of {} lines what {} line {} does not", one.size, other.file, other.line);
            let (file, line) = (one.file.clone(), one.line);
            self.fail(&file, line, reason);
        }
    }

    fn fail(&mut self, file: &str, line: u64, reason: impl Into<String>) {
        if self.first_error.is_none() {
            self.first_error = Some(FirstError { file: file.to_owned(), line, reason: reason.into() });
        }
    }

    /// A file that is there and malformed is a finding, not a failure to read.
    fn or_fail<T>(&mut self, result: Result<T, AuditError>) -> Result<Option<T>, AuditError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(AuditError::Malformed { path, reason }) => {
                self.fail(&path.display().to_string(), 0, reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read_notes(&mut self, files: Vec<NoteFile>, keys: &[VerifyingKey], first: Option<Hash>) {
        let (witnesses, signers): (Vec<&VerifyingKey>, Vec<&VerifyingKey>) =
            keys.iter().partition(|key| key.is_witness());
        let mut in_force = InForce { keys: &signers, current: None };
        for NoteFile { name, notes } in files {
            let (notes, torn) = match notes {
                Ok(notes) => notes,
                Err((line, reason)) => return self.fail(&name, line, reason),
            };
            if torn > 0 {
                self.warnings.push(format!("{name} ends in an unfinished (torn) checkpoint of {torn} bytes"));
            }
            for Located { note, line } in notes {
                let checkpoint = match Checkpoint::parse(&note.text) {
                    Ok(checkpoint) => checkpoint,
                    Err(reason) => return self.fail(&name, line, reason),
                };
                if !signers.is_empty() {
                    if let Err(reason) = in_force.accept(&note) {
                        return self.fail(&name, line, reason);
                    }
                    self.signed = true;
                }
                let fits = first
                    .is_none_or(|first| checkpoint.origin.ends_with(&format!("/{}", &hex(&first)[..16])));
                let named = signers.first().is_none_or(|key| checkpoint.origin.starts_with(key.name()));
                if !fits || !named {
                    return self.fail(&name, line, "a checkpoint of another log");
                }
                if checkpoint.size < self.sealed {
                    return self.fail(&name, line, "a checkpoint of fewer lines than the one before it");
                }
                self.sealed = checkpoint.size;
                self.checkpoints += 1;
                self.witnessed = witnesses.iter().any(|key| note.is_signed_by(key));
                if let Some(day) = checkpoint.closed {
                    let said_in = (name.clone(), line);
                    self.closed.push(ClosedFile { name: day.file, bytes: day.bytes, said_in });
                }
                self.expected.push(Expected {
                    size: checkpoint.size,
                    root: checkpoint.root,
                    chain: checkpoint.chain,
                    file: name.clone(),
                    line,
                });
            }
        }
        if signers.is_empty() && self.checkpoints > 0 {
            self.warnings
                .push("no public key is known: the checkpoints' signatures are not checked".to_owned());
        }
    }

    fn read_anchors(&mut self, anchors: &[Anchor], path: &Path, audit: &Path, first: Option<Hash>) {
        let file = path.display().to_string();
        let place = place_of(audit);
        let here = anchors.iter().any(|anchor| anchor.place == place);
        // A copy of the log that lies elsewhere is known by its first line.
        let applies =
            |anchor: &&Anchor| if here { anchor.place == place } else { Some(anchor.first) == first };
        let sizes: std::collections::HashSet<u64> =
            self.expected.iter().map(|expected| expected.size).collect();
        for (index, anchor) in anchors.iter().enumerate().filter(|(_, anchor)| applies(anchor)) {
            let line = index as u64 + 1;
            if first.is_some_and(|first| first != anchor.first) {
                return self.fail(&file, line, "the log here is not the one that its anchor knows");
            }
            if !sizes.contains(&anchor.size) {
                return self.fail(
                    &file,
                    line,
                    format!(
                        "the checkpoint of {} lines that the anchor knows of is missing; the newest one here covers {}",
                        anchor.size, self.sealed
                    ),
                );
            }
            self.anchored = true;
            self.expected.push(Expected {
                size: anchor.size,
                root: anchor.root,
                chain: anchor.chain,
                file: file.clone(),
                line,
            });
        }
        if !self.anchored && !anchors.is_empty() {
            self.warnings.push("no anchor is known for this log".to_owned());
        }
    }
}

fn name_of(file: &str) -> String {
    format!("{FOLDER}/{file}")
}

/// Which key signs at this point of the log.
struct InForce<'a> {
    keys: &'a [&'a VerifyingKey],
    current: Option<usize>,
}

impl InForce<'_> {
    fn accept(&mut self, note: &crate::note::Note) -> Result<(), &'static str> {
        if self.keys.iter().any(|key| note.is_forged_for(key)) {
            return Err("a checkpoint whose signature does not fit its text");
        }
        let signed: Vec<usize> =
            (0..self.keys.len()).filter(|index| note.is_signed_by(self.keys[*index])).collect();
        let Some(newest) = signed.last() else { return Err("a checkpoint that no known key signed") };
        match self.current {
            None => {}
            Some(current) if signed.contains(&current) => {}
            Some(current) if *newest < current => {
                return Err("a checkpoint signed by a key that was replaced");
            }
            Some(_) => return Err("a new key that the one before it did not sign for"),
        }
        self.current = Some(*newest);
        Ok(())
    }
}

/// Whether the anchor knows of a log in this place.
pub(crate) fn anchor_knows(data: &dyn Folder, audit: &Path) -> bool {
    let Ok(audit) = std::path::absolute(audit) else { return false };
    let place = place_of(&audit);
    read_anchors(data).is_ok_and(|anchors| anchors.iter().any(|anchor| anchor.place == place))
}

fn read_vkey_file(path: &Path) -> Result<Vec<VerifyingKey>, AuditError> {
    let text = std::fs::read_to_string(path).map_err(|e| AuditError::storage("read", path, &e))?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let keys = parse_vkeys(&lines, path)?;
    if keys.is_empty() {
        return Err(AuditError::Malformed { path: path.to_owned(), reason: "it holds no key".to_owned() });
    }
    Ok(keys)
}
