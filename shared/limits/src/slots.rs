//! How many calls are under way at one time: slots, each of which one call holds, until it gives it back or its lease is over. Pure.
//!
//! A key has as many slots as calls may be under way, and a slot has at most one holder: so there are never more holders than slots,
//! whatever is lost, late or done twice. Holders of different slots do not get into each other's way, and each decision is one conditional
//! write on one slot: taking it, if nobody holds it or the holder's lease is over; giving it back, if it is still this holder's.
//!
//! A call ends [`CLOCK_MARGIN`] before its slot's lease does. So clocks may differ by that much until a slot is taken whose call is still
//! under way.

use clawbridge_clock::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// By how much clocks may differ. The same as with a task's lease, since that is what ends the call in time.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(3);

/// The longest lease: the longest time limit of a tool, and what a task's lease adds to it.
pub const LONGEST_LEASE: Duration = Duration::from_secs(30);

/// How far ahead of this clock another may have written. A lease that ends later than any could by then is not believed, so that a clock
/// that was wrong stops no tool.
const TOLERATED_SKEW: Duration = Duration::from_secs(60);

/// The longest time between two looks for a free slot, but for the line of those that wait.
const LONGEST_PACE: Duration = Duration::from_secs(10);

/// How many slots there are, and how long one is held at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    count: u32,
    lease: Duration,
}

impl Rule {
    /// `count` calls may be under way, each for `lease` at most. What is zero counts as one.
    #[must_use]
    pub fn new(count: u32, lease: Duration) -> Rule {
        Rule { count: count.max(1), lease: lease.min(LONGEST_LEASE) }
    }

    /// How many slots there are.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// How long one is held at most.
    #[must_use]
    pub fn lease(self) -> Duration {
        self.lease
    }
}

/// Names one call that holds a slot: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub u64);

/// As the table keeps it: 16 hexadecimal digits.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> Result<Holder, ()> {
        u64::from_str_radix(text, 16).map(Holder).map_err(drop)
    }
}

/// A slot that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// By whom.
    pub by: Holder,
    /// When its lease is over.
    pub until: Timestamp,
}

impl Held {
    /// Whether nobody else may take the slot.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.until > now && self.until <= beyond_belief(now)
    }
}

/// The slots of one key that somebody holds or held, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(pub BTreeMap<u32, Held>);

impl Slots {
    /// How many are held.
    #[must_use]
    pub fn held(&self, now: Timestamp) -> usize {
        self.0.values().filter(|held| held.is_live(now)).count()
    }

    /// The free ones of the first `count`.
    fn free(&self, count: u32, now: Timestamp) -> Vec<u32> {
        (0..count).filter(|slot| self.0.get(slot).is_none_or(|held| !held.is_live(now))).collect()
    }
}

/// What to do next to get a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this write. If it holds, the slot is held; if not, ask again with the slots as they are.
    Try(Take),
    /// All are held, as far as is known.
    Later {
        /// When the first of their leases is over. They may be given back at any moment before.
        at: Timestamp,
    },
}

/// One conditional write: the slot is held by `holder` until `until`, if nobody holds it at `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// The slot's number.
    pub slot: u32,
    /// Who takes it.
    pub holder: Holder,
    /// The moment it is made for.
    pub now: Timestamp,
    /// When the lease is over.
    pub until: Timestamp,
}

/// What a holder gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slip {
    /// The slot's number.
    pub slot: u32,
    /// Who took it.
    pub holder: Holder,
    /// When.
    pub taken_at: Timestamp,
}

/// What to do at `now` to get a slot, given the slots as they were `seen` last. `dice` in `[0, 1)` chooses among those that are free, so that
/// those that ask at once do not all try the same.
#[must_use]
pub fn step(seen: &Slots, rule: Rule, holder: Holder, now: Timestamp, dice: f64) -> Step {
    let free = seen.free(rule.count, now);
    // Truncation: less than the number of slots.
    let chosen = (dice.clamp(0.0, 1.0) * free.len() as f64) as usize;
    match free.get(chosen.min(free.len().saturating_sub(1))) {
        Some(slot) => Step::Try(Take { slot: *slot, holder, now, until: now.plus(rule.lease) }),
        None => {
            let ends = (0..rule.count).filter_map(|slot| seen.0.get(&slot)).map(|held| held.until);
            Step::Later { at: ends.min().unwrap_or(now) }
        }
    }
}

impl Take {
    /// Leases that end later than this are not believed.
    #[must_use]
    pub fn beyond_belief(&self) -> Timestamp {
        beyond_belief(self.now)
    }

    /// What becomes of the slots if this is written over `actual`, or `None` where its condition does not hold. The table's condition and
    /// update say the same.
    #[must_use]
    pub fn over(&self, actual: &Slots) -> Option<Slots> {
        if actual.0.get(&self.slot).is_some_and(|held| held.is_live(self.now)) {
            return None;
        }
        let mut slots = actual.clone();
        slots.0.insert(self.slot, Held { by: self.holder, until: self.until });
        Some(slots)
    }

    /// What to give back.
    #[must_use]
    pub fn slip(&self) -> Slip {
        Slip { slot: self.slot, holder: self.holder, taken_at: self.now }
    }
}

impl Slip {
    /// What becomes of the slots if this is given back, or `None` where another holds the slot by now, or nobody.
    #[must_use]
    pub fn over(&self, actual: &Slots) -> Option<Slots> {
        if actual.0.get(&self.slot).is_none_or(|held| held.by != self.holder) {
            return None;
        }
        let mut slots = actual.clone();
        slots.0.remove(&self.slot);
        Some(slots)
    }
}

/// How long calls have held their slots lately: how far apart those that wait for one are to come back.
#[derive(Clone, Copy, Debug)]
pub struct Pace(Duration);

impl Default for Pace {
    /// A second, while nothing is known.
    fn default() -> Pace {
        Pace(Duration::from_secs(1))
    }
}

impl Pace {
    /// A call held its slot for so long. A fifth of what is known makes room for it.
    pub fn learn(&mut self, held: Duration) {
        self.0 = (self.0 * 4 + held.min(LONGEST_LEASE)) / 5;
    }

    /// How often one of `count` slots comes free.
    #[must_use]
    pub fn interval(self, rule: Rule) -> Duration {
        (self.0 / rule.count).clamp(Duration::from_millis(10), LONGEST_PACE)
    }
}

fn beyond_belief(now: Timestamp) -> Timestamp {
    now.plus(LONGEST_LEASE).plus(TOLERATED_SKEW)
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
