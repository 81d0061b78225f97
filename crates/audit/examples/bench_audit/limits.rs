//! What nothing on this machine can be faster than, and the obvious way for comparison.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, StatxFlags, fdatasync, flock, fstat, statx, tell};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Append, LONG, figures, run};

/// As long as one of our lines.
const LINE: [u8; 535] = {
    let mut line = [b'x'; 535];
    line[534] = b'\n';
    line
};

/// One write, one sync.
pub(crate) struct Bare(pub(crate) File);

impl Append for Bare {
    fn append(&mut self) {
        self.0.write_all(&LINE).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// The system calls of one of our appends and nothing else: lock, look at file and directory, write, ask where it
/// ended, unlock, sync. Not the file's times: each write would have to keep them exact.
pub(crate) struct Guards {
    folder: File,
    lock: File,
    file: File,
}

impl Guards {
    pub(crate) fn open(dir: &Path) -> Self {
        let options = || OpenOptions::new().create(true).append(true).read(true).clone();
        Self {
            folder: File::open(dir).unwrap(),
            lock: options().open(dir.join("lock")).unwrap(),
            file: options().open(dir.join("log")).unwrap(),
        }
    }
}

impl Append for Guards {
    fn append(&mut self) {
        while flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            std::thread::yield_now();
        }
        let wanted = StatxFlags::SIZE | StatxFlags::NLINK | StatxFlags::UID | StatxFlags::INO;
        let file = statx(&self.file, "", AtFlags::EMPTY_PATH, wanted).unwrap();
        std::hint::black_box((fstat(&self.folder).unwrap(), file));
        self.file.write_all(&LINE).unwrap();
        std::hint::black_box(tell(&self.file).unwrap());
        flock(&self.lock, FlockOperation::Unlock).unwrap();
        fdatasync(&self.file).unwrap();
    }
}

/// A group commit with nothing in it: whoever comes first waits until all callers have come, writes one buffer for
/// all of them, syncs, and wakes them at once.
pub(crate) fn group_commit(file: &File, callers: usize) -> Value {
    struct Groups {
        /// Callers of the group that is open.
        arrived: usize,
        /// The group that is open, and the one that is done.
        open: u64,
        done: u64,
        leading: bool,
    }
    let groups = Mutex::new(Groups { arrived: 0, open: 1, done: 0, leading: false });
    let (changed, begin) = (Condvar::new(), Instant::now());
    let append = || {
        let mut group = groups.lock().unwrap();
        group.arrived += 1;
        let mine = group.open;
        while group.leading || group.done + 1 < mine {
            group = changed.wait(group).unwrap();
            if group.done >= mine {
                return;
            }
        }
        group.leading = true;
        let first = Instant::now();
        while group.arrived < callers && first.elapsed() < Duration::from_micros(200) {
            drop(group);
            std::thread::yield_now();
            group = groups.lock().unwrap();
        }
        let count = std::mem::take(&mut group.arrived);
        group.open += 1;
        drop(group);
        let mut writer = file;
        writer.write_all(&LINE.repeat(count)).unwrap();
        file.sync_data().unwrap();
        let mut group = groups.lock().unwrap();
        group.done = mine;
        group.leading = false;
        drop(group);
        changed.notify_all();
    };
    let worker = || {
        let mut took = Vec::with_capacity(100_000);
        while begin.elapsed() < LONG {
            let start = Instant::now();
            append();
            took.push(start.elapsed());
        }
        took
    };
    let took = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..callers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    figures(took, begin.elapsed())
}

/// One write and one sync for so many lines, again and again, without callers: what the disk gives to groups that are
/// always full.
pub(crate) fn whole_groups(file: File, lines: usize) -> Value {
    struct Whole {
        file: File,
        group: Vec<u8>,
    }
    impl Append for Whole {
        fn append(&mut self) {
            self.file.write_all(&self.group).unwrap();
            self.file.sync_data().unwrap();
        }
    }
    let took = run(&mut Whole { file, group: LINE.repeat(lines) }, LONG);
    let of_each = took.iter().flat_map(|time| std::iter::repeat_n(*time, lines)).collect();
    figures(of_each, LONG)
}

/// The same chain with the sync inside the lock: the obvious way, for comparison.
pub(crate) struct SyncInside {
    lock: File,
    file: File,
    seen: u64,
    hash: [u8; 32],
}

impl SyncInside {
    pub(crate) fn open(dir: &Path) -> Self {
        let options = || OpenOptions::new().create(true).append(true).read(true).clone();
        Self {
            lock: options().open(dir.join("lock")).unwrap(),
            file: options().open(dir.join("log")).unwrap(),
            seen: 0,
            hash: [0; 32],
        }
    }
}

impl Append for SyncInside {
    fn append(&mut self) {
        self.lock.lock().unwrap();
        let end = self.file.metadata().unwrap().len();
        let mut delta = vec![0; usize::try_from(end - self.seen).unwrap()];
        self.file.read_exact_at(&mut delta, self.seen).unwrap();
        for line in delta.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.hash = Sha256::new().chain_update(self.hash).chain_update(line).finalize().into();
        }
        let mut line = LINE[..534].to_vec();
        self.hash = Sha256::new().chain_update(self.hash).chain_update(&line).finalize().into();
        line.push(b'\n');
        self.file.write_all(&line).unwrap();
        self.seen = end + line.len() as u64;
        self.file.sync_data().unwrap();
        self.lock.unlock().unwrap();
    }
}
