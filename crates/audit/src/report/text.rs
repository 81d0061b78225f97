//! How numbers, times and text from the log stand on the page.

use crate::event::{shown, work_iq};

/// Longest text from the log that is shown whole.
const MAX_TEXT: usize = 160;

/// Text from the log: printable ASCII, bounded. Still to be escaped for HTML, which the page's macro does.
pub(crate) fn from_log(text: &str) -> String {
    let mut ascii = shown(text);
    if ascii.len() > MAX_TEXT {
        let left_out = ascii.len() - MAX_TEXT;
        ascii.truncate(MAX_TEXT);
        ascii.push_str(&format!("… ({left_out} more)"));
    }
    ascii
}

/// An id short enough for a list; what is no GUID stays as it is.
pub(crate) fn short_id(id: &str) -> String {
    match uuid::Uuid::try_parse(id) {
        Ok(_) if id.len() == 36 => format!("{}…", &id[..8]),
        _ => from_log(id),
    }
}

/// `2026-07-12 10:00:00.123` of a time as it stands in a record.
pub(crate) fn time(timestamp: &str) -> String {
    match (timestamp.get(..10), timestamp.get(11..23)) {
        (Some(day), Some(time)) => from_log(&format!("{day} {time}")),
        _ => from_log(timestamp),
    }
}

/// `100,000`
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 call`, `2 calls`, `no calls`
pub(crate) fn counted(count: u64, one: &str) -> String {
    match count {
        0 => format!("no {one}s"),
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", number(count)),
    }
}

/// Two or three digits and a unit.
pub(crate) fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
        60_000_000..3_600_000_000 => format!("{} min {} s", micros / 60_000_000, micros / 1_000_000 % 60),
        _ => format!("{} h {} min", micros / 3_600_000_000, micros / 60_000_000 % 60),
    }
}

/// A Work IQ action as tool and server, any other as itself.
pub(crate) fn tool(action: &str) -> (String, Option<String>) {
    match work_iq(action) {
        Some((server, tool)) => (from_log(tool), Some(from_log(server))),
        None => (from_log(action), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 100_000, 1_234_567].map(number),
            ["0", "999", "1,000", "100,000", "1,234,567"]
        );
    }

    #[test]
    fn a_duration_has_two_or_three_digits() {
        let told = [850, 1_250, 12_345, 1_540_000, 125_000_000, 3_780_000_000].map(duration);
        assert_eq!(told, ["850 µs", "1.2 ms", "12 ms", "1.5 s", "2 min 5 s", "1 h 3 min"]);
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let text = from_log(&"é".repeat(5_000));
        assert!(text.len() < 200 && text.ends_with("more)"), "{text}");
    }
}
