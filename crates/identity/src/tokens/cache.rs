//! Tokens in memory: bounded, each for its own key, and at most one request under way for each.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::TokenError;
use super::kept::{Bound, Kept, KeptTokens, Moment};

pub(crate) type TokenText = Arc<Zeroizing<String>>;

/// A token as it came from the service.
#[derive(Clone)]
pub(crate) struct Minted {
    pub(crate) text: TokenText,
    pub(crate) lifetime: Option<Duration>,
    /// After this a new one is fetched beside using it, where that is sooner than usual.
    pub(crate) fresh: Option<Duration>,
}

type Landed = Option<Result<Minted, TokenError>>;

/// At most what its [`Bound`] allows. Cheap to clone; clones are one cache.
pub(crate) struct TokenCache<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for TokenCache<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
}

struct State<K> {
    kept: KeptTokens<K>,
    flights: HashMap<K, (u64, watch::Receiver<Landed>)>,
    next_flight: u64,
}

impl<K> fmt::Debug for TokenCache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("kept", &self.lock().kept.len()).finish_non_exhaustive()
    }
}

/// What a lookup found.
enum Found {
    Token(TokenText),
    Flight(watch::Receiver<Landed>),
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> TokenCache<K> {
    pub(crate) fn new(bound: Bound) -> Self {
        let state = State { kept: KeptTokens::new(bound), flights: HashMap::new(), next_flight: 0 };
        Self { inner: Arc::new(Inner { state: Mutex::new(state) }) }
    }

    /// The kept token, or the one that `mint` (or the same flight of another caller) brings.
    ///
    /// The flight is a task of its own: when this future is dropped the others still get their token.
    pub(crate) async fn get<F>(&self, key: &K, mint: impl FnOnce() -> F) -> Result<TokenText, TokenError>
    where
        F: Future<Output = Result<Minted, TokenError>> + Send + 'static,
    {
        match self.find(key, key, None, mint) {
            Found::Token(text) => Ok(text),
            Found::Flight(flight) => land(flight).await,
        }
    }

    /// The same, but never the token `rejected`. Flights are shared by `flight_key`: one that asks for something
    /// else (a claims challenge) than one under way is another flight, though its token is kept under `key`.
    pub(crate) async fn get_other<F>(
        &self,
        key: &K,
        flight_key: &K,
        rejected: &str,
        mint: impl FnOnce() -> F,
    ) -> Result<TokenText, TokenError>
    where
        F: Future<Output = Result<Minted, TokenError>> + Send + 'static,
    {
        match self.find(key, flight_key, Some(rejected), mint) {
            Found::Token(text) => Ok(text),
            Found::Flight(flight) => land(flight).await,
        }
    }

    fn find<F>(&self, key: &K, flight_key: &K, rejected: Option<&str>, mint: impl FnOnce() -> F) -> Found
    where
        F: Future<Output = Result<Minted, TokenError>> + Send + 'static,
    {
        let now = Moment::now();
        let mut state = self.lock();
        if let Some(kept) = state.kept.get(key) {
            if rejected == Some(kept.text.as_str()) || kept.usable_until.is_past(&now) {
                state.kept.remove(key);
            } else {
                let text = Arc::clone(&kept.text);
                if kept.fresh_until.is_past(&now) && !state.flights.contains_key(flight_key) {
                    self.start(&mut state, key, flight_key, mint());
                }
                return Found::Token(text);
            }
        }
        if let Some((_, flight)) = state.flights.get(flight_key) {
            return Found::Flight(flight.clone());
        }
        Found::Flight(self.start(&mut state, key, flight_key, mint()))
    }

    fn start<F>(&self, state: &mut State<K>, key: &K, flight_key: &K, mint: F) -> watch::Receiver<Landed>
    where
        F: Future<Output = Result<Minted, TokenError>> + Send + 'static,
    {
        let number = state.next_flight;
        state.next_flight += 1;
        let (sender, receiver) = watch::channel(None);
        state.flights.insert(flight_key.clone(), (number, receiver.clone()));
        let cache = Arc::downgrade(&self.inner);
        let flight = Flight { cache, key: key.clone(), flight_key: flight_key.clone(), number };
        tokio::spawn(async move {
            let result = mint.await;
            if let Ok(minted) = &result {
                flight.keep(minted);
            }
            // Off the list before the others wake: who asks from now on finds the token, or tries anew.
            drop(flight);
            // An error means that nobody waits any more.
            drop(sender.send(Some(result)));
        });
        receiver
    }

    /// Drops one token, so that the next call fetches it.
    pub(crate) fn forget(&self, key: &K) {
        self.lock().kept.remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().kept.len()
    }
}

impl<K> TokenCache<K> {
    // No panic can happen between the halves of a change, so a poisoned lock is sound.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flight's entry in the list, taken off whatever happens to its task.
struct Flight<K: Eq + Hash> {
    cache: Weak<Inner<K>>,
    key: K,
    flight_key: K,
    number: u64,
}

impl<K: Clone + Eq + Hash> Flight<K> {
    fn keep(&self, minted: &Minted) {
        let (Some(cache), Some(lifetime)) = (self.cache.upgrade(), minted.lifetime) else { return };
        let now = Moment::now();
        let mut state = cache.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept::new(Arc::clone(&minted.text), lifetime, minted.fresh, now);
        state.kept.insert(self.key.clone(), kept);
    }
}

impl<K: Eq + Hash> Drop for Flight<K> {
    fn drop(&mut self) {
        let Some(cache) = self.cache.upgrade() else { return };
        let mut state = cache.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.flights.get(&self.flight_key).is_some_and(|(number, _)| *number == self.number) {
            state.flights.remove(&self.flight_key);
        }
    }
}

async fn land(mut flight: watch::Receiver<Landed>) -> Result<TokenText, TokenError> {
    match flight.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(result)) => result.as_ref().map(|minted| Arc::clone(&minted.text)).map_err(Clone::clone),
        // The flight's task was lost: its runtime ended.
        Ok(None) | Err(_) => Err(super::exchange::aborted().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn minted(text: &str, lifetime: Option<u64>) -> Minted {
        Minted {
            text: Arc::new(Zeroizing::new(text.to_owned())),
            lifetime: lifetime.map(Duration::from_secs),
            fresh: None,
        }
    }

    #[tokio::test]
    async fn two_hundred_callers_are_one_flight_and_share_its_failure() {
        let cache: TokenCache<&str> = TokenCache::new(Bound { tokens: 10, bytes: 1 << 20 });
        let flights = Arc::new(AtomicUsize::new(0));
        for fails in [true, false] {
            let calls = (0..200).map(|_| {
                let (cache, flights) = (cache.clone(), Arc::clone(&flights));
                tokio::spawn(async move {
                    cache
                        .get(&"key", || async move {
                            flights.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            if fails {
                                Err(super::super::exchange::aborted().into())
                            } else {
                                Ok(minted("t", Some(3600)))
                            }
                        })
                        .await
                        .map(|text| text.to_string())
                })
            });
            for call in calls.collect::<Vec<_>>() {
                assert_eq!(call.await.unwrap().is_err(), fails);
            }
        }
        assert_eq!(flights.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_others_get_their_token_when_the_first_caller_goes_away() {
        let cache: TokenCache<u8> = TokenCache::new(Bound { tokens: 10, bytes: 1 << 20 });
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let first = {
            let cache = cache.clone();
            tokio::spawn(async move {
                cache
                    .get(&1, || async move {
                        wait.await.unwrap();
                        Ok(minted("t", None))
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        first.abort();
        drop(first.await);
        let second = cache.get(&1, || async { panic!("a second flight") });
        let (second, ()) = tokio::join!(second, async { go.send(()).unwrap() });
        assert_eq!(second.unwrap().as_str(), "t");
    }

    #[tokio::test]
    async fn a_token_without_expiry_is_for_one_use() {
        let cache: TokenCache<u8> = TokenCache::new(Bound { tokens: 10, bytes: 1 << 20 });
        for text in ["a", "b"] {
            assert_eq!(cache.get(&1, || async { Ok(minted(text, None)) }).await.unwrap().as_str(), text);
        }
        assert_eq!(cache.len(), 0);
    }

    #[tokio::test]
    async fn a_rejected_token_is_not_given_again_but_its_successor_is() {
        let cache: TokenCache<u8> = TokenCache::new(Bound { tokens: 10, bytes: 1 << 20 });
        cache.get(&1, || async { Ok(minted("old", Some(3600))) }).await.unwrap();
        let new = cache.get_other(&1, &1, "old", || async { Ok(minted("new", Some(3600))) }).await.unwrap();
        assert_eq!(new.as_str(), "new");
        let again = cache.get_other(&1, &1, "old", || async { panic!("fetched already") }).await.unwrap();
        assert_eq!(again.as_str(), "new");
    }

    #[tokio::test]
    async fn an_old_token_is_used_while_a_new_one_is_fetched() {
        let cache: TokenCache<u8> = TokenCache::new(Bound { tokens: 10, bytes: 1 << 20 });
        let text = cache.get(&1, || async { Ok(minted("a", Some(3600))) }).await.unwrap();
        {
            let mut state = cache.lock();
            let now = Moment::now();
            let kept = Kept { text, fresh_until: now, usable_until: now.after(Duration::from_secs(60)) };
            state.kept.insert(1, kept);
        }
        let text = cache.get(&1, || async { Ok(minted("b", Some(3600))) }).await.unwrap();
        assert_eq!(text.as_str(), "a");
        tokio::task::yield_now().await;
        let text = cache.get(&1, || async { panic!("fetched already") }).await.unwrap();
        assert_eq!(text.as_str(), "b");
    }

    #[tokio::test]
    async fn the_cache_is_bounded_and_drops_what_ends_first() {
        let cache: TokenCache<u64> = TokenCache::new(Bound { tokens: 100, bytes: 1 << 20 });
        for key in 0..1000 {
            cache.get(&key, || async move { Ok(minted("t", Some(3600 + key))) }).await.unwrap();
            assert!(cache.len() <= 100);
        }
        cache.get(&999, || async { panic!("the longest one is kept") }).await.unwrap();
    }
}
