use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a person or a service manager ends a command with.
const ENDING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

static ARRIVED: AtomicI32 = AtomicI32::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// While it lives, the signals that end a process are held back, so that what was begun can be undone. When it is
/// dropped, each has its former disposition again, and one that arrived takes effect.
///
/// Signals that the process ignores stay ignored. A handler that another thread installs meanwhile is lost.
pub(crate) struct Deferred {
    former: Vec<(libc::c_int, libc::sigaction)>,
    _one: MutexGuard<'static, ()>,
}

impl Deferred {
    pub(crate) fn start() -> Self {
        let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        ARRIVED.store(0, Ordering::SeqCst);
        let mut deferred = Self { former: Vec::with_capacity(ENDING.len()), _one: one };
        for signal in ENDING {
            if let Some(former) = install(signal) {
                deferred.former.push((signal, former));
            }
        }
        deferred
    }

    /// Whether one of them arrived: time to clean up.
    #[expect(clippy::unused_self, reason = "a signal is held back only while there is a value of this type")]
    pub(crate) fn arrived(&self) -> bool {
        ARRIVED.load(Ordering::SeqCst) != 0
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        for (signal, former) in self.former.drain(..) {
            restore(signal, &former);
        }
        let arrived = ARRIVED.swap(0, Ordering::SeqCst);
        if arrived != 0 {
            raise(arrived);
        }
    }
}

extern "C" fn note(signal: libc::c_int) {
    ARRIVED.store(signal, Ordering::SeqCst);
}

/// Ignores a signal from now on, in the programs that this one starts too.
#[expect(unsafe_code, reason = "there is no safe way to ignore a signal")]
pub(super) fn ignore(signal: libc::c_int) -> std::io::Result<()> {
    // SAFETY: sets a disposition; no handler of ours runs.
    match unsafe { libc::signal(signal, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Puts `note` in the place of the signal's disposition, and returns that; `None` where it is ignored or unknown.
#[expect(unsafe_code, reason = "there is no safe way to change a signal's disposition for a while")]
fn install(signal: libc::c_int) -> Option<libc::sigaction> {
    let mut former = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action only asks; `former` is valid for writes of a `sigaction`.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), former.as_mut_ptr()) };
    if asked != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so the kernel filled it in.
    let former = unsafe { former.assume_init() };
    if former.sa_sigaction == libc::SIG_IGN {
        return None;
    }
    // SAFETY: all zeros is a valid `sigaction` (default disposition, empty mask, no flags).
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    ours.sa_flags = libc::SA_RESTART;
    // SAFETY: `ours` is a complete `sigaction`; `note` only stores to an atomic, which is async-signal-safe.
    let set = unsafe { libc::sigaction(signal, &raw const ours, std::ptr::null_mut()) };
    (set == 0).then_some(former)
}

#[expect(unsafe_code, reason = "there is no safe way to change a signal's disposition for a while")]
fn restore(signal: libc::c_int, former: &libc::sigaction) {
    // SAFETY: `former` is what the kernel told for this signal. It cannot fail for a valid signal and pointer.
    unsafe { libc::sigaction(signal, std::ptr::from_ref(former), std::ptr::null_mut()) };
}

#[expect(unsafe_code, reason = "the signal was held back for the disposition that is now restored")]
fn raise(signal: libc::c_int) {
    // SAFETY: `raise` has no preconditions; the signal is one that arrived.
    unsafe { libc::raise(signal) };
}
