//! What one environment knows without asking the table. Pure but for the locks around it.

use crate::account::Account;
use crate::bucket::{Bucket, Rule, Step, step};
use crate::budget::Earned;
use crate::circuit::{FRESH, State};
use crate::guard::Scope;
use crate::lease::{Lease, Line};
use crate::slots::{self, Holder, Pace};
use crate::store::Circuit;
use clawbridge_clock::Timestamp;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For how long a refusal is believed that was read from the table: a limit that a person resets is free again after so long.
pub(crate) const BELIEVED: Duration = Duration::from_secs(5);

/// For how long it is believed that all slots are held: each call that ends frees one, and others' are not heard of.
pub(crate) const HELD: Duration = Duration::from_secs(1);

/// After the table failed, it is done without for so long.
pub(crate) const OUTAGE: Duration = Duration::from_secs(5);

/// Keys that are remembered; those that nobody uses at the moment are forgotten beyond it.
const MAX_KEYS: usize = 1024;

/// One key's knowledge, and whose turn it is to ask the table about it.
#[derive(Debug, Default)]
pub(crate) struct Slot<T> {
    known: Mutex<T>,
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl<T> Slot<T> {
    /// Never held while something is waited for. No half-made state between statements, so a panic elsewhere leaves it usable.
    pub(crate) fn known(&self) -> MutexGuard<'_, T> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Slots<T>(Mutex<HashMap<Scope, Arc<Slot<T>>>>);

impl<T: Default> Slots<T> {
    pub(crate) fn of(&self, scope: &Scope) -> Arc<Slot<T>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_KEYS && !slots.contains_key(scope) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(scope.clone()).or_default().clone()
    }

    pub(crate) fn get(&self, scope: &Scope) -> Option<Arc<Slot<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(scope).cloned()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) buckets: Slots<KnownBucket>,
    pub(crate) accounts: Slots<KnownAccount>,
    pub(crate) circuits: Slots<KnownCircuit>,
    pub(crate) slots: Slots<KnownSlots>,
    pub(crate) budgets: Slots<Earned>,
    /// Pauses of tools that have neither limit nor circuit. The default is none.
    pub(crate) pauses: Slots<Option<Timestamp>>,
    out_of_reach_until: Mutex<Option<Timestamp>>,
    next_holder: AtomicU64,
}

impl Memory {
    /// Of the environment that is named `writer`: its holders of slots are named after it.
    pub(crate) fn of(writer: &str) -> Memory {
        let mut hasher = DefaultHasher::new();
        writer.hash(&mut hasher);
        Memory { next_holder: AtomicU64::new(hasher.finish()), ..Memory::default() }
    }

    /// A name that no other call has, here or elsewhere.
    pub(crate) fn holder(&self) -> Holder {
        Holder(self.next_holder.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the table failed lately, so that this environment goes by what it knows.
    pub(crate) fn is_alone(&self, now: Timestamp) -> bool {
        let until = *self.out_of_reach_until.lock().unwrap_or_else(PoisonError::into_inner);
        // Not one from before the clock was set back; others may have asked a little earlier than this one answered.
        until.is_some_and(|until| until > now && until <= now.plus(OUTAGE * 2))
    }

    pub(crate) fn table_failed(&self, now: Timestamp) {
        *self.out_of_reach_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now.plus(OUTAGE));
    }
}

#[derive(Debug, Default)]
pub(crate) struct KnownBucket {
    pub(crate) lease: Lease,
    pub(crate) line: Line,
    seen: Option<(Timestamp, Bucket)>,
}

impl KnownBucket {
    /// The bucket as it was seen last. What speaks against a call is forgotten in time, unless there is no table to ask; what speaks for it,
    /// the table corrects.
    pub(crate) fn seen(&self, rule: Rule, is_alone: bool, now: Timestamp) -> Option<Bucket> {
        let (at, bucket) = self.seen?;
        let refuses = matches!(step(Some(&bucket), rule, 1, now), Step::Later { .. });
        (!refuses || is_alone || is_young(at, BELIEVED, now)).then_some(bucket)
    }

    pub(crate) fn see(&mut self, bucket: Option<Bucket>, now: Timestamp) {
        self.seen = bucket.map(|bucket| (now, bucket));
    }

    pub(crate) fn pause(&mut self, until: Timestamp, now: Timestamp) {
        let bucket = self.seen.map(|(_, bucket)| bucket).unwrap_or_default();
        self.seen = Some((now, Bucket { paused_until: bucket.paused_until.max(Some(until)), ..bucket }));
    }

    /// Whether it is known to be paused as long as that.
    pub(crate) fn pause_covers(&self, until: Timestamp, now: Timestamp) -> bool {
        self.is_paused(now) && self.seen.is_some_and(|(_, bucket)| bucket.paused_until >= Some(until))
    }

    pub(crate) fn is_paused(&self, now: Timestamp) -> bool {
        self.seen.is_some_and(|(at, bucket)| {
            bucket.paused_until.is_some_and(|until| until > now) && is_young(at, BELIEVED, now)
        })
    }
}

/// What an environment let through on account, and the bucket as it was seen last.
#[derive(Debug, Default)]
pub(crate) struct KnownAccount {
    pub(crate) account: Account,
    pub(crate) bucket: KnownBucket,
}

#[derive(Debug, Default)]
pub(crate) struct KnownSlots {
    pub(crate) line: Line,
    pub(crate) pace: Pace,
    seen: Option<(Timestamp, slots::Slots)>,
}

impl KnownSlots {
    /// The slots as they were seen last; all free where that is too long ago to speak against a call.
    pub(crate) fn seen(&self, rule: slots::Rule, is_alone: bool, now: Timestamp) -> slots::Slots {
        let Some((at, slots)) = &self.seen else { return slots::Slots::default() };
        let refuses = matches!(slots::step(slots, rule, Holder(0), now, 0.0), slots::Step::Later { .. });
        if !refuses || is_alone || is_young(*at, HELD, now) { slots.clone() } else { slots::Slots::default() }
    }

    pub(crate) fn seen_last(&self) -> slots::Slots {
        self.seen.as_ref().map(|(_, slots)| slots.clone()).unwrap_or_default()
    }

    pub(crate) fn see(&mut self, slots: slots::Slots, now: Timestamp) {
        self.seen = Some((now, slots));
    }
}

#[derive(Debug, Default)]
pub(crate) struct KnownCircuit {
    pub(crate) circuit: Option<Circuit>,
    pub(crate) paused_until: Option<Timestamp>,
    read_at: Option<Timestamp>,
    pub(crate) calls: Calls,
}

impl KnownCircuit {
    /// Whether the table need not be asked.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.read_at.is_some_and(|at| is_young(at, FRESH, now))
    }

    pub(crate) fn read(&mut self, circuit: Option<Circuit>, paused_until: Option<Timestamp>, now: Timestamp) {
        *self = KnownCircuit { circuit, paused_until, read_at: Some(now), calls: self.calls };
    }

    /// A circuit that the table does not have is closed.
    pub(crate) fn state(&self) -> State {
        self.circuit.as_ref().map_or(State::Closed { failed: Vec::new() }, |circuit| circuit.state.clone())
    }

    /// Changes what is known alone: the table is out of reach.
    pub(crate) fn assume(&mut self, next: State) {
        let version = self.circuit.as_ref().map_or(0, |circuit| circuit.version);
        self.circuit = Some(Circuit { version, state: next });
    }
}

/// How many calls an environment made since it reported a failure, within about one window: those of the window before count in part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    since: Option<Timestamp>,
    current: u32,
    before: u32,
}

impl Calls {
    pub(crate) fn add(&mut self, window: Duration, now: Timestamp) {
        self.turn(window, now);
        self.current = self.current.saturating_add(1);
    }

    /// How many there were, which are told now.
    pub(crate) fn take(&mut self, window: Duration, now: Timestamp) -> u32 {
        self.turn(window, now);
        let gone = self.since.map_or(Duration::ZERO, |since| since.until(now)).as_secs_f64() / window.as_secs_f64();
        let of_before = f64::from(self.before) * (1.0 - gone).clamp(0.0, 1.0);
        let count = f64::from(self.current) + of_before.round();
        *self = Calls { since: self.since, ..Calls::default() };
        // Truncation: a sum of two counts that fit, at most doubled.
        if count >= f64::from(u32::MAX) { u32::MAX } else { count as u32 }
    }

    fn turn(&mut self, window: Duration, now: Timestamp) {
        let gone = self.since.map(|since| since.until(now));
        let is_backwards = self.since.is_some_and(|since| since > now);
        match gone {
            Some(gone) if gone < window && !is_backwards => {}
            Some(gone) if gone < window * 2 && !is_backwards => {
                *self = Calls { since: self.since.map(|since| since.plus(window)), current: 0, before: self.current };
            }
            Some(_) | None => *self = Calls { since: Some(now), current: 0, before: 0 },
        }
    }
}

/// Whether `at` lies less than `age` before `now`. What lies after it was written before the clock was set back.
fn is_young(at: Timestamp, age: Duration, now: Timestamp) -> bool {
    at <= now.plus(Duration::from_secs(1)) && at.until(now) < age
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Full;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + ms)
    }

    fn rule() -> Rule {
        Rule::new(1, Duration::from_secs(3600), 1)
    }

    #[test]
    fn a_refusal_is_believed_for_a_few_seconds_and_leave_as_long_as_it_lasts() {
        let mut known = KnownBucket::default();
        let full = Full { at: at(3_600_000).millis() * 1_000_000, rule: rule() };
        known.see(Some(Bucket { full: Some(full), paused_until: None }), at(0));
        assert!(known.seen(rule(), false, at(4_999)).is_some());
        assert!(known.seen(rule(), false, at(5_000)).is_none());
        assert!(known.seen(rule(), true, at(5_000)).is_some(), "there is no table to ask");
        assert!(known.seen(rule(), false, at(3_600_000)).is_some(), "full again");
        known.pause(at(9_000_000), at(5_000));
        assert!(known.is_paused(at(9_999)) && !known.is_paused(at(10_000)));
        // A shorter pause does not shorten it.
        known.pause(at(1), at(6_000));
        assert!(known.is_paused(at(10_999)));
    }

    #[test]
    fn what_was_known_before_the_clock_was_set_back_is_not_known() {
        let mut known = KnownCircuit::default();
        known.read(None, None, at(3_600_000));
        assert!(known.is_fresh(at(3_600_000)) && known.is_fresh(at(3_604_999)));
        assert!(!known.is_fresh(at(3_605_000)) && !known.is_fresh(at(0)));
        let memory = Memory::default();
        memory.table_failed(at(3_600_000));
        assert!(memory.is_alone(at(3_600_000)) && !memory.is_alone(at(3_605_000)) && !memory.is_alone(at(0)));
    }

    #[test]
    fn calls_are_counted_over_about_one_window() {
        let window = Duration::from_secs(60);
        let mut calls = Calls::default();
        for ms in 0..100 {
            calls.add(window, at(ms));
        }
        for ms in 0..10 {
            calls.add(window, at(75_000 + ms));
        }
        // A quarter of the second window has gone by: three quarters of the first count, and all of the second.
        assert_eq!(calls.take(window, at(75_010)), 85);
        assert_eq!(calls.take(window, at(75_010)), 0);
        calls.add(window, at(75_010));
        assert_eq!(calls.take(window, at(500_000)), 0);
        calls.add(window, at(500_000));
        calls.add(window, at(0));
        assert_eq!(calls.take(window, at(0)), 1);
    }

    #[test]
    fn keys_that_nobody_uses_are_forgotten_beyond_the_bound() {
        let slots = Slots::<Option<Timestamp>>::default();
        let held = slots.of(&Scope::named("held"));
        *held.known() = Some(at(0));
        for n in 0..3 * MAX_KEYS {
            slots.of(&Scope::named(&n.to_string()));
        }
        assert!(slots.0.lock().unwrap().len() <= MAX_KEYS);
        assert_eq!(*slots.get(&Scope::named("held")).expect("in use").known(), Some(at(0)));
        assert!(slots.get(&Scope::named("0")).is_none());
    }
}
