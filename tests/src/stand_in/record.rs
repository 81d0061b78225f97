//! The record of every request, in memory and as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::Role;
use super::http::Request;

/// One request as the stand-in saw it. Nothing is redacted: keys and tokens here are throw-away.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// 1, 2, 3 ... in the order the first bytes arrived.
    pub number: u64,
    /// Which listener it came to.
    pub host: Role,
    /// Number of the TCP connection, over all listeners.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The path as sent, without the query.
    pub path: String,
    /// The query as sent, without the `?`.
    pub query: String,
    /// Header names and values in the order sent; an object in the file.
    #[serde(serialize_with = "as_object")]
    pub headers: Vec<(String, String)>,
    /// The fields of a form body in the order sent; an object in the file.
    #[serde(serialize_with = "as_optional_object")]
    pub form: Option<Vec<(String, String)>>,
    /// The body when it is JSON.
    pub json: Option<Value>,
    /// The status that was answered; 0 when the connection was cut without one.
    pub status: u16,
    /// The name of the fault that shaped the answer.
    pub fault: Option<String>,
    /// When the first byte of the connection arrived, nanoseconds since 1970.
    pub connection_first_byte_ns: u64,
    /// When the first byte of this request arrived (after TLS), nanoseconds since 1970.
    pub first_byte_ns: u64,
    /// When the answer was ready to be sent, nanoseconds since 1970.
    pub answered_ns: u64,
}

impl RecordedRequest {
    /// The value of a header, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first form field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.form.as_ref()?.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The hop of the token exchange that this form is: 1, 2 or 3; `None` for anything else.
    #[must_use]
    pub fn hop(&self) -> Option<u8> {
        super::entra::hop_of(self.form.as_ref()?)
    }
}

/// When something arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) role: Role,
    pub(crate) connection: u64,
    pub(crate) connected_at: SystemTime,
    pub(crate) at: SystemTime,
    pub(crate) number: u64,
}

/// Keeps the record; every line is on its way to the file before the answer is.
pub(crate) struct Recorder {
    inner: Mutex<(Vec<RecordedRequest>, File)>,
}

impl Recorder {
    /// A record that also goes to this file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { inner: Mutex::new((Vec::new(), file)) })
    }

    /// Puts a request on record.
    pub(crate) fn add(&self, arrival: Arrival, request: &Request, status: u16, fault: Option<String>) {
        let entry = RecordedRequest {
            number: arrival.number,
            host: arrival.role,
            connection: arrival.connection,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            form: request.form(),
            json: request.json(),
            status,
            fault,
            connection_first_byte_ns: nanoseconds(arrival.connected_at),
            first_byte_ns: nanoseconds(arrival.at),
            answered_ns: nanoseconds(SystemTime::now()),
        };
        let mut line = serde_json::to_vec(&entry).expect("strings and numbers serialize");
        line.push(b'\n');
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        // A full disk must not stop the answer: the record in memory still has it.
        let _written = inner.1.write_all(&line);
        inner.0.push(entry);
    }

    /// All requests so far.
    pub(crate) fn all(&self) -> Vec<RecordedRequest> {
        self.inner.lock().expect("no holder of this lock panics").0.clone()
    }

    /// Forgets what is in memory; the file keeps it.
    pub(crate) fn clear(&self) {
        self.inner.lock().expect("no holder of this lock panics").0.clear();
    }
}

fn as_object<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

fn as_optional_object<S: Serializer>(
    pairs: &Option<Vec<(String, String)>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match pairs {
        Some(pairs) => as_object(pairs, serializer),
        None => serializer.serialize_none(),
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
