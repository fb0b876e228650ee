//! Timestamps that are signed with a body: their text form and the window around now.

use time::format_description::well_known::Rfc3339;

use crate::options::names;
use crate::refusal::Refusal;

names! {
    /// How a timestamp is written.
    TimestampUnit, "timestamp_unit" {
        /// Seconds: exactly 10 digits (2001 to 2286).
        Seconds = "s",
        /// Milliseconds: exactly 13 digits.
        Milliseconds = "ms",
        /// Not a number: date and time as RFC 3339 writes them, `2026-09-21T14:13:20.000Z`.
        Rfc3339 = "rfc3339",
    }
}

impl TimestampUnit {
    /// How many there are in a second.
    const fn per_second(self) -> i128 {
        match self {
            Self::Seconds => 1,
            Self::Milliseconds | Self::Rfc3339 => 1000,
        }
    }

    const fn digits(self) -> Option<usize> {
        match self {
            Self::Seconds => Some(10),
            Self::Milliseconds => Some(13),
            Self::Rfc3339 => None,
        }
    }

    /// What the text should look like, for a message.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Seconds => "10 digits, the seconds since 1970",
            Self::Milliseconds => "13 digits, the milliseconds since 1970",
            Self::Rfc3339 => "a date and time as in 2026-09-21T14:13:20Z",
        }
    }

    /// The value of a timestamp as received: ASCII digits, of exactly the right number. No sign, no space, no fraction, no padding: what a
    /// lenient parser makes of such a text depends on the parser, and a text that is no number must not skip the window.
    pub(crate) fn parse(self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?;
        let Some(digits) = self.digits() else {
            // The longest that a sender writes has nanoseconds and an offset.
            let at = (text.len() <= 35).then(|| time::OffsetDateTime::parse(text, &Rfc3339).ok())??;
            return i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok();
        };
        if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok()
    }

    /// The text that a sender writes for `now`, or nothing when it does not have the right number of digits.
    pub(crate) fn write(self, now_unix_seconds: i64) -> Option<String> {
        let text = match self {
            Self::Rfc3339 => time::OffsetDateTime::from_unix_timestamp(now_unix_seconds).ok()?.format(&Rfc3339).ok()?,
            Self::Seconds | Self::Milliseconds => (i128::from(now_unix_seconds) * self.per_second()).to_string(),
        };
        self.parse(text.as_bytes()).map(|_| text)
    }

    /// Refuses a timestamp that is further from now than the tolerance, in either direction. Exactly at the tolerance is inside.
    pub(crate) fn check_window(self, timestamp: i64, now_unix_seconds: i64, tolerance_s: u32) -> Result<(), Refusal> {
        let behind = i128::from(now_unix_seconds) * self.per_second() - i128::from(timestamp);
        let limit = i128::from(tolerance_s) * self.per_second();
        // Part of a second counts as one, so that the number in the message is beyond the limit in the message.
        let seconds = u64::try_from((behind.abs() + self.per_second() - 1) / self.per_second()).unwrap_or(u64::MAX);
        if behind > limit {
            Err(Refusal::TimestampTooOld { age_s: seconds, tolerance_s })
        } else if behind < -limit {
            Err(Refusal::TimestampTooFarAhead { ahead_s: seconds, tolerance_s })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_digits_of_one_length() {
        for (unit, text, value) in [
            (TimestampUnit::Seconds, "1790000000", Some(1_790_000_000)),
            (TimestampUnit::Seconds, "0000000001", Some(1)),
            (TimestampUnit::Milliseconds, "1790000000123", Some(1_790_000_000_123)),
            (TimestampUnit::Seconds, "1790000000123", None),
            (TimestampUnit::Seconds, "01790000000", None),
            (TimestampUnit::Seconds, "+179000000", None),
            (TimestampUnit::Seconds, "-179000000", None),
            (TimestampUnit::Seconds, " 179000000", None),
            (TimestampUnit::Seconds, "1790000.00", None),
            (TimestampUnit::Seconds, "1_79000000", None),
            (TimestampUnit::Seconds, "٠٠٠٠٠", None),
            (TimestampUnit::Seconds, "", None),
            (TimestampUnit::Seconds, "2026-09-21", None),
            (TimestampUnit::Rfc3339, "2026-09-21T14:13:20Z", Some(1_790_000_000_000)),
            (TimestampUnit::Rfc3339, "2026-09-21T16:13:20.123456789+02:00", Some(1_790_000_000_123)),
            (TimestampUnit::Rfc3339, "2026-09-21 14:13:20", None),
            (TimestampUnit::Rfc3339, "1790000000", None),
            (TimestampUnit::Rfc3339, "2026-09-21T14:13:20Z ", None),
        ] {
            assert_eq!(unit.parse(text.as_bytes()), value, "{unit} {text}");
        }
    }

    #[test]
    fn the_window_is_closed_on_both_sides() {
        let now = 1_790_000_000;
        for (unit, timestamp, expected) in [
            (TimestampUnit::Seconds, now - 300, Ok(())),
            (TimestampUnit::Seconds, now + 300, Ok(())),
            (TimestampUnit::Seconds, now - 301, Err(Refusal::TimestampTooOld { age_s: 301, tolerance_s: 300 })),
            (TimestampUnit::Seconds, now + 301, Err(Refusal::TimestampTooFarAhead { ahead_s: 301, tolerance_s: 300 })),
            (TimestampUnit::Milliseconds, (now - 300) * 1000, Ok(())),
            (
                TimestampUnit::Milliseconds,
                (now - 300) * 1000 - 1,
                Err(Refusal::TimestampTooOld { age_s: 301, tolerance_s: 300 }),
            ),
            (
                TimestampUnit::Milliseconds,
                (now + 300) * 1000 + 1,
                Err(Refusal::TimestampTooFarAhead { ahead_s: 301, tolerance_s: 300 }),
            ),
        ] {
            assert_eq!(unit.check_window(timestamp, now, 300), expected, "{unit} {timestamp}");
        }
        assert!(TimestampUnit::Milliseconds.check_window(0, i64::MAX, u32::MAX).is_err());
        assert!(TimestampUnit::Milliseconds.check_window(i64::MAX, i64::MIN, 1).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(TimestampUnit::Seconds.write(1_790_000_000).as_deref(), Some("1790000000"));
        assert_eq!(TimestampUnit::Milliseconds.write(1_790_000_000).as_deref(), Some("1790000000000"));
        assert_eq!(TimestampUnit::Rfc3339.write(1_790_000_000).as_deref(), Some("2026-09-21T14:13:20Z"));
        for now in [i64::MIN, -1, 0, 999_999_999, i64::MAX] {
            assert_eq!(TimestampUnit::Seconds.write(now), None, "{now}");
        }
    }
}
