//! A circuit breaker: an upstream that fails is left alone for a while, then tried with a few calls. Pure.
//!
//! ```text
//! closed ── enough failures within the window ─▶ open(until)
//!   ▲                                              │ the first call after that is a probe
//!   └──── all probes succeeded ──── half-open ◀────┘
//!                                       └── a probe failed ─▶ open, twice as long
//! ```
//!
//! The state is one item that all environments change with compare-and-swap on its version. An environment may work with a state that is up
//! to [`FRESH`] old. As no circuit is open for less than twice that, all of them have learnt that it is open before the first probe is due: no
//! more than the probes get through while it is half-open, whoever asks.

use clawbridge_clock::Timestamp;
use std::time::Duration;

/// For how long an environment goes by the state that it read last.
pub const FRESH: Duration = Duration::from_secs(5);

/// The shortest time that a circuit is open, whatever the rule says.
pub const SHORTEST_OPEN: Duration = Duration::from_secs(10);

/// The longest time that a circuit is open because probes failed again and again; a quarter may be added (jitter).
pub const LONGEST_OPEN: Duration = Duration::from_secs(15 * 60);

/// The most failures that are remembered.
pub const MAX_REMEMBERED: usize = 50;

/// How far ahead of this clock another may have written. What lies further ahead than any wait and this is not believed.
const TOLERATED_SKEW: Duration = Duration::from_secs(60);

/// When a circuit opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So many failures within the window open it.
    pub failures: u32,
    /// How far back failures count.
    pub window: Duration,
    /// If set, only if at least so many percent of the calls failed.
    pub share: Option<u8>,
    /// How long it is open the first time.
    pub open: Duration,
    /// How many probes there are, all of which must succeed.
    pub probes: u32,
    /// How long a probe may be under way. One that has not reported by then was lost.
    pub probe_time: Duration,
}

/// A failed call, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it was reported.
    pub at: Timestamp,
    /// How many calls its environment made since it reported one before, this one included.
    pub calls: u32,
}

/// The state of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls go through.
    Closed {
        /// The last failures, oldest first.
        failed: Vec<Failure>,
    },
    /// No call goes through.
    Open {
        /// Until then.
        until: Timestamp,
        /// How many times in a row its probes failed.
        streak: u32,
    },
    /// Probes go through.
    HalfOpen {
        /// Counts the rounds of probes, so that a probe that was given up cannot report any more.
        round: u32,
        /// How many probes are under way.
        under_way: u32,
        /// How many have succeeded.
        succeeded: u32,
        /// When those under way are given up.
        until: Timestamp,
        /// How many times in a row probes failed before.
        streak: u32,
    },
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }
}

/// As what a call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// As any other: the circuit was closed.
    Closed,
    /// As a probe.
    Probe {
        /// Of this round.
        round: u32,
    },
}

/// Whether a call may go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Passes,
    /// It may as a probe, once this state is written.
    Probe {
        /// The round that it then belongs to.
        round: u32,
        /// What to write.
        next: State,
    },
    /// Not before.
    Later {
        /// When to ask again.
        at: Timestamp,
    },
}

/// Whether a call may go through a circuit in `state` at `now`.
#[must_use]
pub fn admit(state: &State, rule: Rule, now: Timestamp) -> Admission {
    match *state {
        State::Closed { .. } => Admission::Passes,
        State::Open { until, .. } if until > now && !is_beyond_belief(until, now) => Admission::Later { at: until },
        State::Open { streak, .. } => probe(rule, 0, 0, 0, streak, now),
        State::HalfOpen { round, under_way, succeeded, until, streak } => {
            if until <= now || is_beyond_belief(until, now) {
                // Those under way were lost with their environments.
                probe(rule, round.saturating_add(1), 0, succeeded, streak, now)
            } else if succeeded.saturating_add(under_way) < rule.probes {
                probe(rule, round, under_way, succeeded, streak, now)
            } else {
                Admission::Later { at: until.min(now.plus(FRESH)) }
            }
        }
    }
}

fn probe(rule: Rule, round: u32, under_way: u32, succeeded: u32, streak: u32, now: Timestamp) -> Admission {
    let until = now.plus(rule.probe_time);
    Admission::Probe { round, next: State::HalfOpen { round, under_way: under_way + 1, succeeded, until, streak } }
}

/// The state after a call failed that had been let through as `pass`; `calls` were made by its environment since it reported one before, this
/// one included. `None`: nothing changes. `dice` in `[0, 1)` makes each open time a little longer.
#[must_use]
pub fn failed(state: &State, pass: Pass, calls: u32, rule: Rule, now: Timestamp, dice: f64) -> Option<State> {
    match (state, pass) {
        (State::Closed { failed }, Pass::Closed) => {
            let mut failed: Vec<Failure> =
                failed.iter().copied().filter(|failure| is_within(failure.at, rule.window, now)).collect();
            failed.push(Failure { at: now, calls: calls.max(1) });
            let surplus = failed.len().saturating_sub(MAX_REMEMBERED);
            failed.drain(..surplus);
            Some(match opens(&failed, rule) {
                true => State::Open { until: now.plus(open_time(rule, 0, dice)), streak: 0 },
                false => State::Closed { failed },
            })
        }
        (State::HalfOpen { round, streak, .. }, Pass::Probe { round: reported }) if *round == reported => {
            let streak = streak.saturating_add(1);
            Some(State::Open { until: now.plus(open_time(rule, streak, dice)), streak })
        }
        // It was under way when the circuit changed: what made it change knew better.
        (State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. }, Pass::Closed | Pass::Probe { .. }) => None,
    }
}

/// The state after a call was answered. `None`: nothing changes; for calls through a closed circuit that is always so.
#[must_use]
pub fn succeeded(state: &State, pass: Pass, rule: Rule) -> Option<State> {
    match (state, pass) {
        (&State::HalfOpen { round, under_way, succeeded, until, streak }, Pass::Probe { round: reported })
            if round == reported =>
        {
            let succeeded = succeeded.saturating_add(1);
            Some(match succeeded >= rule.probes {
                true => State::Closed { failed: Vec::new() },
                false => State::HalfOpen { round, under_way: under_way.saturating_sub(1), succeeded, until, streak },
            })
        }
        (State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. }, Pass::Closed | Pass::Probe { .. }) => None,
    }
}

/// The state after a call that had been let through was not made. `None`: nothing changes.
#[must_use]
pub fn released(state: &State, pass: Pass) -> Option<State> {
    match (state, pass) {
        (&State::HalfOpen { round, under_way, succeeded, until, streak }, Pass::Probe { round: reported })
            if round == reported =>
        {
            Some(State::HalfOpen { round, under_way: under_way.saturating_sub(1), succeeded, until, streak })
        }
        (State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. }, Pass::Closed | Pass::Probe { .. }) => None,
    }
}

/// How long a circuit is open whose probes failed `streak` times in a row: doubled each time, capped, and up to a quarter longer, so that
/// circuits of several tools come back one after the other.
#[must_use]
pub fn open_time(rule: Rule, streak: u32, dice: f64) -> Duration {
    let first = rule.open.max(SHORTEST_OPEN);
    let time = first.saturating_mul(2_u32.saturating_pow(streak.min(20))).min(LONGEST_OPEN.max(first));
    time + time.mul_f64(dice.clamp(0.0, 1.0) / 4.0)
}

/// Whether these failures, of which the last has just come, open it.
fn opens(failed: &[Failure], rule: Rule) -> bool {
    let count = u64::try_from(failed.len()).unwrap_or(u64::MAX);
    if count < u64::from(rule.failures) {
        return false;
    }
    let calls: u64 = failed.iter().map(|failure| u64::from(failure.calls)).sum();
    rule.share.is_none_or(|percent| count * 100 >= calls * u64::from(percent))
}

/// Whether `at` is less than `window` from `now`, before or, by a clock that is ahead, after.
fn is_within(at: Timestamp, window: Duration, now: Timestamp) -> bool {
    at.until(now) < window && now.until(at) < window
}

fn is_beyond_belief(until: Timestamp, now: Timestamp) -> bool {
    until > now.plus(LONGEST_OPEN.mul_f64(1.25) + TOLERATED_SKEW)
}

#[cfg(test)]
#[path = "circuit_tests.rs"]
mod tests;
