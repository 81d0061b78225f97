//! One page for a person: who acted and for whom, what came of it, and how far the log can be trusted.
//!
//! The page is built by [maud], whose macro escapes everything that is not a literal of this source; the one exception
//! is the style sheet. Text from the log passes [`crate::event::shown`] first, so that nothing but printable ASCII
//! arrives there. The page holds no script and its policy allows none.

mod chart;
mod durations;
mod page;
mod tally;
mod text;
mod timeline;

use std::ops::ControlFlow;
use std::path::Path;

use self::tally::Tally;
use crate::query::Query;
use crate::read::{Seen, SkippedLine, query_counted};
use crate::time::{Clock as _, SystemClock};
use crate::{AuditError, Timestamp, VerifyOptions, VerifyReport, last_checkpoint, verify_with};

/// Lines that are no events and are named one by one.
const MAX_SKIPPED: usize = 10;

/// What a log comes to. Its size does not grow with the log's.
#[derive(Debug)]
pub struct Report {
    generated: Timestamp,
    dir: String,
    filter: Vec<(&'static str, String)>,
    tally: Tally,
    skipped: u64,
    first_skipped: Vec<SkippedLine>,
    verified: VerifyReport,
    checkpoint: Option<String>,
}

impl Report {
    /// Reads the log in `dir` once for its events and once to verify it. A log that is not intact gives a report that
    /// says so. Only whole calls are counted rightly: let the query leave out agents, actions or times, not outcomes.
    ///
    /// # Errors
    /// The directory, the keys or the anchor cannot be read.
    pub fn collect(dir: &Path, wanted: &Query, options: &VerifyOptions) -> Result<Self, AuditError> {
        let mut tally = Tally::new();
        let (mut skipped, mut first_skipped) = (0, Vec::new());
        query_counted(dir, wanted, options.read(), |seen| {
            match seen {
                Seen::Event(event) => tally.add(&event),
                Seen::Skipped(line) => {
                    skipped += 1;
                    if first_skipped.len() < MAX_SKIPPED {
                        first_skipped.push(line);
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        tally.finish();
        Ok(Self {
            generated: SystemClock.now(),
            dir: dir.display().to_string(),
            filter: wanted.terms(),
            tally,
            skipped,
            first_skipped,
            // After the events: a call that is open there and not here has ended since.
            verified: verify_with(dir, options)?,
            checkpoint: last_checkpoint(dir)?,
        })
    }

    /// Whether the log is intact.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.verified.ok
    }

    /// How many events the report covers.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.tally.events
    }

    /// How many calls: pending lines with their outcomes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.tally.calls()
    }

    /// The page, whole: HTML in UTF-8 with its style, no script, and nothing that is loaded from elsewhere.
    #[must_use]
    pub fn to_html(&self) -> String {
        page::page(self).into_string()
    }
}
