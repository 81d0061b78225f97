//! `entrabot audit export --follow`: the log for a collector, as it grows. Each batch is sent until it is taken; only
//! then does the cursor move, so that a kill at any moment sends a batch twice and never leaves one out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use entrabot_audit::{ExportBatch, ExportFollower, ExportFrom, OtlpEncoding};
use entrabot_identity::{
    Config, Diagnose as _, Egress, OtlpEndpoint, OtlpError, OtlpProtocol, OtlpSender, OtlpSignal, OtlpTarget,
};
use entrabot_keystore::EntryName;
use serde_json::json;
use tokio::runtime::Runtime;

use super::unreadable;
use crate::commands::{NO, YES, runtime};
use crate::failure::{Failure, cleaned};
use crate::{mounted_secret, terminal};

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(500);
/// The first wait after a request that was not taken, and the longest; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// With `--once`, so many requests that were not taken in a row, or one that may come again only so much later.
const ATTEMPTS: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);
/// No header is longer.
const MAX_HEADERS: usize = 16 * 1024;

#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// Send the log to a collector as it grows (OTLP over HTTP), from where the last run ended
    #[arg(long, conflicts_with_all = ["format", "output", "since", "until", "action", "agent", "outcome", "call_id", "event_id", "source"])]
    pub(super) follow: bool,
    /// The address that takes logs, instead of OTEL_EXPORTER_OTLP_ENDPOINT: https, or http to this machine
    #[arg(long, value_name = "URL", requires = "follow")]
    endpoint: Option<String>,
    /// A mounted secret or /dev/fd/N with its headers (key=value,...), instead of OTEL_EXPORTER_OTLP_HEADERS
    #[arg(long, value_name = "FILE", requires = "follow", conflicts_with = "headers_from_keyring")]
    headers_file: Option<PathBuf>,
    /// Its headers are the keyring's entry entrabot/otlp-headers
    #[arg(long, requires = "follow")]
    headers_from_keyring: bool,
    /// Whose place in the log it is: a name for each collector
    #[arg(long, value_name = "NAME", requires = "follow", default_value = "otlp")]
    cursor: String,
    /// Begin elsewhere than where the last run ended
    #[arg(long, value_enum, requires = "follow")]
    from: Option<From>,
    /// End when everything is sent
    #[arg(long, requires = "follow")]
    once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// The oldest record
    Start,
    /// The next record
    Now,
}

/// What has become of the records.
#[derive(Debug, Default)]
struct Sent {
    records: u64,
    rejected: u64,
    skipped: u64,
}

pub(super) fn run(args: &FollowArgs, dir: &Path, config: &Config, json: bool) -> Result<u8, Failure> {
    let otlp = config.otlp().map_err(|error| Failure::of(error))?;
    let target = target(args, config, otlp.target(OtlpSignal::Logs))?;
    let encoding = match target.protocol() {
        OtlpProtocol::HttpJson => OtlpEncoding::Json,
        _ => OtlpEncoding::Protobuf,
    };
    let sender = OtlpSender::new(&target, &Egress::from_config(config)?);
    let mut follower = ExportFollower::open(dir, config.data_dir(), &args.cursor, encoding, otlp.resource())
        .map_err(unreadable)?;
    if let Some(from) = args.from {
        let from = match from {
            From::Start => ExportFrom::Start,
            From::Now => ExportFrom::Now,
        };
        follower.restart(from).map_err(unreadable)?;
    }
    let runtime = runtime()?;
    let mut sent = Sent::default();
    loop {
        match follower.next_batch()? {
            Some(batch) => match send(&runtime, &sender, &batch, args.once) {
                Ok(rejected) => {
                    follower.taken(&batch)?;
                    sent.rejected += rejected;
                    sent.records += batch.records as u64;
                    sent.skipped += batch.skipped as u64;
                }
                // The same records again, in smaller batches.
                Err(error) if error.is_too_large() && follower.halve(&batch) => {}
                Err(error) => return Err(Failure::of(&error)),
            },
            None if args.once => return tell(&sent, json),
            None => std::thread::sleep(POLL),
        }
    }
}

fn tell(sent: &Sent, json: bool) -> Result<u8, Failure> {
    let Sent { records, rejected, skipped } = sent;
    if json {
        terminal::json(&json!({"records": records, "rejected": rejected, "skipped": skipped}))?;
    } else {
        terminal::note(&format!("{records} records sent"));
    }
    Ok(if *rejected > 0 { NO } else { YES })
}

/// Sends a batch until it is taken. Gives how many of its records the collector will never take.
fn send(runtime: &Runtime, sender: &OtlpSender, batch: &ExportBatch, once: bool) -> Result<u64, OtlpError> {
    let mut wait = FIRST_WAIT;
    let mut failed = 0;
    loop {
        let error = match runtime.block_on(sender.send(batch.body.clone())) {
            Ok(taken) => {
                if taken.rejected > 0 {
                    let host = sender.target().endpoint().host();
                    let note =
                        format!("warning: {host} does not take {} records, and never will", taken.rejected);
                    terminal::note(&cleaned(&note));
                }
                return Ok(taken.rejected);
            }
            Err(error) => error,
        };
        failed += 1;
        // Up to a quarter more, so that many that failed at once do not come back at once.
        let pause = error.retry_after().unwrap_or_default().max(wait + jitter(wait / 4));
        if !error.may_be_sent_again() || (once && (failed == ATTEMPTS || pause > PATIENCE)) {
            return Err(error);
        }
        let hint = error.hint().unwrap_or_default();
        terminal::note(&cleaned(&format!("warning: {error}; again in {} s ({hint})", pause.as_secs())));
        std::thread::sleep(pause);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Any time up to this one.
fn jitter(most: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter.
    if getrandom::fill(&mut byte).is_err() {
        return Duration::ZERO;
    }
    most * u32::from(byte[0]) / 255
}

fn target(args: &FollowArgs, config: &Config, set: Option<&OtlpTarget>) -> Result<OtlpTarget, Failure> {
    let target = match (&args.endpoint, set) {
        (Some(url), set) => {
            let endpoint = OtlpEndpoint::parse("--endpoint", url).map_err(|error| Failure::of(&error))?;
            set.map_or_else(
                || OtlpTarget::new(endpoint.clone(), OtlpProtocol::default()),
                |set| set.at(endpoint.clone()),
            )
        }
        (None, Some(set)) => set.clone(),
        (None, None) => {
            return Err(Failure::usage(
                "no collector is named",
                "set OTEL_EXPORTER_OTLP_ENDPOINT, or use --endpoint",
            ));
        }
    };
    let (from, secret) = if let Some(path) = &args.headers_file {
        ("--headers-file", mounted_secret::read("--headers-file", path, MAX_HEADERS)?)
    } else if args.headers_from_keyring {
        ("entrabot/otlp-headers", config.keystore_policy().open()?.get(&EntryName::otlp_headers())?)
    } else {
        return Ok(target);
    };
    let not_text = || Failure::usage(format!("{from} is no text"), "give key=value, percent-encoded");
    let text = std::str::from_utf8(secret.expose()).map_err(|_| not_text())?;
    target.with_headers(from, text.trim()).map_err(|error| Failure::of(&error))
}
