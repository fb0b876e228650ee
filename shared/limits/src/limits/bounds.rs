//! Slots and retry budgets around a call.

use super::{Clock, Ended, Later, Limits, MAX_TRIES, Permit, Why};
use crate::budget::{self, Attempt, Paid};
use crate::guard::{Guard, Scope};
use crate::memory::KnownSlots;
use crate::slots::{self, Slip, Step, step};
use crate::store::Changed;
use clawbridge_clock::Timestamp;

impl Limits {
    /// Whether it is known that the budget is spent or all slots are held.
    pub(super) fn peek_bounds(&self, guard: &Guard, attempt: Attempt, now: Timestamp, dice: f64) -> Option<Later> {
        if let (Some((scope, rule)), Attempt::Retry) = (&guard.retries, attempt)
            && !self.memory.budgets.get(scope).is_some_and(|slot| slot.known().pays(now))
            && let Some(later) = self.peek_bucket(scope, rule.rate, Why::Budget, now, dice)
        {
            return Some(later);
        }
        let (scope, rule) = guard.slots.as_ref()?;
        let slot = self.memory.slots.get(scope)?;
        let mut known = slot.known();
        self.no_slot(&mut known, *rule, now, dice)
    }

    /// Pays for a retry: from what this environment earned, else with a token that all share.
    pub(super) async fn pay(
        &self,
        scope: &Scope,
        rule: budget::Rule,
        clock: Clock,
        dice: f64,
        note: &mut Option<String>,
    ) -> Result<Paid, Later> {
        if self.memory.budgets.of(scope).known().spend(clock.now()) {
            return Ok(Paid::Share);
        }
        self.token(scope, rule.rate, Why::Budget, clock, dice, note).await.map(Paid::Token)
    }

    pub(super) fn refund(&self, scope: &Scope, paid: Paid, now: Timestamp) {
        match paid {
            Paid::Share => self.memory.budgets.of(scope).known().refund(now),
            Paid::Token(taken_at) => self.memory.buckets.of(scope).known().lease.give_back(taken_at, now),
        }
    }

    /// A first attempt that was made pays for later retries, whatever came of it.
    pub(super) fn earn(&self, guard: &Guard, attempt: Attempt, ended: Ended, now: Timestamp) {
        if let (Some((scope, rule)), Attempt::First, Ended::Answered | Ended::Failed) = (&guard.retries, attempt, ended)
        {
            self.memory.budgets.of(scope).known().earn(rule.percent, now);
        }
    }

    /// A free slot.
    pub(super) async fn slot(
        &self,
        scope: &Scope,
        rule: slots::Rule,
        clock: Clock,
        dice: f64,
        note: &mut Option<String>,
    ) -> Result<Slip, Later> {
        let slot = self.memory.slots.of(scope);
        // Those that ask at once in this environment would try the same slots.
        let _turn = self.turn(&slot, clock, note).await;
        if let Some(later) = self.no_slot(&mut slot.known(), rule, clock.now(), dice) {
            return Err(later);
        }
        let holder = self.memory.holder();
        for _ in 0..MAX_TRIES {
            let now = clock.now();
            let is_alone = self.memory.is_alone(now) || clock.patience().is_zero();
            let seen = slot.known().seen(rule, is_alone, now);
            let take = match step(&seen, rule, holder, now, dice) {
                Step::Later { at } => return Err(in_line(&mut slot.known(), rule, at, now, dice)),
                Step::Try(take) => take,
            };
            let changed = match is_alone {
                false => self.store.take_slot(scope, &take).await,
                true => Ok(take.over(&seen).map_or(Changed::No(None), Changed::Yes)),
            };
            match changed {
                Ok(Changed::Yes(slots)) => {
                    slot.known().see(slots, now);
                    return Ok(take.slip());
                }
                Ok(Changed::No(actual)) => slot.known().see(actual.unwrap_or_default(), now),
                Err(error) => self.alone(&error, now, note),
            }
        }
        // Others were faster each time: there is a rush for the last slots.
        let now = clock.now();
        Err(in_line(&mut slot.known(), rule, now, now, dice))
    }

    /// Gives the slot back, if it is still this call's.
    pub(super) async fn free_slot(&self, guard: &Guard, permit: &mut Permit, clock: Clock) {
        let (Some((scope, _)), Some(slip)) = (&guard.slots, permit.slip.take()) else { return };
        let slot = self.memory.slots.of(scope);
        let now = clock.now();
        slot.known().pace.learn(slip.taken_at.until(now));
        if self.memory.is_alone(now) {
            // What the table has of it, its lease ends.
            let mut known = slot.known();
            if let Some(slots) = slip.over(&known.seen_last()) {
                known.see(slots, now);
            }
            return;
        }
        match self.store.free_slot(scope, &slip).await {
            Ok(Changed::Yes(slots)) => slot.known().see(slots, now),
            Ok(Changed::No(actual)) => slot.known().see(actual.unwrap_or_default(), now),
            Err(error) => self.alone(&error, now, &mut permit.note),
        }
    }

    /// Where all slots are known to be held: when to ask again.
    fn no_slot(&self, known: &mut KnownSlots, rule: slots::Rule, now: Timestamp, dice: f64) -> Option<Later> {
        let seen = known.seen(rule, self.memory.is_alone(now), now);
        match step(&seen, rule, slots::Holder(0), now, dice) {
            Step::Later { at } => Some(in_line(known, rule, at, now, dice)),
            Step::Try(_) => None,
        }
    }
}

/// A place in the line of those that wait for a slot of this environment's knowledge: as far apart as slots come free, since nobody knows
/// when one does. Only the first one need not come before the first lease is over, if that is sooner.
fn in_line(known: &mut KnownSlots, rule: slots::Rule, at: Timestamp, now: Timestamp, dice: f64) -> Later {
    let interval = known.pace.interval(rule);
    let first = now.plus(interval).min(at.max(now));
    Later { at: known.line.place(first, interval, dice), why: Why::Concurrency, note: None }
}
