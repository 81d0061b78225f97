//! JSON in the one form that is hashed and signed: RFC 8785, for what the exports hold (no fractions).

use serde_json::Value;

/// The canonical bytes of a value.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    push(&mut out, value);
    out
}

fn push(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            // By UTF-16 code units (section 3.2.3), which differs from the order of the bytes beyond the BMP.
            sorted.sort_unstable_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            out.push(b'{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push(out, &Value::String(name.clone()));
                out.push(b':');
                push(out, value);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push(out, item);
            }
            out.push(b']');
        }
        // serde_json escapes strings as section 3.2.2.2 demands: the short forms, `\u00xx` in lower case for the other
        // control characters, everything else as it is. Whole numbers below 2^53 stand as they are.
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sorting_example_of_the_rfc() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        let text = String::from_utf8(canonical(&value)).unwrap();
        let order: Vec<_> = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
            .map(|name| text.find(name).unwrap())
            .into();
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn strings_have_the_escapes_of_the_rfc() {
        let value =
            json!({"string": "\u{20ac}$\u{f}\nA'B\"\\\\\"/", "literals": [null, true, false], "n": 10});
        assert_eq!(
            String::from_utf8(canonical(&value)).unwrap(),
            "{\"literals\":[null,true,false],\"n\":10,\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }
}
