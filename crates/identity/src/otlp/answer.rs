//! What a collector that took a request did not take of it: `partial_success`, in either encoding.

use serde_json::Value;

use crate::OtlpProtocol;

/// How many items were rejected. Anything that is no such answer says none: the status was a success.
pub(super) fn rejected(protocol: OtlpProtocol, body: &[u8]) -> u64 {
    match protocol {
        OtlpProtocol::HttpProtobuf => in_protobuf(body).unwrap_or(0),
        OtlpProtocol::HttpJson => in_json(body).unwrap_or(0),
    }
}

/// The three responses have one shape: field 1 is the message, its field 1 the number.
fn in_protobuf(mut body: &[u8]) -> Option<u64> {
    let mut partial = loop {
        if let (1, Field::Bytes(partial)) = field(&mut body)? {
            break partial;
        }
    };
    loop {
        if let (1, Field::Number(number)) = field(&mut partial)? {
            return Some(number);
        }
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Number(varint(rest)?),
        1 => take(rest, 8).map(|_| Field::Other)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Field::Other)?,
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn in_json(body: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let partial = answer.get("partialSuccess")?;
    ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"].into_iter().find_map(|name| {
        // 64-bit numbers are strings in this encoding, and numbers with those who do not know it.
        let number = partial.get(name)?;
        number.as_u64().or_else(|| number.as_str()?.parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_either_encoding() {
        let protobuf = |body: &[u8]| rejected(OtlpProtocol::HttpProtobuf, body);
        assert_eq!(protobuf(b""), 0);
        assert_eq!(protobuf(b"\x0a\x00"), 0);
        assert_eq!(protobuf(b"\x0a\x07\x08\xac\x02\x12\x02no"), 300);
        assert_eq!(protobuf(b"\x0a\x06\x12\x02no\x08\x05"), 5);
        let json = |body: &[u8]| rejected(OtlpProtocol::HttpJson, body);
        assert_eq!(json(b"{}"), 0);
        assert_eq!(json(br#"{"partialSuccess":{"rejectedSpans":"7","errorMessage":"no"}}"#), 7);
        assert_eq!(json(br#"{"partialSuccess":{"rejectedLogRecords":7}}"#), 7);
    }

    #[test]
    fn an_answer_that_is_none_rejects_nothing_and_breaks_nothing() {
        for body in
            [b"<html>".as_slice(), b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\x7f\x08", b"\x08"]
        {
            assert_eq!(rejected(OtlpProtocol::HttpProtobuf, body), 0, "{body:?}");
            assert_eq!(rejected(OtlpProtocol::HttpJson, body), 0, "{body:?}");
        }
    }
}
