//! Our own token in a server's answer: what was sent to prove who calls comes back to nobody.

use serde_json::{Map, Value};

/// What stands in its place.
pub(super) const INSTEAD: &str = "[redacted]";

/// Takes the secret out of every text and key.
pub(super) fn without(secret: &str, value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.contains(secret) {
                *text = text.replace(secret, INSTEAD);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| without(secret, value)),
        Value::Object(entries) => without_in(secret, entries),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The same for the members of an object.
pub(super) fn without_in(secret: &str, entries: &mut Map<String, Value>) {
    entries.values_mut().for_each(|value| without(secret, value));
    if entries.keys().any(|key| key.contains(secret)) {
        let named = std::mem::take(entries).into_iter();
        entries.extend(named.map(|(key, value)| (key.replace(secret, INSTEAD), value)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_in_no_text_and_no_key_of_any_depth() {
        let secret = "header.payload.signature";
        let mut value =
            json!({"a": [format!("x{secret}y{secret}"), 7, null], secret: {"b": secret}, "c": "kept"});
        without(secret, &mut value);
        assert_eq!(
            value,
            json!({"a": ["x[redacted]y[redacted]", 7, null], "[redacted]": {"b": "[redacted]"}, "c": "kept"})
        );
    }
}
