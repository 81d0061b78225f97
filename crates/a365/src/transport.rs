use entrabot_audit::{Permit, Settled};
use entrabot_identity::TokenSource;

use crate::{Reply, ToolCall};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[error("call failed")]
pub struct CallError {
    _private: (),
}

/// The one way out to Work IQ. The HTTP client inside is reachable by nothing else.
#[derive(Debug)]
pub struct Transport {
    _private: (),
}

impl Transport {
    /// Sends exactly the call that was put on record; fetches the token itself, after the permit, for the
    /// endpoint's own resource; cannot return without closing the permit.
    pub async fn send(&self, _permit: Permit<ToolCall>, _tokens: &dyn TokenSource) -> Settled<Reply, CallError> {
        todo!("a365")
    }
}
