//! Cursors: where a list goes on. Opaque for callers, and good for the list that gave them alone.

use crate::problem::Problem;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// The longest period that a list covers.
pub(crate) const MAX_DAYS: u64 = 31;

/// How far back a list goes that is not told.
const DEFAULT_DAYS: u64 = 7;

/// A place in an index by day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Fingerprint of the list: its name and filters.
    pub(crate) list: String,
    /// The day that it goes on with.
    pub(crate) day: String,
    /// The last entry of that day that was given.
    pub(crate) after: Option<(i64, String)>,
}

impl Cursor {
    pub(crate) fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// A cursor of the list with this fingerprint that lies within its period.
    pub(crate) fn read(text: &str, list: &str, days: &[String]) -> Result<Cursor, Problem> {
        let wrong = |message: &str| Problem::field("cursor", message.to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong("this is no cursor"))?;
        let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| wrong("this is no cursor"))?;
        if cursor.list != list {
            return Err(wrong("this cursor is of a list with other filters; begin again without it"));
        }
        if !days.contains(&cursor.day) {
            return Err(wrong("this cursor is stale: the list no longer reaches so far back; begin again without it"));
        }
        Ok(cursor)
    }
}

/// The fingerprint of a list.
pub(crate) fn fingerprint(parts: &[Option<&str>]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update([u8::from(part.is_some())]);
        hash.update(part.unwrap_or_default().as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())[..16].to_owned()
}

/// The UTC days of a period, newest first.
pub(crate) fn days(since: Option<Timestamp>, until: Option<Timestamp>, now: Timestamp) -> Result<Vec<String>, Problem> {
    let until = until.unwrap_or(now).min(now.plus(DAY));
    let since = since.unwrap_or_else(|| until.minus(DAY * u32::try_from(DEFAULT_DAYS - 1).unwrap_or(6)));
    if since > until {
        return Err(Problem::field("since", "it is later than `until`, or than now"));
    }
    if since.until(until) > DAY * u32::try_from(MAX_DAYS).unwrap_or(31) {
        return Err(Problem::field(
            "since",
            format!("a list covers {MAX_DAYS} days at most; give a later one, or `until`"),
        ));
    }
    let (first, mut at) = (since.day(), until);
    let mut days = vec![at.day()];
    while days.last() != Some(&first) {
        at = at.minus(DAY);
        days.push(at.day());
    }
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_the_days_it_touches_newest_first() {
        let at = |text: &str| Timestamp::parse_rfc3339(text).expect("a time");
        let now = at("2026-11-21T03:40:39Z");
        let of = |since: &str, until: &str| days(Some(at(since)), Some(at(until)), now);
        assert_eq!(
            of("2026-11-19T23:59:59Z", "2026-11-21T00:00:00Z").expect("days"),
            ["2026-11-21", "2026-11-20", "2026-11-19"]
        );
        assert_eq!(of("2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z").expect("days"), ["2026-11-21"]);
        assert_eq!(days(None, None, now).expect("days").len(), 7);
        assert!(of("2026-11-21T00:00:01Z", "2026-11-21T00:00:00Z").is_err());
        assert!(of("2026-01-21T00:00:00Z", "2026-11-21T00:00:00Z").is_err());
    }

    #[test]
    fn a_cursor_is_good_for_its_own_list_and_period() {
        let days = ["2026-11-21".to_owned()];
        let cursor = Cursor { list: "a".into(), day: days[0].clone(), after: Some((7, "task_1".into())) };
        let text = cursor.write();
        assert_eq!(Cursor::read(&text, "a", &days).expect("a cursor"), cursor);
        for (text, list, days, says) in [
            ("???", "a", &days[..], "no cursor"),
            ("e30", "a", &days[..], "no cursor"),
            (text.as_str(), "b", &days[..], "other filters"),
            (text.as_str(), "a", &[][..], "stale"),
        ] {
            let problem = Cursor::read(text, list, days).expect_err("a problem");
            assert!(problem.message.contains(says), "{problem:?}");
        }
    }
}
