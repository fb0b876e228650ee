//! What one environment lets through before it pays for it. Pure.
//!
//! For limits on those who call the bridge a write for each request would cost more than most requests. So an environment lets a tenth of the
//! bucket through on account ([`share`]), and takes as many tokens for it with the next request. Nothing is given away: what is owed is
//! paid before anything else is let through. At any moment the environments together have let through at most their shares more than the
//! bucket has given out. Where a tenth is less than one, each request is paid for at once.

use crate::bucket::Rule;
use clawbridge_clock::Timestamp;

/// The most that is owed, however large the bucket.
const MAX_SHARE: u32 = 100;

/// How much an environment lets through before it pays.
#[must_use]
pub fn share(rule: Rule) -> u32 {
    (rule.capacity() / 10).min(MAX_SHARE)
}

/// What an environment owes a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    owed: u32,
    since: Option<Timestamp>,
}

impl Account {
    /// What is owed. After the time in which the bucket fills nothing is: it would be full again by now.
    #[must_use]
    pub fn owed(&self, rule: Rule, now: Timestamp) -> u32 {
        let is_young = self.since.is_some_and(|since| since.until(now) < rule.fill_time() && since <= now);
        if is_young { self.owed } else { 0 }
    }

    /// One was let through and is not paid for.
    pub fn add(&mut self, rule: Rule, now: Timestamp) {
        let owed = self.owed(rule, now);
        let since = if owed == 0 { Some(now) } else { self.since };
        *self = Account { owed: owed.saturating_add(1), since };
    }

    /// So many were paid for.
    pub fn pay(&mut self, tokens: u32) {
        self.owed = self.owed.saturating_sub(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    /// Ten a second, a hundred at once: full after ten seconds.
    fn rule() -> Rule {
        Rule::new(600, Duration::from_secs(60), 100)
    }

    #[test]
    fn a_tenth_of_the_bucket_is_let_through_on_account_and_nothing_of_a_small_one() {
        for (capacity, expected) in [(1, 0), (9, 0), (10, 1), (100, 10), (1_000_000, MAX_SHARE)] {
            assert_eq!(share(Rule::new(10, Duration::from_secs(1), capacity)), expected, "{capacity}");
        }
    }

    #[test]
    fn what_is_owed_grows_until_it_is_paid_and_is_forgotten_when_the_bucket_is_full_again() {
        let mut account = Account::default();
        assert_eq!(account.owed(rule(), at(0)), 0);
        for ms in [0, 5_000] {
            account.add(rule(), at(ms));
        }
        assert_eq!((account.owed(rule(), at(9_999)), account.owed(rule(), at(10_000))), (2, 0));
        account.add(rule(), at(10_000));
        assert_eq!((account.owed(rule(), at(10_000)), account.owed(rule(), at(19_999))), (1, 1));
        account.pay(3);
        assert_eq!(account.owed(rule(), at(10_000)), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_owed_for_long() {
        let mut account = Account::default();
        account.add(rule(), at(3_600_000));
        assert_eq!(account.owed(rule(), at(0)), 0);
    }
}
