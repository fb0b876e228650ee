//! A token bucket, kept as the moment at which it is full again. Pure.
//!
//! A bucket of some capacity that gains a token each interval is full at some moment if nothing is taken from now on, and each token that is
//! taken puts that moment off by one interval. So one number is the whole state: what was gained needs no write, and environments that take
//! at the same time add to it without having to agree first. (The generic cell rate algorithm in its virtual scheduling form, ITU-T I.371,
//! annex A, which counts as a token bucket does.)

use clawbridge_clock::Timestamp;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How far clocks may differ. A bucket that is full only this much later than any could be was written by a clock that is wrong, or under
/// another rule, and is believed no longer.
pub const TOLERATED_SKEW: Duration = Duration::from_secs(60);

/// The most tokens that one environment takes at once.
pub const MAX_LEASE: u32 = 100;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Nanoseconds in which it gains a token, rounded up: a rate is never exceeded, and missed by a thousandth at most.
    interval: i64,
    capacity: u32,
}

impl Rule {
    /// `calls` tokens are gained in `period`, and at most `capacity` held. What is zero counts as one.
    #[must_use]
    pub fn new(calls: u32, period: Duration, capacity: u32) -> Rule {
        let interval = period.as_nanos().div_ceil(calls.max(1).into());
        Rule { interval: i64::try_from(interval).unwrap_or(i64::MAX).max(1), capacity: capacity.max(1) }
    }

    /// The time in which a token is gained.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_nanos(self.interval.unsigned_abs())
    }

    /// The most tokens that are held.
    #[must_use]
    pub fn capacity(self) -> u32 {
        self.capacity
    }

    /// The time in which an empty bucket fills.
    #[must_use]
    pub fn fill_time(self) -> Duration {
        Duration::from_nanos(self.cost(self.capacity).unsigned_abs())
    }

    /// The most tokens that one environment takes at once: those of a tenth of a second, a quarter of the bucket, [`MAX_LEASE`].
    #[must_use]
    pub fn largest_lease(self) -> u32 {
        let of_a_tenth = u32::try_from(100_000_000 / self.interval).unwrap_or(u32::MAX);
        of_a_tenth.min(self.capacity / 4).clamp(1, MAX_LEASE)
    }

    fn cost(self, tokens: u32) -> i64 {
        self.interval.saturating_mul(tokens.into())
    }
}

/// As the table keeps it: `100000000ns*20`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns*{}", self.interval, self.capacity)
    }
}

impl FromStr for Rule {
    type Err = ();

    fn from_str(text: &str) -> Result<Rule, ()> {
        let (interval, capacity) = text.split_once("ns*").ok_or(())?;
        let rule = Rule { interval: interval.parse().map_err(drop)?, capacity: capacity.parse().map_err(drop)? };
        if rule.interval > 0 && rule.capacity > 0 { Ok(rule) } else { Err(()) }
    }
}

/// When a bucket is full again, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Nanoseconds since the Unix epoch.
    pub at: i64,
    /// The rule that it was last taken from by.
    pub rule: Rule,
}

/// A bucket as the table has it. One that the table does not have is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// `None`: nothing was taken so far.
    pub full: Option<Full>,
    /// Nothing may be taken before: the upstream said so.
    pub paused_until: Option<Timestamp>,
}

impl Bucket {
    /// How many tokens it holds by its own rule.
    #[must_use]
    pub fn tokens(&self, now: Timestamp) -> Option<u32> {
        self.full.map(|full| available(full.at, full.rule, nanos(now)))
    }
}

/// What to do next to get tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this write. If it holds, its tokens are taken; if not, ask again with the bucket as it is.
    Try(Take),
    /// There is none, as far as is known.
    Later {
        /// When there is one, or the pause is over.
        at: Timestamp,
        /// Whether it is a pause.
        is_pause: bool,
    },
}

/// One conditional write. None holds while the bucket is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// The rule it is made by.
    pub rule: Rule,
    /// How many tokens it takes. Only [`Write::Replace`] may take none, and puts the bucket right for the next step.
    pub tokens: u32,
    /// The moment it is made for.
    pub now: Timestamp,
    /// The write.
    pub write: Write,
}

/// The forms of a write: which condition, and what becomes of the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// If nothing was taken yet, or it is full by the same rule: it is full again at `full_at`.
    FromFull {
        /// Nanoseconds since the epoch.
        full_at: i64,
    },
    /// If it is not full and, by the same rule, full again at `upto` or before: it is full again later by `cost`.
    Add {
        /// Nanoseconds since the epoch.
        upto: i64,
        /// Nanoseconds.
        cost: i64,
    },
    /// If it is exactly as it was `seen`: it is full again at `full_at`, by the rule of the write.
    Replace {
        /// What was seen.
        seen: Full,
        /// Nanoseconds since the epoch.
        full_at: i64,
    },
}

/// What to do at `now` to get up to `want` tokens (one at least is wanted), given the bucket as it was `seen` last.
#[must_use]
pub fn step(seen: Option<&Bucket>, rule: Rule, want: u32, now: Timestamp) -> Step {
    let want = want.clamp(1, rule.capacity);
    if let Some(until) = seen.and_then(|seen| seen.paused_until)
        && until > now
    {
        return Step::Later { at: until, is_pause: true };
    }
    let at = nanos(now);
    let take = |tokens: u32, write: Write| Step::Try(Take { rule, tokens, now, write });
    match seen.and_then(|seen| seen.full) {
        Some(full) if full.rule != rule || full.at > beyond_belief(rule, at) => {
            let believed = full.at.min(at.saturating_add(rule.cost(rule.capacity)));
            let tokens = want.min(available(believed, rule, at));
            let full_at = believed.max(at).saturating_add(rule.cost(tokens));
            take(tokens, Write::Replace { seen: full, full_at })
        }
        Some(full) if full.at > at => match want.min(available(full.at, rule, at)) {
            0 => Step::Later { at: first_token(full.at, rule), is_pause: false },
            tokens => {
                let upto = at.saturating_add(rule.cost(rule.capacity - tokens));
                take(tokens, Write::Add { upto, cost: rule.cost(tokens) })
            }
        },
        Some(_) | None => take(want, Write::FromFull { full_at: at.saturating_add(rule.cost(want)) }),
    }
}

impl Take {
    /// What becomes of the bucket if this is written over `actual`, or `None` where its condition does not hold. The table's condition and
    /// update say the same.
    #[must_use]
    pub fn over(&self, actual: Option<&Bucket>) -> Option<Bucket> {
        let bucket = actual.copied().unwrap_or_default();
        if bucket.paused_until.is_some_and(|until| until > self.now) {
            return None;
        }
        let now = nanos(self.now);
        let full_at = match (self.write, bucket.full) {
            (Write::FromFull { full_at }, None) => full_at,
            (Write::FromFull { full_at }, Some(full)) if full.rule == self.rule && full.at <= now => full_at,
            (Write::Add { upto, cost }, Some(full)) if full.rule == self.rule && full.at > now && full.at <= upto => {
                full.at.saturating_add(cost)
            }
            (Write::Replace { seen, full_at }, Some(full)) if full == seen => full_at,
            (Write::FromFull { .. } | Write::Add { .. } | Write::Replace { .. }, _) => return None,
        };
        Some(Bucket { full: Some(Full { at: full_at, rule: self.rule }), ..bucket })
    }
}

/// The moment in nanoseconds since the epoch.
pub(crate) fn nanos(at: Timestamp) -> i64 {
    at.millis().saturating_mul(NANOS_PER_MILLI)
}

fn beyond_belief(rule: Rule, now: i64) -> i64 {
    let skew = i64::try_from(TOLERATED_SKEW.as_nanos()).unwrap_or(i64::MAX);
    now.saturating_add(rule.cost(rule.capacity)).saturating_add(skew)
}

fn available(full_at: i64, rule: Rule, now: i64) -> u32 {
    let room = now.saturating_add(rule.cost(rule.capacity)).saturating_sub(full_at.max(now));
    u32::try_from(room.max(0) / rule.interval).unwrap_or(u32::MAX).min(rule.capacity)
}

/// When a bucket has a token that is full again at `full_at`.
fn first_token(full_at: i64, rule: Rule) -> Timestamp {
    let at = full_at.saturating_sub(rule.cost(rule.capacity - 1));
    Timestamp::from_millis(at.div_euclid(NANOS_PER_MILLI).saturating_add(i64::from(at.rem_euclid(NANOS_PER_MILLI) > 0)))
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
