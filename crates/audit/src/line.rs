//! One line of the log: how it is written, and what is read of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::chain::Hash;
use crate::json::{push_hex, push_number, push_object, push_string};
use crate::record::Source;
use crate::time::Timestamp;
use crate::{AuditError, CallId, EventId};

/// Bounds in bytes. Over one of them is an error before the act, never a silent cut.
pub(crate) const MAX_ACTION: usize = 1024;
pub(crate) const MAX_RESOURCE: usize = 8 * 1024;
pub(crate) const MAX_OUTCOME: usize = 64;
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// The format that is written.
pub(crate) const VERSION: u64 = 1;

/// A metadata object, already as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Metadata(Arc<[u8]>);

impl Metadata {
    pub(crate) fn empty() -> Self {
        Self(Arc::from(*b"{}"))
    }
    pub(crate) fn of(members: &[(&str, &str)]) -> Self {
        let mut out = vec![b'{'];
        for (index, (key, value)) in members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(&mut out, key);
            out.push(b':');
            push_string(&mut out, value);
        }
        out.push(b'}');
        Self(out.into())
    }
    /// `None` when it nests too deeply.
    pub(crate) fn of_object(object: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        let mut out = Vec::new();
        push_object(&mut out, object).then(|| Self(out.into()))
    }
    /// JSON that was read from a line of ours.
    pub(crate) fn of_stored(json: String) -> Self {
        Self(json.into_bytes().into())
    }
    fn is_empty(&self) -> bool {
        *self.0 == *b"{}"
    }
}

/// What every line of a span says alike.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) call: CallId,
    pub(crate) source: &'static str,
    pub(crate) via: Cow<'static, str>,
    pub(crate) attribution: Cow<'static, str>,
    pub(crate) agent: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) metadata: Metadata,
}

impl Body {
    /// A record of the log's own.
    pub(crate) fn system(
        action: &str,
        resource: &str,
        metadata: &serde_json::Map<String, serde_json::Value>,
    ) -> Self {
        Self {
            call: CallId(new_id(0)),
            source: "system",
            via: "none".into(),
            attribution: "none".into(),
            agent: "unknown".to_owned(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            metadata: Metadata::of_object(metadata).unwrap_or_else(Metadata::empty),
        }
    }
}

/// Counts how often randomness was to be forgotten.
static FORGOTTEN: AtomicU64 = AtomicU64::new(0);

/// Lets no thread hand out ids from randomness that it drew before now. Called whenever a log is opened: a process
/// that was forked has its parent's, and can write nothing before it has opened the log anew.
pub(crate) fn forget_randomness() {
    FORGOTTEN.fetch_add(1, Ordering::Relaxed);
}

/// A UUIDv7 of this millisecond.
pub(crate) fn new_id(millis: u64) -> Uuid {
    const IDS: usize = 64;
    /// Randomness of the system, some ids' worth at a time: a call for each would cost as much as the hash.
    struct Pool {
        bytes: [[u8; 10]; IDS],
        used: usize,
        forgotten: u64,
    }
    thread_local! {
        static POOL: std::cell::RefCell<Pool> =
            const { std::cell::RefCell::new(Pool { bytes: [[0; 10]; IDS], used: IDS, forgotten: 0 }) };
    }
    POOL.with_borrow_mut(|pool| {
        let forgotten = FORGOTTEN.load(Ordering::Relaxed);
        if pool.used == IDS || pool.forgotten != forgotten {
            // From the system itself: the library for keys takes tens of milliseconds to warm up, and an id is no key.
            getrandom::fill(pool.bytes.as_flattened_mut()).expect("the system always has randomness");
            (pool.used, pool.forgotten) = (0, forgotten);
        }
        let random = pool.bytes[pool.used];
        pool.used += 1;
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    })
}

/// A line ready but for what only the one who holds the lock knows: number, hash, and a time that is held back.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) event: EventId,
    pub(crate) reading: Timestamp,
    /// The span that it opens.
    pub(crate) opens: Option<Arc<Body>>,
    /// The line up to the value of `"seq"`, then `"call_id"` to `"via"`.
    text: Vec<u8>,
    /// Where the second part begins.
    behind_seq: usize,
}

/// What a record says, borrowed from where it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) call: CallId,
    pub(crate) source: &'static str,
    pub(crate) via: &'a str,
    pub(crate) attribution: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) metadata: &'a Metadata,
}

const EVENT_KEY: &[u8] = br#"{"event_id":""#;
const TIME_KEY: &[u8] = br#"","timestamp":""#;
/// Where the timestamp stands in every line of ours.
const TIME_AT: usize = EVENT_KEY.len() + 36 + TIME_KEY.len();
/// What the one who holds the lock adds: 20 digits, `wall`, `prev`.
const ADDED: usize = 20 + 42 + crate::chain::PREV_SUFFIX;

impl Record {
    pub(crate) fn new(
        body: &Body,
        outcome: &str,
        error_type: Option<&'static str>,
        reading: Timestamp,
    ) -> Result<Self, AuditError> {
        let error_type = error_type
            // Only where the span's own metadata is empty: an A365 record's is exactly {server, tool}.
            .filter(|_| body.metadata.is_empty())
            .map(|name| Metadata::of(&[("error_type", name)]));
        let said = Said {
            call: body.call,
            source: body.source,
            via: &body.via,
            attribution: &body.attribution,
            agent: &body.agent,
            action: &body.action,
            resource: &body.resource,
            metadata: error_type.as_ref().unwrap_or(&body.metadata),
        };
        Self::saying(&said, outcome, reading)
    }

    pub(crate) fn saying(said: &Said<'_>, outcome: &str, reading: Timestamp) -> Result<Self, AuditError> {
        let event = EventId(new_id(reading.as_millis()));
        let mut text = Vec::with_capacity(
            320 + said.agent.len() + said.action.len() + said.resource.len() + said.metadata.0.len(),
        );
        text.extend_from_slice(EVENT_KEY);
        push_id(&mut text, event.0);
        text.extend_from_slice(TIME_KEY);
        reading.push_iso(&mut text);
        text.extend_from_slice(br#"","agent_id":"#);
        push_string(&mut text, said.agent);
        text.extend_from_slice(br#","action":"#);
        push_string(&mut text, said.action);
        text.extend_from_slice(br#","resource":"#);
        push_string(&mut text, said.resource);
        text.extend_from_slice(br#","outcome":"#);
        push_string(&mut text, outcome);
        text.extend_from_slice(br#","attribution_type":"#);
        push_string(&mut text, said.attribution);
        text.extend_from_slice(br#","metadata":"#);
        text.extend_from_slice(&said.metadata.0);
        text.extend_from_slice(br#","v":"#);
        push_number(&mut text, VERSION);
        text.extend_from_slice(br#","seq":"#);
        let behind_seq = text.len();
        text.extend_from_slice(br#","call_id":""#);
        push_id(&mut text, said.call.0);
        text.extend_from_slice(br#"","src":""#);
        text.extend_from_slice(said.source.as_bytes());
        text.extend_from_slice(br#"","via":"#);
        push_string(&mut text, said.via);
        let size = text.len() + ADDED;
        if size > MAX_LINE {
            return Err(AuditError::TooLarge { part: "line", size, limit: MAX_LINE });
        }
        Ok(Self { event, reading, opens: None, text, behind_seq })
    }

    /// Names the span that it opens.
    #[must_use]
    pub(crate) fn opening(mut self, body: &Arc<Body>) -> Self {
        self.opens = Some(Arc::clone(body));
        self
    }

    /// The most bytes that its line can have.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + ADDED
    }

    /// Appends the line without its LF.
    pub(crate) fn push(
        &self,
        out: &mut Vec<u8>,
        time: Timestamp,
        wall: Option<Timestamp>,
        seq: u64,
        prev: &Hash,
    ) {
        let (front, behind) = self.text.split_at(self.behind_seq);
        if time == self.reading {
            out.extend_from_slice(front);
        } else {
            out.extend_from_slice(&front[..TIME_AT]);
            time.push_iso(out);
            out.extend_from_slice(&front[TIME_AT + crate::time::ISO_LENGTH..]);
        }
        push_number(out, seq);
        out.extend_from_slice(behind);
        if let Some(wall) = wall {
            out.extend_from_slice(br#","wall":""#);
            wall.push_iso(out);
            out.push(b'"');
        }
        out.extend_from_slice(br#","prev":""#);
        push_hex(out, prev);
        out.extend_from_slice(br#""}"#);
    }
}

fn push_id(out: &mut Vec<u8>, id: Uuid) {
    out.extend_from_slice(id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
}

/// What stands in a line, native or foreign. Unknown members are passed over; a known one that stands twice is an
/// error.
#[derive(Debug, Deserialize)]
pub(crate) struct StoredLine<'a> {
    #[serde(borrow)]
    pub(crate) event_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) agent_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) action: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) resource: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) attribution_type: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "raw_json")]
    pub(crate) metadata: &'a str,
    pub(crate) v: Option<u64>,
    pub(crate) seq: Option<u64>,
    #[serde(borrow)]
    pub(crate) call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) src: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) via: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) wall: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) prev: Option<Cow<'a, str>>,
}

fn raw_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

impl<'a> StoredLine<'a> {
    /// # Errors
    /// Says why these bytes are no line of a log.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, &'static str> {
        match line {
            [] => return Err("a blank line"),
            [.., b'\r'] => return Err("a line that ends with CR LF"),
            [0xef, 0xbb, 0xbf, ..] => return Err("a byte order mark"),
            _ => {}
        }
        if let Some(parsed) = Self::parse_plain(line) {
            return Ok(parsed);
        }
        if memchr::memchr(0, line).is_some() {
            return Err("a NUL byte in a line");
        }
        let parsed: Self = serde_json::from_slice(line).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                "a line that is no audit event (a member is missing, doubled or of another type)"
            }
            _ => "a line that is no JSON object",
        })?;
        // Members that are strings only, as in all our own lines, need no second look; anything else is read in
        // full, with a limit on depth and on the range of numbers.
        let raw = parsed.metadata.as_bytes();
        let plain = memchr::memchr_iter(b':', raw).all(|at| raw.get(at + 1) == Some(&b'"')) && raw[0] == b'{';
        if !plain && serde_json::from_slice::<serde_json::Value>(raw).is_err() {
            return Err("metadata that nests too deeply or holds a number out of range");
        }
        Ok(parsed)
    }

    /// Whether it is the record that a foreign line slipped in front of the batch before it.
    pub(crate) fn explains_a_race(&self) -> bool {
        self.action == "audit.raced" && self.src.as_deref() == Some(Source::System.as_str())
    }

    /// Reads a line exactly as [`Record::push`] writes it, with neither escapes nor anything but strings in its
    /// metadata. `None` for every other line, sound or not.
    fn parse_plain(line: &'a [u8]) -> Option<Self> {
        // Without an early way out, so that many bytes are looked at in one step.
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') & (*byte != b'\\');
        if !line.iter().fold(true, |all, byte| all & plain(byte)) {
            return None;
        }
        let mut rest = Rest(std::str::from_utf8(line).ok()?);
        let event_id = rest.text(r#"{"event_id":""#)?;
        let timestamp = rest.text(r#","timestamp":""#)?;
        let agent_id = rest.text(r#","agent_id":""#)?;
        let action = rest.text(r#","action":""#)?;
        let resource = rest.text(r#","resource":""#)?;
        let outcome = rest.text(r#","outcome":""#)?;
        let attribution_type = rest.text(r#","attribution_type":""#)?;
        let metadata = rest.strings_object(r#","metadata":"#)?;
        let v = rest.number(r#","v":"#)?;
        let seq = rest.number(r#","seq":"#)?;
        let call_id = rest.text(r#","call_id":""#)?;
        let src = rest.text(r#","src":""#)?;
        let via = rest.text(r#","via":""#)?;
        let wall = rest.text(r#","wall":""#);
        let prev = rest.text(r#","prev":""#)?;
        if rest.0 != "}" {
            return None;
        }
        Some(Self {
            event_id: event_id.into(),
            timestamp: timestamp.into(),
            agent_id: agent_id.into(),
            action: action.into(),
            resource: resource.into(),
            outcome: outcome.into(),
            attribution_type: attribution_type.into(),
            metadata,
            v: Some(v),
            seq: Some(seq),
            call_id: Some(call_id.into()),
            src: Some(src.into()),
            via: Some(via.into()),
            wall: wall.map(Into::into),
            prev: Some(prev.into()),
        })
    }

    /// Whether one of our writers wrote it.
    pub(crate) fn is_native(&self) -> bool {
        self.prev.is_some() || self.v.is_some() || self.seq.is_some()
    }
}

/// What is still to be read of a plain line: ASCII without escapes.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The text between `key`, which ends with the opening quote, and the closing quote.
    fn text(&mut self, key: &str) -> Option<&'a str> {
        let rest = self.0.strip_prefix(key)?;
        let end = memchr::memchr(b'"', rest.as_bytes())?;
        self.0 = &rest[end + 1..];
        Some(&rest[..end])
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        let rest = self.0.strip_prefix(key)?;
        let end = rest.bytes().take_while(u8::is_ascii_digit).count();
        self.0 = &rest[end..];
        crate::note::number(&rest[..end])
    }

    /// `{}` or `{"k":"v",...}`.
    fn strings_object(&mut self, key: &str) -> Option<&'a str> {
        let object = self.0.strip_prefix(key)?;
        let mut rest = Rest(object);
        rest.0 = rest.0.strip_prefix('{')?;
        let mut opening = "\"";
        while !rest.0.starts_with('}') {
            rest.text(opening)?;
            rest.text(":\"")?;
            opening = ",\"";
        }
        rest.0 = &rest.0[1..];
        self.0 = rest.0;
        Some(&object[..object.len() - rest.0.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{GENESIS, prev_of};

    #[test]
    fn a_line_has_the_eight_fields_first_and_prev_last() {
        let body = Body {
            call: CallId(Uuid::from_u128(7)),
            source: "transport",
            via: "session".into(),
            attribution: "agent".into(),
            agent: "agent-user".into(),
            action: "a365.mcp_WordServer.GetDocumentContent".into(),
            resource: "a365.mcp_WordServer.GetDocumentContent".into(),
            metadata: Metadata::of(&[("server", "mcp_WordServer"), ("tool", "GetDocumentContent")]),
        };
        let time = Timestamp::parse("2026-07-12T10:00:00.123456+00:00").unwrap();
        let mut record = Record::new(&body, "pending", Some("Ignored"), time).unwrap();
        record.text[EVENT_KEY.len()..EVENT_KEY.len() + 36]
            .copy_from_slice(Uuid::from_u128(9).hyphenated().to_string().as_bytes());
        let mut line = Vec::new();
        record.push(&mut line, time, None, 3, &GENESIS);
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            concat!(
                r#"{"event_id":"00000000-0000-0000-0000-000000000009","timestamp":"2026-07-12T10:00:00.123456+00:00","#,
                r#""agent_id":"agent-user","action":"a365.mcp_WordServer.GetDocumentContent","#,
                r#""resource":"a365.mcp_WordServer.GetDocumentContent","outcome":"pending","attribution_type":"agent","#,
                r#""metadata":{"server":"mcp_WordServer","tool":"GetDocumentContent"},"v":1,"seq":3,"#,
                r#""call_id":"00000000-0000-0000-0000-000000000007","src":"transport","via":"session","#,
                r#""prev":"0000000000000000000000000000000000000000000000000000000000000000"}"#
            )
        );
        assert_eq!(prev_of(&line), Some(GENESIS));
        assert!(StoredLine::parse(&line).unwrap().is_native());
    }

    #[test]
    fn the_plain_reader_agrees_with_the_general_one() {
        let body = Body::system(
            "audit.recovered",
            "audit.log",
            &serde_json::Map::from_iter([("a".to_owned(), "x,y:z".into()), ("b".to_owned(), "}{".into())]),
        );
        let time = Timestamp::parse("2026-07-12T10:00:00.123456+00:00").unwrap();
        for wall in [None, Some(time)] {
            let mut line = Vec::new();
            Record::new(&body, "success", None, time).unwrap().push(&mut line, time, wall, 12, &GENESIS);
            let plain = StoredLine::parse_plain(&line).unwrap();
            let general: StoredLine<'_> = serde_json::from_slice(&line).unwrap();
            assert_eq!(format!("{plain:?}"), format!("{general:?}"));
            for at in 0..line.len() {
                let mut changed = line.clone();
                changed[at] ^= 4;
                // Whatever it takes, the general reader takes too, and alike.
                if let Some(plain) = StoredLine::parse_plain(&changed) {
                    let general: StoredLine<'_> = serde_json::from_slice(&changed).unwrap();
                    assert_eq!(format!("{plain:?}"), format!("{general:?}"));
                }
            }
        }
    }

    #[test]
    fn an_id_is_version_7() {
        let id = new_id(1_783_850_400_123);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_timestamp().unwrap().to_unix().0, 1_783_850_400);
    }

    #[test]
    fn case_46_bombs_do_not_crash_the_parser() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let line = |metadata: &str| {
            format!(
                r#"{{"event_id":"a","timestamp":"b","agent_id":"c","action":"d","resource":"e","outcome":"f","attribution_type":"g","metadata":{metadata}}}"#
            )
        };
        assert!(StoredLine::parse(line(&deep).as_bytes()).is_err());
        assert!(StoredLine::parse(line("{}").as_bytes()).is_ok());
    }
}
