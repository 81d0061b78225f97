//! What runs beside the calls: the thread that writes for tasks, the one that syncs outcomes, the one that seals, and
//! the word that this process is alive. Started with the first permit and with a task's first record; a command that
//! writes one record needs none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint::Sealer;
use crate::commit::Until;
use crate::data::DataDir;
use crate::engine::Engine;
use crate::line::{Body, Record};
use crate::owners::{self, Registered};
use crate::pulse::Due;
use crate::{AuditError, Diagnose as _};

#[derive(Debug, Default)]
pub(crate) struct Background {
    leading: Option<JoinHandle<()>>,
    syncing: Option<JoinHandle<()>>,
    sealing: Option<JoinHandle<()>>,
    registered: Option<Registered>,
}

impl Background {
    pub(crate) fn start(
        &mut self,
        engine: &Arc<Engine>,
        sealer: Option<&Arc<Sealer>>,
        sealable: &Arc<AtomicBool>,
        data: &DataDir,
    ) -> Result<(), AuditError> {
        if self.is_started() {
            return Ok(());
        }
        if self.leading.is_none() {
            let engine = Arc::clone(engine);
            self.leading = Some(spawn("audit-lead", move || engine.lead_in_background())?);
        }
        if let Some(sealer) = sealer
            && self.sealing.is_none()
        {
            let sealing = Sealing {
                engine: Arc::clone(engine),
                sealer: Arc::clone(sealer),
                sealable: Arc::clone(sealable),
            };
            self.sealing = Some(spawn("audit-seal", move || sealing.run())?);
        }
        // Last: with it the background is complete.
        let syncing = Arc::clone(engine);
        self.syncing = Some(spawn("audit-sync", move || syncing.sync_in_background())?);
        // Only tells a live call from an orphan: a log without it is as sound.
        self.registered = data.open().and_then(|data| owners::register(&*data, engine.mark())).ok();
        Ok(())
    }

    pub(crate) fn is_started(&self) -> bool {
        self.syncing.is_some()
    }

    /// Writes and syncs what still waits, then seals; gives up after the deadline, when the disk or the key hangs.
    pub(crate) fn stop(self, engine: &Engine, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        engine.close();
        wait_for(self.leading, deadline);
        wait_for(self.syncing, deadline);
        engine.pulse().close();
        wait_for(self.sealing, deadline);
        drop(self.registered);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, AuditError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| AuditError::storage("start a thread for", name, &e))
}

fn wait_for(thread: Option<JoinHandle<()>>, deadline: Instant) {
    let Some(thread) = thread else { return };
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The thread that seals: a key that is slow or locked holds up nothing but this.
struct Sealing {
    engine: Arc<Engine>,
    sealer: Arc<Sealer>,
    sealable: Arc<AtomicBool>,
}

impl Sealing {
    fn run(self) {
        let mut sealed = 0;
        let mut failing = false;
        loop {
            let due = self.engine.pulse().wait_until_due(sealed);
            let records = self.engine.pulse().records();
            if records != sealed {
                sealed = records;
                let result = self.sealer.seal();
                self.sealable.store(result.is_ok(), Ordering::Release);
                match result {
                    Ok(_) => failing = false,
                    Err(error) if !failing => {
                        failing = true;
                        // A log that takes no record any more says so to its next caller.
                        let _said_there = self.put_skipped(&error);
                    }
                    Err(_) => {}
                }
            }
            if due == Due::Closing {
                return;
            }
        }
    }

    /// The chain goes on without a seal, and that is on record.
    fn put_skipped(&self, error: &AuditError) -> Result<(), AuditError> {
        let metadata = [("error_type".to_owned(), error.error_type().into())].into_iter().collect();
        let body = Body::system("audit.checkpoint_skipped", "audit.log", &metadata);
        let record = Record::new(&body, "failure", None, self.engine.clock().now())?;
        self.engine.submit(record, Until::Durable)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::commit::{GroupCommit, Put, Target};
    use crate::journal::Failed;

    /// Its second write takes until what was written before is synced, as one that waits for somebody else's lock.
    #[derive(Default)]
    struct Held {
        state: Mutex<(u32, bool)>,
        synced: Condvar,
    }

    impl Target for Held {
        type Record = ();
        type Written = ();
        type Opened = ();

        fn write(&self, records: &[()]) -> Result<Put<()>, Failed> {
            let mut state = self.state.lock().unwrap();
            state.0 += 1;
            if state.0 > 1 {
                let long = Duration::from_secs(10);
                let (state, late) =
                    self.synced.wait_timeout_while(state, long, |(_, synced)| !*synced).unwrap();
                drop(state);
                assert!(!late.timed_out(), "nobody synced");
            }
            Ok(Put { written: (), count: records.len(), refused: None })
        }
        fn sync(&self, (): &()) -> Result<(), AuditError> {
            self.state.lock().unwrap().1 = true;
            self.synced.notify_all();
            Ok(())
        }
        fn opened((): &()) -> Option<()> {
            None
        }
        fn closing(&self, (): &()) -> Result<(), AuditError> {
            Ok(())
        }
        fn size((): &()) -> usize {
            1
        }
        fn now(&self) -> Instant {
            Instant::now()
        }
    }

    #[test]
    fn an_acknowledged_outcome_is_synced_in_time_while_the_leader_waits_for_a_lock() {
        let commit = Arc::new(GroupCommit::new(Held::default(), Duration::from_secs(20)));
        let (leading, syncing) = (Arc::clone(&commit), Arc::clone(&commit));
        let background = [
            std::thread::spawn(move || leading.lead_in_background()),
            std::thread::spawn(move || syncing.sync_in_background()),
        ];
        commit.submit((), Until::Written).unwrap();
        commit.leave(());
        commit.close();
        background.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(commit.check().is_ok());
    }
}
