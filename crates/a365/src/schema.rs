//! A call's arguments against the JSON Schema that the server advertises: the part of 2020-12 that tool schemas use.
//! What is not understood is not checked; the server has the last word.

use serde_json::{Map, Value};

const MAX_DEPTH: usize = 32;

/// Checks the arguments; the answer is the first rule that is broken, in words that hold property names of the
/// schema and nothing of the arguments.
pub(crate) fn check(schema: &Value, arguments: &Map<String, Value>) -> Result<(), String> {
    object(schema, arguments, "arguments", 0)
}

fn value(schema: &Value, instance: &Value, at: &str, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    match schema {
        Value::Bool(false) => return Err(format!("{at} is not allowed")),
        Value::Object(_) => {}
        _ => return Ok(()),
    }
    types(schema, instance, at)?;
    if let Some(Value::Array(choices)) = schema.get("enum")
        && !choices.contains(instance)
    {
        return Err(format!("{at} is none of the values of its enum"));
    }
    if let Some(constant) = schema.get("const")
        && constant != instance
    {
        return Err(format!("{at} is not its constant"));
    }
    match instance {
        Value::String(text) => lengths(schema, text.chars().count(), at, "minLength", "maxLength"),
        Value::Number(number) => range(schema, number.as_f64(), at),
        Value::Array(items) => {
            lengths(schema, items.len(), at, "minItems", "maxItems")?;
            match schema.get("items") {
                Some(of) => {
                    items.iter().try_for_each(|item| value(of, item, &format!("an item of {at}"), depth + 1))
                }
                None => Ok(()),
            }
        }
        Value::Object(entries) => object(schema, entries, at, depth),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn object(schema: &Value, entries: &Map<String, Value>, at: &str, depth: usize) -> Result<(), String> {
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !entries.contains_key(name) {
            return Err(format!("{} is required", shown(name)));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, instance) in entries {
        match properties.and_then(|properties| properties.get(key)) {
            Some(of) => value(of, instance, &shown(key), depth + 1)?,
            None => match schema.get("additionalProperties") {
                Some(Value::Bool(false)) if schema.get("patternProperties").is_none() => {
                    return Err(format!("{at} hold a property that the schema does not have"));
                }
                Some(of @ Value::Object(_)) if schema.get("patternProperties").is_none() => {
                    value(of, instance, "an additional property", depth + 1)?;
                }
                _ => {}
            },
        }
    }
    Ok(())
}

fn types(schema: &Value, instance: &Value, at: &str) -> Result<(), String> {
    let fits = |kind: &str| match kind {
        "null" => instance.is_null(),
        "boolean" => instance.is_boolean(),
        "string" => instance.is_string(),
        "array" => instance.is_array(),
        "object" => instance.is_object(),
        "number" => instance.is_number(),
        "integer" => instance.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    };
    match schema.get("type") {
        Some(Value::String(kind)) if !fits(kind) => Err(format!("{at} is not of type {}", shown(kind))),
        Some(Value::Array(kinds)) if !kinds.iter().filter_map(Value::as_str).any(fits) => {
            Err(format!("{at} is of none of its types"))
        }
        _ => Ok(()),
    }
}

fn lengths(schema: &Value, length: usize, at: &str, least: &str, most: &str) -> Result<(), String> {
    let length = length as u64;
    if schema.get(least).and_then(Value::as_u64).is_some_and(|least| length < least) {
        return Err(format!("{at} is too short"));
    }
    if schema.get(most).and_then(Value::as_u64).is_some_and(|most| length > most) {
        return Err(format!("{at} is too long"));
    }
    Ok(())
}

fn range(schema: &Value, number: Option<f64>, at: &str) -> Result<(), String> {
    let Some(number) = number else { return Ok(()) };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if bound("minimum").is_some_and(|least| number < least)
        || bound("exclusiveMinimum").is_some_and(|least| number <= least)
    {
        return Err(format!("{at} is too small"));
    }
    if bound("maximum").is_some_and(|most| number > most)
        || bound("exclusiveMaximum").is_some_and(|most| number >= most)
    {
        return Err(format!("{at} is too large"));
    }
    Ok(())
}

/// A name of the schema, which comes from outside: shown only where it is a plain word.
fn shown(name: &str) -> String {
    let plain =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { name.to_owned() } else { "a property".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(schema: &Value, arguments: Value) -> Result<(), String> {
        let Value::Object(arguments) = arguments else { unreachable!("a literal object") };
        check(schema, &arguments)
    }

    #[test]
    fn arguments_are_held_to_the_advertised_schema() {
        let schema = json!({
            "type": "object", "required": ["url"], "additionalProperties": false,
            "properties": {
                "url": {"type": "string", "minLength": 2, "maxLength": 5},
                "top": {"type": ["integer", "null"], "minimum": 1, "maximum": 20},
                "kind": {"enum": ["a", "b"]},
                "to": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
                "deep": {"type": "object", "required": ["x"]},
            },
        });
        assert_eq!(
            run(&schema, json!({"url": "abc", "top": 3, "kind": "a", "to": ["x"], "deep": {"x": 1}})),
            Ok(())
        );
        assert_eq!(run(&schema, json!({"url": "abc", "top": null})), Ok(()));
        for (arguments, words) in [
            (json!({}), "url is required"),
            (json!({"url": 7}), "url is not of type string"),
            (json!({"url": "a"}), "too short"),
            (json!({"url": "abcdef"}), "too long"),
            (json!({"url": "abc", "top": 0}), "too small"),
            (json!({"url": "abc", "top": 21}), "too large"),
            (json!({"url": "abc", "top": 1.5}), "none of its types"),
            (json!({"url": "abc", "kind": "c"}), "enum"),
            (json!({"url": "abc", "to": ["x", "y", "z"]}), "too long"),
            (json!({"url": "abc", "to": [1]}), "an item of to"),
            (json!({"url": "abc", "deep": {}}), "x is required"),
            (json!({"url": "abc", "PLANTED": 1}), "does not have"),
        ] {
            let error = run(&schema, arguments.clone()).unwrap_err();
            assert!(error.contains(words), "{arguments}: {error}");
            assert!(!error.contains("PLANTED"));
        }
    }

    #[test]
    fn a_schema_that_is_not_understood_lets_the_server_decide() {
        for schema in
            [json!(true), json!({}), json!({"oneOf": [{"type": "string"}]}), json!({"type": 7}), json!("x")]
        {
            assert_eq!(run(&schema, json!({"a": 1})), Ok(()), "{schema}");
        }
    }
}
