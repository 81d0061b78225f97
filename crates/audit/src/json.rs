//! JSON as the log writes it: compact, ASCII only, the escapes of Python's `json.dumps`. A reader's terminal can
//! never be steered by what stands in a line: ESC, DEL, bidi controls and U+2028 are all `\uXXXX`.

use serde_json::{Map, Value};

/// How deep metadata may nest.
const MAX_DEPTH: usize = 32;

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Without a way out in the middle, so that it is done for many bytes at once.
    let plain = text
        .bytes()
        .fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(out, text);
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            ' '..='~' => out.push(c as u8),
            other => {
                let mut units = [0u16; 2];
                for unit in other.encode_utf16(&mut units) {
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        out.push(HEX[usize::from(*unit >> shift & 0xf)]);
                    }
                }
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends bytes as lower-case hexadecimal.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
    }
}

/// Bytes as lower-case hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    String::from_utf8(out).expect("hexadecimal digits are ASCII")
}

/// What each byte is worth as a lower-case hexadecimal digit; 255 for none.
const DIGITS: [u8; 256] = {
    let mut table = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        table[HEX[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

/// Reads exactly 64 lower-case hexadecimal digits.
pub(crate) fn parse_hash(text: &[u8]) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.try_into().ok()?;
    let mut hash = [0; 32];
    let mut wrong = 0;
    for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (wrong < 16).then_some(hash)
}

/// Appends a decimal number.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).expect("a digit is below ten");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends an object. `false` when it nests too deeply.
#[must_use]
pub(crate) fn push_object(out: &mut Vec<u8>, object: &Map<String, Value>) -> bool {
    push_members(out, object, 0)
}

fn push_members(out: &mut Vec<u8>, object: &Map<String, Value>, depth: usize) -> bool {
    out.push(b'{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, key);
        out.push(b':');
        if !push_value(out, value, depth + 1) {
            return false;
        }
    }
    out.push(b'}');
    true
}

fn push_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => push_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if !push_value(out, item, depth + 1) {
                    return false;
                }
            }
            out.push(b']');
        }
        Value::Object(object) => return push_members(out, object, depth),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_printable_ascii_leaves_the_encoder() {
        let mut out = Vec::new();
        push_string(&mut out, "a\"\\\n\r\t\u{8}\u{c}\u{1b}\u{7f}\u{e9}\u{202e}\u{2028}\u{1f600}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""a\"\\\n\r\t\b\f\u001b\u007f\u00e9\u202e\u2028\ud83d\ude00""#
        );
    }

    proptest::proptest! {
        #[test]
        fn every_text_comes_back_and_is_ascii(text in ".*") {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            proptest::prop_assert!(out.iter().all(|b| (0x20..0x7f).contains(b)));
            let back: String = serde_json::from_slice(&out).unwrap();
            proptest::prop_assert_eq!(back, text);
        }

        #[test]
        fn numbers_are_decimal(number: u64) {
            let mut out = Vec::new();
            push_number(&mut out, number);
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let mut value = Value::Null;
        for _ in 0..40 {
            value = Value::Array(vec![value]);
        }
        let object = Map::from_iter([("a".to_owned(), value)]);
        assert!(!push_object(&mut Vec::new(), &object));
    }
}
