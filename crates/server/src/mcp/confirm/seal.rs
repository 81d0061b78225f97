//! The state that travels with a question through the client and back (`requestState`).
//!
//! The client may keep, change or repeat it at will. It is sealed with a key of this process, good for one call exactly
//! as it was asked about, for ten minutes, once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{RequestStateCodec, SealOptions};

use super::refusal;
use crate::failure::Failure;

/// How long a question may be answered.
const VALID: Duration = Duration::from_secs(600);

type Nonce = [u8; 16];

/// Issues states, opens them, and knows which are used up.
pub(super) struct Seals {
    codec: RequestStateCodec,
    /// Ages count from here: the system's clock may be set back.
    since: Instant,
    /// Those that were answered, as long as they could still be opened. One each that a person decided about.
    spent: Mutex<HashMap<Nonce, Instant>>,
}

/// A state of ours, for the call it was issued for.
pub(super) struct Issued<'a> {
    seals: &'a Seals,
    nonce: Nonce,
}

impl Seals {
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new() -> Result<Self, Failure> {
        let key: [u8; RequestStateCodec::MIN_KEY_LENGTH] = random()?;
        let codec =
            RequestStateCodec::try_new(key).map_err(|_| Failure::internal("sealing a question's state"))?;
        Ok(Self { codec, since: Instant::now(), spent: Mutex::default() })
    }

    /// # Errors
    /// The system has no random numbers.
    pub(super) fn issue(&self, call: &[u8]) -> Result<String, Failure> {
        let nonce: Nonce = random()?;
        let payload = [nonce.as_slice(), &self.since.elapsed().as_secs().to_be_bytes()].concat();
        Ok(self.codec.seal_with(&payload, &SealOptions::new().associated_data(call)))
    }

    /// # Errors
    /// It is not one of ours, is too old, or was issued for another call.
    pub(super) fn open(&self, state: &str, call: &[u8]) -> Result<Issued<'_>, Failure> {
        let foreign = || invalid("does not belong to this call");
        let opened = self.codec.open_with(state, call).map_err(|_| foreign())?;
        let (nonce, at) = opened.split_first_chunk().ok_or_else(foreign)?;
        let at = Duration::from_secs(u64::from_be_bytes(at.try_into().map_err(|_| foreign())?));
        if self.since.elapsed().saturating_sub(at) > VALID {
            return Err(invalid("has expired"));
        }
        Ok(Issued { seals: self, nonce: *nonce })
    }
}

impl Issued<'_> {
    /// # Errors
    /// It was spent before.
    pub(super) fn spend(self) -> Result<(), Failure> {
        let mut spent = self.seals.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Twice as long as it can be opened: whole seconds are counted there.
        spent.retain(|_, at| now.duration_since(*at) <= 2 * VALID);
        match spent.insert(self.nonce, now) {
            None => Ok(()),
            Some(_) => Err(invalid("was used before")),
        }
    }
}

fn invalid(why: &str) -> Failure {
    refusal(
        "ConfirmationInvalidError",
        format!("the requestState {why}; nothing was sent"),
        "call the tool again without requestState, so that a person is asked anew",
    )
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Failure::internal("the system's random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<impl Sized, Failure>) -> String {
        let failure = result.err().expect("refused");
        assert_eq!(failure.error_type(), "ConfirmationInvalidError");
        failure.message().to_owned()
    }

    #[test]
    fn a_state_is_good_for_its_own_call_once() {
        let seals = Seals::new().unwrap();
        let state = seals.issue(b"create A").unwrap();
        assert!(refused(seals.open(&state, b"create B")).contains("does not belong"));
        seals.open(&state, b"create A").unwrap().spend().unwrap();
        assert!(refused(seals.open(&state, b"create A").unwrap().spend()).contains("used before"));
        // Another question about the same call is another state.
        seals.open(&seals.issue(b"create A").unwrap(), b"create A").unwrap().spend().unwrap();
    }

    #[test]
    fn a_state_expires_whatever_the_clock_of_the_system_says() {
        let mut seals = Seals::new().unwrap();
        let state = seals.issue(b"call").unwrap();
        seals.since -= VALID + Duration::from_secs(1);
        assert!(refused(seals.open(&state, b"call")).contains("expired"));
    }

    #[test]
    fn no_byte_of_a_state_can_be_changed_and_no_other_process_can_make_one() {
        let (seals, others) = (Seals::new().unwrap(), Seals::new().unwrap());
        let state = seals.issue(b"call").unwrap();
        for at in 0..state.len() {
            let mut forged = state.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            // The last character of base64 may hold bits that count for nothing.
            if let Ok(issued) = seals.open(&forged, b"call") {
                assert_eq!(at, state.len() - 1);
                issued.spend().unwrap();
                refused(seals.open(&state, b"call").unwrap().spend());
            }
        }
        refused(seals.open(&others.issue(b"call").unwrap(), b"call"));
        for nonsense in ["", "rs1..", "x", "\u{0}", &"A".repeat(100_000)] {
            refused(seals.open(nonsense, b"call"));
        }
    }
}
