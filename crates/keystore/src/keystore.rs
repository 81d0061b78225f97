use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::error::ValueTooLarge;
use crate::platform::{Provider, Touch, detect};
use crate::probe::{self, ProbeError, ProbeReport, ProbeStore};
use crate::{
    Allowlist, BackendId, EntryName, Finding, InsecureKeyringBackendError, KeystoreError, SecretBytes,
    Surroundings, Verdict,
};

/// The largest value, in bytes.
const LARGEST_VALUE: usize = 64 << 10;

/// What was found on this machine, before any secret is touched.
#[derive(Debug)]
pub struct Candidate {
    finding: Finding,
    provider: Option<Arc<dyn Provider>>,
    surroundings: Surroundings,
    /// How long the search took, which counts against the first operation.
    spent: Duration,
}

impl Candidate {
    /// Looks at the keyring of this process's session: at most 2 s, never a prompt, touches no secret.
    ///
    /// # Errors
    /// [`KeystoreError::Insecure`] when there is no session bus, [`KeystoreError::TimedOut`] when the bus or the
    /// provider does not answer.
    pub fn detect() -> Result<Self, KeystoreError> {
        Self::detect_in(&Surroundings::from_env())
    }

    /// The same in other surroundings than those of the process.
    ///
    /// # Errors
    /// As [`Candidate::detect`].
    pub fn detect_in(surroundings: &Surroundings) -> Result<Self, KeystoreError> {
        let started = Instant::now();
        let detected = detect(surroundings, Deadline::within(Deadline::OPERATION))?;
        Ok(Self {
            finding: detected.finding,
            provider: detected.provider,
            surroundings: surroundings.clone(),
            spent: started.elapsed(),
        })
    }

    /// What was found.
    #[must_use]
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The only way to a [`Keystore`].
    ///
    /// # Errors
    /// Names what was found and what was expected.
    pub fn validate(self, allowlist: &Allowlist) -> Result<Keystore, InsecureKeyringBackendError> {
        let refuse = |finding| Err(InsecureKeyringBackendError::new(finding, allowlist));
        let (Some(backend), Some(provider)) = (self.finding.backend, self.provider) else {
            return refuse(self.finding);
        };
        // What cannot be verified takes the operator's explicit word, whatever it is.
        let needed = match self.finding.verdict {
            Verdict::Rejected => return refuse(self.finding),
            Verdict::Unverifiable => BackendId::Unverified,
            Verdict::Verified => backend,
        };
        if !allowlist.contains(needed) || !(allowlist.contains(backend) || needed == BackendId::Unverified) {
            let mut finding = self.finding;
            if finding.verdict == Verdict::Verified {
                finding.reason = format!("{backend} is not on the allowlist").into();
                finding.remedy = "unset ENTRABOT_KEYRING_BACKEND, or start a keyring that is expected".into();
            }
            return refuse(finding);
        }
        Ok(Keystore {
            allowlist: allowlist.clone(),
            surroundings: self.surroundings,
            backend,
            finding: self.finding,
            pinned: Mutex::new(Some(provider)),
            spent: AtomicU64::new(u64::try_from(self.spent.as_micros()).unwrap_or(u64::MAX)),
            #[cfg(feature = "test-util")]
            between: Mutex::new(None),
            #[cfg(feature = "test-util")]
            written: Mutex::new(None),
        })
    }
}

/// A keyring that passed the guard. Each call is pinned to the provider that passed.
///
/// Every operation first checks that the provider, its program and its file are still what the guard saw; when
/// something changed, the whole guard runs anew, for the same backend. An operation takes at most 2 s, and blocks.
pub struct Keystore {
    allowlist: Allowlist,
    surroundings: Surroundings,
    backend: BackendId,
    finding: Finding,
    /// `None` after a connection was thrown away.
    pinned: Mutex<Option<Arc<dyn Provider>>>,
    /// Microseconds that opening took.
    spent: AtomicU64,
    #[cfg(feature = "test-util")]
    between: Mutex<Option<Box<dyn Fn() + Send>>>,
    #[cfg(feature = "test-util")]
    written: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keystore").field("finding", &self.finding).finish_non_exhaustive()
    }
}

impl Keystore {
    /// The value of an entry.
    ///
    /// # Errors
    /// [`KeystoreError::NoEntry`] when the guard passed and there is none.
    pub fn get(&self, entry: &EntryName) -> Result<SecretBytes, KeystoreError> {
        self.operate(|pinned, deadline| pinned.get(entry, deadline))
    }

    /// Stores a value of at most 64 KiB, in the place of one that is there.
    ///
    /// # Errors
    /// See [`KeystoreError`]; with [`KeystoreError::TimedOut`] and [`KeystoreError::ProviderGone`] it is not known
    /// whether the value was stored.
    pub fn put(&self, entry: &EntryName, secret: &SecretBytes) -> Result<(), KeystoreError> {
        let bytes = secret.expose().len();
        if bytes > LARGEST_VALUE {
            return Err(ValueTooLarge { bytes, limit: LARGEST_VALUE }.into());
        }
        self.put_within(entry, secret, self.operation_deadline())
    }

    /// Whether there is such an entry, without reading its value.
    ///
    /// # Errors
    /// See [`KeystoreError`]; a locked keyring is an error, not a no.
    pub fn contains(&self, entry: &EntryName) -> Result<bool, KeystoreError> {
        self.operate(|pinned, deadline| pinned.contains(entry, deadline))
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// [`KeystoreError::NoEntry`] when there is none.
    pub fn delete(&self, entry: &EntryName) -> Result<(), KeystoreError> {
        self.operate(|pinned, deadline| pinned.delete(entry, deadline))
    }

    /// The entries of a service, by name.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn list(&self, service: &str) -> Result<Vec<EntryName>, KeystoreError> {
        self.operate(|pinned, deadline| pinned.list(service, deadline))
    }

    /// The backend that passed.
    #[must_use]
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// What the guard found when this keystore was opened.
    #[must_use]
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The guard alone, without an operation: what every operation does first.
    ///
    /// # Errors
    /// As an operation: insecure, locked, timed out.
    pub fn check(&self) -> Result<(), KeystoreError> {
        self.operate(|_, _| Ok(()))
    }

    /// Stores 2,048 random bytes under a random name, reads them back on a new connection, compares and removes them:
    /// at most 2.5 s. Signals that end the process wait until the entry is removed; what a killed probe left behind,
    /// the next one sweeps.
    ///
    /// # Errors
    /// [`ProbeError`] tells apart what failed; with [`ProbeFault::Guard`](crate::ProbeFault::Guard) nothing was
    /// written.
    pub fn sanity_probe(&self) -> Result<ProbeReport, ProbeError> {
        self.probe(probe::LEFT_BEHIND_AFTER)
    }

    /// [`Keystore::sanity_probe`] that takes entries of this age for left behind.
    ///
    /// # Errors
    /// As [`Keystore::sanity_probe`].
    #[cfg(feature = "test-util")]
    pub fn sanity_probe_sweeping(&self, left_behind_after: Duration) -> Result<ProbeReport, ProbeError> {
        self.probe(left_behind_after)
    }

    fn probe(&self, left_behind_after: Duration) -> Result<ProbeReport, ProbeError> {
        let deadline = self.operation_deadline();
        probe::run(&Probed { keystore: self, deadline, left_behind_after })
    }

    /// Runs `hook` after the guard of every operation and before its first call, for tests of what happens between.
    #[cfg(feature = "test-util")]
    pub fn between_guard_and_act(&self, hook: impl Fn() + Send + 'static) {
        *self.between.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Runs `hook` after a value was written and before the file is looked at again.
    #[cfg(feature = "test-util")]
    pub fn after_write(&self, hook: impl Fn() + Send + 'static) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    fn operate<T>(
        &self,
        act: impl FnOnce(&dyn Provider, Deadline) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        self.operate_within(self.operation_deadline(), act)
    }

    fn operate_within<T>(
        &self,
        deadline: Deadline,
        act: impl FnOnce(&dyn Provider, Deadline) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        let pinned = self.guarded(deadline)?;
        let result = self.act_on(&*pinned, deadline, act);
        self.settle(&pinned, result)
    }

    fn act_on<T>(
        &self,
        pinned: &dyn Provider,
        deadline: Deadline,
        act: impl FnOnce(&dyn Provider, Deadline) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        pinned.expect_unlocked(deadline)?;
        #[cfg(feature = "test-util")]
        if let Some(hook) = &*self.between.lock().unwrap_or_else(PoisonError::into_inner) {
            hook();
        }
        act(pinned, deadline)
    }

    fn put_within(
        &self,
        entry: &EntryName,
        secret: &SecretBytes,
        deadline: Deadline,
    ) -> Result<(), KeystoreError> {
        self.operate_within(deadline, |pinned, deadline| {
            pinned.put(entry, secret, deadline)?;
            #[cfg(feature = "test-util")]
            if let Some(hook) = &*self.written.lock().unwrap_or_else(PoisonError::into_inner) {
                hook();
            }
            if pinned.is_exposed() { Err(self.exposed()) } else { Ok(()) }
        })
    }

    fn operation_deadline(&self) -> Deadline {
        // What opening took counts against the first operation: a command that opens and acts stays within 2 s.
        let spent = Duration::from_micros(self.spent.swap(0, Ordering::Relaxed));
        Deadline::within(Deadline::OPERATION.saturating_sub(spent))
    }

    /// The provider, checked just now.
    fn guarded(&self, deadline: Deadline) -> Result<Arc<dyn Provider>, KeystoreError> {
        let current = self.slot().clone();
        if let Some(pinned) = current {
            let touch = pinned.touch(deadline);
            if self.settle(&pinned, touch)? == Touch::Same {
                return Ok(pinned);
            }
        }
        let fresh = self.guard_anew(deadline)?;
        *self.slot() = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// The whole guard, on a new connection, for the backend that this keystore was opened on.
    fn guard_anew(&self, deadline: Deadline) -> Result<Arc<dyn Provider>, KeystoreError> {
        let detected = detect(&self.surroundings, deadline)?;
        let candidate = Candidate {
            finding: detected.finding,
            provider: detected.provider,
            surroundings: self.surroundings.clone(),
            spent: Duration::ZERO,
        };
        let same_backend = self.allowlist.narrowed_to(&[self.backend, BackendId::Unverified]);
        let slot = candidate.validate(&same_backend)?.pinned.into_inner();
        slot.unwrap_or_else(PoisonError::into_inner)
            .ok_or_else(|| crate::error::ProviderGone { step: "checking the provider" }.into())
    }

    /// After a hang or a broken answer the connection is thrown away: what still arrives on it must not be taken for
    /// the answer to something else.
    fn settle<T>(
        &self,
        pinned: &Arc<dyn Provider>,
        result: Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        let broken = matches!(
            result,
            Err(KeystoreError::TimedOut(_) | KeystoreError::ProviderGone(_) | KeystoreError::Provider(_))
        );
        if broken {
            let mut slot = self.slot();
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, pinned)) {
                *slot = None;
            }
        }
        result
    }

    fn exposed(&self) -> KeystoreError {
        let finding = Finding::rejected(
            "the keyring's file turned to clear text while the value was written",
            "rotate the value now; then give the keyring a password",
        );
        InsecureKeyringBackendError::new(finding, &self.allowlist).into()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Provider>>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keystore as the probe sees it: one deadline for the round trip, and a short one of its own for cleaning up.
struct Probed<'a> {
    keystore: &'a Keystore,
    deadline: Deadline,
    left_behind_after: Duration,
}

impl ProbeStore for Probed<'_> {
    fn backend(&self) -> BackendId {
        self.keystore.backend
    }

    fn guard(&self) -> Result<(), KeystoreError> {
        self.keystore.operate_within(self.deadline, |_, _| Ok(()))
    }

    fn sweep(&self) -> usize {
        let removed = self.keystore.operate_within(self.deadline, |pinned, deadline| {
            let stale = pinned.older_than(self.left_behind_after, probe::SERVICE, probe::PREFIX, deadline)?;
            Ok(stale.iter().filter(|entry| pinned.delete(entry, deadline).is_ok()).count())
        });
        // What cannot be swept now, a later probe sweeps; the round trip tells what is wrong with the keyring.
        removed.unwrap_or(0)
    }

    fn put(&self, entry: &EntryName, value: &SecretBytes) -> Result<(), KeystoreError> {
        self.keystore.put_within(entry, value, self.deadline)
    }

    fn read_anew(&self, entry: &EntryName) -> Result<SecretBytes, KeystoreError> {
        let pinned = self.keystore.guard_anew(self.deadline)?;
        self.keystore.act_on(&*pinned, self.deadline, |pinned, deadline| pinned.get(entry, deadline))
    }

    fn remove(&self, entry: &EntryName) -> Result<(), KeystoreError> {
        let deadline = Deadline::within(Deadline::CLEANUP);
        self.keystore.operate_within(deadline, |pinned, deadline| pinned.delete(entry, deadline))
    }
}
