//! JSON from outside: no duplicate keys, no trailing text, bounded depth (serde_json's 128) and bounded memory.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What one parsed document may cost in memory beyond its own text: a body of a few megabytes can hold millions of
/// empty arrays, each of which takes far more room than its two bytes.
const MAX_TREE_BYTES: usize = 12 * 1024 * 1024;
/// About what a value costs inside a sequence.
const VALUE_COST: usize = 40;
/// About what a map costs: one node of a B-tree, however few keys it holds.
const MAP_COST: usize = 640;

/// Text that is not one acceptable JSON document. Nothing of the text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrictJsonError {
    /// Not JSON at all.
    #[error("is not JSON")]
    NotJson,
    /// The same key twice in one object: two readers could see two documents.
    #[error("holds the same key twice in one object")]
    DuplicateKey,
    /// More values than any honest document has.
    #[error("holds too many values")]
    TooManyValues,
}

const DUPLICATE: &str = "duplicate key";
const TOO_MANY: &str = "too many values";

/// Parses one document.
pub(crate) fn parse(text: &[u8]) -> Result<Value, StrictJsonError> {
    let budget = Cell::new(MAX_TREE_BYTES);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { budget: &budget }.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        // serde_json keeps a custom message as text only; both are ours, from the two constants above.
        let message = error.to_string();
        if message.starts_with(DUPLICATE) {
            StrictJsonError::DuplicateKey
        } else if message.starts_with(TOO_MANY) {
            StrictJsonError::TooManyValues
        } else {
            StrictJsonError::NotJson
        }
    })
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    budget: &'a Cell<usize>,
}

impl Strict<'_> {
    fn spend<E: serde::de::Error>(self, cost: usize) -> Result<(), E> {
        let left = self.budget.get().checked_sub(cost).ok_or_else(|| E::custom(TOO_MANY))?;
        self.budget.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no finite number"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(self)? {
            self.spend(VALUE_COST)?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.spend(MAP_COST)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.spend(2 * VALUE_COST)?;
            let value = entries.next_value_seed(self)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_document_is_what_serde_json_makes_of_it() {
        for text in
            [r#"{"a":[1,-2,1.5,true,null,"\u00e9\ud83d\ude00"],"b":{"c":{}}}"#, "[]", "7", "\"x\"", " {} "]
        {
            assert_eq!(
                parse(text.as_bytes()).unwrap(),
                serde_json::from_str::<Value>(text).unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn two_readings_of_one_document_are_impossible() {
        assert_eq!(parse(br#"{"a":1,"a":2}"#), Err(StrictJsonError::DuplicateKey));
        assert_eq!(parse(br#"[{"x":{"a":1,"\u0061":2}}]"#), Err(StrictJsonError::DuplicateKey));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "[".repeat(100_000);
        let closed_deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in [
            &deep,
            &closed_deep,
            "NaN",
            "{\"a\":NaN}",
            "1e999",
            "{} x",
            "{}{}",
            "",
            "\"\\ud800\"",
            "[1,]",
            "'a'",
        ] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(StrictJsonError::NotJson),
                "{}",
                &text[..text.len().min(20)]
            );
        }
        assert_eq!(parse(b"\"\xff\""), Err(StrictJsonError::NotJson));
    }

    #[test]
    fn a_small_body_cannot_become_a_huge_tree() {
        let arrays = format!("[{}[]]", "[],".repeat(1_000_000));
        assert_eq!(parse(arrays.as_bytes()), Err(StrictJsonError::TooManyValues));
        let objects = format!("[{}{{}}]", "{},".repeat(100_000));
        assert_eq!(parse(objects.as_bytes()), Err(StrictJsonError::TooManyValues));
    }
}
