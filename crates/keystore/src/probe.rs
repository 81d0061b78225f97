use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use crate::platform::Deferred;
use crate::{BackendId, Diagnose, EntryName, ErrorClass, KeystoreError, SecretBytes};

/// Random bytes that the probe stores: more than the private key of any certificate takes as text.
const BYTES: usize = 2048;
pub(crate) const SERVICE: &str = "entrabot-sanity";
pub(crate) const PREFIX: &str = "roundtrip-probe-";
/// A probe takes 2.5 s at most; what is older was left behind by one that was killed.
pub(crate) const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(30);

/// What the sanity probe saw: a random value went in, came out on another connection as it was, and was removed.
#[derive(Debug)]
pub struct ProbeReport {
    backend: BackendId,
    timings: ProbeTimings,
    swept: usize,
    left_behind: Option<EntryName>,
}

/// How long each step took.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ProbeTimings {
    /// The guard.
    pub guard: Duration,
    /// Storing the value.
    pub store: Duration,
    /// Reading it back, the guard on a new connection included.
    pub read: Duration,
    /// Removing it.
    pub delete: Duration,
}

impl ProbeReport {
    /// The backend that was probed.
    #[must_use]
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// How many bytes went in and came out.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        BYTES
    }

    /// How long each step took.
    #[must_use]
    pub fn timings(&self) -> ProbeTimings {
        self.timings
    }

    /// How many entries of killed probes were removed.
    #[must_use]
    pub fn swept(&self) -> usize {
        self.swept
    }

    /// The probe's entry, where it could not be removed. It holds nothing but random bytes; a later probe sweeps it.
    #[must_use]
    pub fn left_behind(&self) -> Option<&EntryName> {
        self.left_behind.as_ref()
    }
}

/// The keyring does not keep what is put in it.
#[derive(Debug)]
pub struct ProbeError {
    fault: ProbeFault,
    left_behind: Option<EntryName>,
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeFault {
    /// The guard did not pass: nothing was written.
    Guard(KeystoreError),
    /// No random numbers: nothing was written.
    NoRandomness,
    /// The value could not be stored.
    StoreFailed(KeystoreError),
    /// It was stored and is not there.
    Missing,
    /// It came back shorter than it went in.
    Truncated {
        /// The bytes that were stored.
        stored: usize,
        /// The bytes that came back.
        read: usize,
    },
    /// It came back, but not as it went in.
    Mismatch,
    /// It could not be read back.
    ReadFailed(KeystoreError),
    /// A signal ended the probe.
    Interrupted,
}

impl ProbeError {
    /// What went wrong.
    #[must_use]
    pub fn fault(&self) -> &ProbeFault {
        &self.fault
    }

    /// The probe's entry, where it may still be there.
    #[must_use]
    pub fn left_behind(&self) -> Option<&EntryName> {
        self.left_behind.as_ref()
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            ProbeFault::Guard(_) => f.write_str("the keyring was not probed, because its guard did not pass"),
            ProbeFault::NoRandomness => {
                f.write_str("the keyring was not probed: the system gave no random numbers")
            }
            ProbeFault::StoreFailed(_) => write!(f, "the keyring did not store {BYTES} bytes"),
            ProbeFault::Missing => write!(f, "the keyring lost the {BYTES} bytes that it said it stored"),
            ProbeFault::Truncated { stored, read } => {
                write!(f, "the keyring stored {stored} bytes and gave back {read}")
            }
            ProbeFault::Mismatch => f.write_str("the keyring gave back other bytes than it stored"),
            ProbeFault::ReadFailed(_) => f.write_str("the keyring stored a value that cannot be read back"),
            ProbeFault::Interrupted => f.write_str("the probe was interrupted by a signal"),
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            ProbeFault::Guard(error) | ProbeFault::StoreFailed(error) | ProbeFault::ReadFailed(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}

impl Diagnose for ProbeError {
    fn error_type(&self) -> &'static str {
        match &self.fault {
            ProbeFault::Guard(error) => error.error_type(),
            _ => "KeyringProbeError",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match &self.fault {
            ProbeFault::Guard(error) | ProbeFault::StoreFailed(error) | ProbeFault::ReadFailed(error) => {
                error.hint()
            }
            ProbeFault::Interrupted => Some(Cow::Borrowed("run it again")),
            ProbeFault::NoRandomness => Some(Cow::Borrowed("look at what keeps getrandom(2) from working")),
            ProbeFault::Missing | ProbeFault::Truncated { .. } | ProbeFault::Mismatch => Some(Cow::Borrowed(
                "do not keep a key in this keyring: update or restart the keyring daemon, or use another one",
            )),
        }
    }

    fn class(&self) -> ErrorClass {
        match &self.fault {
            ProbeFault::Guard(error) | ProbeFault::StoreFailed(error) | ProbeFault::ReadFailed(error) => {
                error.class()
            }
            _ => ErrorClass::Failed,
        }
    }
}

/// What the probe needs of a store. The keystore is one; tests script others.
pub(crate) trait ProbeStore {
    fn backend(&self) -> BackendId;
    fn guard(&self) -> Result<(), KeystoreError>;
    /// Removes what killed probes left behind; how many.
    fn sweep(&self) -> usize;
    fn put(&self, entry: &EntryName, value: &SecretBytes) -> Result<(), KeystoreError>;
    /// On a new connection: what the first one sees may be its own cache.
    fn read_anew(&self, entry: &EntryName) -> Result<SecretBytes, KeystoreError>;
    /// Within its own short deadline, whatever became of the others.
    fn remove(&self, entry: &EntryName) -> Result<(), KeystoreError>;
}

pub(crate) fn run(store: &dyn ProbeStore) -> Result<ProbeReport, ProbeError> {
    let nothing_written = |fault| ProbeError { fault, left_behind: None };
    let mut timings = ProbeTimings::default();
    timed(&mut timings.guard, || store.guard()).map_err(|error| nothing_written(ProbeFault::Guard(error)))?;
    let (Some(suffix), Some(value)) = (random(8), random(BYTES)) else {
        return Err(nothing_written(ProbeFault::NoRandomness));
    };
    let suffix: String = suffix.iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = EntryName::new(SERVICE, format!("{PREFIX}{suffix}"))
        .map_err(|_| nothing_written(ProbeFault::NoRandomness))?;
    let value = SecretBytes::new(value);

    // From here to the removal, a signal waits.
    let signals = Deferred::start();
    let swept = store.sweep();
    let written = Removal { store, entry: Some(entry) };
    let outcome = round_trip(store, &written, &value, &signals, &mut timings);
    let left_behind = timed(&mut timings.delete, || written.finish());
    drop(signals);
    match outcome {
        Ok(()) => Ok(ProbeReport { backend: store.backend(), timings, swept, left_behind }),
        Err(fault) => Err(ProbeError { fault, left_behind }),
    }
}

fn round_trip(
    store: &dyn ProbeStore,
    written: &Removal<'_>,
    value: &SecretBytes,
    signals: &Deferred,
    timings: &mut ProbeTimings,
) -> Result<(), ProbeFault> {
    let go_on = || if signals.arrived() { Err(ProbeFault::Interrupted) } else { Ok(()) };
    let Some(entry) = &written.entry else { return Err(ProbeFault::Interrupted) };
    go_on()?;
    timed(&mut timings.store, || store.put(entry, value)).map_err(ProbeFault::StoreFailed)?;
    go_on()?;
    let read = match timed(&mut timings.read, || store.read_anew(entry)) {
        Ok(read) => read,
        Err(KeystoreError::NoEntry) => return Err(ProbeFault::Missing),
        Err(error) => return Err(ProbeFault::ReadFailed(error)),
    };
    let (stored, read_length) = (value.expose().len(), read.expose().len());
    if read_length < stored {
        return Err(ProbeFault::Truncated { stored, read: read_length });
    }
    if read.expose() != value.expose() {
        return Err(ProbeFault::Mismatch);
    }
    go_on()
}

/// The probe's entry, which is removed on every way out, a panic included.
struct Removal<'a> {
    store: &'a dyn ProbeStore,
    entry: Option<EntryName>,
}

impl Removal<'_> {
    /// The entry, if it may still be there.
    fn finish(mut self) -> Option<EntryName> {
        let entry = self.entry.take()?;
        match self.store.remove(&entry) {
            Ok(()) | Err(KeystoreError::NoEntry) => None,
            Err(_) => Some(entry),
        }
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            drop(self.store.remove(&entry));
        }
    }
}

fn random(length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

fn timed<T>(into: &mut Duration, act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = act();
    *into = started.elapsed();
    result
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::error::ProviderGone;

    /// A store that does with the value what the test says, and writes down what it was asked.
    struct Scripted {
        guard: fn() -> Result<(), KeystoreError>,
        put: fn() -> Result<(), KeystoreError>,
        read: fn(&[u8]) -> Result<Vec<u8>, KeystoreError>,
        remove: fn() -> Result<(), KeystoreError>,
        kept: RefCell<Vec<u8>>,
        asked: RefCell<Vec<&'static str>>,
    }

    impl Scripted {
        fn sound() -> Self {
            Self {
                guard: || Ok(()),
                put: || Ok(()),
                read: |kept| Ok(kept.to_vec()),
                remove: || Ok(()),
                kept: RefCell::default(),
                asked: RefCell::default(),
            }
        }
    }

    impl ProbeStore for Scripted {
        fn backend(&self) -> BackendId {
            BackendId::GnomeKeyring
        }
        fn guard(&self) -> Result<(), KeystoreError> {
            self.asked.borrow_mut().push("guard");
            (self.guard)()
        }
        fn sweep(&self) -> usize {
            self.asked.borrow_mut().push("sweep");
            0
        }
        fn put(&self, entry: &EntryName, value: &SecretBytes) -> Result<(), KeystoreError> {
            assert_eq!(entry.service(), "entrabot-sanity");
            let random = entry.username().strip_prefix("roundtrip-probe-").unwrap();
            assert!(random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()));
            self.asked.borrow_mut().push("put");
            *self.kept.borrow_mut() = value.expose().to_vec();
            (self.put)()
        }
        fn read_anew(&self, _: &EntryName) -> Result<SecretBytes, KeystoreError> {
            self.asked.borrow_mut().push("read");
            (self.read)(&self.kept.borrow()).map(SecretBytes::new)
        }
        fn remove(&self, _: &EntryName) -> Result<(), KeystoreError> {
            self.asked.borrow_mut().push("remove");
            (self.remove)()
        }
    }

    fn gone<T>() -> Result<T, KeystoreError> {
        Err(ProviderGone { step: "testing" }.into())
    }

    #[test]
    fn a_sound_store_is_asked_in_order_and_left_clean() {
        let store = Scripted::sound();
        let report = run(&store).unwrap();
        assert_eq!((report.stored_bytes(), report.left_behind()), (2048, None));
        assert_eq!(store.kept.borrow().len(), 2048);
        assert_eq!(*store.asked.borrow(), ["guard", "sweep", "put", "read", "remove"]);
    }

    #[test]
    fn nothing_is_written_when_the_guard_does_not_pass() {
        let store = Scripted { guard: gone, ..Scripted::sound() };
        assert!(matches!(run(&store).unwrap_err().fault(), ProbeFault::Guard(_)));
        assert_eq!(*store.asked.borrow(), ["guard"]);
    }

    #[test]
    fn each_way_to_fail_has_its_own_name_and_is_cleaned_up() {
        type Check = fn(&ProbeFault) -> bool;
        let cases: [(Scripted, Check); 6] = [
            (Scripted { put: gone, ..Scripted::sound() }, |f| matches!(f, ProbeFault::StoreFailed(_))),
            (Scripted { read: |_| Err(KeystoreError::NoEntry), ..Scripted::sound() }, |f| {
                matches!(f, ProbeFault::Missing)
            }),
            (Scripted { read: |kept| Ok(kept[..1024].to_vec()), ..Scripted::sound() }, |f| {
                matches!(f, ProbeFault::Truncated { stored: 2048, read: 1024 })
            }),
            (Scripted { read: |kept| Ok([kept, &[0]].concat()), ..Scripted::sound() }, |f| {
                matches!(f, ProbeFault::Mismatch)
            }),
            (
                Scripted { read: |kept| Ok(kept.iter().map(|byte| !byte).collect()), ..Scripted::sound() },
                |f| matches!(f, ProbeFault::Mismatch),
            ),
            (Scripted { read: |_| gone(), ..Scripted::sound() }, |f| matches!(f, ProbeFault::ReadFailed(_))),
        ];
        for (store, expected) in cases {
            let error = run(&store).unwrap_err();
            assert!(expected(error.fault()), "{error}");
            assert_eq!(store.asked.borrow().last(), Some(&"remove"), "{error}");
            assert!(error.left_behind().is_none() && error.hint().is_some());
        }
    }

    #[test]
    fn an_entry_that_cannot_be_removed_is_named() {
        let store = Scripted { remove: gone, ..Scripted::sound() };
        assert_eq!(run(&store).unwrap().left_behind().unwrap().service(), "entrabot-sanity");
        let store = Scripted { remove: || Err(KeystoreError::NoEntry), ..Scripted::sound() };
        assert!(run(&store).unwrap().left_behind().is_none());
    }

    #[test]
    fn a_panic_between_leaves_nothing() {
        let store = Scripted { read: |_| panic!("on purpose"), ..Scripted::sound() };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&store)));
        assert!(caught.is_err());
        assert_eq!(store.asked.borrow().last(), Some(&"remove"));
    }

    #[test]
    fn no_two_probes_share_a_value() {
        let (one, other) = (Scripted::sound(), Scripted::sound());
        run(&one).unwrap();
        run(&other).unwrap();
        assert_ne!(*one.kept.borrow(), *other.kept.borrow());
    }
}
