//! One event as a JSON line: `timestamp`, `level`, `logger`, `message`, then the event's own fields.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The keys that every line begins with.
const FIXED: [&str; 4] = ["timestamp", "level", "logger", "message"];

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.others.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }
}

pub(super) fn render(event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let meta = event.metadata();
    let level = match *meta.level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    };
    let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string();
    let mut line = String::from("{");
    let mut put = |name: &str, value: &Value| {
        // A JSON string's Display escapes what has to be.
        let separator = if line.len() > 1 { "," } else { "" };
        line.push_str(&format!("{separator}{}:{value}", Value::from(name)));
    };
    put("timestamp", &now.into());
    put("level", &level.into());
    put("logger", &meta.target().replace("::", ".").into());
    put("message", &fields.message.into());
    for (name, value) in &fields.others {
        if !FIXED.contains(&name.as_str()) {
            put(name, value);
        }
    }
    line.push_str("}\n");
    line
}
