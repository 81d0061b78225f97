//! A protobuf message as a tree, and OTLP's two encodings of it: there is one description of each message, and no generated
//! code.
//!
//! Source: opentelemetry-proto 1.x, and the specification's "JSON Protobuf Encoding": ids are hexadecimal, 64-bit whole
//! numbers are strings, enums are numbers, names are in lowerCamelCase.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

/// A field's number and its name in JSON.
pub(super) type Field = (u32, &'static str);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(Cow<'static, str>),
    /// Bytes that are an id.
    Id(Vec<u8>),
    Flag(bool),
    /// `enum`.
    Choice(u32),
    /// `fixed32`.
    Fixed32(u32),
    /// `fixed64` and `sfixed64`.
    Fixed(u64),
    Number(f64),
    Message(Message),
    /// `repeated` messages.
    Messages(Vec<Message>),
    /// `repeated fixed64`, packed.
    Counts(Vec<u64>),
    /// `repeated double`, packed.
    Numbers(&'static [f64]),
}

/// The fields that are set, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message(Vec<(Field, Value)>);

impl Message {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn with(mut self, field: Field, value: Value) -> Self {
        self.0.push((field, value));
        self
    }

    pub(super) fn with_some(self, field: Field, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ((number, _), value) in &self.0 {
            put(&mut bytes, *number, value);
        }
        bytes
    }

    pub(super) fn to_json(&self) -> Json {
        let mut fields = Map::new();
        fields.extend(self.0.iter().map(|((_, name), value)| ((*name).to_owned(), json(value))));
        Json::Object(fields)
    }
}

fn put(bytes: &mut Vec<u8>, number: u32, value: &Value) {
    match value {
        Value::Text(text) => put_bytes(bytes, number, text.as_bytes()),
        Value::Id(id) => put_bytes(bytes, number, id),
        Value::Flag(flag) => put_varint(bytes, number, u64::from(*flag)),
        Value::Choice(choice) => put_varint(bytes, number, u64::from(*choice)),
        Value::Fixed32(fixed) => {
            key(bytes, number, 5);
            bytes.extend(fixed.to_le_bytes());
        }
        Value::Fixed(fixed) => {
            key(bytes, number, 1);
            bytes.extend(fixed.to_le_bytes());
        }
        Value::Number(float) => {
            key(bytes, number, 1);
            bytes.extend(float.to_le_bytes());
        }
        Value::Message(message) => put_bytes(bytes, number, &message.to_protobuf()),
        Value::Messages(messages) => {
            messages.iter().for_each(|message| put_bytes(bytes, number, &message.to_protobuf()));
        }
        Value::Counts(counts) => {
            put_bytes(
                bytes,
                number,
                &counts.iter().flat_map(|count| count.to_le_bytes()).collect::<Vec<_>>(),
            );
        }
        Value::Numbers(floats) => {
            put_bytes(
                bytes,
                number,
                &floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<_>>(),
            );
        }
    }
}

fn put_bytes(bytes: &mut Vec<u8>, number: u32, content: &[u8]) {
    key(bytes, number, 2);
    varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn put_varint(bytes: &mut Vec<u8>, number: u32, value: u64) {
    key(bytes, number, 0);
    varint(bytes, value);
}

fn key(bytes: &mut Vec<u8>, number: u32, wire_type: u32) {
    varint(bytes, u64::from(number << 3 | wire_type));
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn json(value: &Value) -> Json {
    match value {
        Value::Text(text) => text.as_ref().into(),
        Value::Id(id) => id.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        Value::Flag(flag) => (*flag).into(),
        Value::Choice(number) | Value::Fixed32(number) => (*number).into(),
        Value::Fixed(fixed) => fixed.to_string().into(),
        Value::Number(float) => (*float).into(),
        Value::Message(message) => message.to_json(),
        Value::Messages(messages) => messages.iter().map(Message::to_json).collect(),
        Value::Counts(counts) => counts.iter().map(u64::to_string).collect(),
        Value::Numbers(floats) => floats.iter().copied().collect(),
    }
}
