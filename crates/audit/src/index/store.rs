//! The index's files: one for each day file, a header and then piece after piece. They only grow; an end that is torn
//! or changed is cut off by the next query that has something to add. Nothing here is ever an error of the query.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::segment::{Builder, Seen, Segment, TAIL, tail_of};
use crate::anchor::place_of;
use crate::data::DataDir;
use crate::journal::append_all;
use crate::json::hex;
use crate::reader::{DayFile, Snapshot};
use crate::storage::{Folder, Kind, LogFile, Stat, read_range};
use crate::time::Day;

const MAGIC: &[u8; 8] = b"ebaudix1";
const HEADER: usize = 24;
const LOCK: &str = ".lock";

/// The folder of one log's index.
#[derive(Debug)]
pub(super) struct Store {
    folder: Arc<dyn Folder>,
    /// The log's days.
    days: Vec<Day>,
}

/// Tells whether another process wrote to an index file since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    size: u64,
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self { inode: stat.inode, size: stat.size }
    }
}

fn folder_name(audit: &Path) -> String {
    format!("audit-index-{}", &hex(&place_of(audit))[..16])
}

fn file_name(day: Day) -> String {
    format!("{day}.index")
}

/// Ours, and nobody else's to write to.
fn is_ours(stat: &Stat) -> bool {
    stat.owner == rustix::process::geteuid().as_raw() && stat.mode & 0o077 == 0
}

impl Store {
    /// `None` where there is no data directory of ours that can be written to.
    pub(super) fn open(data_dir: &Path, snapshot: &Snapshot) -> Option<Self> {
        let data = DataDir::at(data_dir, false).open_existing().ok()??;
        if data.stat(".").ok()??.owner != rustix::process::geteuid().as_raw() {
            return None;
        }
        let folder = data.folder(&folder_name(snapshot.folder.path()), true).ok()?;
        let days = snapshot.files.iter().map(|file| file.day).collect();
        is_ours(&folder.stat(".").ok()??).then_some(Self { folder, days })
    }

    /// What is known of a file.
    pub(super) fn load(&self, file: &DayFile) -> Known {
        let seen = Seen::of(&*file.file).ok();
        let (bytes, found) = self.read(file.day).unwrap_or_default();
        let mut known = Known { bytes, found, valid: 0, seen, fresh: Vec::new() };
        known.valid = known.check(file).unwrap_or(0);
        known
    }

    /// The index file of a day, as far as there is one.
    fn read(&self, day: Day) -> Option<(Vec<u8>, Option<Version>)> {
        let name = file_name(day);
        let stat = self.folder.stat(&name).ok()??;
        if stat.kind != Kind::File {
            return None;
        }
        let found = Some(Version::of(&stat));
        if stat.links != 1 || !is_ours(&stat) {
            return Some((Vec::new(), found));
        }
        let file = self.folder.open(&name).ok()?;
        Some((read_range(&*file, 0, stat.size).ok()?, found))
    }

    /// Writes what is new. A full disk, another process at work: then it stays unknown.
    pub(super) fn save(&self, file: &DayFile, known: Known) {
        if known.fresh.is_empty() {
            return;
        }
        let Ok(lock) = self.folder.lock(LOCK, false) else { return };
        if !lock.try_exclusive().unwrap_or(false) {
            return;
        }
        // What cannot be written is found out anew by the next query.
        let _unknown_then = self.append(file.day, &known);
        self.sweep();
        // The descriptor goes right after, and the lock with it.
        let _freed_anyway = lock.unlock();
    }

    fn append(&self, day: Day, known: &Known) -> io::Result<()> {
        let name = file_name(day);
        let now = self.folder.stat(&name)?.as_ref().map(Version::of);
        if now != known.found {
            return Ok(());
        }
        let file = if known.valid == 0 {
            if now.is_some() {
                self.folder.remove(&name)?;
            }
            let file = self.folder.create(&name)?;
            append_all(&*file, &known.header())?;
            file
        } else {
            self.folder.open_append(&name)?
        };
        let end = known.valid.max(HEADER) as u64;
        if file.stat()?.size > end {
            file.truncate(end)?;
        }
        append_all(&*file, &known.fresh).inspect_err(|_| {
            // Torn, the end is seen to be so.
            let _torn_then = file.truncate(end);
        })
    }

    /// Takes away what is known of days that are gone.
    fn sweep(&self) {
        let Ok((names, _)) = self.folder.names() else { return };
        for name in names {
            let day = name.strip_suffix(".index").and_then(Day::parse);
            if day.is_some_and(|day| !self.days.contains(&day)) {
                // Somebody else was faster, or the next query is.
                let _gone_later = self.folder.remove(&name);
            }
        }
    }
}

/// Takes away what is known of these days.
pub(crate) fn forget(data: &dyn Folder, audit: &Path, days: &[Day]) {
    let Ok(folder) = data.folder(&folder_name(audit), false) else { return };
    for day in days {
        // Where it stays, the next query that adds something takes it away.
        let _gone_later = folder.remove(&file_name(*day));
    }
}

/// What is known of one day file.
#[derive(Debug)]
pub(super) struct Known {
    bytes: Vec<u8>,
    /// The index file, if there is one.
    found: Option<Version>,
    /// How many of the bytes count.
    valid: usize,
    seen: Option<Seen>,
    fresh: Vec<u8>,
}

impl Known {
    fn header(&self) -> Vec<u8> {
        let (inode, device) = self.seen.map_or((0, 0), |seen| (seen.inode, seen.device));
        [&MAGIC[..], &inode.to_le_bytes(), &device.to_le_bytes()].concat()
    }

    /// The pieces, each with where it ends in the index.
    pub(super) fn segments(&self) -> impl Iterator<Item = (Segment<'_>, usize)> {
        let bytes = self.bytes.get(..self.valid).unwrap_or_default();
        let mut at = HEADER;
        std::iter::from_fn(move || {
            let (segment, length) = Segment::decode(bytes.get(at..)?)?;
            at += length;
            Some((segment, at))
        })
    }

    /// How many of the bytes are about this very file as it is. Looks at where each piece ends in it.
    fn check(&self, file: &DayFile) -> Option<usize> {
        let seen = self.seen.as_ref()?;
        if !self.bytes.starts_with(&self.header()) {
            return None;
        }
        let (mut at, mut covered, mut last) = (HEADER, 0, None);
        while let Some((segment, length)) = Segment::decode(&self.bytes[at..]) {
            let place = segment.place;
            if !Segment::is_sound(&self.bytes[at..])
                || place.from != covered
                || place.to > file.size
                || !ends_as_then(&*file.file, &place)?
            {
                break;
            }
            (at, covered, last) = (at + length, place.to, Some(place));
        }
        let last = last?;
        // Nobody can set the time of change: as long as the size is the one that was seen, neither did it change.
        let untouched =
            last.seen_size != seen.size || last.seen_changed == 0 || last.seen_changed == seen.changed;
        untouched.then_some(at)
    }

    /// Only so many bytes count.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.valid = self.valid.min(bytes);
    }

    /// Remembers a piece that follows what is known.
    pub(super) fn add(&mut self, builder: &Builder, from: u64, bytes: &[u8]) {
        if let Some(seen) = &self.seen {
            self.fresh.extend(builder.encode(from, bytes, seen));
        }
    }
}

fn ends_as_then(file: &dyn LogFile, place: &super::segment::Place) -> Option<bool> {
    let from = place.to.saturating_sub(TAIL).max(place.from);
    let bytes = read_range(file, from, place.to).ok()?;
    Some(bytes.last() == Some(&b'\n') && tail_of(&bytes) == place.tail)
}
