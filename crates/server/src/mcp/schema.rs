//! JSON schemas (2020-12) for `tools/list`, without what a model does not need.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::tools::Argument;

/// The closed schema of a tool's arguments.
pub(super) fn input_schema(arguments: &[Argument]) -> Arc<JsonObject> {
    let mut properties = Map::new();
    for argument in arguments {
        let mut schema = Map::new();
        schema.insert("type".into(), "string".into());
        schema.insert("description".into(), argument.description.into());
        if argument.filled {
            schema.insert("minLength".into(), 1.into());
        }
        schema.insert("maxLength".into(), argument.longest.into());
        if argument.is_url {
            schema.insert("format".into(), "uri".into());
            schema.insert("pattern".into(), "^https://".into());
        }
        if let Some(default) = argument.default {
            schema.insert("default".into(), default.into());
        }
        properties.insert(argument.name.into(), schema.into());
    }
    let required: Vec<_> = arguments.iter().filter(|a| a.default.is_none()).map(|a| a.name).collect();
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("additionalProperties".into(), false.into());
    Arc::new(schema)
}

/// The schema of a result type.
pub(super) fn output_schema<T: JsonSchema>() -> Arc<JsonObject> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut value = settings.for_serialize().into_generator().into_root_schema_for::<T>().to_value();
    strip(&mut value);
    match value {
        Value::Object(schema) => Arc::new(schema),
        _ => Arc::new(Map::from_iter([("type".to_owned(), Value::from("object"))])),
    }
}

/// Titles repeat names, formats of integers are Rust's, and the description of the whole repeats the tool's.
fn strip(value: &mut Value) {
    if let Value::Object(schema) = value {
        schema.remove("description");
    }
    strip_inside(value);
}

fn strip_inside(value: &mut Value) {
    match value {
        Value::Object(schema) => {
            if schema.get("title").is_some_and(Value::is_string) {
                schema.remove("title");
            }
            if schema
                .get("format")
                .is_some_and(|format| format.as_str().is_some_and(|f| f.starts_with("uint")))
            {
                schema.remove("format");
            }
            schema.values_mut().for_each(strip_inside);
        }
        Value::Array(values) => values.iter_mut().for_each(strip_inside),
        _ => {}
    }
}
