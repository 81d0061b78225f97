//! The log: JSON lines on stderr and in `ENTRABOT_LOG_DIR/entrabot.log`, with the keys that the original's log has.
//!
//! Only entrabot's own events follow the level. Libraries are heard from `warn` on: their finer events print whole
//! messages, and a message of a client is content.

mod file;
mod line;

use std::io::Write;
use std::sync::Mutex;

use entrabot_identity::{Config, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use file::LogFile;

struct JsonLines {
    file: Option<Mutex<LogFile>>,
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line::render(event);
        // A log that cannot be written must not stop what it is about.
        drop(std::io::stderr().lock().write_all(line.as_bytes()));
        if let Some(file) = &self.file
            && let Ok(mut file) = file.lock()
        {
            drop(file.append(line.as_bytes()));
        }
    }
}

/// Starts logging for `serve`: stderr, and the file where it can be opened.
pub(crate) fn start(config: &Config) {
    let opened = LogFile::open(config.log_dir());
    let (file, trouble) = match opened {
        Ok(file) => (Some(Mutex::new(file)), None),
        Err(error) => (None, Some(error)),
    };
    let level = match config.log_level() {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Trace => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    };
    let targets = Targets::new().with_default(Level::WARN).with_target("entrabot", level);
    let subscriber = tracing_subscriber::registry().with(JsonLines { file }.with_filter(targets));
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return;
    }
    if let Some(error) = trouble {
        tracing::warn!(%error, dir = %config.log_dir().display(), "no log file; logging to stderr alone");
    }
    std::panic::set_hook(Box::new(|panic| {
        // The place, never the payload: it may quote what was being worked on.
        match panic.location() {
            Some(place) => {
                tracing::error!(file = place.file(), line = place.line(), "a part of entrabot panicked")
            }
            None => tracing::error!("a part of entrabot panicked"),
        }
    }));
}
