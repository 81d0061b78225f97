//! A log on disk, with a clock of the test's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use entrabot_identity::{AttributionChain, Config, Session};

use crate::time::{Clock, Timestamp};
use crate::{AuditLog, AuditOptions, Auditable, ServerName, Subject, ToolName};

/// Each reading is a step later than the one before.
#[derive(Debug)]
pub(crate) struct TestClock {
    micros: AtomicI64,
    step: i64,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.fetch_add(self.step, Ordering::Relaxed))
    }
}

/// A call as the transport would make it.
pub(crate) struct Call;

impl Auditable for Call {
    fn subject(&self) -> Subject {
        Subject::WorkIq { server: ServerName::parse("s").unwrap(), tool: ToolName::parse("t").unwrap() }
    }
}

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    clock: Arc<TestClock>,
}

impl Bench {
    /// At this time, in microseconds since the epoch.
    pub(crate) fn at(start: i64, step: i64) -> Self {
        let clock = TestClock { micros: AtomicI64::new(start), step };
        Self { dir: tempfile::tempdir().unwrap(), clock: Arc::new(clock) }
    }
    pub(crate) fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    pub(crate) fn options(&self) -> AuditOptions {
        AuditOptions::new(&self.audit(), &self.data()).with_clock(Arc::clone(&self.clock) as _)
    }
    pub(crate) fn open(&self) -> AuditLog {
        open(self.options())
    }
    pub(crate) fn shift(&self, micros: i64) {
        self.clock.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

pub(crate) fn open(options: AuditOptions) -> AuditLog {
    let config =
        Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")]).unwrap();
    AuditLog::open(options, Arc::new(AttributionChain::new(&config, Arc::new(Session::new())))).unwrap()
}
