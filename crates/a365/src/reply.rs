use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use serde_json::{Map, Value};

use crate::definitions::{Definition, ToolDefinition};
use crate::strict_json;
use crate::xpia::Wrapping;

/// What a Work IQ tool answered. What it holds is untrusted, so it comes out only cleaned and in envelopes; the
/// plain text stays inside this crate.
pub struct Reply {
    body: Body,
    skipped: usize,
    /// The `source` of its envelopes: `a365:{server}.{tool}`.
    source: String,
    wrapping: Wrapping,
}

/// The usable part of a result, as it came.
pub(crate) enum Body {
    /// A JSON object: `structuredContent`, or a text block that holds one.
    Object(Map<String, Value>),
    /// Another JSON value of `structuredContent`.
    Json(Value),
    /// Text blocks.
    Text(String),
    /// A listing of tools.
    Listing(Listing),
    /// Nothing.
    Empty,
}

/// What a server lists, and what its pins say of it.
pub(crate) struct Listing {
    pub(crate) definitions: Arc<[Definition]>,
    /// The tools whose definition is not the pinned one; known only where the tools are to be offered.
    pub(crate) changed: Vec<String>,
    /// The pins could not be relied on, and all were dropped before these were pinned.
    pub(crate) pins_begun_anew: bool,
}

impl Reply {
    pub(crate) fn new(body: Body, skipped: usize, source: String, wrapping: Wrapping) -> Self {
        Self { body, skipped, source, wrapping }
    }

    /// The answer as JSON: every string in it is cleaned and in an envelope of its own.
    #[must_use]
    pub fn content(&self) -> Value {
        let value = match &self.body {
            Body::Listing(_) => {
                return serde_json::to_value(self.definitions()).unwrap_or(Value::Null);
            }
            Body::Object(entries) => Value::Object(entries.clone()),
            Body::Json(value) => value.clone(),
            Body::Text(text) => Value::String(text.clone()),
            Body::Empty => Value::Null,
        };
        self.wrapping.wrap_all(&self.source, value)
    }

    /// Parts of the answer that are not text and were left out.
    #[must_use]
    pub fn skipped_blocks(&self) -> usize {
        self.skipped
    }

    /// The tools of a listing; empty for any other answer.
    #[must_use]
    pub fn definitions(&self) -> Vec<ToolDefinition> {
        self.listing()
            .into_iter()
            .flat_map(|listing| listing.definitions.iter())
            .map(|definition| definition.clone().shown(&self.source, self.wrapping))
            .collect()
    }

    pub(crate) fn listing(&self) -> Option<&Listing> {
        match &self.body {
            Body::Listing(listing) => Some(listing),
            Body::Object(_) | Body::Json(_) | Body::Text(_) | Body::Empty => None,
        }
    }

    /// Untrusted, as it came: for the typed tools, which wrap field by field.
    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn wrapping(&self) -> Wrapping {
        self.wrapping
    }
}

impl Body {
    /// From text blocks: the first one that is a JSON object, else all their text. JSON in a JSON string is
    /// unwrapped once more.
    pub(crate) fn from_texts(texts: Vec<String>) -> Self {
        let Some(first) = texts.first() else { return Self::Empty };
        if let Some(object) = object_in(first) {
            return Self::Object(object);
        }
        let text = texts.join("\n");
        if text.trim().is_empty() { Self::Empty } else { Self::Text(text) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Object(entries) => entries.is_empty(),
            Self::Json(value) => value.is_null(),
            Self::Text(text) => text.trim().is_empty(),
            Self::Listing(_) => false,
            Self::Empty => true,
        }
    }
}

fn object_in(text: &str) -> Option<Map<String, Value>> {
    let trimmed = text.trim_start();
    if !trimmed.starts_with(['{', '"']) {
        return None;
    }
    // What does not parse is text like any other: nothing is decided by it.
    match strict_json::parse(text.as_bytes()).ok()? {
        Value::Object(entries) => Some(entries),
        Value::String(inner) if inner.trim_start().starts_with('{') => {
            match strict_json::parse(inner.as_bytes()).ok()? {
                Value::Object(entries) => Some(entries),
                _ => None,
            }
        }
        _ => None,
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reply = serializer.serialize_struct("Reply", 2)?;
        reply.serialize_field("content", &self.content())?;
        reply.serialize_field("skipped_blocks", &self.skipped)?;
        reply.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(texts: &[&str]) -> Body {
        Body::from_texts(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn json_is_unwrapped_at_most_twice_and_all_else_is_text() {
        let object = serde_json::from_str::<Map<String, Value>>(r#"{"a":1}"#).unwrap();
        for json in [r#"{"a":1}"#, r#""{\"a\":1}""#] {
            assert!(matches!(body(&[json, "more"]), Body::Object(found) if found == object), "{json}");
        }
        for text in ["WordCommentInfo [CommentId=1]", "[1]", r#"{"a":1,"a":2}"#] {
            assert!(matches!(body(&[text]), Body::Text(found) if found == text), "{text}");
        }
        assert!(matches!(body(&["x", "y"]), Body::Text(text) if text == "x\ny"));
        assert!(matches!(body(&[]), Body::Empty));
        assert!(matches!(body(&[" "]), Body::Empty));
    }

    #[test]
    fn a_reply_shows_its_content_only_in_envelopes() {
        let reply = Reply::new(Body::Text("PLANTED".into()), 0, "a365:s.t".into(), Wrapping::new(true));
        assert!(!format!("{reply:?}").contains("PLANTED"));
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"content":"<external_content source=\"a365:s.t\">PLANTED</external_content>","skipped_blocks":0}"#
        );
    }
}
