//! How many connections there is room for.

/// Connections at a time; the next one waits to be accepted.
const MOST: usize = 1_200;
/// Descriptors for everything else: the audit, the keyring, the calls to Work IQ.
const OTHERS: usize = 128;

/// As many places as the system has descriptors for. Many a system gives a process 1,024 until it asks for more.
#[cfg(unix)]
pub(super) fn places() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = (MOST + OTHERS) as u64;
    let allowed = match current {
        Some(current) if current < wanted => {
            let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
            let limits = Rlimit { current: Some(raised), maximum };
            if raised > current && setrlimit(Resource::Nofile, limits).is_ok() { raised } else { current }
        }
        _ => wanted,
    };
    let places = usize::try_from(allowed).unwrap_or(MOST + OTHERS).saturating_sub(OTHERS).clamp(1, MOST);
    if places < MOST {
        tracing::warn!(places, "the limit of open files leaves room for fewer connections");
    }
    places
}

#[cfg(not(unix))]
pub(super) fn places() -> usize {
    MOST
}
