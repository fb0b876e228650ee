//! How many of a tool's calls may be retries: a share of its first attempts, and a rate whatever there are of those. Pure.
//!
//! An upstream that fails gets each call several times, just when it can bear them least; backoff puts that off and does not make it less. So
//! retries have a budget (the notion of Finagle's `RetryBudget`). The share is earned and spent within one environment, which needs nobody
//! else for that: as each spends no more than it earned, all together spend no more than the share of all first attempts. The rate is a
//! [`bucket`](crate::bucket) that all environments draw from, and only a retry that its own environment's share does not pay for asks for it.

use crate::bucket;
use clawbridge_clock::Timestamp;
use std::time::Duration;

/// What is earned is lost after one to two of these: an hour of good calls must not pay for a storm.
pub const WINDOW: Duration = Duration::from_secs(30);

/// What a retry costs. A first attempt earns as many as its share has percent.
const COST: u64 = 100;

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So many for each hundred first attempts.
    pub percent: u8,
    /// And so many beside those.
    pub rate: bucket::Rule,
}

/// Which attempt of its task a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The upstream has not made it fail before.
    First,
    /// It has.
    Retry,
}

/// What paid for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paid {
    /// The environment's share.
    Share,
    /// A token of the bucket, taken from it then.
    Token(Timestamp),
}

/// What one environment has earned and not spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Earned {
    since: Option<Timestamp>,
    current: u64,
    before: u64,
}

impl Earned {
    /// A first attempt was made.
    pub fn earn(&mut self, percent: u8, now: Timestamp) {
        self.turn(now);
        self.current = self.current.saturating_add(percent.into());
    }

    /// Whether it pays for a retry.
    #[must_use]
    pub fn pays(mut self, now: Timestamp) -> bool {
        self.spend(now)
    }

    /// Pays for a retry, if there is enough. What was earned first is spent first.
    pub fn spend(&mut self, now: Timestamp) -> bool {
        self.turn(now);
        if self.before.saturating_add(self.current) < COST {
            return false;
        }
        let of_before = self.before.min(COST);
        self.before -= of_before;
        self.current -= COST - of_before;
        true
    }

    /// A retry that was paid for was not made.
    pub fn refund(&mut self, now: Timestamp) {
        self.turn(now);
        self.current = self.current.saturating_add(COST);
    }

    fn turn(&mut self, now: Timestamp) {
        let is_backwards = self.since.is_some_and(|since| since > now);
        match self.since {
            Some(since) if !is_backwards && since.until(now) < WINDOW => {}
            Some(since) if !is_backwards && since.until(now) < WINDOW * 2 => {
                *self = Earned { since: Some(since.plus(WINDOW)), current: 0, before: self.current };
            }
            Some(_) | None => *self = Earned { since: Some(now), current: 0, before: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    #[test]
    fn five_first_attempts_pay_for_one_retry_by_a_share_of_a_fifth() {
        let mut earned = Earned::default();
        for _ in 0..4 {
            earned.earn(20, at(0));
            assert!(!earned.pays(at(0)) && !earned.spend(at(0)));
        }
        earned.earn(20, at(0));
        assert!(earned.pays(at(0)) && earned.spend(at(0)));
        assert!(!earned.spend(at(0)), "spent");
        earned.refund(at(0));
        assert!(earned.spend(at(0)), "it was not made");
    }

    #[test]
    fn what_was_earned_is_lost_in_time_and_with_a_clock_that_is_set_back() {
        for (first, second, spent_at, expected) in [
            (0, 0, 59_999, true),
            (0, 0, 60_000, false),
            (0, 29_999, 59_999, true),
            // Half of it is lost with its window.
            (0, 30_000, 60_000, false),
            (30_000, 30_000, 80_000, true),
            (30_000, 30_000, 0, false),
        ] {
            let mut earned = Earned::default();
            earned.earn(50, at(first));
            earned.earn(50, at(second));
            assert_eq!(earned.spend(at(spent_at)), expected, "{first} {second} {spent_at}");
        }
    }

    proptest! {
        /// In each stretch of time, of each environment and so of all together.
        #[test]
        fn no_more_is_spent_than_the_share_of_the_first_attempts_of_the_minute_before(
            percent in 1..=100_u8,
            steps in prop::collection::vec((0..6_000_i64, any::<bool>()), 1..300),
        ) {
            let (mut earned, mut now) = (Earned::default(), 0);
            let (mut firsts, mut retries) = (Vec::new(), Vec::new());
            for (ms, is_first) in steps {
                now += ms;
                if is_first {
                    earned.earn(percent, at(now));
                    firsts.push(now);
                } else if earned.spend(at(now)) {
                    retries.push(now);
                }
            }
            let window = i64::try_from(2 * WINDOW.as_millis()).unwrap();
            for (n, from) in retries.iter().enumerate() {
                for (m, to) in retries.iter().enumerate().skip(n) {
                    let earning = firsts.iter().filter(|at| (from - window..=*to).contains(*at)).count();
                    prop_assert!((m - n + 1) * 100 <= earning * usize::from(percent), "{n} to {m}");
                }
            }
        }
    }
}
