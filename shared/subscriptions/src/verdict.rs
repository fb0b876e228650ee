//! What an answer means, and when a delivery is tried again.

use clawbridge_clock::Timestamp;
use std::time::Duration;

/// How often a delivery is tried: at once, and after each of the pauses.
pub const ATTEMPTS: u32 = 10;

/// Between two attempts. <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>, "Deliverability"
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(5 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
    Duration::from_secs(14 * 60 * 60),
    Duration::from_secs(18 * 60 * 60),
    Duration::from_secs(22 * 60 * 60),
];

/// The longest pause, whatever `Retry-After` says.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// When a delivery is given up, however often it was tried: an endpoint that says *later* each time must not keep it for ever.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(80 * 60 * 60);

/// Failed attempts without one that succeeded before a subscription is paused, beside the time that it takes.
pub const PAUSE_FAILURES: u32 = 5;

/// How far pauses are spread, either way: a fifth.
const JITTER: f64 = 0.2;

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered.
    Delivered,
    /// The endpoint wants no more (410).
    Gone,
    /// Not delivered.
    Failed,
}

/// How a delivery is left that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Tried again after so long.
    Again(Duration),
    /// Given up.
    GivenUp,
}

/// What a status means: only 2xx is a delivery, a redirect is followed nowhere, and 410 is a wish.
#[must_use]
pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        _ => Verdict::Failed,
    }
}

/// How a delivery goes on after its `failures`th failure: the longer of the schedule's pause and what the endpoint asked for. `dice` in
/// `[0, 1)` spreads the schedule's pauses.
#[must_use]
pub fn pause_before(
    failures: u32,
    asked: Option<Duration>,
    created_at: Timestamp,
    now: Timestamp,
    dice: f64,
) -> Ending {
    let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(pause) = PAUSES.get(place) else { return Ending::GivenUp };
    let spread = pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0));
    let pause = spread.max(asked.unwrap_or_default()).min(LONGEST);
    if now.plus(pause) > created_at.plus(GIVEN_UP_AFTER) { Ending::GivenUp } else { Ending::Again(pause) }
}

/// Whether a subscription has failed for long enough, and often enough, to be left alone.
#[must_use]
pub fn is_to_be_paused(failures: u32, failing_since: Timestamp, pause_after: Duration, now: Timestamp) -> bool {
    failures >= PAUSE_FAILURES && failing_since.until(now) >= pause_after
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn only_2xx_is_a_delivery_and_410_a_wish() {
        for (status, expected) in [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (299, Verdict::Delivered),
            (301, Verdict::Failed),
            (302, Verdict::Failed),
            (400, Verdict::Failed),
            (401, Verdict::Failed),
            (404, Verdict::Failed),
            (410, Verdict::Gone),
            (429, Verdict::Failed),
            (500, Verdict::Failed),
        ] {
            assert_eq!(verdict(status), expected, "{status}");
        }
    }

    #[test]
    fn a_delivery_is_tried_for_three_days_with_growing_pauses() {
        for dice in [0.0, 0.5, 0.999] {
            let (mut now, mut last) = (MADE, Duration::ZERO);
            let mut failures = 1;
            while let Ending::Again(pause) = pause_before(failures, None, MADE, now, dice) {
                assert!(pause > last, "after {failures}");
                (now, last, failures) = (now.plus(pause), pause, failures + 1);
            }
            let took = MADE.until(now).as_secs() / 3600;
            assert!((57..=80).contains(&took) && failures >= 9, "{took} h, {failures} failures, dice {dice}");
            assert!(
                dice != 0.5 || ((71..=73).contains(&took) && failures == ATTEMPTS),
                "{took} h, {failures} failures"
            );
        }
    }

    #[test]
    fn the_endpoints_own_wish_counts_within_bounds() {
        let ask = |seconds| pause_before(1, Some(Duration::from_secs(seconds)), MADE, MADE, 0.5);
        assert_eq!(ask(1), Ending::Again(Duration::from_secs(5)));
        assert_eq!(ask(120), Ending::Again(Duration::from_secs(120)));
        assert_eq!(ask(u64::from(u32::MAX)), Ending::Again(LONGEST));
        let late = MADE.plus(GIVEN_UP_AFTER - Duration::from_secs(60));
        assert_eq!(pause_before(1, Some(Duration::from_secs(120)), MADE, late, 0.5), Ending::GivenUp);
        assert_eq!(pause_before(ATTEMPTS, None, MADE, MADE, 0.5), Ending::GivenUp);
    }

    #[test]
    fn a_subscription_is_paused_for_time_and_number_together() {
        let day = Duration::from_secs(24 * 60 * 60);
        for (failures, hours, expected) in [(4, 100, false), (5, 23, false), (5, 24, true), (1000, 1, false)] {
            let now = MADE.plus(Duration::from_secs(hours * 60 * 60));
            assert_eq!(is_to_be_paused(failures, MADE, day, now), expected, "{failures} in {hours} h");
        }
    }
}
