//! HTTP/1.1 as small as the stand-in needs it, over TLS: written by hand because the hostile cases
//! must be able to break every rule of it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const MAX_HEAD: usize = 256 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

/// One request as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path as sent, without the query.
    pub(crate) path: String,
    /// Query as sent, without the `?`.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The bearer of the `Authorization` header.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ").map(str::trim)
    }

    /// The fields of a form body, in the order sent.
    pub(crate) fn form(&self) -> Option<Vec<(String, String)>> {
        let kind = self.header("content-type")?;
        if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
            return None;
        }
        Some(url::form_urlencoded::parse(&self.body).into_owned().collect())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The first query parameter of this name, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// What goes back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Waits this long before the first byte.
    pub(crate) delay: Duration,
    pub(crate) status: u16,
    pub(crate) kind: AnswerKind,
}

/// A whole response, or a script that may break the rules.
#[derive(Debug, Clone)]
pub(crate) enum AnswerKind {
    Whole { headers: Vec<(String, String)>, body: Vec<u8> },
    Script(VecDeque<Step>),
}

/// One step of a scripted answer; the connection is dropped after the last one.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(Vec<u8>),
    /// The bytes again and again, with a pause between, until the peer goes or the count is reached.
    Repeat {
        bytes: Vec<u8>,
        times: u64,
        pause: Duration,
    },
    /// Keeps the connection open until the peer goes.
    Hold,
}

impl Answer {
    /// A JSON answer.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json; charset=utf-8", body.to_string().into_bytes())
    }

    /// An answer of this content type.
    pub(crate) fn whole(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { delay: Duration::ZERO, status, kind: AnswerKind::Whole { headers, body } }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { delay: Duration::ZERO, status, kind: AnswerKind::Whole { headers: vec![], body: vec![] } }
    }

    /// A scripted answer; `status` is what the record will say.
    pub(crate) fn script(status: u16, steps: impl IntoIterator<Item = Step>) -> Self {
        Self { delay: Duration::ZERO, status, kind: AnswerKind::Script(steps.into_iter().collect()) }
    }

    /// The same with one more header (of a whole answer).
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let AnswerKind::Whole { headers, .. } = &mut self.kind {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

/// A connection that keeps what it has read beyond the present request.
pub(crate) struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Waits for the first byte of the next request; false when the peer closed instead.
    pub(crate) async fn wait(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            return Ok(self.fill().await? > 0);
        }
        Ok(true)
    }

    /// Reads the next request whole.
    pub(crate) async fn read(&mut self) -> io::Result<Request> {
        let (mut request, head) = loop {
            if let Some(parsed) = parse_head(&self.buffer)? {
                break parsed;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(io::Error::other("request head too large"));
            }
            self.fill_some().await?;
        };
        self.buffer.drain(..head);
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let chunked = request
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        request.body = if chunked { self.read_chunks().await? } else { self.read_length(&request).await? };
        Ok(request)
    }

    /// Writes the answer; false when the connection must be dropped after it.
    pub(crate) async fn write(&mut self, answer: Answer, close: bool) -> io::Result<bool> {
        if !answer.delay.is_zero() {
            // A peer that goes away while we wait ends the wait.
            tokio::select! {
                () = tokio::time::sleep(answer.delay) => {}
                gone = self.peer_gone() => { gone?; return Ok(false); }
            }
        }
        match answer.kind {
            AnswerKind::Whole { headers, body } => {
                let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if answer.status != 204 {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                if !head.contains("\r\nDate: ") {
                    head.push_str(&format!("Date: {}\r\n", date(0)));
                }
                if close {
                    head.push_str("Connection: close\r\n");
                }
                head.push_str("\r\n");
                let mut bytes = head.into_bytes();
                bytes.extend_from_slice(&body);
                self.stream.write_all(&bytes).await?;
                self.stream.flush().await?;
                Ok(!close)
            }
            AnswerKind::Script(steps) => {
                for step in steps {
                    self.play(step).await?;
                }
                // A script ends the connection: half of them leave it in no usable state.
                let _gone = self.stream.shutdown().await;
                Ok(false)
            }
        }
    }

    async fn play(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Write(bytes) => {
                self.stream.write_all(&bytes).await?;
                self.stream.flush().await
            }
            Step::Repeat { bytes, times, pause } => {
                for _ in 0..times {
                    self.stream.write_all(&bytes).await?;
                    if !pause.is_zero() {
                        self.stream.flush().await?;
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            gone = self.peer_gone() => { return gone; }
                        }
                    }
                }
                self.stream.flush().await
            }
            Step::Hold => self.peer_gone().await,
        }
    }

    /// Ends when the peer closes; keeps what it sends meanwhile.
    async fn peer_gone(&mut self) -> io::Result<()> {
        while self.fill().await? > 0 {
            if self.buffer.len() > MAX_BODY {
                return Err(io::Error::other("the peer sends without end"));
            }
        }
        Ok(())
    }

    async fn read_length(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let length = match request.header("content-length") {
            None => 0,
            Some(text) => text.trim().parse::<usize>().map_err(io::Error::other)?,
        };
        if length > MAX_BODY {
            return Err(io::Error::other("request body too large"));
        }
        while self.buffer.len() < length {
            self.fill_some().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(io::Error::other)?;
            if body.len() + size > MAX_BODY {
                return Err(io::Error::other("request body too large"));
            }
            while self.buffer.len() < size {
                self.fill_some().await?;
            }
            body.extend(self.buffer.drain(..size));
            if self.read_line().await?.is_empty() && size == 0 {
                return Ok(body);
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill_some().await?;
        }
    }

    async fn fill_some(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// The `Date` of a server whose clock is so many seconds ahead.
pub(crate) fn date(ahead: i64) -> String {
    let now = chrono::Utc::now() + chrono::Duration::seconds(ahead);
    now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Answers what comes on a connection, until its peer has enough.
pub(crate) async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    answer: impl Fn(&Request) -> Answer,
) -> io::Result<()> {
    let mut peer = Connection::new(stream);
    while peer.wait().await? {
        let request = peer.read().await?;
        if !peer.write(answer(&request), false).await? {
            break;
        }
    }
    Ok(())
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut slots = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut slots);
    let length = match head.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let target = head.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = head
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Vec::new(),
    };
    Ok(Some((request, length)))
}

/// The reason phrase of a status.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
