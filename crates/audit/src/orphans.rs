//! Calls whose outcome nobody will ever write: their process is gone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use uuid::Uuid;

use crate::line::{Body, Metadata};
use crate::query::Query;
use crate::read::{Seen, query};
use crate::{AuditError, AuditLog, CallId, StoredEvent, owners};

impl AuditLog {
    /// Closes the calls that have no outcome and whose process is gone: a failure with `src` system (and the name
    /// `unknown-outcome` where the call's metadata has room for it). What such a call did is not known. Returns their
    /// pending lines.
    ///
    /// # Errors
    /// The log cannot be read or written; calls returned by an earlier attempt stay closed.
    pub fn close_orphans(&self) -> Result<Vec<StoredEvent>, AuditError> {
        let data = self.data().open_existing()?;
        let mut open: BTreeMap<Uuid, Box<StoredEvent>> = BTreeMap::new();
        query(self.folder().path(), &Query::new(), |seen| {
            if let Seen::Event(event) = seen
                && let Some(call) = event.call_id().and_then(|id| Uuid::try_parse(id).ok())
            {
                if event.outcome() == "pending" {
                    open.insert(call, event);
                } else {
                    open.remove(&call);
                }
            }
            ControlFlow::Continue(())
        })?;
        let mut closed = Vec::new();
        for (call, event) in open {
            let lives = data.as_ref().is_some_and(|data| owners::is_in_flight(&**data, call.as_u128()));
            if lives {
                continue;
            }
            let body = Body {
                call: CallId(call),
                source: "system",
                via: event.via().unwrap_or("none").to_owned().into(),
                attribution: event.attribution_type().to_owned().into(),
                agent: event.agent_id().to_owned(),
                action: event.action().to_owned(),
                resource: event.resource().to_owned(),
                metadata: Metadata::of_stored(event.metadata_json()),
            };
            self.put(&body, "failure", Some("unknown-outcome"))?;
            closed.push(*event);
        }
        Ok(closed)
    }
}
