//! What stands for days that were pruned: a signed note that says how the log stood at their end, so that everything
//! after them is proved as before, and which days they were, by whom and when they were removed. Its text begins as a
//! checkpoint of the pruned lines does.

use std::io;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::AuditError;
use crate::anchor::read_vkeys;
use crate::chain::Hash;
use crate::checkpoint::{FOLDER, NoteFile, read_note_file};
use crate::json::{hex, parse_hash};
use crate::merkle::Frontier;
use crate::note::{Checkpoint, Located, VerifyingKey, number};
use crate::reader::{DayFile, walk};
use crate::storage::Folder;
use crate::time::Day;

/// In the folder of the checkpoints.
pub(crate) const FILE: &str = "tombstones.notes";

/// A day that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrunedDay {
    pub(crate) day: Day,
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    /// Of the file: whoever kept a copy can show that it is the one.
    pub(crate) sha256: Hash,
}

impl PrunedDay {
    /// Whether this is the very file.
    pub(crate) fn is(&self, file: &DayFile) -> io::Result<bool> {
        if file.size != self.bytes {
            return Ok(false);
        }
        let mut hash = Sha256::new();
        walk::<io::Error>(&*file.file, 0, file.size, |_offset, bytes| {
            hash.update(&bytes);
            Ok(bytes)
        })?;
        Ok(Hash::from(hash.finalize()) == self.sha256)
    }
}

/// What a tombstone states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) origin: String,
    /// The tree over all lines that were ever pruned, these included.
    pub(crate) tree: Frontier,
    pub(crate) chain: Hash,
    /// The `seq` of the first line that stays.
    pub(crate) next_seq: u64,
    /// The leaf hash of the log's very first line.
    pub(crate) first: Hash,
    pub(crate) at: String,
    pub(crate) by: String,
    /// The pending record of the pruning, which stays on the log.
    pub(crate) record: Uuid,
    pub(crate) days: Vec<PrunedDay>,
    /// Calls whose pending line was pruned and whose outcome stays.
    pub(crate) carried: Vec<Uuid>,
}

impl Tombstone {
    pub(crate) fn text(&self) -> String {
        let mut text = Checkpoint {
            origin: self.origin.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
            chain: self.chain,
            closed: None,
        }
        .text();
        let subtrees: Vec<String> = self.tree.roots().iter().map(|root| hex(root)).collect();
        text.push_str(&format!(
            "subtrees {}\nnext-seq {}\nfirst {}\npruned-at {}\npruned-by {}\nrecord {}\n",
            subtrees.join(" "),
            self.next_seq,
            hex(&self.first),
            self.at,
            self.by,
            self.record
        ));
        for day in &self.days {
            let PrunedDay { day, bytes, lines, sha256 } = day;
            text.push_str(&format!("pruned {} {bytes} {lines} {}\n", day.file_name(), hex(sha256)));
        }
        for call in &self.carried {
            text.push_str(&format!("carried {call}\n"));
        }
        text
    }

    /// # Errors
    /// Says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const MALFORMED: &str = "a malformed tombstone";
        let checkpoint = Checkpoint::parse(text)?;
        let mut lines = text.lines().skip(4);
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let hash = |digits: &str| parse_hash(digits.as_bytes());
        let parsed = (|| {
            let roots = value("subtrees")?.split(' ').map(hash).collect::<Option<Vec<_>>>()?;
            Some(Self {
                tree: Frontier::from_parts(checkpoint.size, roots)?,
                chain: checkpoint.chain,
                next_seq: number(value("next-seq")?)?,
                first: hash(value("first")?)?,
                at: value("pruned-at")?.to_owned(),
                by: value("pruned-by")?.to_owned(),
                record: Uuid::try_parse(value("record")?).ok()?,
                origin: checkpoint.origin,
                days: Vec::new(),
                carried: Vec::new(),
            })
        })();
        let mut tombstone = parsed.ok_or(MALFORMED)?;
        if tombstone.tree.root() != checkpoint.root {
            return Err("a tombstone whose subtrees do not give its root");
        }
        for line in lines {
            if let Some(day) = line.strip_prefix("pruned ") {
                tombstone.days.push(parse_day(day).ok_or(MALFORMED)?);
            } else if let Some(call) = line.strip_prefix("carried ") {
                tombstone.carried.push(Uuid::try_parse(call).map_err(|_| MALFORMED)?);
            } else {
                return Err(MALFORMED);
            }
        }
        if tombstone.days.is_empty() || !tombstone.days.is_sorted_by(|one, next| one.day < next.day) {
            return Err("a tombstone without days, or with days out of order");
        }
        Ok(tombstone)
    }
}

fn parse_day(line: &str) -> Option<PrunedDay> {
    let words: Vec<&str> = line.split(' ').collect();
    let [file, bytes, lines, sha256] = words.as_slice() else { return None };
    Some(PrunedDay {
        day: Day::of_file_name(file)?,
        bytes: number(bytes)?,
        lines: number(lines)?,
        sha256: parse_hash(sha256.as_bytes())?,
    })
}

/// The file of tombstones; `None` when nothing was ever pruned.
pub(crate) fn read(audit: &dyn Folder) -> Result<Option<NoteFile>, AuditError> {
    let folder = match audit.folder(FOLDER, false) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AuditError::storage("open", audit.file_path(FOLDER), &error)),
    };
    let stat = folder.stat(FILE).map_err(|e| AuditError::storage("inspect", folder.file_path(FILE), &e))?;
    match stat {
        Some(_) => read_note_file(&*folder, FILE).map(Some),
        None => Ok(None),
    }
}

/// The tombstones, oldest first, when each is signed by a known key and follows the one before it.
///
/// # Errors
/// The line that is wrong and why.
pub(crate) fn weigh(
    file: Option<NoteFile>,
    signers: &[&VerifyingKey],
) -> Result<Vec<Tombstone>, (u64, &'static str)> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let (notes, _torn) = file.notes?;
    let mut tombstones: Vec<Tombstone> = Vec::with_capacity(notes.len());
    let mut oldest_key = 0;
    for Located { note, line } in notes {
        let fail = |reason| Err((line, reason));
        if signers.is_empty() {
            return fail(
                "days were pruned, and no public key is known to check that with: name one with --vkey",
            );
        }
        if signers.iter().any(|key| note.is_forged_for(key)) {
            return fail("a tombstone whose signature does not fit its text");
        }
        let Some(key) = (oldest_key..signers.len()).rev().find(|index| note.is_signed_by(signers[*index]))
        else {
            return fail("a tombstone that no key in force signed");
        };
        oldest_key = key;
        let tombstone = match Tombstone::parse(&note.text) {
            Ok(tombstone) => tombstone,
            Err(reason) => return fail(reason),
        };
        let follows = tombstones.last().is_none_or(|last| {
            last.tree.size() <= tombstone.tree.size()
                && last.first == tombstone.first
                && last.days.last().map(|day| day.day) < tombstone.days.first().map(|day| day.day)
        });
        let named = signers.first().is_none_or(|key| tombstone.origin.starts_with(key.name()))
            && tombstone.origin.ends_with(&format!("/{}", &hex(&tombstone.first)[..16]));
        if !follows || !named {
            return fail("a tombstone of another log, or one that does not follow the one before it");
        }
        tombstones.push(tombstone);
    }
    Ok(tombstones)
}

/// The last of them, by the keys in the data directory.
///
/// # Errors
/// One of them is not to be relied on.
pub(crate) fn last(audit: &dyn Folder, data: &dyn Folder) -> Result<Option<Tombstone>, AuditError> {
    let Some(file) = read(audit)? else { return Ok(None) };
    let path = audit.file_path(&file.name);
    let keys = read_vkeys(data)?;
    let signers: Vec<&VerifyingKey> = keys.iter().filter(|key| !key.is_witness()).collect();
    match weigh(Some(file), &signers) {
        Ok(tombstones) => Ok(tombstones.into_iter().next_back()),
        Err((line, reason)) => Err(AuditError::Malformed { path, reason: format!("line {line}: {reason}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone() -> Tombstone {
        let mut tree = Frontier::default();
        (0..11_u8).for_each(|leaf| tree.push([leaf; 32]));
        let day = |text: &str| PrunedDay {
            day: Day::parse(text).unwrap(),
            bytes: 7_000,
            lines: 5,
            sha256: [9; 32],
        };
        Tombstone {
            origin: "entrabot.audit/x/0303030303030303".into(),
            tree,
            chain: [2; 32],
            next_seq: 9,
            first: [3; 32],
            at: "2026-07-12T10:00:00.000000+00:00".into(),
            by: "uid 1000".into(),
            record: Uuid::from_u128(5),
            days: vec![day("2026-07-01"), day("2026-07-03")],
            carried: vec![Uuid::from_u128(77)],
        }
    }

    #[test]
    fn a_tombstone_comes_back_and_one_with_a_word_changed_does_not() {
        let text = tombstone().text();
        assert_eq!(Tombstone::parse(&text), Ok(tombstone()));
        // Any checkpoint reader finds a checkpoint of the pruned lines in it.
        assert_eq!(Checkpoint::parse(&text).unwrap().size, 11);
        for (from, to) in [
            ("subtrees ", "subtrees x"),
            ("next-seq 9", "next-seq 09"),
            ("\n11\n", "\n12\n"),
            ("pruned 2026-07-01", "pruned 2026-07-03"),
            ("carried ", "carried x"),
            ("pruned-by", "pruned-for"),
        ] {
            assert!(Tombstone::parse(&text.replacen(from, to, 1)).is_err(), "{from}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(cut in 0_usize..700, byte in proptest::num::u8::ANY) {
            let mut bytes = tombstone().text().into_bytes();
            let at = cut % bytes.len();
            bytes[at] = byte;
            let _result = Tombstone::parse(&String::from_utf8_lossy(&bytes));
            let _shorter = Tombstone::parse(&String::from_utf8_lossy(&bytes[..at]));
        }
    }
}
