//! A line on a terminal's stderr that says what takes so long, and how far it is. On nothing else: neither in a pipe, nor with
//! `--json`, `NO_COLOR` or a terminal that can do nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::terminal;

/// What is done sooner says nothing.
const AFTER: Duration = Duration::from_millis(400);
const EVERY: Duration = Duration::from_millis(120);

/// Shown until it is dropped.
pub(crate) struct Working {
    done: Arc<AtomicU64>,
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Things {
        /// In the plural, e.g. `records`.
        unit: &'static str,
        /// How many there will be, where that is known.
        total: Option<u64>,
    },
    /// So many bytes; what is done of them is shown as a share.
    Bytes(u64),
}

impl Working {
    /// `what` is done, e.g. `writing records`; `work` where its steps are counted.
    pub(crate) fn on(what: impl Into<String>, work: Option<Work>, json: bool) -> Self {
        let done = Arc::<AtomicU64>::default();
        if json || !terminal::decorates_stderr() {
            return Self { done, shown: None };
        }
        let (stop, stopped) = channel();
        let (what, count) = (what.into(), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut wait = AFTER;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = EVERY;
                terminal::status(&line(&what, work, count.load(Ordering::Relaxed), begun.elapsed()));
            }
            terminal::clear_status();
        });
        Self { done, shown: Some((stop, thread)) }
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// How much is done, for whoever does it.
    pub(crate) fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.shown.take() {
            drop(stop);
            // The line is gone when this returns, and what is printed next stands alone.
            drop(thread.join());
        }
    }
}

fn line(what: &str, work: Option<Work>, done: u64, elapsed: Duration) -> String {
    const TURNS: [char; 4] = ['|', '/', '-', '\\'];
    let turn = TURNS[usize::try_from(elapsed.as_millis() / EVERY.as_millis() % 4).unwrap_or_default()];
    let seconds = elapsed.as_secs();
    let percent = |total: u64| (done.saturating_mul(100) / total).min(100);
    match work {
        Some(Work::Things { unit, total: Some(total) }) if total > 0 => {
            format!("{turn} {what}: {done} of {total} {unit} ({} %), {seconds} s", percent(total))
        }
        Some(Work::Things { unit, .. }) => format!("{turn} {what}: {done} {unit}, {seconds} s"),
        Some(Work::Bytes(total)) if total > 0 => format!("{turn} {what}: {} %, {seconds} s", percent(total)),
        None | Some(Work::Bytes(_)) => format!("{turn} {what}, {seconds} s"),
    }
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes @ ..10_240 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_where_that_is_known() {
        let at = Duration::from_millis(2500);
        assert_eq!(line("verifying 3 MiB", None, 0, at), "| verifying 3 MiB, 2 s");
        let bytes = |done| line("verifying 3 MiB", Some(Work::Bytes(3 << 20)), done, at);
        assert_eq!(bytes(1 << 20), "| verifying 3 MiB: 33 %, 2 s");
        assert_eq!(bytes(4 << 20), "| verifying 3 MiB: 100 %, 2 s", "it grew meanwhile");
        assert_eq!(line("verifying", Some(Work::Bytes(0)), 0, at), "| verifying, 2 s");
        let counted = |total| Some(Work::Things { unit: "records", total });
        assert_eq!(line("writing", counted(None), 7, at), "| writing: 7 records, 2 s");
        assert_eq!(line("writing", counted(Some(0)), 7, at), "| writing: 7 records, 2 s");
        assert_eq!(line("writing", counted(Some(20)), 7, at), "| writing: 7 of 20 records (35 %), 2 s");
        assert_eq!(line("writing", counted(Some(5)), 7, at), "| writing: 7 of 5 records (100 %), 2 s");
    }

    #[test]
    fn nothing_is_shown_where_stderr_is_no_terminal() {
        assert!(Working::on("x", None, true).shown.is_none());
        assert_eq!(
            (size(512 << 10), size(812 << 20), size(20 << 30)),
            ("512 KiB".into(), "812 MiB".into(), "20 GiB".into())
        );
    }
}
