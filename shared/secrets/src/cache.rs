//! What was read, when, and whether another call may be spent. Pure: the caller brings the time.

use crate::{SecretValue, Stage};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// For how long things are believed, and how much may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// A value is used this long without asking.
    pub fresh: Duration,
    /// When asking fails, the last value is used until it is this old.
    pub stale: Duration,
    /// A name that does not exist is believed not to exist for this long.
    pub missing: Duration,
    /// A value this young is not read again even when it does not fit.
    pub settle: Duration,
    /// Names never seen before that may be looked up at once; one more is allowed each [`Ages::refill`].
    pub burst: u32,
    /// Time for one more look-up of a name never seen before.
    pub refill: Duration,
    /// Names kept at most; the oldest go first.
    pub capacity: usize,
}

impl Default for Ages {
    fn default() -> Ages {
        Ages {
            fresh: Duration::from_secs(60),
            stale: Duration::from_secs(15 * 60),
            missing: Duration::from_secs(60),
            settle: Duration::from_secs(5),
            burst: 20,
            refill: Duration::from_secs(1),
            capacity: 1024,
        }
    }
}

/// While Secrets Manager is out of reach, it is tried this often.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// What Secrets Manager said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// This value.
    Value(SecretValue),
    /// No such secret.
    Missing,
}

/// What to do about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Use this.
    Known(Kept),
    /// Ask; if that fails, `stale` may still be used.
    Read {
        /// The last value, if it is young enough to stand in.
        stale: Option<SecretValue>,
    },
    /// Do not ask: too many unknown names lately.
    Refused,
}

#[derive(Debug)]
struct Slot {
    kept: Kept,
    read_at: Instant,
    /// When the value was last confirmed or, while Secrets Manager is out of reach, last tried.
    checked_at: Instant,
}

/// The cache. Keys are a name and a stage.
#[derive(Debug)]
pub(crate) struct Cache {
    ages: Ages,
    slots: HashMap<(String, Stage), Slot>,
    tokens: f64,
    counted_at: Instant,
}

impl Cache {
    pub(crate) fn new(ages: Ages, now: Instant) -> Cache {
        Cache { ages, slots: HashMap::new(), tokens: f64::from(ages.burst), counted_at: now }
    }

    /// What is kept, if it is young enough to be used. Spends nothing.
    pub(crate) fn known(&self, name: &str, stage: Stage, now: Instant) -> Option<Kept> {
        let slot = self.slots.get(&(name.to_owned(), stage))?;
        let limit = match slot.kept {
            Kept::Value(_) => self.ages.fresh,
            Kept::Missing => self.ages.missing,
        };
        (now.saturating_duration_since(slot.checked_at) < limit).then(|| slot.kept.clone())
    }

    /// What to do about a name. [`Lookup::Read`] spends from the budget: ask once for each call that is made.
    pub(crate) fn look(&mut self, name: &str, stage: Stage, now: Instant) -> Lookup {
        if let Some(kept) = self.known(name, stage, now) {
            return Lookup::Known(kept);
        }
        if let Some(slot) = self.slots.get(&(name.to_owned(), stage))
            && let Kept::Value(value) = &slot.kept
        {
            // A name that is known to exist is never held up by strangers' inventions.
            let standing = now.saturating_duration_since(slot.read_at) < self.ages.stale;
            return Lookup::Read { stale: standing.then(|| value.clone()) };
        }
        // Nor is another stage of such a name.
        if stage != Stage::Current && self.has_value(name, Stage::Current) || self.take_token(now) {
            Lookup::Read { stale: None }
        } else {
            Lookup::Refused
        }
    }

    fn has_value(&self, name: &str, stage: Stage) -> bool {
        self.slots.get(&(name.to_owned(), stage)).is_some_and(|slot| matches!(slot.kept, Kept::Value(_)))
    }

    /// What is kept, if it is too young to be read again.
    pub(crate) fn settled(&self, name: &str, stage: Stage, now: Instant) -> Option<Kept> {
        let slot = self.slots.get(&(name.to_owned(), stage))?;
        (now.saturating_duration_since(slot.checked_at) < self.ages.settle).then(|| slot.kept.clone())
    }

    pub(crate) fn keep(&mut self, name: &str, stage: Stage, kept: Kept, now: Instant) {
        let key = (name.to_owned(), stage);
        // Another current value is a rotation, and what was current is the previous one now.
        if stage == Stage::Current && self.slots.get(&key).is_some_and(|slot| slot.kept != kept) {
            self.slots.remove(&(name.to_owned(), Stage::Previous));
        }
        if !self.slots.contains_key(&key) && self.slots.len() >= self.ages.capacity {
            self.make_room();
        }
        self.slots.insert(key, Slot { kept, read_at: now, checked_at: now });
    }

    /// Secrets Manager is out of reach: go on with what is kept for a few seconds before trying again.
    pub(crate) fn extend(&mut self, name: &str, stage: Stage, now: Instant) {
        let pause = self.ages.fresh.saturating_sub(OUTAGE_PAUSE);
        if let Some(slot) = self.slots.get_mut(&(name.to_owned(), stage)) {
            slot.checked_at = now.checked_sub(pause).unwrap_or(now);
        }
    }

    /// Names that do not exist go before names that do, old ones before young ones.
    fn make_room(&mut self) {
        let oldest = self
            .slots
            .iter()
            .min_by_key(|(_, slot)| (matches!(slot.kept, Kept::Value(_)), slot.checked_at))
            .map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.slots.remove(&key);
        }
    }

    fn take_token(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.counted_at).as_secs_f64() / self.ages.refill.as_secs_f64();
        self.tokens = (self.tokens + earned).min(f64::from(self.ages.burst));
        self.counted_at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.as_bytes())
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_value_is_used_while_fresh_then_read_again_with_the_old_one_in_reserve() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages::default(), start);
        cache.keep("a", Stage::Current, Kept::Value(value("1")), start);
        assert_eq!(cache.look("a", Stage::Current, after(start, 59)), Lookup::Known(Kept::Value(value("1"))));
        assert_eq!(cache.look("a", Stage::Current, after(start, 60)), Lookup::Read { stale: Some(value("1")) });
        assert_eq!(cache.look("a", Stage::Current, after(start, 900)), Lookup::Read { stale: None });
        assert_eq!(cache.look("a", Stage::Previous, start), Lookup::Read { stale: None });
    }

    #[test]
    fn while_secrets_manager_is_out_of_reach_it_is_tried_every_few_seconds_only() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages::default(), start);
        cache.keep("a", Stage::Current, Kept::Value(value("1")), start);
        let outage = after(start, 61);
        cache.extend("a", Stage::Current, outage);
        assert_eq!(cache.look("a", Stage::Current, outage), Lookup::Known(Kept::Value(value("1"))));
        assert_eq!(
            cache.look("a", Stage::Current, outage + Duration::from_secs(5)),
            Lookup::Read { stale: Some(value("1")) }
        );
    }

    #[test]
    fn a_missing_name_is_remembered_and_asked_for_again_later() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages::default(), start);
        cache.keep("ghost", Stage::Current, Kept::Missing, start);
        assert_eq!(cache.look("ghost", Stage::Current, after(start, 59)), Lookup::Known(Kept::Missing));
        assert_eq!(cache.look("ghost", Stage::Current, after(start, 60)), Lookup::Read { stale: None });
    }

    #[test]
    fn invented_names_spend_a_bounded_number_of_calls_and_known_names_are_not_held_up() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages::default(), start);
        cache.keep("known", Stage::Current, Kept::Value(value("1")), start);
        let asked =
            (0..1000).filter(|n| cache.look(&format!("x{n}"), Stage::Current, start) != Lookup::Refused).count();
        assert_eq!(asked, 20);
        assert_eq!(cache.look("x", Stage::Current, after(start, 2)), Lookup::Read { stale: None });
        assert_eq!(cache.look("known", Stage::Current, after(start, 61)), Lookup::Read { stale: Some(value("1")) });
    }

    #[test]
    fn the_previous_value_of_a_known_name_is_not_held_up_by_invented_names() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages { burst: 0, ..Ages::default() }, start);
        assert_eq!(cache.look("known", Stage::Previous, start), Lookup::Refused);
        cache.keep("known", Stage::Current, Kept::Missing, start);
        assert_eq!(cache.look("known", Stage::Previous, start), Lookup::Refused);
        cache.keep("known", Stage::Current, Kept::Value(value("1")), start);
        assert_eq!(cache.look("known", Stage::Previous, start), Lookup::Read { stale: None });
    }

    #[test]
    fn a_rotation_makes_what_is_known_of_the_previous_value_void() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages::default(), start);
        cache.keep("a", Stage::Current, Kept::Value(value("1")), start);
        cache.keep("a", Stage::Previous, Kept::Missing, start);
        cache.keep("a", Stage::Current, Kept::Value(value("1")), start);
        assert_eq!(cache.look("a", Stage::Previous, start), Lookup::Known(Kept::Missing));
        cache.keep("a", Stage::Current, Kept::Value(value("2")), start);
        assert_eq!(cache.look("a", Stage::Previous, start), Lookup::Read { stale: None });
    }

    #[test]
    fn the_cache_stays_within_its_capacity_and_drops_missing_names_first() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages { capacity: 3, ..Ages::default() }, start);
        cache.keep("known", Stage::Current, Kept::Value(value("1")), start);
        for n in 0..10 {
            cache.keep(&format!("x{n}"), Stage::Current, Kept::Missing, after(start, 1));
        }
        assert_eq!(cache.slots.len(), 3);
        assert_eq!(cache.look("known", Stage::Current, after(start, 2)), Lookup::Known(Kept::Value(value("1"))));
    }

    #[test]
    fn a_value_that_does_not_fit_is_read_again_only_when_it_has_settled() {
        let start = Instant::now();
        let mut cache = Cache::new(Ages::default(), start);
        cache.keep("a", Stage::Current, Kept::Value(value("1")), start);
        assert_eq!(cache.settled("a", Stage::Current, after(start, 4)), Some(Kept::Value(value("1"))));
        assert_eq!(cache.settled("a", Stage::Current, after(start, 5)), None);
    }
}
