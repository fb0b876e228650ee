//! Limits on those who call the bridge: who has no token left is refused, and told when there is one.

use super::{Clock, Limits, MAX_TRIES};
use crate::account::share;
use crate::bucket::{Bucket, Rule, Step, step};
use crate::guard::Scope;
use crate::memory::KnownAccount;
use crate::store::Changed;
use clawbridge_clock::Timestamp;
use std::time::{Duration, Instant};

/// What came of asking for one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// `None`: it was there. Else when there is one again.
    pub again_at: Option<Timestamp>,
    /// Tokens that are left, as far as this environment knows: what others took since it last looked is not in it.
    pub remaining: u32,
    /// The time until the bucket is full, if nothing more is taken.
    pub full_in: Duration,
    /// As [`super::Permit::note`].
    pub note: Option<String>,
}

impl Limits {
    /// Takes one token from the bucket under `scope`, on account where that is possible. See [`crate::account`].
    ///
    /// No table call but each time that an environment's share is used up: then one update, [`MAX_TRIES`] at most. Without the table each
    /// environment keeps the limit by itself.
    pub async fn spend(&self, scope: &Scope, rule: Rule, now: Timestamp) -> Spent {
        let clock = Clock { now, started: Instant::now() };
        let slot = self.memory.accounts.of(scope);
        if let Some(spent) = self.on_account(&mut slot.known(), rule, now) {
            return spent;
        }
        let mut note = None;
        // Of those that ask at once in this environment one goes and pays for all.
        let _turn = self.turn(&slot, clock, &mut note).await;
        for _ in 0..MAX_TRIES {
            let now = clock.now();
            let is_alone = self.memory.is_alone(now) || clock.patience().is_zero();
            let (seen, owed) = {
                let mut known = slot.known();
                if let Some(spent) = self.on_account(&mut known, rule, now) {
                    return Spent { note, ..spent };
                }
                (known.bucket.seen(rule, is_alone, now), known.account.owed(rule, now))
            };
            let take = match step(seen.as_ref(), rule, owed.saturating_add(1), now) {
                Step::Later { at, .. } => return refused(&slot.known(), rule, at, now, note),
                Step::Try(take) => take,
            };
            let changed = match is_alone {
                false => self.store.take(scope, &take).await,
                true => Ok(take.over(seen.as_ref()).map_or(Changed::No(seen), Changed::Yes)),
            };
            match changed {
                Ok(Changed::Yes(bucket)) => {
                    let mut known = slot.known();
                    known.bucket.see(Some(bucket), now);
                    known.account.pay(take.tokens.min(owed));
                    if take.tokens > owed {
                        return let_through(&known, rule, now, note);
                    }
                }
                Ok(Changed::No(actual)) => slot.known().bucket.see(actual, now),
                Err(error) => self.alone(&error, now, &mut note),
            }
        }
        // Others were faster each time: there is a rush for the last tokens.
        let now = clock.now();
        refused(&slot.known(), rule, now.plus(rule.interval()), now, note)
    }

    /// Decides without the table, where what is known is enough.
    fn on_account(&self, known: &mut KnownAccount, rule: Rule, now: Timestamp) -> Option<Spent> {
        let seen = known.bucket.seen(rule, self.memory.is_alone(now), now);
        let owed = known.account.owed(rule, now);
        if let Step::Later { at, .. } = step(seen.as_ref(), rule, 1, now) {
            return Some(refused(known, rule, at, now, None));
        }
        let there = seen.and_then(|bucket| of(bucket, rule, now)).unwrap_or(rule.capacity());
        if owed < share(rule) && owed < there {
            known.account.add(rule, now);
            return Some(let_through(known, rule, now, None));
        }
        None
    }
}

/// The tokens of a bucket, if it was last taken from by this rule.
fn of(bucket: Bucket, rule: Rule, now: Timestamp) -> Option<u32> {
    bucket.full.filter(|full| full.rule == rule)?;
    bucket.tokens(now)
}

fn let_through(known: &KnownAccount, rule: Rule, now: Timestamp, note: Option<String>) -> Spent {
    let (remaining, full_in) = left(known, rule, now);
    Spent { again_at: None, remaining, full_in, note }
}

/// What is owed is paid before the next is let through.
fn refused(known: &KnownAccount, rule: Rule, at: Timestamp, now: Timestamp, note: Option<String>) -> Spent {
    let at = at.plus(rule.interval() * known.account.owed(rule, now));
    Spent { again_at: Some(at), remaining: 0, full_in: left(known, rule, now).1, note }
}

fn left(known: &KnownAccount, rule: Rule, now: Timestamp) -> (u32, Duration) {
    let owed = known.account.owed(rule, now);
    let there = known.bucket.seen(rule, true, now).and_then(|bucket| of(bucket, rule, now)).unwrap_or(rule.capacity());
    let remaining = there.saturating_sub(owed);
    (remaining, rule.interval() * (rule.capacity() - remaining))
}
