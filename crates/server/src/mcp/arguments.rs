//! The arguments of a call against the table of its tool. No value and no foreign name ever gets into an error.

use rmcp::model::JsonObject;
use serde_json::Value;

use entrabot_keystore::ErrorClass;

use super::tools::Argument;
use crate::failure::Failure;

/// Checked arguments: every one of the table is there once, is a string, and within its bounds.
#[derive(Debug)]
pub(super) struct Arguments {
    values: Vec<(&'static str, String)>,
}

impl Arguments {
    /// # Errors
    /// `InvalidArgumentError`, naming the argument.
    pub(super) fn check(table: &'static [Argument], given: Option<JsonObject>) -> Result<Self, Failure> {
        let mut given = given.unwrap_or_default();
        let mut values = Vec::with_capacity(table.len());
        for argument in table {
            let value = match (given.remove(argument.name), argument.default) {
                (Some(Value::String(text)), _) => text,
                (Some(_), _) => return Err(refused(argument.name, "must be a string")),
                (None, Some(default)) => default.to_owned(),
                (None, None) => return Err(refused(argument.name, "is missing")),
            };
            if argument.filled && value.trim().is_empty() {
                return Err(refused(argument.name, "must not be blank"));
            }
            if value.len() > argument.longest && value.chars().count() > argument.longest {
                return Err(refused(
                    argument.name,
                    &format!("is longer than {} characters", argument.longest),
                ));
            }
            values.push((argument.name, value));
        }
        if given.is_empty() { Ok(Self { values }) } else { Err(unknown(table)) }
    }

    /// Every argument with its value, in the table's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The value of an argument of the table.
    pub(super) fn get(&self, name: &str) -> &str {
        self.values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// `InvalidArgumentError` for one argument.
pub(super) fn refused(name: &str, reason: &str) -> Failure {
    Failure::new(
        "InvalidArgumentError",
        format!("{name} {reason}"),
        Some("correct the argument; nothing was sent and nothing was recorded"),
        ErrorClass::Configuration,
    )
}

/// The name is not told back: it could be content, and the hint has those that are right.
fn unknown(table: &[Argument]) -> Failure {
    let known: Vec<_> = table.iter().map(|argument| argument.name).collect();
    let hint = match known.as_slice() {
        [] => "this tool takes no arguments".to_owned(),
        known => format!("this tool takes {}", known.join(", ")),
    };
    Failure::new(
        "InvalidArgumentError",
        "an argument is none of this tool's",
        Some(&hint),
        ErrorClass::Configuration,
    )
}

#[cfg(test)]
mod tests {
    use super::super::tools::ToolSpec;
    use super::*;
    use serde_json::json;

    fn check(tool: &str, given: Value) -> Result<Arguments, Failure> {
        let Value::Object(given) = given else { panic!("an object") };
        Arguments::check(ToolSpec::named(tool).unwrap().arguments, Some(given))
    }

    #[test]
    fn arguments_are_closed_typed_and_bounded() {
        for (tool, given, expected) in [
            ("read_word_document", json!({}), "url is missing"),
            ("read_word_document", json!({"url": 7}), "url must be a string"),
            ("read_word_document", json!({"url": null}), "url must be a string"),
            ("read_word_document", json!({"url": " "}), "url must not be blank"),
            (
                "read_word_document",
                json!({"url": "https://a/", "raw": true}),
                "an argument is none of this tool's",
            ),
            (
                "read_word_document",
                json!({"url": "https://a/", "PLANTED secret": 1}),
                "an argument is none of this tool's",
            ),
            ("whoami", json!({"x": 1}), "an argument is none of this tool's"),
            (
                "audit_log",
                json!({"action": "a".repeat(1025), "resource": "r"}),
                "action is longer than 1024 characters",
            ),
        ] {
            let failure = check(tool, given).unwrap_err();
            assert_eq!(
                (failure.error_type(), failure.message()),
                ("InvalidArgumentError", expected),
                "{tool}"
            );
        }
    }

    #[test]
    fn defaults_fill_in() {
        let arguments = check("audit_log", json!({"action": "a", "resource": "r"})).unwrap();
        assert_eq!((arguments.get("outcome"), arguments.get("metadata")), ("success", "{}"));
    }
}
