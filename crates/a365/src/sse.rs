//! Server-sent events (WHATWG HTML, section 9.2), decoded byte by byte under caps: no event and no stream can take
//! more memory than it is allowed, however it is cut into pieces.

/// Most bytes of one event's data.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of a stream.
pub const MAX_STREAM_BYTES: usize = 20 * 1024 * 1024;
const KEPT_LINE_BYTES: usize = 64 * 1024;

/// One event whose data is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; empty means `message`.
    pub kind: String,
    /// The `data` lines, joined by line feeds.
    pub data: String,
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SseError {
    /// An event's data, or a line, is larger than [`MAX_EVENT_BYTES`].
    #[error("an event is too large")]
    EventTooLarge,
    /// The stream is larger than [`MAX_STREAM_BYTES`].
    #[error("the stream is too large")]
    StreamTooLarge,
    /// An event is not UTF-8.
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// An incremental decoder. `id` and `retry` are understood and ignored: nothing is resumed.
#[derive(Debug)]
pub struct SseDecoder {
    max_event: usize,
    max_stream: usize,
    seen: usize,
    line: Vec<u8>,
    /// The last byte was a CR that ended a line: a LF right after it belongs to it.
    after_cr: bool,
    first_line: bool,
    data: Vec<u8>,
    has_data: bool,
    kind: Vec<u8>,
}

impl Default for SseDecoder {
    fn default() -> Self {
        Self::with_limits(MAX_EVENT_BYTES, MAX_STREAM_BYTES)
    }
}

impl SseDecoder {
    /// With caps of its own.
    #[must_use]
    pub fn with_limits(max_event: usize, max_stream: usize) -> Self {
        Self {
            max_event,
            max_stream,
            seen: 0,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            data: Vec::new(),
            has_data: false,
            kind: Vec::new(),
        }
    }

    /// Takes the next bytes and hands each complete event to `take`, until that returns `false`.
    ///
    /// # Errors
    /// See [`SseError`]; the decoder is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Event) -> bool) -> Result<(), SseError> {
        // What lies before the cap is read first, so that it does not matter how the stream was cut into pieces.
        let room = self.max_stream - self.seen;
        let within = &bytes[..bytes.len().min(room)];
        self.seen += within.len();
        if self.feed_within(within, &mut take)? && bytes.len() > room {
            return Err(SseError::StreamTooLarge);
        }
        Ok(())
    }

    /// Whether more is wanted.
    fn feed_within(&mut self, bytes: &[u8], mut take: impl FnMut(Event) -> bool) -> Result<bool, SseError> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if self.after_cr {
                self.after_cr = false;
                if *first == b'\n' {
                    rest = &rest[1..];
                    continue;
                }
            }
            let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &rest[..end.unwrap_or(rest.len())];
            // Room for the field's name; the rest of the event counts, so that both together stay under the cap.
            if self.line.len() + part.len() + self.data.len() > self.max_event.saturating_add(8) {
                return Err(SseError::EventTooLarge);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if let Some(event) = self.end_of_line()?
                && !take(event)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The stream ended: an event that lacks only its final blank line is given out all the same, because servers
    /// that close early leave it so. The standard would drop it; its reader decides whether it is whole.
    ///
    /// # Errors
    /// [`SseError::NotUtf8`], [`SseError::EventTooLarge`].
    pub fn finish(mut self) -> Result<Option<Event>, SseError> {
        if !self.line.is_empty()
            && let Some(event) = self.end_of_line()?
        {
            return Ok(Some(event));
        }
        self.dispatch()
    }

    fn end_of_line(&mut self) -> Result<Option<Event>, SseError> {
        let mut line = std::mem::take(&mut self.line);
        // A huge first data line becomes the data itself: two copies of it would break the promise of the cap.
        if line.len() > KEPT_LINE_BYTES && !self.has_data && line.starts_with(b"data:") {
            self.first_line = false;
            let prefix = if line.get(5) == Some(&b' ') { 6 } else { 5 };
            if line.len() - prefix > self.max_event {
                return Err(SseError::EventTooLarge);
            }
            line.drain(..prefix);
            self.data = line;
            self.has_data = true;
            return Ok(None);
        }
        let result = self.process(&line);
        // Keep the allocation of ordinary lines; give a huge one back.
        if line.capacity() <= KEPT_LINE_BYTES {
            self.line = line;
            self.line.clear();
        }
        result
    }

    fn process(&mut self, line: &[u8]) -> Result<Option<Event>, SseError> {
        let line = if std::mem::take(&mut self.first_line) {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            // A comment.
            Some(0) => return Ok(None),
            Some(at) => {
                let value = &line[at + 1..];
                (&line[..at], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() + 1 > self.max_event {
                    return Err(SseError::EventTooLarge);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.kind.clear();
                self.kind.extend_from_slice(&value[..value.len().min(256)]);
            }
            // `id`, `retry`, and fields that the standard does not know, are ignored.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Result<Option<Event>, SseError> {
        let data = std::mem::take(&mut self.data);
        let kind = std::mem::take(&mut self.kind);
        if !std::mem::take(&mut self.has_data) || data.is_empty() {
            return Ok(None);
        }
        let data = String::from_utf8(data).map_err(|_| SseError::NotUtf8)?;
        let kind = String::from_utf8(kind).map_err(|_| SseError::NotUtf8)?;
        Ok(Some(Event { kind, data }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]], limits: (usize, usize)) -> Result<Vec<Event>, SseError> {
        match outcome(pieces, limits) {
            (events, None) => Ok(events),
            (_, Some(error)) => Err(error),
        }
    }

    /// The events that were given out, and what ended it.
    fn outcome(pieces: &[&[u8]], limits: (usize, usize)) -> (Vec<Event>, Option<SseError>) {
        let mut decoder = SseDecoder::with_limits(limits.0, limits.1);
        let mut events = Vec::new();
        for piece in pieces {
            let fed = decoder.feed(piece, |event| {
                events.push(event);
                true
            });
            if let Err(error) = fed {
                return (events, Some(error));
            }
        }
        match decoder.finish() {
            Ok(last) => {
                events.extend(last);
                (events, None)
            }
            Err(error) => (events, Some(error)),
        }
    }

    fn data(stream: &[u8]) -> Vec<String> {
        decode(&[stream], (1000, 10_000)).unwrap().into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn every_framing_of_the_standard_is_understood() {
        for stream in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\rdata: b\r\r",
            "\u{feff}data: a\n\ndata: b\n\n",
            "data:a\n\ndata:b\n\n",
            ": comment\ndata: a\n: another\n\n:\n\ndata: b\n\n",
            "id: 1\nretry: 10\nfoo: bar\ndata: a\n\nid: 2\ndata:\n\ndata: b\n\n",
            "data: a\n\ndata: b",
            "data: a\n\ndata: b\n",
        ] {
            assert_eq!(data(stream.as_bytes()), ["a", "b"], "{stream:?}");
        }
        assert_eq!(data(b"data: a\ndata: b\n\n"), ["a\nb"]);
        assert_eq!(data(b"data\n\n"), [] as [&str; 0]);
        let events = decode(&[b"event: ping\ndata: x\n\ndata: y\n\n"], (100, 100)).unwrap();
        assert_eq!((events[0].kind.as_str(), events[1].kind.as_str()), ("ping", ""));
    }

    #[test]
    fn nothing_grows_past_its_cap() {
        assert_eq!(decode(&[&[b'x'; 200]], (100, 1000)), Err(SseError::EventTooLarge));
        let many = b"data: 0123456789\n".repeat(20);
        assert_eq!(decode(&[&many], (100, 1000)), Err(SseError::EventTooLarge));
        let comments = b": keep-alive\n\n".repeat(100);
        assert_eq!(decode(&[&comments], (100, 1000)), Err(SseError::StreamTooLarge));
        assert_eq!(decode(&[b"data: \xff\n\n"], (100, 1000)), Err(SseError::NotUtf8));
    }

    #[test]
    fn a_taker_that_has_enough_ends_the_feeding() {
        let mut decoder = SseDecoder::default();
        let mut taken = 0;
        decoder
            .feed(b"data: a\n\ndata: b\n\n", |_| {
                taken += 1;
                false
            })
            .unwrap();
        assert_eq!(taken, 1);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec(
                prop_oneof![
                    Just("data: x".to_owned()), Just("data:".to_owned()), Just(String::new()), Just(":c".to_owned()),
                    Just("event: e".to_owned()), Just("data: \u{4e2d}\u{1f600}".to_owned()), "[a-z: ]{0,12}",
                ], 0..20),
            ends in prop::collection::vec(0_usize..3, 20),
            cuts in prop::collection::vec(0_usize..400, 0..12),
            bom in any::<bool>(),
            // Caps that such a stream stays under, and caps that it runs into.
            limits in prop_oneof![Just((10_000, 100_000)), (1_usize..60, 1_usize..200)],
        ) {
            let mut stream = if bom { "\u{feff}".to_owned() } else { String::new() };
            for (line, end) in lines.iter().zip(ends) {
                stream.push_str(line);
                stream.push_str(["\n", "\r\n", "\r"][end]);
            }
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let whole = outcome(&[bytes], limits);
            prop_assert_eq!(&outcome(&pieces, limits), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&outcome(&single, limits), &whole);
        }
    }
}
