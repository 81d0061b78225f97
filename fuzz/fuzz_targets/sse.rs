//! Any split of a stream gives the same events, under the caps, and nothing panics.
#![no_main]

use entrabot_a365::sse::{Event, SseDecoder, SseError};
use libfuzzer_sys::fuzz_target;

const MAX_EVENT: usize = 512;
const MAX_STREAM: usize = 2048;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Event>, SseError> {
    let mut decoder = SseDecoder::with_limits(MAX_EVENT, MAX_STREAM);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, |event| {
            events.push(event);
            true
        })?;
    }
    events.extend(decoder.finish()?);
    Ok(events)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = decode(std::iter::once(stream));
    let split = decode(stream.chunks(usize::from(size).max(1)));
    match (&whole, &split) {
        (Ok(whole), Ok(split)) => assert_eq!(whole, split),
        // Where several caps are passed, the pieces decide which one is noticed first.
        (Err(_), Err(_)) => {}
        (whole, split) => panic!("{whole:?} and {split:?}"),
    }
    for event in whole.into_iter().flatten() {
        assert!(!event.data.is_empty() && event.data.len() <= MAX_EVENT);
    }
});
