//! The tokens that are kept, and how much memory they may take.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

use super::cache::TokenText;

/// When a token stops being used, and when a new one is fetched beside using it. On both clocks: the monotonic one
/// stands still while a laptop sleeps, the other may be set back.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
    pub(super) fn after(self, wait: Duration) -> Self {
        Self { monotonic: self.monotonic + wait, wall: self.wall + wait }
    }
    pub(super) fn is_past(&self, now: &Self) -> bool {
        now.monotonic >= self.monotonic || now.wall >= self.wall
    }
}

pub(super) struct Kept {
    pub(super) text: TokenText,
    pub(super) fresh_until: Moment,
    pub(super) usable_until: Moment,
}

impl Kept {
    /// A minute before the end it is not used any more, five minutes before a new one is fetched (or after `fresh`,
    /// where that is sooner); of a token that lives only minutes, a tenth and a quarter.
    pub(super) fn new(text: TokenText, lifetime: Duration, fresh: Option<Duration>, now: Moment) -> Self {
        let hard = (lifetime / 10).min(Duration::from_secs(60));
        let soft = (lifetime / 4).min(Duration::from_secs(300));
        let fresh = fresh.unwrap_or(lifetime).min(lifetime - soft);
        Self { text, fresh_until: now.after(fresh), usable_until: now.after(lifetime - hard) }
    }

    fn bytes(&self) -> usize {
        self.text.capacity()
    }
}

/// How much is kept. A token that is added beyond it takes the place of those that end first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Tokens.
    pub(crate) tokens: usize,
    /// Bytes of their texts together. What an entry takes beside its text is bounded by `tokens`.
    pub(crate) bytes: usize,
}

/// Tokens by key, within a [`Bound`].
pub(super) struct KeptTokens<K> {
    bound: Bound,
    by_key: HashMap<K, (Kept, Place)>,
    /// The keys in the order in which their tokens end.
    by_end: BTreeMap<Place, K>,
    bytes: usize,
    next: u64,
}

/// When a token ends, and a number that no other has.
type Place = (Instant, u64);

impl<K: Clone + Eq + Hash> KeptTokens<K> {
    pub(super) fn new(bound: Bound) -> Self {
        Self { bound, by_key: HashMap::new(), by_end: BTreeMap::new(), bytes: 0, next: 0 }
    }

    pub(super) fn get(&self, key: &K) -> Option<&Kept> {
        self.by_key.get(key).map(|(kept, _)| kept)
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((kept, place)) = self.by_key.remove(key) {
            self.by_end.remove(&place);
            self.bytes -= kept.bytes();
        }
    }

    pub(super) fn insert(&mut self, key: K, kept: Kept) {
        self.remove(&key);
        while self.by_key.len() >= self.bound.tokens || self.bytes + kept.bytes() > self.bound.bytes {
            let Some((_, ends_first)) = self.by_end.pop_first() else { break };
            self.remove(&ends_first);
        }
        let place = (kept.usable_until.monotonic, self.next);
        self.next += 1;
        self.bytes += kept.bytes();
        self.by_end.insert(place, key.clone());
        self.by_key.insert(key, (kept, place));
    }
}

impl<K> KeptTokens<K> {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::*;

    fn kept(bytes: usize, lifetime: u64) -> Kept {
        let text = Arc::new(Zeroizing::new("t".repeat(bytes)));
        Kept::new(text, Duration::from_secs(lifetime), None, Moment::now())
    }

    #[test]
    fn large_tokens_are_fewer() {
        let mut tokens = KeptTokens::new(Bound { tokens: 100, bytes: 10_000 });
        for key in 0..50 {
            tokens.insert(key, kept(1000, 3600 + key));
            assert!(tokens.len() <= 10);
        }
        assert!((40..50).all(|key| tokens.get(&key).is_some()), "what ends first goes first");
        // One in the place of another counts once; one that is removed does not count.
        tokens.insert(49, kept(1000, 3600));
        assert_eq!(tokens.len(), 10);
        tokens.remove(&49);
        tokens.insert(50, kept(1000, 3600));
        assert_eq!(tokens.len(), 10);
        tokens.insert(51, kept(9001, 3600));
        assert_eq!((tokens.len(), tokens.bytes, tokens.by_end.len()), (1, 9001, 1));
    }

    #[test]
    fn what_is_over_goes_before_what_can_still_be_used() {
        let mut tokens = KeptTokens::new(Bound { tokens: 2, bytes: 1000 });
        let now = Moment::now();
        let mut over = kept(10, 3600);
        over.usable_until = now;
        tokens.insert("over", over);
        tokens.insert("short", kept(10, 60));
        tokens.insert("new", kept(10, 3600));
        assert!(tokens.get(&"over").is_none() && tokens.get(&"short").is_some());
    }

    #[test]
    fn the_clock_set_back_or_a_sleep_does_not_stretch_a_token() {
        let now = Moment::now();
        let kept = Kept::new(Arc::new(Zeroizing::new("t".into())), Duration::from_secs(3600), None, now);
        let back = Moment {
            monotonic: now.monotonic + Duration::from_secs(3599),
            wall: now.wall - Duration::from_secs(9),
        };
        assert!(kept.usable_until.is_past(&back));
        let slept = Moment { monotonic: now.monotonic, wall: now.wall + Duration::from_secs(3599) };
        assert!(kept.usable_until.is_past(&slept));
    }
}
