//! A disk that loses power. Everything that was not synced may be there, be gone, be cut in the middle, or be there
//! as zeros; a name that was not synced may be there or not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::storage::{Folder, FolderLock, Kind, LogFile, Stat};

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    folders: Vec<Names>,
    operations: u64,
    /// The power goes when that many operations are done.
    power_until: Option<u64>,
    fault: Option<Fault>,
    /// The operations that append to a day file.
    log_appends: Vec<u64>,
    changes: i128,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sim(Arc<Mutex<State>>);

/// Operations that fail, as a full or a broken disk fails them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The first of them, from 1.
    pub(crate) at: u64,
    /// How many in a row.
    pub(crate) times: u64,
    /// An append to the log that comes right before them is done by half.
    pub(crate) half: bool,
    /// A line of a writer without the lock slips in before that append.
    pub(crate) slip: bool,
}

/// As the Python original writes it.
pub(crate) const FOREIGN: &[u8] = br#"{"event_id": "8a6e0804-2bd0-4672-b79d-d97027f9071a", "timestamp": "2024-10-04T00:00:00.123456+00:00", "agent_id": "a", "action": "x", "resource": "y", "outcome": "success", "attribution_type": "agent", "metadata": {}}
"#;

/// What became of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Dropped,
    Kept,
    Torn,
    Zeroed,
}

pub(crate) const LOSSES: [Loss; 4] = [Loss::Dropped, Loss::Kept, Loss::Torn, Loss::Zeroed];

impl Sim {
    pub(crate) fn new() -> Self {
        Self::default()
    }
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.0.lock().unwrap().power_until = Some(operations);
    }
    /// From now on this fails, or nothing does.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }
    pub(crate) fn log_appends(&self) -> Vec<u64> {
        self.0.lock().unwrap().log_appends.clone()
    }

    /// The root folder of this name. Its own name is durable.
    pub(crate) fn root(&self, path: &str) -> Arc<dyn Folder> {
        let mut state = self.0.lock().unwrap();
        let number = match path {
            "/audit" => 0,
            _ => 1,
        };
        while state.folders.len() < 2 {
            state.folders.push(Names::default());
        }
        drop(state);
        Arc::new(SimFolder { sim: self.clone(), number, path: PathBuf::from(path) })
    }

    /// The disk as it is when the power is back. `dice` varies what is lost.
    pub(crate) fn after_power_loss(&self, loss: Loss, mut dice: u64) -> Self {
        let state = self.0.lock().unwrap();
        let mut roll = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(dice >> 33).unwrap()
        };
        let files = state
            .files
            .iter()
            .map(|content| {
                let kept = survive(content, loss, &mut roll);
                Content { now: kept.clone(), synced: kept }
            })
            .collect();
        let folders = state
            .folders
            .iter()
            .map(|names| {
                let mut kept = names.synced.clone();
                for (name, file) in &names.now {
                    let keep = match loss {
                        Loss::Dropped => false,
                        Loss::Kept => true,
                        Loss::Torn | Loss::Zeroed => roll() % 2 == 0,
                    };
                    if keep {
                        kept.insert(name.clone(), *file);
                    }
                }
                for name in names.synced.keys().filter(|name| !names.now.contains_key(*name)) {
                    let removed = match loss {
                        Loss::Dropped => false,
                        Loss::Kept => true,
                        Loss::Torn | Loss::Zeroed => roll() % 2 == 0,
                    };
                    if removed {
                        kept.remove(name);
                    }
                }
                Names { now: kept.clone(), synced: kept }
            })
            .collect();
        Self(Arc::new(Mutex::new(State { files, folders, ..State::default() })))
    }

    fn act<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.operations += 1;
        if state.power_until.is_some_and(|until| state.operations > until) {
            return Err(io::Error::other("the power is off"));
        }
        if state.fault.is_some_and(|fault| (fault.at..fault.at + fault.times).contains(&state.operations)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        act(&mut state)
    }
}

fn survive(content: &Content, loss: Loss, roll: &mut impl FnMut() -> usize) -> Vec<u8> {
    let Content { now, synced } = content;
    let Some(unsynced) = now.strip_prefix(&synced[..]) else {
        // It was cut and not synced: either size is possible.
        return if matches!(loss, Loss::Dropped) || roll().is_multiple_of(2) {
            synced.clone()
        } else {
            now.clone()
        };
    };
    let mut kept = synced.clone();
    match loss {
        Loss::Dropped => {}
        Loss::Kept => kept.extend_from_slice(unsynced),
        Loss::Torn => kept.extend_from_slice(&unsynced[..roll() % (unsynced.len() + 1)]),
        Loss::Zeroed => {
            let whole = roll() % (unsynced.len() + 1);
            kept.extend_from_slice(&unsynced[..whole]);
            kept.resize(now.len(), 0);
        }
    }
    kept
}

#[derive(Debug)]
struct SimFolder {
    sim: Sim,
    number: usize,
    path: PathBuf,
}

const FOLDER_BIT: usize = 1 << 32;

impl SimFolder {
    fn find(&self, state: &State, name: &str) -> io::Result<usize> {
        state.folders[self.number].now.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn file(&self, number: usize) -> Arc<dyn LogFile> {
        Arc::new(SimFile { sim: self.sim.clone(), number, position: Mutex::new(0) })
    }
}

fn stat_of(state: &State, number: usize) -> Stat {
    let (kind, size) = match number.checked_sub(FOLDER_BIT) {
        Some(_) => (Kind::Folder, 0),
        None => (Kind::File, state.files[number].now.len() as u64),
    };
    Stat {
        device: 1,
        inode: number as u64,
        links: 1,
        size,
        owner: rustix::process::geteuid().as_raw(),
        mode: 0o600,
        kind,
    }
}

impl Folder for SimFolder {
    fn path(&self) -> &Path {
        &self.path
    }
    fn names(&self) -> io::Result<(Vec<String>, u64)> {
        self.sim.act(|state| Ok((state.folders[self.number].now.keys().cloned().collect(), 0)))
    }
    fn is_in_place(&self) -> io::Result<bool> {
        self.sim.act(|_| Ok(true))
    }
    fn changed(&self) -> io::Result<i128> {
        self.sim.act(|state| Ok(state.changes))
    }
    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        self.sim.act(|state| Ok(self.find(state, name).ok().map(|number| stat_of(state, number))))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.sim.act(|state| self.find(state, name)).map(|number| self.file(number))
    }
    fn open_append(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.open(name)
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let number = self.sim.act(|state| {
            if self.find(state, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.files.push(Content::default());
            state.changes += 1;
            let number = state.files.len() - 1;
            state.folders[self.number].now.insert(name.to_owned(), number);
            Ok(number)
        })?;
        Ok(self.file(number))
    }
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.sim.act(|state| {
            state.files.push(Content { now: bytes.to_vec(), synced: bytes.to_vec() });
            state.changes += 1;
            let number = state.files.len() - 1;
            state.folders[self.number].now.insert(name.to_owned(), number);
            Ok(())
        })?;
        self.sync()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.sim.act(|state| {
            state.changes += 1;
            state.folders[self.number].now.remove(name);
            Ok(())
        })
    }
    fn sync(&self) -> io::Result<()> {
        self.sim.act(|state| {
            let names = &mut state.folders[self.number];
            names.synced = names.now.clone();
            Ok(())
        })
    }
    fn folder(&self, name: &str, create: bool) -> io::Result<Arc<dyn Folder>> {
        let number = self.sim.act(|state| match self.find(state, name) {
            Err(_) if create => {
                state.folders.push(Names::default());
                let number = state.folders.len() - 1;
                state.folders[self.number].now.insert(name.to_owned(), number + FOLDER_BIT);
                Ok(number)
            }
            other => other.map(|number| number - FOLDER_BIT),
        })?;
        if create {
            self.sync()?;
        }
        Ok(Arc::new(Self { sim: self.sim.clone(), number, path: self.path.join(name) }))
    }
    /// Opening it always works; what is announced in it is an operation like others.
    fn lock(&self, name: &str, _read_only: bool) -> io::Result<Arc<dyn FolderLock>> {
        let mut guard = self.sim.0.lock().unwrap();
        let State { files, folders, .. } = &mut *guard;
        let number = *folders[self.number].now.entry(name.to_owned()).or_insert_with(|| {
            files.push(Content::default());
            files.len() - 1
        });
        drop(guard);
        Ok(Arc::new(AlwaysFree(self.file(number))))
    }
}

/// What is run on this disk runs alone.
#[derive(Debug)]
struct AlwaysFree(Arc<dyn LogFile>);

impl FolderLock for AlwaysFree {
    fn try_exclusive(&self) -> io::Result<bool> {
        Ok(true)
    }
    fn try_shared(&self) -> io::Result<bool> {
        Ok(true)
    }
    fn exclusive(&self) -> io::Result<()> {
        Ok(())
    }
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
    fn announce(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.truncate(0)?;
        self.0.append(bytes).map(drop)
    }
    fn announced(&self) -> io::Result<Vec<u8>> {
        crate::storage::read_range(&*self.0, 0, 256)
    }
    fn holder(&self) -> Option<u32> {
        None
    }
}

#[derive(Debug)]
struct SimFile {
    sim: Sim,
    number: usize,
    position: Mutex<u64>,
}

impl LogFile for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let (end, count) = self.sim.act(|state| {
            let is_log = state.folders[0]
                .now
                .iter()
                .any(|(name, number)| *number == self.number && name.ends_with(".jsonl"));
            let fault = state.fault.filter(|fault| is_log && fault.at == state.operations + 1);
            if is_log {
                state.log_appends.push(state.operations);
            }
            let content = &mut state.files[self.number].now;
            if fault.is_some_and(|fault| fault.slip) {
                content.extend_from_slice(FOREIGN);
            }
            let count =
                if fault.is_some_and(|fault| fault.half) { bytes.len().div_ceil(2) } else { bytes.len() };
            content.extend_from_slice(&bytes[..count]);
            Ok((content.len() as u64, count))
        })?;
        *self.position.lock().unwrap() = end;
        Ok(count)
    }
    fn position(&self) -> io::Result<u64> {
        Ok(*self.position.lock().unwrap())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.sim.act(|state| {
            let content = &state.files[self.number].now;
            let from = content.len().min(usize::try_from(offset).unwrap());
            let count = buffer.len().min(content.len() - from);
            buffer[..count].copy_from_slice(&content[from..from + count]);
            Ok(count)
        })
    }
    fn sync_data(&self) -> io::Result<()> {
        self.sim.act(|state| {
            let content = &mut state.files[self.number];
            content.synced = content.now.clone();
            Ok(())
        })
    }
    fn truncate(&self, size: u64) -> io::Result<()> {
        self.sim.act(|state| {
            state.files[self.number].now.truncate(usize::try_from(size).unwrap());
            Ok(())
        })
    }
    fn stat(&self) -> io::Result<Stat> {
        self.sim.act(|state| Ok(stat_of(state, self.number)))
    }
    fn changed(&self) -> io::Result<i128> {
        self.sim.act(|state| Ok(state.changes))
    }
    fn tighten(&self) -> io::Result<()> {
        Ok(())
    }
    fn forget_cache(&self, _offset: u64) {}
}
