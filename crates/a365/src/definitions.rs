//! Tool definitions as servers advertise them, and their canonical digest.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::xpia::Wrapping;

/// Most tools of one server.
pub(crate) const MAX_TOOLS: usize = 500;

/// A tool as its server describes it. The texts are untrusted: cleaned, and in envelopes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ToolDefinition {
    /// The tool's name.
    pub name: String,
    /// What the server says it does (untrusted, enveloped).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of its arguments, as advertised: for programs, not for a model.
    pub input_schema: Value,
    /// SHA-256 of name, description and schema in canonical form, lower-case hex: what is pinned.
    pub sha256: String,
}

/// A definition as it came.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) input_schema: Value,
    pub(crate) sha256: String,
}

impl Definition {
    /// From one entry of `tools/list`; `None` for an entry without a usable name.
    pub(crate) fn read(entry: Value) -> Option<Self> {
        let Value::Object(mut entry) = entry else { return None };
        let Some(Value::String(name)) = entry.remove("name") else { return None };
        crate::ToolName::parse(&name).ok()?;
        let description = match entry.remove("description") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let input_schema = entry.remove("inputSchema").unwrap_or(Value::Null);
        let sha256 = digest(&name, description.as_deref(), &input_schema);
        Some(Self { name, description, input_schema, sha256 })
    }

    pub(crate) fn shown(self, source: &str, wrapping: Wrapping) -> ToolDefinition {
        ToolDefinition {
            name: self.name,
            description: self.description.map(|text| wrapping.wrap(source, &cut(&text))),
            input_schema: self.input_schema,
            sha256: self.sha256,
        }
    }
}

/// A description is for reading; what is longer than this is an essay.
fn cut(text: &str) -> String {
    text.chars().take(2000).collect()
}

/// SHA-256 over the canonical JSON of `{description, inputSchema, name}`: keys sorted, no white space.
fn digest(name: &str, description: Option<&str>, input_schema: &Value) -> String {
    let mut canonical = Map::new();
    canonical.insert("description".into(), description.map_or(Value::Null, Value::from));
    canonical.insert("inputSchema".into(), sorted(input_schema));
    canonical.insert("name".into(), name.into());
    let text = Value::Object(canonical).to_string();
    hex(&Sha256::digest(text.as_bytes()))
}

/// With every object's keys in order, whatever map serde_json was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut keys: Vec<&String> = entries.keys().collect();
            keys.sort_unstable();
            let mut in_order = Map::new();
            in_order.extend(keys.into_iter().map(|key| (key.clone(), sorted(&entries[key]))));
            Value::Object(in_order)
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_is_of_the_meaning_and_not_of_the_spelling() {
        let read = |text: &str| Definition::read(serde_json::from_str(text).unwrap()).unwrap().sha256;
        let a = read(r#"{"name":"T","description":"d","inputSchema":{"type":"object","required":["a"]}}"#);
        assert_eq!(
            a,
            read(r#"{"inputSchema":{"required":["a"],"type":"object"},"description":"d","name":"T","x":1}"#)
        );
        assert_ne!(
            a,
            read(r#"{"name":"T","description":"D","inputSchema":{"type":"object","required":["a"]}}"#)
        );
        assert_ne!(
            a,
            read(r#"{"name":"T","description":"d","inputSchema":{"type":"object","required":["b"]}}"#)
        );
        assert_ne!(
            a,
            read(r#"{"name":"U","description":"d","inputSchema":{"type":"object","required":["a"]}}"#)
        );
        // What anybody can compute with other tools.
        assert_eq!(
            digest("T", None, &json!({"b": 1, "a": 2})),
            hex(&Sha256::digest(br#"{"description":null,"inputSchema":{"a":2,"b":1},"name":"T"}"#))
        );
    }
}
