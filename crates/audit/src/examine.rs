//! Joins the pieces of a log in order: the chain across them, the numbering, the calls, and the checkpoints.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use crate::chain::{ChainState, Hash};
use crate::merkle::Frontier;
use crate::scan::{Call, Fact, Piece};
use crate::time::Timestamp;
use crate::tombstone::Tombstone;

/// What is known after the lines so far.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    pub(crate) chain: ChainState,
    pub(crate) tree: Frontier,
    pub(crate) next_seq: Option<u64>,
    last_time: Option<Timestamp>,
    /// Lines that were pruned.
    before: u64,
    pub(crate) native: u64,
    pub(crate) foreign: u64,
    pub(crate) newer: u64,
    /// The short forms of all ids. Sorted at the end: much less work than to look each up as it comes.
    events: Vec<u64>,
    closed: Vec<u64>,
    pub(crate) open: BTreeMap<u128, OpenCall>,
    /// The lines that say that days are pruned.
    pub(crate) prunings: HashSet<u128>,
}

/// A pending line whose outcome has not been seen.
#[derive(Debug)]
pub(crate) struct OpenCall {
    pub(crate) event: u128,
    pub(crate) action: Box<str>,
    pub(crate) time: Timestamp,
}

pub(crate) const SECOND_OUTCOME: &str = "a second outcome for one call_id";

impl Examined {
    /// With room for about so many lines: a list that has to grow holds its content twice.
    pub(crate) fn with_room(lines: usize) -> Self {
        Self { events: Vec::with_capacity(lines), closed: Vec::with_capacity(lines), ..Self::default() }
    }

    /// Goes on behind what was pruned.
    pub(crate) fn go_on_behind(&mut self, tombstone: &Tombstone) {
        self.before = tombstone.tree.size();
        self.tree = tombstone.tree.clone();
        self.chain.hash = tombstone.chain;
        self.next_seq = Some(tombstone.next_seq);
        let open = |call: &Uuid| {
            let open = OpenCall { event: 0, action: "pruned".into(), time: Timestamp::EPOCH };
            (call.as_u128(), open)
        };
        self.open.extend(tombstone.carried.iter().map(open));
    }

    /// How many lines there were, pruned ones too.
    pub(crate) fn lines(&self) -> u64 {
        self.before + self.native + self.foreign
    }

    /// Short forms that stand for more than one event, or more than one outcome: rare enough to look for in the files
    /// themselves.
    pub(crate) fn take_suspects(&mut self) -> (HashSet<u64>, HashSet<u64>) {
        let mut events = std::mem::take(&mut self.events);
        let mut calls = std::mem::take(&mut self.closed);
        let (found, doubled_calls) = std::thread::scope(|scope| {
            let spawned = std::thread::Builder::new().spawn_scoped(scope, || doubled(&mut events));
            let doubled_calls = doubled(&mut calls);
            (spawned.ok().and_then(|thread| thread.join().ok()), doubled_calls)
        });
        // Without a thread to spare it is done here.
        (found.unwrap_or_else(|| doubled(&mut events)), doubled_calls)
    }

    /// Takes the next piece. `each` sees the chain and the tree after every line.
    ///
    /// # Errors
    /// The index of the first line that is wrong, and why.
    pub(crate) fn join(
        &mut self,
        piece: &Piece,
        bytes: &[u8],
        mut each: impl FnMut(u64, &Hash, &Frontier) -> Result<(), String>,
    ) -> Result<(), (usize, String)> {
        if self.joins_plainly(piece) {
            for (index, after) in piece.after.iter().enumerate() {
                self.chain.hash = *after;
                self.take(piece, index, &mut each)?;
            }
            self.chain.go_on_plainly();
            return Ok(());
        }
        let mut start = 0;
        for (index, end) in memchr::memchr_iter(b'\n', bytes).enumerate() {
            let line = &bytes[start..end];
            start = end + 1;
            if let Some((at, reason)) = piece.broken
                && at == index
            {
                return Err((index, reason.to_owned()));
            }
            let link = piece.facts[index].native.as_ref().map(|native| native.link);
            self.chain.step(line, link).map_err(|reason| (index, reason.to_owned()))?;
            self.take(piece, index, &mut each)?;
        }
        Ok(())
    }

    /// Takes the next line, whose place in the chain is known.
    fn take(
        &mut self,
        piece: &Piece,
        index: usize,
        each: &mut impl FnMut(u64, &Hash, &Frontier) -> Result<(), String>,
    ) -> Result<(), (usize, String)> {
        self.count(&piece.facts[index]).map_err(|reason| (index, reason.to_owned()))?;
        if let Some(leaf) = piece.leaves.get(index) {
            self.tree.push(*leaf);
        }
        each(self.lines(), &self.chain.hash, &self.tree).map_err(|reason| (index, reason))
    }

    /// Whether the piece's own hashes can be taken over: it begins with a native line that names the true hash, and
    /// ends with one.
    fn joins_plainly(&self, piece: &Piece) -> bool {
        piece.broken.is_none()
            && piece.linked
            && self.chain.unexplained().is_none()
            && piece.first_native == Some((0, self.chain.hash))
            && piece.facts.last().is_some_and(|fact| fact.native.is_some())
    }

    /// A file begins: its timestamps may start anywhere in its day.
    pub(crate) fn begin_file(&mut self) {
        self.last_time = None;
    }

    fn count(&mut self, fact: &Fact) -> Result<(), &'static str> {
        self.events.push(short(fact.event));
        let Some(native) = &fact.native else {
            self.foreign += 1;
            return Ok(());
        };
        self.native += 1;
        if native.prunes {
            self.prunings.insert(fact.event);
        }
        let expected = self.next_seq.unwrap_or(0);
        if native.seq != expected {
            return Err("seq does not go on by one");
        }
        self.next_seq = Some(native.seq + 1);
        if self.last_time.is_some_and(|last| native.time < last) {
            return Err("a timestamp before the one above it");
        }
        self.last_time = Some(native.time);
        match &native.call {
            Call::Unknown => self.newer += u64::from(native.newer),
            Call::Opens { call, action } => {
                let open = OpenCall { event: fact.event, action: action.clone(), time: native.time };
                if self.open.insert(*call, open).is_some() {
                    return Err("a second pending line for one call_id");
                }
            }
            Call::Closes { call, needs_pending } => {
                let was_open = self.open.remove(call).is_some();
                if !was_open && *needs_pending {
                    let second = self.closed.contains(&short(*call));
                    return Err(if second { SECOND_OUTCOME } else { "an outcome without its pending line" });
                }
                self.closed.push(short(*call));
            }
        }
        Ok(())
    }
}

/// Eight bytes of an id: a million of them fit in a few mebibytes.
pub(crate) fn short(id: u128) -> u64 {
    let low = u64::try_from(id & u128::from(u64::MAX)).expect("masked to 64 bits");
    let high = u64::try_from(id >> 64).expect("shifted to 64 bits");
    low ^ high.rotate_left(32)
}

/// What stands in the list more than once.
fn doubled(list: &mut [u64]) -> HashSet<u64> {
    list.sort_unstable();
    list.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
}
