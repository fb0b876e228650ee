//! What happens to a task. Pure: no table, no queue, no clock and no dice of its own.
//!
//! ```text
//! queued ─▶ running(lease, attempt) ─┬─▶ succeeded | failed
//!    ▲                               ├─▶ queued (retry at)
//!    │                               ├─▶ waiting (token, deadline) ─▶ as an answer says
//!    │                               └─▶ unknown, also when the lease ran out: the upstream may have acted
//!    └── not done ◀── verify ◀───────────┘
//!                       ├─▶ done: succeeded
//!                       └─▶ nobody can say, or there is no verify: parked
//! ```
//!
//! Only what must not be repeated is ever unknown: other tools' lost attempts run again. A person may run again what failed, was parked or
//! cancelled, settle what is parked or unknown, and cancel what is queued, waiting or parked.
//!
//! [`consider`] says what is to be done about a record, [`settle`] what an answer means, [`judge`] what a look at the upstream means. How
//! a decision becomes a write is in [`change`](crate::change), in which order things are done in [`receipt`](crate::receipt).

use crate::error::{Class, Code, TaskError};
use crate::record::{Origin, Record, State};
use crate::{CLOCK_MARGIN, RETENTION};
use clawbridge_clock::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// What a tool declares, as far as the machine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a call whose outcome is unknown may be made again (effects `read`, `idempotent` and `keyed`; not `unsafe`).
    pub repeatable: bool,
    /// How many attempts the upstream may make fail.
    pub max_failures: u32,
    /// How long one call may take.
    pub timeout: Duration,
    /// How an unknown outcome can be found out.
    pub verify: Option<Verify>,
    /// How long the record is kept after its last change, and with it the result and the key.
    pub retention: Duration,
}

/// A `verify` call, as far as the machine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// How long the upstream may go on acting after the call was given up: nobody looks before.
    pub settle: Duration,
    /// How often it is asked when it does not answer.
    pub max_looks: u32,
}

impl Policy {
    /// What a task is treated as whose tool is not declared any more: nothing that is not known to be safe is repeated.
    pub const UNKNOWN_TOOL: Policy = Policy {
        repeatable: false,
        max_failures: 1,
        timeout: Duration::from_secs(1),
        verify: None,
        retention: RETENTION,
    };
}

/// Claims beyond [`Policy::max_failures`] that a worker may fail to live through before the task is given up.
pub const CRASH_ALLOWANCE: u32 = 20;

/// The longest wait between two attempts that backoff makes.
pub const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);

/// The longest wait that an upstream's `Retry-After` makes.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A call that has less time than this, and less than its tool allows it, is not begun.
pub const SHORTEST_CALL: Duration = Duration::from_millis(500);

/// Who wants something of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// An event's route, with the input that it mapped, or a submitter with theirs.
    Route {
        /// The event and the route, or the submitter.
        origin: Origin,
        /// Fingerprint of the input.
        input_hash: String,
    },
    /// An operator replays the event: what failed is run again.
    Replay {
        /// The event and the route.
        origin: Origin,
        /// Fingerprint of the input.
        input_hash: String,
        /// Names the replay: one asks once, however often its message comes.
        nonce: String,
    },
    /// The task's own message: its time has come.
    Due,
    /// A person, who saw this many attempts. If the task has moved on since, they ask for nothing.
    Person {
        /// The attempt that they looked at.
        after_attempt: u32,
        /// What they want.
        wish: Wish,
    },
    /// The upstream's answer to a task that waits for it.
    Answer {
        /// Names the answer: [`Waiting::token`](crate::Waiting::token).
        token: String,
        /// The answer, as a call's.
        answer: Result<Value, TaskError>,
    },
}

/// What a person wants of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Run it (again): failed, parked, cancelled, unknown; queued: now.
    Retry,
    /// It has been done: parked, unknown.
    Done {
        /// What it returned, as far as they know.
        result: Value,
    },
    /// Leave it: parked, unknown.
    Fail {
        /// Why.
        reason: Option<String>,
    },
    /// Take it back: queued, waiting, parked.
    Cancel {
        /// Why.
        reason: Option<String>,
    },
}

/// What to do about a task that has a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Claim it and call the tool.
    Run,
    /// Ask the tool's `verify` whether it was done.
    Look,
    /// Ask how far the upstream has come with it.
    Poll,
    /// The answer that it waited for has come, or never will.
    Resume(Result<Value, TaskError>),
    /// It has ended: use what is kept.
    Ended,
    /// The key stands for another input.
    Conflict,
    /// Its time has not come, or somebody is at it: look again then.
    Later {
        /// When.
        at: Timestamp,
    },
    /// Write this down: nothing is called.
    Close(Outcome),
}

/// What to do about `record`, given who asks.
#[must_use]
pub fn consider(record: &Record, ask: &Ask, policy: Policy, now: Timestamp) -> Verdict {
    if let Ask::Route { origin, input_hash } | Ask::Replay { origin, input_hash, .. } = ask
        && record.input_hash != *input_hash
        // The same event through the same route is the same piece of work even where the configuration has changed since it
        // was mapped: the input in the record counts, or a crash between two versions would lose it. A submitter has mapped nothing.
        && (matches!(origin, Origin::Submitter { .. }) || record.origin.as_ref() != Some(origin))
    {
        return Verdict::Conflict;
    }
    let wish = match ask {
        Ask::Person { after_attempt, wish } if *after_attempt == record.attempt => Some(wish),
        Ask::Person { .. } | Ask::Route { .. } | Ask::Replay { .. } | Ask::Due | Ask::Answer { .. } => None,
    };
    if let Some(verdict) = wish.and_then(|wish| fulfil(record, wish)) {
        return verdict;
    }
    match record.state {
        State::Succeeded | State::Parked | State::Cancelled => Verdict::Ended,
        State::Failed => match ask {
            Ask::Replay { nonce, .. } if !record.replays.contains(nonce) => Verdict::Run,
            Ask::Replay { .. } | Ask::Person { .. } | Ask::Route { .. } | Ask::Due | Ask::Answer { .. } => {
                Verdict::Ended
            }
        },
        State::Queued => match record.retry_at {
            Some(at) if at > now => Verdict::Later { at },
            _ => Verdict::Run,
        },
        State::Running => match record.lease_until {
            Some(until) if until > now => Verdict::Later { at: until },
            _ => after_lost_attempt(record, policy),
        },
        State::Unknown => match (policy.repeatable, policy.verify, record.retry_at) {
            // The tool is declared otherwise by now.
            (true, ..) => Verdict::Run,
            (false, None, _) => Verdict::Close(Outcome::Parked { error: for_a_person(lost(record), NO_VERIFY) }),
            (false, Some(_), Some(at)) if at > now => Verdict::Later { at },
            (false, Some(_), _) => Verdict::Look,
        },
        State::Waiting => wait_on(record, ask, now),
    }
}

/// What a person's wish leads to, where it concerns the task's state.
fn fulfil(record: &Record, wish: &Wish) -> Option<Verdict> {
    let by_person = |code, reason: &Option<String>, default: &str| {
        let reason = reason.as_deref().unwrap_or(default);
        let may_have_acted = record.error.as_ref().is_some_and(|error| error.may_have_acted);
        TaskError { may_have_acted, ..TaskError::unsent(code, Class::Client, reason) }
    };
    match (record.state, wish) {
        (State::Failed | State::Parked | State::Cancelled | State::Unknown | State::Queued, Wish::Retry) => {
            Some(Verdict::Run)
        }
        (State::Parked | State::Unknown, Wish::Done { result }) => {
            Some(Verdict::Close(Outcome::Succeeded { result: result.clone() }))
        }
        (State::Parked | State::Unknown, Wish::Fail { reason }) => {
            let error = by_person(Code::GivenUp, reason, "a person decided that it has failed");
            Some(Verdict::Close(Outcome::Failed { error }))
        }
        (State::Queued | State::Waiting | State::Parked, Wish::Cancel { reason }) => {
            let error = by_person(Code::Cancelled, reason, "a person took it back");
            Some(Verdict::Close(Outcome::Cancelled { error }))
        }
        (State::Running | State::Waiting | State::Succeeded, Wish::Retry)
        | (
            State::Queued | State::Running | State::Waiting | State::Succeeded | State::Failed | State::Cancelled,
            Wish::Done { .. } | Wish::Fail { .. },
        )
        | (
            State::Running | State::Unknown | State::Succeeded | State::Failed | State::Cancelled,
            Wish::Cancel { .. },
        ) => None,
    }
}

/// A task that waits for an answer: it has come, it is to be asked for, or it never came.
fn wait_on(record: &Record, ask: &Ask, now: Timestamp) -> Verdict {
    let Some(waiting) = &record.waiting else {
        let message = "what the task waits for is not in its record any more";
        return Verdict::Resume(Err(never_answered(message)));
    };
    match ask {
        Ask::Answer { token, answer } if *token == waiting.token => Verdict::Resume(answer.clone()),
        Ask::Answer { .. } | Ask::Due | Ask::Route { .. } | Ask::Replay { .. } | Ask::Person { .. } => {
            match record.retry_at {
                _ if waiting.deadline <= now => {
                    Verdict::Resume(Err(never_answered("the upstream took the call and never said what came of it")))
                }
                Some(at) if at > now => Verdict::Later { at: at.min(waiting.deadline) },
                _ => Verdict::Poll,
            }
        }
    }
}

fn never_answered(message: &str) -> TaskError {
    TaskError { may_have_acted: true, ..TaskError::unsent(Code::Timeout, Class::Transient, message) }
}

const NO_VERIFY: &str = "look at the upstream, then settle the task";

/// The lease ran out: the worker died, was cut off, or could not write. The request may have been sent.
fn after_lost_attempt(record: &Record, policy: Policy) -> Verdict {
    if policy.repeatable {
        return match exhausted(record, policy) {
            Some(error) => Verdict::Close(Outcome::Failed { error: TaskError { may_have_acted: true, ..error } }),
            None => Verdict::Run,
        };
    }
    let error = TaskError {
        may_have_acted: true,
        ..TaskError::unsent(
            Code::OutcomeUnknown,
            Class::Unknown,
            "the worker was lost during a call that must not be made twice",
        )
    };
    Verdict::Close(match policy.verify {
        Some(verify) => {
            // No call goes on beyond its lease, so this is when the upstream was left alone at the latest.
            let look_at = record.lease_until.unwrap_or(record.updated_at).plus(verify.settle);
            Outcome::Unknown { error, look_at, failures: record.failures }
        }
        None => Outcome::Parked { error: for_a_person(error, NO_VERIFY) },
    })
}

/// Whether the task has cost more attempts than it can have needed: each of them ended its worker.
fn exhausted(record: &Record, policy: Policy) -> Option<TaskError> {
    let begun = record.attempt.saturating_sub(record.postponed);
    (begun >= policy.max_failures.saturating_add(CRASH_ALLOWANCE)).then(|| {
        let message = format!("{begun} attempts were not lived through; see the function's log");
        TaskError::unsent(Code::AttemptsExhausted, Class::Unknown, message)
    })
}

/// What made the outcome unknown.
fn lost(record: &Record) -> TaskError {
    record.error.clone().unwrap_or_else(|| TaskError {
        may_have_acted: true,
        ..TaskError::unsent(Code::OutcomeUnknown, Class::Unknown, "the outcome is unknown")
    })
}

fn for_a_person(error: TaskError, advice: &str) -> TaskError {
    TaskError { message: format!("{}; {advice}", error.message), ..error }
}

/// How an attempt, a look or a person leaves a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done.
    Succeeded {
        /// What the tool returned.
        result: Value,
    },
    /// Tried again at `at`.
    Retry {
        /// Why.
        error: TaskError,
        /// When.
        at: Timestamp,
        /// How many attempts the upstream has made fail by now.
        failures: u32,
    },
    /// The upstream took it and answers later.
    Waiting {
        /// Names the answer.
        token: String,
        /// When the upstream is asked how far it has come; the deadline if never.
        look_at: Timestamp,
        /// When it is given up waiting.
        deadline: Timestamp,
    },
    /// The upstream may have acted; its `verify` is asked at `look_at`.
    Unknown {
        /// Why.
        error: TaskError,
        /// When.
        look_at: Timestamp,
        /// How many attempts the upstream has made fail by now.
        failures: u32,
    },
    /// Given up.
    Failed {
        /// Why.
        error: TaskError,
    },
    /// A person decides.
    Parked {
        /// Why.
        error: TaskError,
    },
    /// A person took it back.
    Cancelled {
        /// Why.
        error: TaskError,
    },
}

impl Outcome {
    /// The state that it leaves the task in.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Outcome::Succeeded { .. } => State::Succeeded,
            Outcome::Retry { .. } => State::Queued,
            Outcome::Waiting { .. } => State::Waiting,
            Outcome::Unknown { .. } => State::Unknown,
            Outcome::Failed { .. } => State::Failed,
            Outcome::Parked { .. } => State::Parked,
            Outcome::Cancelled { .. } => State::Cancelled,
        }
    }

    /// Why, unless it succeeded or goes on.
    #[must_use]
    pub fn error(&self) -> Option<&TaskError> {
        match self {
            Outcome::Succeeded { .. } | Outcome::Waiting { .. } => None,
            Outcome::Retry { error, .. }
            | Outcome::Unknown { error, .. }
            | Outcome::Failed { error }
            | Outcome::Parked { error }
            | Outcome::Cancelled { error } => Some(error),
        }
    }
}

/// What an attempt's answer means for its task, which the upstream has made fail `failures` times before.
///
/// `dice` in `[0, 1)` spreads retries (full jitter).
#[must_use]
pub fn settle(answer: Result<Value, TaskError>, failures: u32, policy: Policy, now: Timestamp, dice: f64) -> Outcome {
    let error = match answer {
        Ok(result) => return Outcome::Succeeded { result },
        Err(error) => error,
    };
    let in_doubt = error.may_have_acted && !policy.repeatable;
    if let Some(verify) = policy.verify.filter(|_| in_doubt) {
        // An answer that cannot be read leaves it as open whether the upstream acted as no answer does.
        return Outcome::Unknown { error, look_at: now.plus(verify.settle), failures: failures.saturating_add(1) };
    }
    match error.class {
        Class::Transient | Class::Server if in_doubt => Outcome::Parked { error },
        Class::Transient | Class::Server => again(error, failures.saturating_add(1), policy, now, dice),
        Class::Client | Class::Auth | Class::Missing | Class::Unknown => Outcome::Failed { error },
    }
}

/// Another attempt after backoff, or none if the upstream has made `failures` of them fail.
fn again(error: TaskError, failures: u32, policy: Policy, now: Timestamp, dice: f64) -> Outcome {
    if failures >= policy.max_failures {
        return Outcome::Failed { error };
    }
    let asked = error.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    let at = now.plus(backoff(failures.saturating_sub(1), dice).max(asked));
    Outcome::Retry { error, at, failures }
}

/// What an attempt means that ended before anything was sent, for the bridge's own reasons: another one, which costs the task nothing.
#[must_use]
pub fn postpone(error: TaskError, failures: u32, now: Timestamp, dice: f64) -> Outcome {
    let at = now.plus(backoff(0, dice).max(error.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)));
    Outcome::Retry { error, at, failures }
}

/// What a look at the upstream found.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It was done.
    Done {
        /// What the tool is said to have returned.
        result: Value,
    },
    /// It was not done.
    NotDone,
    /// The look was answered, and nobody can say.
    Undecided {
        /// Why not, for the person who has to.
        reason: String,
    },
    /// The look itself failed.
    Failed(TaskError),
}

/// What a look at the upstream means for a task whose outcome is unknown.
#[must_use]
pub fn judge(record: &Record, finding: Finding, policy: Policy, now: Timestamp, dice: f64) -> Outcome {
    let error = lost(record);
    match finding {
        Finding::Done { result } => Outcome::Succeeded { result },
        Finding::NotDone => {
            let known = TaskError { may_have_acted: false, ..for_a_person(error, "verify found that it was not done") };
            match known.class {
                Class::Client | Class::Auth | Class::Missing | Class::Unknown if known.code != Code::OutcomeUnknown => {
                    Outcome::Failed { error: known }
                }
                _ => match exhausted(record, policy) {
                    Some(error) => Outcome::Failed { error },
                    None => again(known, record.failures, policy, now, dice),
                },
            }
        }
        Finding::Undecided { reason } => {
            Outcome::Parked { error: for_a_person(error, &format!("verify could not tell ({reason}); {NO_VERIFY}")) }
        }
        Finding::Failed(look) => {
            let looks = record.looks.saturating_add(1);
            let passing = matches!(look.class, Class::Transient | Class::Server);
            if !passing || looks >= policy.verify.map_or(0, |verify| verify.max_looks) {
                let reason = format!("verify failed with {} ({}); {NO_VERIFY}", look.code.as_str(), look.message);
                return Outcome::Parked { error: for_a_person(error, &reason) };
            }
            let asked = look.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
            let look_at = now.plus(backoff(record.looks, dice).max(asked));
            Outcome::Unknown { error, look_at, failures: record.failures }
        }
    }
}

/// How long a call may take that is begun now, under the lease of `record` and in an invocation that is to have written down the outcome
/// by `end`. `None`: too little is left to begin it.
///
/// A call that went on beyond its lease could act while another worker has the task: this is what a lease is worth, as long as clocks
/// differ by less than [`CLOCK_MARGIN`].
#[must_use]
pub fn time_for_call(record: &Record, timeout: Duration, now: Timestamp, end: Timestamp) -> Option<Duration> {
    let leased = record.lease_until.map_or(Duration::ZERO, |until| now.until(until.minus(CLOCK_MARGIN)));
    let time = timeout.min(leased).min(now.until(end));
    (time >= timeout.min(SHORTEST_CALL)).then_some(time)
}

/// Full jitter: anywhere between nothing and one second doubled `failures` times, at most [`MAX_BACKOFF`].
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[must_use]
pub fn backoff(failures: u32, dice: f64) -> Duration {
    let ceiling = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.min(20))).min(MAX_BACKOFF);
    ceiling.mul_f64(dice.clamp(0.0, 1.0))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
