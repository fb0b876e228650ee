//! What is written on a command line, read.

use super::Header;
use clawbridge_signatures::Scheme;
use std::time::Duration;

pub(crate) fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    parts.map(own).ok_or_else(|| "a parameter is written as key=value".to_owned())
}

pub(super) fn parse_scheme(name: &str) -> Result<Scheme, String> {
    Scheme::parse(name).map_err(|error| error.to_string())
}

pub(super) fn parse_header(field: &str) -> Result<Header, String> {
    let parts =
        field.split_once(':').filter(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()));
    // White space around the value is no part of it (RFC 9110 section 5.5).
    parts
        .map(|(name, value)| Header { name: name.to_owned(), value: value.trim_matches([' ', '\t']).to_owned() })
        .ok_or_else(|| "a header is written as 'Name: value'".to_owned())
}

pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let date = || clawbridge_clock::Timestamp::parse_rfc3339(text).map(clawbridge_clock::Timestamp::seconds);
    text.parse().ok().or_else(date).ok_or_else(|| "a time is written as 1790000000 or 2026-09-21T14:13:20Z".to_owned())
}

pub(super) fn parse_json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

pub(super) fn parse_day(day: &str) -> Result<String, String> {
    let midnight = clawbridge_clock::Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z"));
    // Rendered again, so that there is one way to write it: the indexes are keyed by this text.
    midnight.map(|at| at.day()).ok_or_else(|| "a day is written as 2026-11-21".to_owned())
}

pub(super) fn parse_key(text: &str) -> Result<String, String> {
    let is_key = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_key.then(|| text.to_owned()).ok_or_else(|| "a key is 1 to 255 visible ASCII characters".to_owned())
}

/// How long a token is valid: `90m`, `12h`, `30d`, up to ten years.
pub(super) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let unit = |unit| match unit {
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    };
    let seconds = text.char_indices().next_back().and_then(|(at, last)| {
        let number: u64 = text[..at].parse().ok()?;
        number.checked_mul(unit(last)?)
    });
    match seconds {
        Some(seconds @ 1..=315_360_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("a time is written as 90m, 12h or 30d, and is at most 3650d".to_owned()),
    }
}

pub(super) fn parse_since(text: &str) -> Result<Duration, String> {
    let longest = clawbridge_catchup::KEPT;
    let wrong = || format!("a time is written as 30m, 12h or 2d, and is at most {}h", longest.as_secs() / 3600);
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0);
    let since = number.and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs);
    since.filter(|since| *since <= longest).ok_or_else(wrong)
}

pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    const LONGEST: u64 = 24 * 60 * 60;
    let wrong = || "a duration is written as 90s, 30m or 12h, and is 1s to 24h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    number.filter(|seconds| (1..=LONGEST).contains(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}

pub(super) fn parse_state(word: &str) -> Result<clawbridge_tasks::State, String> {
    clawbridge_tasks::State::parse(word).ok_or_else(|| {
        let states = clawbridge_tasks::State::ALL.map(clawbridge_tasks::State::as_str);
        format!("states are {}", states.join(", "))
    })
}

pub(super) fn parse_result(text: &str) -> Result<serde_json::Value, String> {
    // It travels in a message, and stands in the record beside the input.
    const MAX_BYTES: usize = 128 * 1024;
    if text.len() > MAX_BYTES {
        return Err(format!("a result has at most {MAX_BYTES} bytes"));
    }
    serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))
}

pub(super) fn parse_reason(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 500;
    if text.trim().is_empty() || text.chars().count() > MAX_CHARS || text.chars().any(char::is_control) {
        return Err(format!("a reason has 1 to {MAX_CHARS} characters, on one line"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_read_and_bounded() {
        for (text, seconds) in [("1s", Some(1)), ("90s", Some(90)), ("30m", Some(1800)), ("24h", Some(86_400))] {
            assert_eq!(parse_wait(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "s", "5", "0s", "-1s", "25h", "1d", "1é", "99999999999999999999h"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_to_look_back_is_read_and_bounded() {
        for (text, hours) in [("60m", Some(1)), ("12h", Some(12)), ("2d", Some(48)), ("71h", Some(71))] {
            assert_eq!(parse_since(text).ok(), hours.map(|hours: u64| Duration::from_secs(hours * 3600)), "{text}");
        }
        for text in [
            "",
            "h",
            "2",
            "0h",
            "-1h",
            "1.5h",
            "72h",
            "3d",
            "2w",
            "1é",
            "99999999999999999999h",
            "9999999999999999999d",
        ] {
            assert!(parse_since(text).is_err(), "{text}");
        }
    }
}
