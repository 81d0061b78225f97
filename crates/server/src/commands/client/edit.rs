//! One member of a JSON file changed, and every other byte left as it is: comments, order, indentation, line ends.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

/// The server's name in a client's list.
const NAME: &str = "entrabot";

/// The file is not one that can be edited without a risk for what else stands in it.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct NotUnderstood {
    reason: String,
}

impl NotUnderstood {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// The members of an entry, in their order.
pub(super) type Entry = Vec<(&'static str, Value)>;

/// The text with the entry in the list; what an entry of ours holds besides stays.
pub(super) fn add(text: &str, list: &str, entry: &Entry) -> Result<String, NotUnderstood> {
    let root = if text.trim().is_empty() { parse("{}\n")? } else { parse(text)? };
    let before = value_of(&root)?;
    let servers = match only(&object_of(&root)?, list)? {
        Some(property) => property
            .object_value()
            .ok_or_else(|| NotUnderstood::new(format!("its member {list} is no object")))?,
        None => object_of(&root)?.append(list, CstInputValue::Object(Vec::new())).object_value_or_set(),
    };
    match only(&servers, NAME)? {
        None => {
            let members = entry.iter().map(|(name, value)| ((*name).to_owned(), input(value)));
            servers.append(NAME, CstInputValue::Object(members.collect()));
        }
        Some(property) => {
            let present = property
                .object_value()
                .ok_or_else(|| NotUnderstood::new(format!("its entry {NAME} is no object")))?;
            if present.get("url").is_some() {
                return Err(NotUnderstood::new(format!("its entry {NAME} leads to a server over HTTP")));
            }
            entry.iter().try_for_each(|(name, value)| set(&present, name, value))?;
        }
    }
    checked(&root, &before, list)
}

/// The text without the entry.
pub(super) fn remove(text: &str, list: &str) -> Result<String, NotUnderstood> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let root = parse(text)?;
    let before = value_of(&root)?;
    let Some(servers) = only(&object_of(&root)?, list)?.and_then(|property| property.object_value()) else {
        return Ok(text.to_owned());
    };
    let Some(property) = only(&servers, NAME)? else { return Ok(text.to_owned()) };
    property.remove();
    checked(&root, &before, list)
}

/// Comments and commas at the end, as editors take them; no other liberty.
fn parse(text: &str) -> Result<CstRootNode, NotUnderstood> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    CstRootNode::parse(text, &options).map_err(|error| NotUnderstood::new(format!("it is no JSON: {error}")))
}

fn object_of(root: &CstRootNode) -> Result<CstObject, NotUnderstood> {
    root.object_value().ok_or_else(|| NotUnderstood::new("it is no JSON object"))
}

fn value_of(root: &CstRootNode) -> Result<Value, NotUnderstood> {
    root.to_serde_value().ok_or_else(|| NotUnderstood::new("it is no JSON"))
}

/// The member of this name. Of two, nobody knows which one the client reads.
fn only(object: &CstObject, name: &str) -> Result<Option<jsonc_parser::cst::CstObjectProp>, NotUnderstood> {
    let mut found =
        object.properties().into_iter().filter(|property| property.decoded_name().as_deref() == Some(name));
    match (found.next(), found.next()) {
        (found, None) => Ok(found),
        (_, Some(_)) => Err(NotUnderstood::new(format!("its member {name} stands there twice"))),
    }
}

/// Sets a member; of an object, member by member.
fn set(present: &CstObject, name: &str, wanted: &Value) -> Result<(), NotUnderstood> {
    let Some(property) = only(present, name)? else {
        present.append(name, input(wanted));
        return Ok(());
    };
    match (property.object_value(), wanted.as_object()) {
        (Some(inner), Some(wanted)) => wanted.iter().try_for_each(|(name, value)| set(&inner, name, value)),
        _ if property.value().and_then(|value| value.to_serde_value()).as_ref() == Some(wanted) => Ok(()),
        _ => {
            property.set_value(input(wanted));
            Ok(())
        }
    }
}

/// Reads the new text as a client would: nothing but our entry may differ.
fn checked(root: &CstRootNode, before: &Value, list: &str) -> Result<String, NotUnderstood> {
    let text = root.to_string();
    let mut after = value_of(&parse(&text)?)?;
    let mut before = before.clone();
    for value in [&mut before, &mut after] {
        if let Some(servers) = value.get_mut(list).and_then(Value::as_object_mut) {
            servers.remove(NAME);
            if servers.is_empty()
                && let Some(members) = value.as_object_mut()
            {
                members.remove(list);
            }
        }
    }
    if before == after {
        Ok(text)
    } else {
        Err(NotUnderstood::new("the change would have touched more than the one entry"))
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> Entry {
        vec![("command", json!("/usr/bin/entrabot")), ("args", json!(["serve"]))]
    }

    fn as_value() -> Value {
        entry().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn an_empty_file_becomes_one_with_the_entry() {
        let text = add("", "mcpServers", &entry()).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"mcpServers": {"entrabot": as_value()}})
        );
        assert_eq!(
            add(&text, "mcpServers", &entry()).unwrap(),
            text,
            "the second time there is nothing to do"
        );
    }

    #[test]
    fn what_is_no_json_or_ambiguous_is_left_alone() {
        for text in [
            "{",
            "[]",
            "{\"mcpServers\": []}",
            "{\"mcpServers\": {\"entrabot\": 1}}",
            "{\"mcpServers\": {}, \"mcpServers\": {}}",
            "{\"mcpServers\": {\"entrabot\": {}, \"entrabot\": {}}}",
            "{\"mcpServers\": {\"entrabot\": {\"url\": \"http://localhost\"}}}",
            "{'mcpServers': {}}",
            "{\"a\": 1} {\"b\": 2}",
            "name: value",
        ] {
            assert!(add(text, "mcpServers", &entry()).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_there_is_still_there_and_taking_out_undoes_it(
            names in proptest::collection::btree_map("[a-z\"\\\\é{}/*]{1,8}", "[ -~é\n]{0,12}", 0..5),
            servers in proptest::collection::btree_map("[a-dA-Z]{1,8}", "[ -~]{0,12}", 0..4),
            pretty: bool,
        ) {
            let mut value = json!(names);
            value["mcpServers"] = json!(servers);
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let added = add(&text, "mcpServers", &entry()).unwrap();
            let mut expected = value.clone();
            expected["mcpServers"]["entrabot"] = as_value();
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&added).unwrap(), expected);
            let removed = remove(&added, "mcpServers").unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&removed).unwrap(), value);
        }
    }
}
