//! What an upstream says about when to call it again. Pure.

use clawbridge_clock::Timestamp;
use std::time::Duration;

/// The longest pause that an upstream's answer makes. Then one call asks again: a header that is wrong must not stop a tool for a day.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What an answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `Retry-After` (RFC 9110, section 10.2.3), as a wait.
    pub retry_after: Option<Duration>,
    /// How many calls are left until [`Said::reset_at`], by `RateLimit-Remaining` or one of its kin.
    pub remaining: Option<u64>,
    /// When there are more again.
    pub reset_at: Option<Timestamp>,
}

/// Until when nobody should call, if the answer says so: `Retry-After`, or nothing left until the reset.
#[must_use]
pub fn pause(said: Said, now: Timestamp) -> Option<Timestamp> {
    let asked = said.retry_after.map(|wait| now.plus(wait));
    let spent = said.reset_at.filter(|_| said.remaining == Some(0));
    let until = asked.max(spent)?.min(now.plus(LONGEST_PAUSE));
    (until > now).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_makes_a_pause_when_it_says_to_wait_or_that_nothing_is_left() {
        let now = Timestamp::from_millis(1_000_000);
        let at = |seconds: i64| Timestamp::from_millis(1_000_000 + seconds * 1000);
        let said = |retry_after: Option<u64>, remaining, reset_at: Option<i64>| Said {
            retry_after: retry_after.map(Duration::from_secs),
            remaining,
            reset_at: reset_at.map(at),
        };
        for (name, said, expected) in [
            ("nothing said", Said::default(), None),
            ("wait", said(Some(30), None, None), Some(at(30))),
            ("wait no time", said(Some(0), None, None), None),
            ("wait a day", said(Some(86_400), None, None), Some(at(3600))),
            ("wait for ever", said(Some(u64::MAX), None, None), Some(at(3600))),
            ("some left", said(None, Some(1), Some(30)), None),
            ("none left", said(None, Some(0), Some(30)), Some(at(30))),
            ("none left, nobody knows until when", said(None, Some(0), None), None),
            ("none left until a moment ago", said(None, Some(0), Some(-1)), None),
            ("the later one counts", said(Some(10), Some(0), Some(30)), Some(at(30))),
            ("the later one counts, the other way", said(Some(40), Some(0), Some(30)), Some(at(40))),
            ("a reset without a count", said(None, None, Some(30)), None),
        ] {
            assert_eq!(pause(said, now), expected, "{name}");
        }
    }
}
