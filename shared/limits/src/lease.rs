//! Tokens that one environment took from a bucket ahead of need, and the line of those that wait. Pure.
//!
//! Where calls are frequent, one write for each would make the bucket's item the bottleneck. An environment that used up what it had taken
//! takes twice as many the next time, up to [`Rule::largest_lease`]; one that did not use them within [`LIFE`] loses them and starts again at
//! one. So what is wasted is at most what was used just before.

use crate::bucket::Rule;
use clawbridge_clock::Timestamp;
use std::time::Duration;

/// For how long a token may be used after it was taken. By so much longer a window counts: within `t`, capacity + rate × (t + this) calls.
pub const LIFE: Duration = Duration::from_secs(1);

/// The longest that somebody waits because of those before them in line. Then they look again.
pub const LONGEST_LINE: Duration = Duration::from_secs(10 * 60);

/// What an environment has left of the tokens that it took last.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    size: u32,
    left: u32,
    taken_at: Timestamp,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease { size: 0, left: 0, taken_at: Timestamp::from_millis(i64::MIN) }
    }
}

impl Lease {
    /// Uses a token, if there is one. Returns when it was taken from the bucket.
    pub fn take(&mut self, now: Timestamp) -> Option<Timestamp> {
        if !self.has(now) {
            return None;
        }
        self.left -= 1;
        Some(self.taken_at)
    }

    /// Whether there is a token.
    #[must_use]
    pub fn has(&self, now: Timestamp) -> bool {
        self.left > 0 && self.is_alive(now)
    }

    /// How many tokens to take from the bucket next.
    #[must_use]
    pub fn want(&self, rule: Rule, now: Timestamp) -> u32 {
        let was_used_up = self.size > 0 && self.left == 0 && self.is_alive(now);
        if was_used_up { self.size.saturating_mul(2).min(rule.largest_lease()) } else { 1 }
    }

    /// Keeps `tokens` that were taken from the bucket.
    pub fn fill(&mut self, tokens: u32, now: Timestamp) {
        *self = Lease { size: tokens, left: tokens, taken_at: now };
    }

    /// Takes back a token that was not used after all. One that is too old is lost.
    pub fn give_back(&mut self, taken_at: Timestamp, now: Timestamp) {
        let given = Lease { size: self.size.max(1), left: 1, taken_at };
        if !given.is_alive(now) {
            return;
        }
        if self.has(now) {
            self.left += 1;
            // None of them may live longer than it would have.
            self.taken_at = self.taken_at.min(taken_at);
        } else {
            *self = given;
        }
    }

    /// Also false for a token from the future: the clock was set back.
    fn is_alive(&self, now: Timestamp) -> bool {
        self.taken_at.plus(LIFE) > now && now.plus(LIFE) > self.taken_at
    }
}

/// Those of one environment that were told to come back. Each is given a place of its own, one interval after the one before: all of them at
/// the moment of the next token would find one token.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    end: Timestamp,
}

impl Default for Line {
    fn default() -> Line {
        Line { end: Timestamp::from_millis(i64::MIN) }
    }
}

impl Line {
    /// When somebody is to come back who may not do so before `at`. `dice` in `[0, 1)` keeps lines of several environments out of step.
    pub fn place(&mut self, at: Timestamp, interval: Duration, dice: f64) -> Timestamp {
        let latest = at.plus(LONGEST_LINE);
        self.end = if self.end < at || self.end > latest { at } else { self.end.plus(interval).min(latest) };
        let step = interval.min(LONGEST_LINE).max(Duration::from_millis(1));
        self.end.plus(step.mul_f64(dice.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    fn fast() -> Rule {
        Rule::new(100, Duration::from_secs(1), 400)
    }

    #[test]
    fn a_lease_doubles_while_it_is_used_up_and_starts_again_at_one_when_it_was_not() {
        let mut lease = Lease::default();
        let mut sizes = Vec::new();
        for _ in 0..6 {
            let size = lease.want(fast(), at(0));
            lease.fill(size, at(0));
            sizes.push(size);
            while lease.take(at(0)).is_some() {}
        }
        // A hundred a second: ten in a tenth of a second.
        assert_eq!(sizes, [1, 2, 4, 8, 10, 10]);
        lease.fill(10, at(0));
        assert_eq!(lease.take(at(999)), Some(at(0)));
        assert_eq!((lease.take(at(1000)), lease.want(fast(), at(1000))), (None, 1));
        // Used up, but long ago.
        lease.fill(1, at(2000));
        assert_eq!((lease.take(at(2000)), lease.want(fast(), at(3000))), (Some(at(2000)), 1));
    }

    #[test]
    fn a_slow_limit_is_taken_from_one_by_one() {
        assert_eq!(Rule::new(10, Duration::from_secs(1), 100).largest_lease(), 1);
        assert_eq!(Rule::new(100, Duration::from_secs(1), 8).largest_lease(), 2);
        assert_eq!(Rule::new(1_000_000, Duration::from_secs(1), 100_000).largest_lease(), 100);
        assert_eq!(Rule::new(1, Duration::from_secs(3600), 100_000).largest_lease(), 1);
    }

    #[test]
    fn a_token_that_was_not_used_is_there_for_the_next_and_grows_no_older_than_it_may() {
        let mut lease = Lease::default();
        lease.fill(1, at(0));
        let taken_at = lease.take(at(0)).expect("a token");
        lease.give_back(taken_at, at(500));
        assert_eq!((lease.take(at(999)), lease.take(at(999))), (Some(at(0)), None));
        lease.give_back(taken_at, at(1000));
        assert_eq!(lease.take(at(1000)), None);
        // With one of a later lease, both end when the older one does.
        lease.fill(1, at(600));
        lease.give_back(at(0), at(700));
        assert_eq!((lease.take(at(999)), lease.take(at(1000))), (Some(at(0)), None));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_token_last() {
        let mut lease = Lease::default();
        lease.fill(5, at(3_600_000));
        assert_eq!(lease.take(at(0)), None);
    }

    #[test]
    fn those_who_wait_come_back_one_after_the_other() {
        let mut line = Line::default();
        let second = Duration::from_secs(1);
        let places: Vec<i64> = (0..3).map(|_| line.place(at(0), second, 0.0).millis() - at(0).millis()).collect();
        assert_eq!(places, [0, 1000, 2000]);
        // The line has passed.
        assert_eq!(line.place(at(5000), second, 0.5), at(5500));
        // No line is longer than somebody should wait.
        let mut line = Line::default();
        let last = (0..10_000).map(|_| line.place(at(0), second, 0.0)).last();
        assert_eq!(last, Some(at(600_000)));
        let mut line = Line { end: at(i64::from(u32::MAX)) };
        assert_eq!(line.place(at(0), second, 0.0), at(0));
    }
}
