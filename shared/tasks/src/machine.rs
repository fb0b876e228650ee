//! What happens to a task. Pure: no table, no queue, no clock and no dice of its own.
//!
//! ```text
//! queued ─▶ running(lease, attempt) ─▶ succeeded | failed
//!                │                 └─▶ queued (retry at)
//!                └─▶ the lease ran out: the outcome is unknown ─▶ running again | parked, by the tool's effect
//! failed, parked ─▶ running, when a person asks
//! ```

use crate::error::{Class, Code, TaskError};
use crate::record::{Origin, Record, State};
use clawbridge_clock::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// What a tool declares about being called twice, as far as the machine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a call whose outcome is unknown may be made again (effects `read`, `idempotent` and `keyed`; not `unsafe`).
    pub repeatable: bool,
    /// How many attempts the upstream may make fail.
    pub max_failures: u32,
}

/// Claims beyond [`Policy::max_failures`] that a worker may fail to live through before the task is given up.
pub const CRASH_ALLOWANCE: u32 = 20;

/// The longest wait between two attempts that backoff makes.
pub const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);

/// The longest wait that an upstream's `Retry-After` makes.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Who wants a task run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// An event's route, with the input that it mapped.
    Route {
        /// The event and the route.
        origin: &'a Origin,
        /// Fingerprint of the input.
        input_hash: &'a str,
    },
    /// An operator replays the event: what failed is run again.
    Replay {
        /// The event and the route.
        origin: &'a Origin,
        /// Fingerprint of the input.
        input_hash: &'a str,
        /// Names the replay: one asks once, however often its message comes.
        nonce: &'a str,
    },
    /// The task's own message: its time has come.
    Due,
    /// A person, who saw this many attempts.
    Person {
        /// The attempt that they looked at.
        after_attempt: u32,
    },
}

/// What to do about a task that has a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Claim it (fenced by the record's attempt and state) and run it.
    Run,
    /// It has ended: use what is kept.
    Ended,
    /// The key stands for another input.
    Conflict,
    /// Its time has not come, or somebody is at it: look again then.
    Later {
        /// When.
        at: Timestamp,
    },
    /// Give it up with this error (fenced).
    Fail(TaskError),
    /// Park it with this error (fenced).
    Park(TaskError),
}

/// What to do about `record`, given who asks.
#[must_use]
pub fn consider(record: &Record, ask: &Ask<'_>, policy: Policy, now: Timestamp) -> Verdict {
    if let Ask::Route { origin, input_hash } | Ask::Replay { origin, input_hash, .. } = ask
        && record.input_hash != *input_hash
        // The same event through the same route is the same piece of work even where the configuration has changed since it
        // was mapped: the input in the record counts, or a crash between two versions would lose it.
        && record.origin.as_ref() != Some(origin)
    {
        return Verdict::Conflict;
    }
    match record.state {
        State::Succeeded => Verdict::Ended,
        State::Failed | State::Parked => match ask {
            Ask::Person { after_attempt } if *after_attempt == record.attempt => Verdict::Run,
            Ask::Replay { nonce, .. } if record.state == State::Failed && record.replay.as_deref() != Some(nonce) => {
                Verdict::Run
            }
            Ask::Person { .. } | Ask::Replay { .. } | Ask::Route { .. } | Ask::Due => Verdict::Ended,
        },
        State::Queued => match record.retry_at {
            Some(at)
                if at > now && !matches!(ask, Ask::Person { after_attempt } if *after_attempt == record.attempt) =>
            {
                Verdict::Later { at }
            }
            _ => Verdict::Run,
        },
        State::Running => match record.lease_until {
            Some(until) if until > now => Verdict::Later { at: until },
            _ => after_lost_attempt(record, policy),
        },
    }
}

/// The lease ran out: the worker died, was cut off, or could not write. The request may have been sent.
fn after_lost_attempt(record: &Record, policy: Policy) -> Verdict {
    if !policy.repeatable {
        return Verdict::Park(TaskError {
            may_have_acted: true,
            ..TaskError::unsent(
                Code::OutcomeUnknown,
                Class::Unknown,
                "the worker was lost during a call that must not be made twice; look at the upstream, then retry the task or leave it",
            )
        });
    }
    if record.attempt >= policy.max_failures.saturating_add(CRASH_ALLOWANCE) {
        return Verdict::Fail(TaskError {
            may_have_acted: true,
            ..TaskError::unsent(
                Code::AttemptsExhausted,
                Class::Unknown,
                format!("{} attempts were not lived through; see the function's log", record.attempt),
            )
        });
    }
    Verdict::Run
}

/// How an attempt leaves its task.
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
    match error.class {
        Class::Transient | Class::Server => {
            if error.may_have_acted && !policy.repeatable {
                return Outcome::Parked { error };
            }
            if failures.saturating_add(1) >= policy.max_failures {
                return Outcome::Failed { error };
            }
            let asked = error.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
            let at = now.plus(backoff(failures, dice).max(asked));
            Outcome::Retry { error, at, failures: failures.saturating_add(1) }
        }
        Class::Client | Class::Auth | Class::Missing | Class::Unknown => Outcome::Failed { error },
    }
}

/// What an attempt means that ended before anything was sent, for the bridge's own reasons: another one, which costs the task nothing.
#[must_use]
pub fn postpone(error: TaskError, failures: u32, now: Timestamp, dice: f64) -> Outcome {
    Outcome::Retry { error, at: now.plus(backoff(0, dice)), failures }
}

/// Full jitter: anywhere between nothing and one second doubled `failures` times, at most [`MAX_BACKOFF`].
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[must_use]
pub fn backoff(failures: u32, dice: f64) -> Duration {
    let ceiling = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.min(20))).min(MAX_BACKOFF);
    ceiling.mul_f64(dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const REPEATABLE: Policy = Policy { repeatable: true, max_failures: 5 };
    const UNSAFE: Policy = Policy { repeatable: false, max_failures: 5 };

    fn origin() -> Origin {
        Origin { event: "evt_1".into(), route: "r".into() }
    }

    fn record(state: State) -> Record {
        Record {
            id: "task_1".into(),
            tool: "t".into(),
            key: "k".into(),
            origin: Some(origin()),
            input_hash: "h".into(),
            input: json!({}),
            state,
            attempt: 2,
            failures: 1,
            lease: Duration::from_secs(15),
            lease_until: None,
            retry_at: None,
            result: None,
            result_omitted: false,
            error: None,
            attempts: Vec::new(),
            hops: 0,
            replay: None,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    fn at(offset: i64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(NOW.millis() + offset))
    }

    #[test]
    fn each_state_answers_each_asker_as_the_design_says() {
        let here = origin();
        let there = Origin { event: "evt_2".into(), route: "r".into() };
        let route = Ask::Route { origin: &here, input_hash: "h" };
        let replay = Ask::Replay { origin: &here, input_hash: "h", nonce: "replay-1" };
        let same_person = Ask::Person { after_attempt: 2 };
        let late_person = Ask::Person { after_attempt: 1 };
        let other_event = Ask::Route { origin: &there, input_hash: "other" };
        let other_mapping = Ask::Route { origin: &here, input_hash: "other" };
        let held = Record { lease_until: at(1), ..record(State::Running) };
        let lost = Record { lease_until: at(0), ..record(State::Running) };
        let replayed = Record { replay: Some("replay-1".into()), ..record(State::Failed) };
        let resting = Record { retry_at: at(1), ..record(State::Queued) };
        let cases: Vec<(&str, Record, &Ask<'_>, Verdict)> = vec![
            ("done is done", record(State::Succeeded), &route, Verdict::Ended),
            ("done is done for a person too", record(State::Succeeded), &same_person, Verdict::Ended),
            ("failed stays failed for a repeat", record(State::Failed), &route, Verdict::Ended),
            ("failed stays failed for its own late message", record(State::Failed), &Ask::Due, Verdict::Ended),
            ("a replay runs what failed", record(State::Failed), &replay, Verdict::Run),
            ("a replay's second message does nothing", replayed, &replay, Verdict::Ended),
            ("a person runs what failed", record(State::Failed), &same_person, Verdict::Run),
            ("a person's second message does nothing", record(State::Failed), &late_person, Verdict::Ended),
            ("a replay leaves what is parked", record(State::Parked), &replay, Verdict::Ended),
            ("a person runs what is parked", record(State::Parked), &same_person, Verdict::Run),
            ("its time has come", record(State::Queued), &Ask::Due, Verdict::Run),
            (
                "its time has not come",
                resting.clone(),
                &Ask::Due,
                Verdict::Later { at: Timestamp::from_millis(1_000_001) },
            ),
            ("a person does not wait", resting.clone(), &same_person, Verdict::Run),
            (
                "a person who saw an earlier attempt does",
                resting,
                &late_person,
                Verdict::Later { at: Timestamp::from_millis(1_000_001) },
            ),
            ("somebody is at it", held.clone(), &route, Verdict::Later { at: Timestamp::from_millis(1_000_001) }),
            (
                "even a person waits for a lease",
                held,
                &same_person,
                Verdict::Later { at: Timestamp::from_millis(1_000_001) },
            ),
            ("the worker was lost", lost, &Ask::Due, Verdict::Run),
            ("the same key with another input", record(State::Succeeded), &other_event, Verdict::Conflict),
            ("the same event mapped by a newer configuration", record(State::Queued), &other_mapping, Verdict::Run),
        ];
        for (name, record, ask, verdict) in cases {
            assert_eq!(consider(&record, ask, REPEATABLE, NOW), verdict, "{name}");
        }
    }

    #[test]
    fn a_lost_attempt_of_an_unsafe_tool_is_parked() {
        let lost = Record { lease_until: at(-1), ..record(State::Running) };
        let Verdict::Park(error) = consider(&lost, &Ask::Due, UNSAFE, NOW) else { panic!("not parked") };
        assert_eq!(error.code, Code::OutcomeUnknown);
    }

    #[test]
    fn a_task_that_kills_its_worker_each_time_is_given_up() {
        let killer = Record { attempt: 25, lease_until: at(-1), ..record(State::Running) };
        let Verdict::Fail(error) = consider(&killer, &Ask::Due, REPEATABLE, NOW) else { panic!("not given up") };
        assert_eq!(error.code, Code::AttemptsExhausted);
    }

    #[test]
    fn each_class_of_failure_leads_where_the_design_says() {
        let failure =
            |class, may_have_acted| TaskError { may_have_acted, ..TaskError::unsent(Code::Unavailable, class, "") };
        // (class, may have acted, failures before, policy) → decision
        let cases = [
            (Class::Transient, false, 0, REPEATABLE, "retry"),
            (Class::Transient, true, 3, REPEATABLE, "retry"),
            (Class::Transient, false, 4, REPEATABLE, "failed"),
            (Class::Transient, false, 0, UNSAFE, "retry"),
            (Class::Transient, true, 0, UNSAFE, "parked"),
            (Class::Server, true, 0, REPEATABLE, "retry"),
            (Class::Server, true, 0, UNSAFE, "parked"),
            (Class::Server, true, 4, UNSAFE, "parked"),
            (Class::Client, true, 0, REPEATABLE, "failed"),
            (Class::Auth, false, 0, REPEATABLE, "failed"),
            (Class::Missing, true, 0, UNSAFE, "failed"),
            (Class::Unknown, true, 0, REPEATABLE, "failed"),
        ];
        for (class, may_have_acted, failures, policy, expected) in cases {
            let decision = match settle(Err(failure(class, may_have_acted)), failures, policy, NOW, 0.5) {
                Outcome::Succeeded { .. } => "succeeded",
                Outcome::Retry { .. } => "retry",
                Outcome::Failed { .. } => "failed",
                Outcome::Parked { .. } => "parked",
            };
            assert_eq!(
                decision, expected,
                "{class:?}, may have acted {may_have_acted}, {failures} failures, {policy:?}"
            );
        }
    }

    #[test]
    fn only_what_the_upstream_made_fail_is_counted() {
        let error = TaskError::unsent(Code::Timeout, Class::Transient, "");
        let count = |outcome| match outcome {
            Outcome::Retry { failures, .. } => failures,
            other => panic!("no retry: {other:?}"),
        };
        assert_eq!(count(settle(Err(error.clone()), 2, REPEATABLE, NOW, 0.5)), 3);
        assert_eq!(count(postpone(error, 4, NOW, 0.5)), 4);
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_day() {
        let asked = |seconds| TaskError {
            retry_after: Some(Duration::from_secs(seconds)),
            ..TaskError::unsent(Code::RateLimited, Class::Transient, "")
        };
        for (seconds, waited) in [(120, 120), (1_000_000, 86_400)] {
            let Outcome::Retry { at, .. } = settle(Err(asked(seconds)), 0, REPEATABLE, NOW, 0.999) else {
                panic!("no retry")
            };
            assert_eq!(NOW.until(at), Duration::from_secs(waited));
        }
    }

    proptest! {
        #[test]
        fn backoff_lies_between_nothing_and_its_ceiling(failures in 0u32..100, dice in 0.0f64..1.0) {
            let wait = backoff(failures, dice);
            prop_assert!(wait <= MAX_BACKOFF);
            prop_assert!(failures >= 9 || wait < Duration::from_secs(1 << failures));
        }

        #[test]
        fn an_unsafe_call_that_may_have_acted_is_never_repeated_by_itself(
            class in prop_oneof![Just(Class::Transient), Just(Class::Server), Just(Class::Client), Just(Class::Unknown)],
            failures in 0u32..10, dice in 0.0f64..1.0,
        ) {
            let error = TaskError { may_have_acted: true, ..TaskError::unsent(Code::Timeout, class, "") };
            let outcome = settle(Err(error), failures, UNSAFE, NOW, dice);
            let repeated = matches!(outcome, Outcome::Retry { .. });
            prop_assert!(!repeated);
        }
    }
}
