use std::fmt;
use std::sync::Arc;

use crate::{Recorded, ServerName, ToolName};

/// Who wants to know of each call to a server, for traces and metrics. Called from the call's own task, so it must not block.
/// It hears the names that are on record, and never an argument.
pub trait CallObserver: Send + Sync {
    /// A call begins.
    fn begins(&self, server: &ServerName, tool: &ToolName) -> Box<dyn CallObservation>;
}

/// One call under way; dropped when the call is.
pub trait CallObservation: Send {
    /// What the server is told of the trace; `None`: nothing.
    fn traceparent(&self) -> Option<TraceParent>;

    /// The call is over: under which ids it is on record, and the stable name of its error.
    fn ended(self: Box<Self>, recorded: Option<Recorded>, error_type: Option<&'static str>);
}

/// An observer that can be handed on, and shown.
#[derive(Clone)]
pub(crate) struct Observer(pub(crate) Arc<dyn CallObserver>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// The ids of a trace and of a span in it. Random bytes and a flag: there is no place for anything else.
///
/// Source: W3C Trace Context, level 1, `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span that is the parent.
    pub span_id: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceParent {
    /// From `00-{32 hex}-{16 hex}-{2 hex}`; a later version may have more after it. `None` for anything else, and for ids of
    /// nothing but zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version: [u8; 1] = bytes_of(parts.next()?)?;
        let (trace_id, span_id) = (bytes_of(parts.next()?)?, bytes_of(parts.next()?)?);
        let [flags] = bytes_of(parts.next()?)?;
        let known = version != [0xff] && (version != [0] || parts.next().is_none());
        let real = trace_id != [0; 16] && span_id != [0; 8];
        (known && real).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if self.sampled { "-01" } else { "-00" })
    }
}

/// Exactly so many bytes in lower-case hexadecimal.
fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 2 * N || !text.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceParent::parse(text).unwrap();
        assert!(parent.sampled);
        assert_eq!(parent.to_string(), text);
        assert!(!TraceParent::parse(&text.replace("-01", "-02")).unwrap().sampled);
        // A later version may say more.
        assert!(TraceParent::parse(&format!("01{}-what-comes", &text[2..])).is_some());
        for bad in [
            "",
            "00",
            &text[..54],
            &text.to_uppercase(),
            &format!("{text}-more"),
            &text.replace("00-", "ff-"),
            &text.replace("b7ad6b7169203331", "0000000000000000"),
            &text.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &text.replace("0af7", "é7"),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
