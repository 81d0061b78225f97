//! The log in other people's formats. What is exported is what stands on record, and nothing besides.

mod aat;
mod checkpoint;
pub(crate) mod cursor;
mod follow;
mod jcs;
mod low_s;
mod ocsf;
mod otlp;

use std::ops::ControlFlow;
use std::path::Path;

use serde::Deserialize;

use self::aat::AatTrail;
pub use self::checkpoint::last_checkpoint;
pub use self::follow::{ExportBatch, ExportFollower, ExportFrom};
pub use self::otlp::OtlpEncoding;
use self::otlp::{BATCH, LogRecord, OtlpLogs};
use crate::event::work_iq;
use crate::query::Query;
use crate::read::{Seen, SkippedLine, query};
use crate::reader::open_folder;
use crate::{AuditError, SigningPolicy, StoredEvent};

/// What the exports call the product.
const PRODUCT: &str = "entrabot";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A format of [`export`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExportFormat {
    /// The records as they stand, one a line.
    Jsonl,
    /// OpenTelemetry logs in OTLP's JSON encoding: an `ExportLogsServiceRequest` a line, of up to 512 records.
    OtlpJson,
    /// OCSF 1.6.0, API Activity (class 6003): one event a line.
    Ocsf,
    /// Agent Audit Trail, `draft-sharif-agent-audit-trail-06`: one record a line, each signed with the audit's own key.
    /// An export never makes a key.
    Aat(SigningPolicy),
}

/// What an export hands out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exported {
    /// A line of the export, without its LF.
    Line(String),
    /// A line of the log that is no event, and is left out.
    Skipped(SkippedLine),
}

/// Hands out the records that match in another format, line by line, until `each` has enough. Writes nothing to the
/// log. Its memory grows with the calls that are open, not with the log.
///
/// # Errors
/// The directory cannot be read; the signing key cannot be had or refuses.
pub fn export(
    dir: &Path,
    wanted: &Query,
    format: &ExportFormat,
    mut each: impl FnMut(Exported) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    // A log that is not there gives no empty trail.
    open_folder(dir)?;
    let mut writer = Writer::new(format)?;
    let mut flow = writer.begin().map(|line| told(line, &mut each));
    if matches!(flow, Ok(ControlFlow::Continue(()))) {
        query(dir, wanted, |seen| {
            flow = match seen {
                Seen::Event(event) => writer.event(&event).map(|line| told(line, &mut each)),
                Seen::Skipped(line) => Ok(each(Exported::Skipped(line))),
            };
            flow.as_ref().map_or(ControlFlow::Break(()), |flow| *flow)
        })?;
    }
    if flow?.is_continue() {
        let _ended_anyway = told(writer.end()?, &mut each);
    }
    Ok(())
}

fn told(line: Option<String>, each: &mut impl FnMut(Exported) -> ControlFlow<()>) -> ControlFlow<()> {
    line.map_or(ControlFlow::Continue(()), |line| each(Exported::Line(line)))
}

/// An export under way: what it says before, for each record, and after.
#[derive(Debug)]
enum Writer {
    Jsonl,
    OtlpJson(OtlpLogs),
    Ocsf,
    Aat(Box<AatTrail>),
}

impl Writer {
    fn new(format: &ExportFormat) -> Result<Self, AuditError> {
        Ok(match format {
            ExportFormat::Jsonl => Self::Jsonl,
            ExportFormat::OtlpJson => Self::OtlpJson(OtlpLogs::default()),
            ExportFormat::Ocsf => Self::Ocsf,
            ExportFormat::Aat(signing) => Self::Aat(Box::new(AatTrail::new(signing.signer()?)?)),
        })
    }

    fn begin(&mut self) -> Result<Option<String>, AuditError> {
        match self {
            Self::Aat(trail) => trail.begin().map(Some),
            _ => Ok(None),
        }
    }

    fn event(&mut self, event: &StoredEvent) -> Result<Option<String>, AuditError> {
        Ok(match self {
            Self::Jsonl => Some(event.to_json().to_owned()),
            Self::OtlpJson(logs) => {
                logs.push(LogRecord::of(event, &Details::of(event)));
                if logs.len() < BATCH { None } else { line_of(logs) }
            }
            Self::Ocsf => Some(ocsf::event(event, &Details::of(event)).to_string()),
            Self::Aat(trail) => Some(trail.event(event, &Details::of(event))?),
        })
    }

    fn end(&mut self) -> Result<Option<String>, AuditError> {
        match self {
            Self::Jsonl | Self::Ocsf => Ok(None),
            Self::OtlpJson(logs) => Ok(line_of(logs)),
            Self::Aat(trail) => trail.end().map(Some),
        }
    }
}

/// A full batch as a line of text: JSON has no LF in it.
fn line_of(logs: &mut OtlpLogs) -> Option<String> {
    logs.take(OtlpEncoding::Json).map(|request| String::from_utf8_lossy(&request).into_owned())
}

/// What the formats tell of a record beside its own fields.
#[derive(Debug)]
struct Details {
    /// The tool of a Work IQ call, else the action.
    operation: String,
    /// The server of a Work IQ call, else entrabot itself.
    service: String,
    is_work_iq: bool,
    error_type: Option<String>,
    prev: Option<String>,
}

impl Details {
    fn of(event: &StoredEvent) -> Self {
        #[derive(Deserialize)]
        struct Chained {
            prev: Option<String>,
        }
        let (service, operation, is_work_iq) = match work_iq(event.action()) {
            Some((server, tool)) => (server, tool, true),
            None => (PRODUCT, event.action(), false),
        };
        Self {
            operation: operation.to_owned(),
            service: service.to_owned(),
            is_work_iq,
            error_type: event.error_type(),
            prev: serde_json::from_str::<Chained>(event.to_json()).ok().and_then(|chained| chained.prev),
        }
    }
}
