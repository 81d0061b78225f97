//! OTLP's binary encoding, by the field numbers of `opentelemetry/proto/logs/v1/logs.proto`,
//! `common/v1/common.proto` and `collector/logs/v1/logs_service.proto`.

use super::{LogRecord, SCOPE, VERSION, Value};

pub(super) fn request(resource: &[(String, String)], records: &[LogRecord]) -> Vec<u8> {
    let mut out = Message::default();
    out.message(1, |logs| {
        logs.message(1, |of| {
            for (key, value) in resource {
                of.message(1, |pair| {
                    pair.text(1, key);
                    pair.message(2, |any| any.text(1, value));
                });
            }
        });
        logs.message(2, |scoped| {
            scoped.message(1, |scope| {
                scope.text(1, SCOPE);
                scope.text(2, VERSION);
            });
            records.iter().for_each(|record| scoped.message(2, |out| self::record(out, record)));
        });
    });
    out.0
}

fn record(out: &mut Message, record: &LogRecord) {
    out.fixed64(1, record.nanos);
    out.number(2, u64::from(record.severity.0));
    out.text(3, record.severity.1);
    out.message(5, |any| any.text(1, &record.body));
    for (key, value) in &record.attributes {
        out.message(6, |pair| {
            pair.text(1, key);
            pair.message(2, |any| match value {
                Value::Text(text) => any.text(1, text),
                Value::Number(number) => any.number(3, number.cast_unsigned()),
            });
        });
    }
    if let Some(trace) = record.trace {
        out.bytes(9, trace.as_bytes());
    }
    out.fixed64(11, record.nanos);
    out.text(12, record.event_name);
}

/// Fields one after the other.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("seven bits"));
    }
    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }
    fn number(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }
    fn fixed64(&mut self, field: u64, value: u64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }
    fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }
    fn message(&mut self, field: u64, build: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        build(&mut inner);
        self.bytes(field, &inner.0);
    }
}
