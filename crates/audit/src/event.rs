use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::line::StoredLine;
use crate::time::Timestamp;

/// One event as it stands in the log. All text may come from anywhere: print it only with [`StoredEvent::to_text`] or
/// [`StoredEvent::to_json`], which let nothing but printable ASCII through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    event_id: String,
    timestamp: String,
    agent_id: String,
    action: String,
    resource: String,
    outcome: String,
    attribution_type: String,
    call_id: Option<String>,
    src: Option<String>,
    via: Option<String>,
    seq: Option<u64>,
    json: String,
}

impl StoredEvent {
    /// Reads one line of a log, without its LF.
    ///
    /// # Errors
    /// Says why these bytes are no event.
    pub fn from_line(line: &[u8]) -> Result<Self, &'static str> {
        let stored = StoredLine::parse(line)?;
        let text = std::str::from_utf8(line).map_err(|_| "a line that is no UTF-8")?;
        Ok(Self {
            json: ascii(text),
            event_id: stored.event_id.into_owned(),
            timestamp: stored.timestamp.into_owned(),
            agent_id: stored.agent_id.into_owned(),
            action: stored.action.into_owned(),
            resource: stored.resource.into_owned(),
            outcome: stored.outcome.into_owned(),
            attribution_type: stored.attribution_type.into_owned(),
            call_id: stored.call_id.map(Into::into),
            src: stored.src.map(Into::into),
            via: stored.via.map(Into::into),
            seq: stored.seq,
        })
    }

    /// The line's id.
    #[must_use]
    pub fn event_id(&self) -> &str {
        &self.event_id
    }
    /// As it stands there.
    #[must_use]
    pub fn timestamp(&self) -> &str {
        &self.timestamp
    }
    /// The time, when it is one.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.timestamp)
    }
    /// Who acted.
    #[must_use]
    pub fn agent_id(&self) -> &str {
        &self.agent_id
    }
    /// What was done.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }
    /// On what.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }
    /// `pending`, `success`, `failure`, or what a foreign writer put there.
    #[must_use]
    pub fn outcome(&self) -> &str {
        &self.outcome
    }
    /// `agent`, `delegated-human`, `none`.
    #[must_use]
    pub fn attribution_type(&self) -> &str {
        &self.attribution_type
    }
    /// What joins pending and outcome; `None` for a foreign line.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.call_id.as_deref()
    }
    /// Which part of the product wrote it; `None` for a foreign line.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.src.as_deref()
    }
    /// Which link of the attribution chain answered.
    #[must_use]
    pub fn via(&self) -> Option<&str> {
        self.via.as_deref()
    }
    /// The number among our lines.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// The line as one line of ASCII JSON.
    #[must_use]
    pub fn to_json(&self) -> &str {
        &self.json
    }

    /// One line for a person: time, outcome, source, who, action, resource, event id.
    #[must_use]
    pub fn to_text(&self) -> String {
        let resource =
            if self.resource == self.action { String::new() } else { format!(" {}", shown(&self.resource)) };
        format!(
            "{}  {:<8} {:<12} {}({})  {}{resource}  {}",
            shown(&self.timestamp),
            shown(&self.outcome),
            shown(self.src.as_deref().unwrap_or("foreign")),
            shown(&self.agent_id),
            shown(&self.attribution_type),
            shown(&self.action),
            shown(&self.event_id),
        )
    }
}

/// Server and tool of a Work IQ call, by its action.
pub(crate) fn work_iq(action: &str) -> Option<(&str, &str)> {
    action.strip_prefix("a365.")?.split_once('.')
}

/// Text in which nothing can steer a terminal: escapes as in JSON, without the quotes.
pub(crate) fn shown(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    crate::json::push_string(&mut out, text);
    let inner = out.get(1..out.len() - 1).unwrap_or_default();
    String::from_utf8_lossy(inner).into_owned()
}

/// JSON text with every character outside printable ASCII escaped; in valid JSON those stand only inside strings.
fn ascii(json: &str) -> String {
    // As every line of ours is.
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}").expect("a string takes everything");
            }
        }
    }
    out
}

/// A metadata object as it stands in a line.
impl StoredEvent {
    /// The metadata, as JSON text.
    #[must_use]
    pub fn metadata_json(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        serde_json::from_str::<Metadata<'_>>(&self.json)
            .map_or_else(|_| "{}".to_owned(), |m| m.metadata.get().to_owned())
    }

    /// The stable name of the error that a failure met, where the record has room for it.
    #[must_use]
    pub fn error_type(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Failed {
            error_type: Option<String>,
        }
        serde_json::from_str::<Failed>(&self.metadata_json()).ok()?.error_type
    }
}
