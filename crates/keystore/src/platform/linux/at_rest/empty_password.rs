use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::pbkdf2::{self, Algorithm};

/// The key that an empty password gives (PBKDF2). Whoever has the file has that key: a keyring under it is as good as in
/// clear text.
pub(super) struct EmptyPassword {
    algorithm: Algorithm,
    /// Of the key, in bytes.
    length: usize,
    /// Derived once for a salt: it takes tens of milliseconds.
    last: Mutex<Option<Derived>>,
}

struct Derived {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    key: Vec<u8>,
}

impl fmt::Debug for EmptyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmptyPassword").finish_non_exhaustive()
    }
}

impl EmptyPassword {
    pub(super) fn new(algorithm: Algorithm, length: usize) -> Self {
        Self { algorithm, length, last: Mutex::new(None) }
    }

    pub(super) fn key(&self, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) =
            last.as_ref().filter(|known| known.salt == salt && known.iterations == iterations)
        {
            return known.key.clone();
        }
        let mut key = vec![0; self.length];
        pbkdf2::derive(self.algorithm, iterations, salt, b"", &mut key);
        *last = Some(Derived { salt: salt.to_vec(), iterations, key: key.clone() });
        key
    }
}
