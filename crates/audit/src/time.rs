//! UTC time in microseconds and the day that names a file. One reading of the clock serves both the record and the
//! choice of its file, so the two never disagree at midnight.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// `2026-07-12T10:00:00.123456+00:00`
pub(crate) const ISO_LENGTH: usize = 32;

/// Microseconds since 1970-01-01T00:00:00 UTC, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(i64);

/// Where readings come from. The system's clock outside of tests.
pub(crate) trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970: the rule for clocks that step back takes it from there.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Timestamp {
    pub(crate) const EPOCH: Self = Self(0);

    #[cfg(any(test, feature = "report"))]
    pub(crate) fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// Microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }
    pub(crate) fn as_millis(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }
    pub(crate) fn day(self) -> Day {
        Day(self.0.div_euclid(MICROS_PER_DAY))
    }
    pub(crate) fn minus_hours(self, hours: i64) -> Self {
        Self(self.0.saturating_sub(hours * 3_600_000_000))
    }

    /// Appends `2026-07-12T10:00:00.123456+00:00`, [`ISO_LENGTH`] bytes, as Python's `datetime.isoformat()` gives it.
    pub(crate) fn push_iso(self, out: &mut Vec<u8>) {
        let mut text = *b"0000-00-00T00:00:00.000000+00:00";
        let (year, month, date) = self.day().civil();
        let micros = self.0.rem_euclid(MICROS_PER_DAY);
        let seconds = micros / 1_000_000;
        put_digits(&mut text[..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], date);
        put_digits(&mut text[11..13], seconds / 3600);
        put_digits(&mut text[14..16], seconds / 60 % 60);
        put_digits(&mut text[17..19], seconds % 60);
        put_digits(&mut text[20..26], micros % 1_000_000);
        out.extend_from_slice(&text);
    }

    /// Reads an RFC 3339 time: fraction of up to nine digits, `Z` or an offset. `:60` reads as the last microsecond
    /// of its minute.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let part = bytes.get(range)?;
            part.iter()
                .all(u8::is_ascii_digit)
                .then(|| part.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
        };
        let mark =
            |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|b| allowed.contains(b)).then_some(());
        let day = Day::parse(text.get(..10)?)?;
        mark(10, b"Tt ")?;
        mark(13, b":")?;
        mark(16, b":")?;
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut at = 19;
        let mut micros = 0;
        if bytes.get(at) == Some(&b'.') {
            let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            for place in 0..6 {
                let digit = if place < digits { i64::from(bytes[at + 1 + place] - b'0') } else { 0 };
                micros = micros * 10 + digit;
            }
            at += 1 + digits;
        }
        let (second, micros) = if second == 60 { (59, 999_999) } else { (second, micros) };
        let offset = match bytes.get(at)? {
            b'Z' | b'z' if bytes.len() == at + 1 => 0,
            sign @ (b'+' | b'-') if bytes.len() == at + 6 => {
                mark(at + 3, b":")?;
                let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let minutes = hours * 60 + minutes;
                if *sign == b'-' { -minutes } else { minutes }
            }
            _ => return None,
        };
        let seconds = hour * 3600 + (minute - offset) * 60 + second;
        Some(Self(day.0 * MICROS_PER_DAY + seconds * 1_000_000 + micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(32);
        self.push_iso(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl Day {
    pub(crate) fn minus(self, days: u32) -> Self {
        Self(self.0.saturating_sub(i64::from(days)))
    }

    pub(crate) fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(MICROS_PER_DAY))
    }

    /// `2026-07-12.jsonl`
    pub(crate) fn file_name(self) -> String {
        format!("{self}.jsonl")
    }

    /// The day of a file's name; `None` when it is no day file.
    pub(crate) fn of_file_name(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(".jsonl")?)
    }

    /// Reads exactly `YYYY-MM-DD` of an existing day.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let part = &bytes[range];
            part.iter()
                .all(u8::is_ascii_digit)
                .then(|| part.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
        };
        let (year, month, date) = (number(0..4)?, number(5..7)?, number(8..10)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&date) {
            return None;
        }
        let day = Self(days_from_civil(year, month, date));
        (day.civil() == (year, month, date)).then_some(day)
    }

    /// Year, month, day in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
    /// algorithms").
    fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let date = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, date)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, date) = self.civil();
        write!(f, "{year:04}-{month:02}-{date:02}")
    }
}

fn days_from_civil(year: i64, month: i64, date: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + date - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// Fills the place with the number's last digits.
fn put_digits(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("one decimal digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_pythons_isoformat() {
        let time = Timestamp::from_micros(1_783_850_400_123_456);
        assert_eq!(time.to_string(), "2026-07-12T10:00:00.123456+00:00");
        assert_eq!(Timestamp::parse("2026-07-12T10:00:00.123456+00:00"), Some(time));
        assert_eq!(Timestamp::parse("2026-07-12T12:00:00.123456+02:00"), Some(time));
        assert_eq!(
            Timestamp::parse("2026-07-12T10:00:00Z").unwrap().to_string(),
            "2026-07-12T10:00:00.000000+00:00"
        );
    }

    #[test]
    fn case_26_a_leap_second_is_the_last_microsecond_of_its_minute() {
        let time = Timestamp::parse("2016-12-31T23:59:60.5Z").unwrap();
        assert_eq!(time.to_string(), "2016-12-31T23:59:59.999999+00:00");
    }

    #[test]
    fn only_existing_days_name_files() {
        assert!(Day::of_file_name("2026-02-28.jsonl").is_some());
        assert!(Day::of_file_name("2024-02-29.jsonl").is_some());
        for name in [
            "2026-02-29.jsonl",
            "2026-13-45.jsonl",
            "2026-1-01.jsonl",
            "x2026-01-01.jsonl",
            "2026-01-01.torn",
        ] {
            assert!(Day::of_file_name(name).is_none(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_time_comes_back(micros in 0_i64..253_402_300_799_999_999) {
            let time = Timestamp::from_micros(micros);
            proptest::prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
            proptest::prop_assert_eq!(Day::parse(&time.day().to_string()), Some(time.day()));
        }
    }
}
