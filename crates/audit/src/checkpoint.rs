//! Seals the log: computes the tree over all synced lines, signs a checkpoint of it, and moves the anchor. Runs beside
//! the calls, never before one. The order is what a power cut cannot break: the lines are synced before they are
//! signed, the public key before its first signature, the checkpoint before the anchor.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::AuditError;
use crate::anchor::{ANCHOR, Anchor, VKEYS, append_durably, place_of, read_anchors, read_vkeys, whole_lines};
use crate::chain::{GENESIS, Hash, extend, prev_of, sha256};
use crate::data::DataDir;
use crate::engine::Engine;
use crate::json::{hex, parse_hash};
use crate::line::{MAX_LINE, StoredLine};
use crate::merkle::{self, Frontier};
use crate::note::{Checkpoint, ClosedDay, Located, Note, VerifyingKey, number, parse_notes};
use crate::reader::{Walked, walk};
use crate::signing::{self, CheckpointSigner, Signers, SigningPolicy};
use crate::storage::{Folder, read_range};
use crate::time::Day;
use crate::tombstone::{self, Tombstone};

/// The directory of the signed notes, in the audit directory.
pub(crate) const FOLDER: &str = "checkpoints";
const LOCK: &str = ".audit-seal.lock";
const PATIENCE: Duration = Duration::from_secs(5);
const CACHE_MAGIC: &str = "entrabot-frontier-v1";

/// A checkpoint that covers the log as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// How many lines it covers.
    pub size: u64,
    /// The signed note; `None` when an earlier checkpoint covers all of it already.
    pub note: Option<String>,
}

/// Writes checkpoints of one log.
#[derive(Debug)]
pub(crate) struct Sealer {
    engine: Arc<Engine>,
    audit: Arc<dyn Folder>,
    data: DataDir,
    policy: SigningPolicy,
    place: Hash,
    signers: Mutex<Option<Signers>>,
}

/// How far the tree has come.
#[derive(Clone, Debug)]
struct Progress {
    tree: Frontier,
    chain: Hash,
    first: Hash,
    /// The file and the offset in it that come next.
    day: Option<Day>,
    offset: u64,
}

impl Progress {
    /// The log as it was at the end of the last day that was pruned.
    fn behind(tombstone: Tombstone) -> Self {
        let last = tombstone.days.last();
        Self {
            day: last.map(|day| day.day),
            offset: last.map_or(0, |day| day.bytes),
            tree: tombstone.tree,
            chain: tombstone.chain,
            first: tombstone.first,
        }
    }
}

fn origin(key_name: &str, first: &Hash) -> String {
    format!("{key_name}/{}", &hex(first)[..16])
}

impl Sealer {
    pub(crate) fn new(
        engine: Arc<Engine>,
        audit: Arc<dyn Folder>,
        data: DataDir,
        policy: SigningPolicy,
    ) -> Self {
        let place = place_of(audit.path());
        Self { engine, audit, data, policy, place, signers: Mutex::default() }
    }

    /// Seals what is synced. Two at once wait for each other, in other processes too.
    pub(crate) fn seal(&self) -> Result<Option<Sealed>, AuditError> {
        self.locked(|data, signers| self.seal_locked(data, signers))
    }

    /// Signs a tombstone and makes it durable. Days may be removed only after that.
    pub(crate) fn bury(&self, mut tombstone: Tombstone) -> Result<String, AuditError> {
        self.locked(|data, signers| {
            let keys = self.keys(data, signers)?;
            tombstone.origin = origin(&keys.name, &tombstone.first);
            let note = keys.sign(tombstone.text())?.encode();
            let folder = self
                .audit
                .folder(FOLDER, true)
                .map_err(|e| AuditError::storage("create", self.audit.file_path(FOLDER), &e))?;
            append_durably(&*folder, tombstone::FILE, format!("{note}\n").as_bytes(), whole_notes)?;
            Ok(note)
        })
    }

    fn locked<T>(
        &self,
        act: impl FnOnce(&dyn Folder, &mut Option<Signers>) -> Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        if self.policy.is_off() {
            return Err(AuditError::Sealing { reason: "ENTRABOT_AUDIT_SIGNING is off".into() });
        }
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.data.open()?;
        let lock =
            data.lock(LOCK, false).map_err(|e| AuditError::storage("open", data.file_path(LOCK), &e))?;
        let deadline = Instant::now() + PATIENCE;
        while !lock.try_exclusive().map_err(|e| AuditError::storage("lock", data.file_path(LOCK), &e))? {
            if Instant::now() >= deadline {
                return Err(AuditError::LockTimeout { waited: PATIENCE, holder: lock.holder() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let result = act(&*data, &mut signers);
        // The descriptor goes right after, and the lock with it.
        let _freed_anyway = lock.unlock();
        result
    }

    /// Takes the key, without a checkpoint.
    pub(crate) fn prepare(&self) -> Result<(), AuditError> {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.data.open()?;
        if signers.is_none() {
            *signers = Some(signing::load(&self.policy, !read_vkeys(&*data)?.is_empty())?);
        }
        Ok(())
    }

    /// Uses these signers from the next checkpoint on.
    pub(crate) fn set_signers(&self, new: Signers) {
        *self.signers.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
    }

    fn seal_locked(
        &self,
        data: &dyn Folder,
        signers: &mut Option<Signers>,
    ) -> Result<Option<Sealed>, AuditError> {
        let Some((newest, size, next_seq)) = self.engine.synced_snapshot()? else { return Ok(None) };
        let last_anchor = read_anchors(data)?.into_iter().rev().find(|anchor| anchor.place == self.place);
        let rotating = signers.as_ref().is_some_and(|signers| signers.previous.is_some());
        let cached = last_anchor.as_ref().and_then(|anchor| self.read_cache(data, anchor));
        let cached = cached.filter(|progress| self.goes_on_from(progress));
        let notes = read_notes(&*self.audit)?;
        if let (Some(progress), false) = (&cached, rotating)
            && progress.day == Some(newest)
            && progress.offset == size
            && notes.last().is_some_and(|note| note.size >= progress.tree.size())
        {
            return Ok(Some(Sealed { size: progress.tree.size(), note: None }));
        }
        let pruned = match &cached {
            Some(_) => None,
            None => tombstone::last(&*self.audit, data)?,
        };
        let (progress, closed) = self.advance(cached, pruned, last_anchor.as_ref(), newest, size)?;
        if last_anchor.as_ref().is_some_and(|anchor| anchor.size > progress.tree.size()) {
            return Err(behind());
        }
        if progress.tree.size() == 0 {
            // A day file without a line, left by a first record that was refused: it has no name to sign under yet.
            return Ok(None);
        }
        let keys = self.keys(data, signers)?;
        let origin = origin(&keys.name, &progress.first);
        let known: Vec<&str> = notes.iter().filter_map(|note| note.closed.as_deref()).collect();
        let sealed_size = notes.last().map_or(0, |note| note.size);
        let mut checkpoints: Vec<Checkpoint> = closed
            .into_iter()
            .filter(|checkpoint| checkpoint.size >= sealed_size)
            .filter(|checkpoint| {
                checkpoint.closed.as_ref().is_some_and(|day| !known.contains(&day.file.as_str()))
            })
            .collect();
        checkpoints.push(Checkpoint {
            origin: String::new(),
            size: progress.tree.size(),
            root: progress.tree.root(),
            chain: progress.chain,
            closed: None,
        });
        let mut bytes = String::new();
        let mut last = String::new();
        for checkpoint in &mut checkpoints {
            checkpoint.origin.clone_from(&origin);
            last = keys.sign(checkpoint.text())?.encode();
            bytes.push_str(&last);
            bytes.push('\n');
        }
        let folder = self
            .audit
            .folder(FOLDER, true)
            .map_err(|e| AuditError::storage("create", self.audit.file_path(FOLDER), &e))?;
        append_durably(&*folder, &format!("{newest}.notes"), bytes.as_bytes(), whole_notes)?;
        let anchor = Anchor {
            size: progress.tree.size(),
            root: progress.tree.root(),
            chain: progress.chain,
            next_seq,
            first: progress.first,
            place: self.place,
        };
        append_durably(data, ANCHOR, anchor.line().as_bytes(), whole_lines)?;
        self.write_cache(data, &progress)?;
        if rotating || keys.previous.is_some() {
            signing::finish_rotation(&self.policy)?;
            if let Some(signers) = signers {
                signers.previous = None;
            }
        }
        Ok(Some(Sealed { size: progress.tree.size(), note: Some(last) }))
    }

    /// Takes the tree over all lines up to `size` of the newest file. Also gives a checkpoint for each day that ended
    /// on the way.
    fn advance(
        &self,
        cached: Option<Progress>,
        pruned: Option<Tombstone>,
        last_anchor: Option<&Anchor>,
        newest: Day,
        size: u64,
    ) -> Result<(Progress, Vec<Checkpoint>), AuditError> {
        let from_start = cached.is_none();
        let mut progress = match (cached, pruned) {
            (Some(cached), _) => cached,
            (None, Some(tombstone)) => Progress::behind(tombstone),
            (None, None) => {
                Progress { tree: Frontier::default(), chain: GENESIS, first: GENESIS, day: None, offset: 0 }
            }
        };
        let (names, _strange) =
            self.audit.names().map_err(|e| AuditError::storage("list", self.audit.path(), &e))?;
        let mut days: Vec<Day> = names.iter().filter_map(|name| Day::of_file_name(name)).collect();
        days.retain(|day| *day <= newest && progress.day.is_none_or(|at| *day >= at));
        days.sort_unstable();
        let mut closed = Vec::new();
        for day in days {
            let name = day.file_name();
            let path = self.audit.file_path(&name);
            let fail = |error: io::Error| AuditError::storage("read", &path, &error);
            let file = self.audit.open(&name).map_err(fail)?;
            let limit = if day == newest { size } else { file.stat().map_err(fail)?.size };
            let from = if progress.day == Some(day) { progress.offset } else { 0 };
            if from > limit {
                return Err(behind());
            }
            let mut forked = false;
            let walked = walk::<io::Error>(&*file, from, limit, |_offset, bytes| {
                take(&mut progress, &bytes, |progress| {
                    forked |= from_start
                        && last_anchor.is_some_and(|anchor| {
                            anchor.size == progress.tree.size()
                                && (anchor.root != progress.tree.root() || anchor.chain != progress.chain)
                        });
                });
                Ok(bytes)
            })
            .map_err(fail)?;
            if forked {
                return Err(AuditError::Sealing {
                    reason: "the log is not the one that its anchor knows".into(),
                });
            }
            if !matches!(walked, Walked::Whole { torn: 0 }) {
                return Err(AuditError::Sealing { reason: format!("{name} ends in an unfinished line") });
            }
            progress.day = Some(day);
            progress.offset = limit;
            if day < newest {
                closed.push(Checkpoint {
                    origin: String::new(),
                    size: progress.tree.size(),
                    root: progress.tree.root(),
                    chain: progress.chain,
                    closed: Some(ClosedDay {
                        bytes: limit,
                        seqs: seqs_of(&*file, limit).map_err(fail)?,
                        file: name,
                    }),
                });
            }
        }
        Ok((progress, closed))
    }

    fn keys(&self, data: &dyn Folder, signers: &mut Option<Signers>) -> Result<Keys, AuditError> {
        let known = read_vkeys(data)?;
        if signers.is_none() {
            *signers = Some(signing::load(&self.policy, !known.is_empty())?);
        }
        let signers = signers.as_ref().expect("loaded above");
        let spki = signers.current.public_key();
        let name = known.last().map_or_else(
            || format!("entrabot.audit/{}", &hex(&sha256(spki))[..16]),
            |key| key.name().to_owned(),
        );
        let current = VerifyingKey::of_p256(&name, spki);
        let previous = signers
            .previous
            .as_ref()
            .map(|signer| (VerifyingKey::of_p256(&name, signer.public_key()), Arc::clone(signer)));
        if !known.contains(&current) {
            let follows = previous.as_ref().is_some_and(|(key, _)| known.last() == Some(key));
            if !known.is_empty() && !follows {
                return Err(AuditError::Sealing {
                    reason:
                        "the signing key is not the one of this installation, and no rotation leads to it"
                            .into(),
                });
            }
            append_durably(data, VKEYS, format!("{current}\n").as_bytes(), whole_lines)?;
        }
        Ok(Keys { name, current, signer: Arc::clone(&signers.current), previous })
    }

    fn cache_name(&self) -> String {
        format!("audit-frontier-{}", &hex(&self.place)[..16])
    }

    /// What was computed before, if it is what the anchor says.
    fn read_cache(&self, data: &dyn Folder, anchor: &Anchor) -> Option<Progress> {
        let name = self.cache_name();
        // A cache that cannot be read is computed anew.
        let size = data.stat(&name).ok()??.size;
        let bytes = read_range(&*data.open(&name).ok()?, 0, size).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut words = text.split_whitespace();
        if words.next()? != CACHE_MAGIC {
            return None;
        }
        let size = number(words.next()?)?;
        let chain = parse_hash(words.next()?.as_bytes())?;
        let first = parse_hash(words.next()?.as_bytes())?;
        let day = Day::parse(words.next()?)?;
        let offset = number(words.next()?)?;
        let roots = words.map(|word| parse_hash(word.as_bytes())).collect::<Option<Vec<_>>>()?;
        let tree = Frontier::from_parts(size, roots)?;
        let fits = anchor.size == size
            && anchor.root == tree.root()
            && anchor.chain == chain
            && anchor.first == first;
        fits.then_some(Progress { tree, chain, first, day: Some(day), offset })
    }

    /// Whether the line behind what was computed names its end. A log that was put back from a backup and went on does
    /// not: it is computed anew, and compared with its anchor.
    fn goes_on_from(&self, progress: &Progress) -> bool {
        let Some(day) = progress.day else { return false };
        let Ok(file) = self.audit.open(&day.file_name()) else { return false };
        let behind = progress.offset + MAX_LINE as u64 + 1;
        let Ok(bytes) = read_range(&*file, progress.offset.saturating_sub(1), behind) else { return false };
        let bytes = match progress.offset {
            0 => Some(&bytes[..]),
            _ => bytes.strip_prefix(b"\n"),
        };
        let Some(bytes) = bytes else { return false };
        let line = memchr::memchr(b'\n', bytes).map(|end| &bytes[..end]);
        line.and_then(prev_of).is_none_or(|prev| prev == progress.chain)
    }

    fn write_cache(&self, data: &dyn Folder, progress: &Progress) -> Result<(), AuditError> {
        let Some(day) = progress.day else { return Ok(()) };
        let mut text = format!(
            "{CACHE_MAGIC} {} {} {} {day} {}",
            progress.tree.size(),
            hex(&progress.chain),
            hex(&progress.first),
            progress.offset
        );
        for root in progress.tree.roots() {
            text.push(' ');
            text.push_str(&hex(root));
        }
        text.push('\n');
        let name = self.cache_name();
        data.replace(&name, text.as_bytes())
            .map_err(|e| AuditError::storage("write", data.file_path(&name), &e))
    }
}

/// Replaces the signing key by a new one in the keyring; the checkpoint that follows is signed by both.
impl Sealer {
    pub(crate) fn rotate(
        &self,
        announce: impl FnOnce(&str, &str) -> Result<(), AuditError>,
    ) -> Result<Option<Sealed>, AuditError> {
        // The present key seals what there is, so that the range of each key is clear.
        self.seal()?;
        let signers = signing::begin_rotation(&self.policy)?;
        let id = |signer: &dyn CheckpointSigner| hex(&sha256(signer.public_key())[..4]);
        let from = signers.previous.as_deref().map(id).unwrap_or_default();
        announce(&from, &id(&*signers.current))?;
        self.set_signers(signers);
        self.seal()
    }
}

fn behind() -> AuditError {
    AuditError::Sealing { reason: "the log holds less than its anchor says: lines were removed".into() }
}

/// The keys of one checkpoint.
struct Keys {
    name: String,
    current: VerifyingKey,
    signer: Arc<dyn CheckpointSigner>,
    previous: Option<(VerifyingKey, Arc<dyn CheckpointSigner>)>,
}

impl Keys {
    fn sign(&self, text: String) -> Result<Note, AuditError> {
        let mut note = Note::new(text);
        let message = note.text.clone();
        if let Some((key, signer)) = &self.previous {
            note.add(key, signer.sign(message.as_bytes())?);
        }
        note.add(&self.current, self.signer.sign(message.as_bytes())?);
        Ok(note)
    }
}

/// Takes whole lines in. In a large piece the leaves are hashed beside the chain: the two need each other only here.
fn take(progress: &mut Progress, bytes: &[u8], mut each: impl FnMut(&Progress)) {
    const WORTH_A_THREAD: usize = 256 * 1024;
    let lines = || {
        let mut start = 0;
        memchr::memchr_iter(b'\n', bytes).map(move |end| {
            let line = &bytes[start..end];
            start = end + 1;
            line
        })
    };
    let hash_leaves = || lines().map(merkle::leaf).collect::<Vec<Hash>>();
    let mut chain = progress.chain;
    let mut hash_chain = || {
        lines()
            .map(|line| {
                chain = extend(&chain, line);
                chain
            })
            .collect::<Vec<Hash>>()
    };
    let (leaves, chains) = if bytes.len() < WORTH_A_THREAD {
        (hash_leaves(), hash_chain())
    } else {
        std::thread::scope(|scope| match std::thread::Builder::new().spawn_scoped(scope, hash_leaves) {
            Ok(thread) => {
                let chains = hash_chain();
                (thread.join().unwrap_or_else(|_| hash_leaves()), chains)
            }
            Err(_) => (hash_leaves(), hash_chain()),
        })
    };
    for (leaf, chain) in leaves.into_iter().zip(chains) {
        if progress.tree.size() == 0 {
            progress.first = leaf;
        }
        progress.tree.push(leaf);
        progress.chain = chain;
        each(progress);
    }
}

/// The first and the last `seq` of a day.
fn seqs_of(file: &dyn crate::storage::LogFile, size: u64) -> io::Result<Option<(u64, u64)>> {
    let seq = |line: &[u8]| StoredLine::parse(line).ok().and_then(|line| line.seq);
    let mut found: Option<(u64, u64)> = None;
    walk::<io::Error>(file, 0, size, |_offset, bytes| {
        let mut natives = bytes.split(|byte| *byte == b'\n').filter(|line| prev_of(line).is_some());
        if let Some(first) = natives.next() {
            let last = natives.next_back().unwrap_or(first);
            if let (Some(first), Some(last)) = (seq(first), seq(last)) {
                found = Some((found.map_or(first, |(first, _)| first), last));
            }
        }
        Ok(bytes)
    })?;
    Ok(found)
}

fn whole_notes(bytes: &[u8]) -> usize {
    // A file that is wrong in its middle is left as it is: the verification says so.
    parse_notes(bytes).map_or(bytes.len(), |(_, whole)| whole)
}

/// What a writer needs to know of the checkpoints that are there.
#[derive(Debug)]
struct KnownNote {
    size: u64,
    closed: Option<String>,
}

fn read_notes(audit: &dyn Folder) -> Result<Vec<KnownNote>, AuditError> {
    Ok(read_note_files(audit)?
        .into_iter()
        .flat_map(|file| file.notes.map(|(notes, _)| notes).unwrap_or_default())
        .filter_map(|located| Checkpoint::parse(&located.note.text).ok())
        .map(|checkpoint| KnownNote { size: checkpoint.size, closed: checkpoint.closed.map(|day| day.file) })
        .collect())
}

/// A file of notes, and whether it can be read as such.
#[derive(Debug)]
pub(crate) struct NoteFile {
    /// Its name with the folder, for messages.
    pub(crate) name: String,
    /// The notes, and how many bytes of an unfinished one follow.
    pub(crate) notes: Result<(Vec<Located>, u64), (u64, &'static str)>,
}

/// All files of notes, oldest first.
pub(crate) fn read_note_files(audit: &dyn Folder) -> Result<Vec<NoteFile>, AuditError> {
    let folder = match audit.folder(FOLDER, false) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(AuditError::storage("open", audit.file_path(FOLDER), &error)),
    };
    let (names, _strange) = folder.names().map_err(|e| AuditError::storage("list", folder.path(), &e))?;
    let mut days: Vec<(Day, String)> = names
        .into_iter()
        .filter_map(|name| Day::parse(name.strip_suffix(".notes")?).map(|day| (day, name)))
        .collect();
    days.sort_unstable();
    let mut files = Vec::with_capacity(days.len());
    for (_day, name) in days {
        files.push(read_note_file(&*folder, &name)?);
    }
    Ok(files)
}

/// One of the files in the folder of the checkpoints.
pub(crate) fn read_note_file(folder: &dyn Folder, name: &str) -> Result<NoteFile, AuditError> {
    let fail = |error: io::Error| AuditError::storage("read", folder.file_path(name), &error);
    let file = folder.open(name).map_err(fail)?;
    let size = file.stat().map_err(fail)?.size;
    let bytes = read_range(&*file, 0, size).map_err(fail)?;
    let notes = parse_notes(&bytes).map(|(notes, whole)| (notes, (bytes.len() - whole) as u64));
    Ok(NoteFile { name: format!("{FOLDER}/{name}"), notes })
}
