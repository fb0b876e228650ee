//! From a decision to a conditional write. Pure: [`Tasks`](crate::Tasks) carries it out, and so does the simulation, by the same rule.
//!
//! A record moves on only from where it was seen to stand, its [`Fence`]: state, claims and looks. Each change leads to another fence and
//! none leads back, so where the fence holds, nothing at all has changed since the record was read.

use crate::LEASE_MARGIN;
use crate::machine::{Ask, Outcome, Policy};
use crate::record::{Attempt, By, NewTask, Record, State, Waiting, input_hash, task_id};
use clawbridge_clock::Timestamp;
use std::time::Duration;

/// How many [`Attempt`]s a record remembers, the latest ones.
pub const MAX_ATTEMPTS: usize = 50;

/// How many replays a record remembers, the latest ones.
pub const MAX_REPLAYS: usize = 50;

/// Where a record must stand for a change to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fence {
    /// There is none.
    Absent,
    /// Exactly here.
    At {
        /// Its state.
        state: State,
        /// Claims so far.
        attempt: u32,
        /// Looks since the last claim.
        looks: u32,
    },
}

impl Fence {
    /// Where the record stands.
    #[must_use]
    pub fn of(record: Option<&Record>) -> Fence {
        record.map_or(Fence::Absent, |record| Fence::At {
            state: record.state,
            attempt: record.attempt,
            looks: record.looks,
        })
    }
}

/// A record as it is to become, if it still stands where it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where it must stand.
    pub fence: Fence,
    /// What it becomes.
    pub after: Record,
}

/// Whether a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The fence holds: write.
    Write,
    /// It is written already: an earlier try of the same write took effect, and its answer was lost.
    Written,
    /// The record has moved on.
    Lost,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Landed {
    /// The record is what the change makes it: this.
    Written(Box<Record>),
    /// Somebody was faster. What stands there now, unless the record is gone.
    Lost(Option<Box<Record>>),
}

/// What a change that is no claim says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Who decided, unless the answer of the call did.
    pub by: Option<By>,
    /// How long the call took, milliseconds.
    pub ms: u64,
    /// It was claimed and not begun, for the bridge's own reasons: no attempt that anybody need know of.
    pub postponed: bool,
}

impl Change {
    /// What the table does with the change, where it has `current`.
    #[must_use]
    pub fn rule(&self, current: Option<&Record>) -> Rule {
        let stands = Fence::of(current);
        if stands == self.fence {
            Rule::Write
        } else if stands == Fence::of(Some(&self.after))
            && current.is_some_and(|current| current.writer == self.after.writer)
        {
            Rule::Written
        } else {
            Rule::Lost
        }
    }

    /// The record of a new task, claimed in the same write.
    #[must_use]
    pub fn first(new: &NewTask, replay: Option<&str>, policy: Policy, writer: &str, now: Timestamp) -> Change {
        let lease = policy.timeout.saturating_add(LEASE_MARGIN);
        let after = Record {
            id: task_id(&new.tool, &new.key),
            tool: new.tool.clone(),
            key: new.key.clone(),
            origin: Some(new.origin.clone()),
            input_hash: input_hash(&new.input),
            input: new.input.clone(),
            state: State::Running,
            attempt: 1,
            postponed: 0,
            looks: 0,
            failures: 0,
            lease,
            lease_until: Some(now.plus(lease)),
            retry_at: None,
            waiting: None,
            result: None,
            result_omitted: false,
            error: None,
            attempts: Vec::new(),
            hops: new.hops,
            replays: replay.map(str::to_owned).into_iter().collect(),
            seat: new.seat.clone(),
            trace: new.trace,
            created_at: now,
            updated_at: now,
            expires_at: now.plus(policy.retention),
            writer: writer.to_owned(),
        };
        Change { fence: Fence::Absent, after }
    }

    /// The record of a new task that has to wait for its turn.
    #[must_use]
    pub fn queued(new: &NewTask, replay: Option<&str>, policy: Policy, writer: &str, now: Timestamp) -> Change {
        let mut change = Change::first(new, replay, policy, writer, now);
        let after = &mut change.after;
        after.state = State::Queued;
        after.attempt = 0;
        after.lease_until = None;
        after.retry_at = Some(now);
        change
    }

    /// A task that has ended and is to run again, where it has to wait for its turn: its attempts begin anew. A look more keeps it from
    /// standing where it stood before.
    #[must_use]
    pub fn back(seen: &Record, replay: Option<&str>, policy: Policy, writer: &str, now: Timestamp) -> Change {
        let mut after = changed(seen, policy.retention, writer, now);
        after.state = State::Queued;
        after.looks = seen.looks.saturating_add(1);
        after.failures = 0;
        after.retry_at = Some(now);
        if let Some(seat) = &mut after.seat {
            seat.stay = seat.stay.saturating_add(1);
        }
        if let Some(nonce) = replay {
            remember(&mut after.replays, nonce);
        }
        Change { fence: Fence::of(Some(seen)), after }
    }

    /// A task that goes on waiting, kept for another retention.
    #[must_use]
    pub fn kept(seen: &Record, policy: Policy, writer: &str, now: Timestamp) -> Change {
        let mut after = changed(seen, policy.retention, writer, now);
        after.looks = seen.looks.saturating_add(1);
        after.lease_until = seen.lease_until;
        after.retry_at = seen.retry_at;
        after.waiting.clone_from(&seen.waiting);
        Change { fence: Fence::of(Some(seen)), after }
    }

    /// The claim of a known record, by who asks.
    #[must_use]
    pub fn claim(seen: &Record, ask: &Ask, policy: Policy, writer: &str, now: Timestamp) -> Change {
        let lease = policy.timeout.saturating_add(LEASE_MARGIN);
        let mut after = changed(seen, policy.retention, writer, now);
        after.state = State::Running;
        after.attempt = seen.attempt.saturating_add(1);
        after.looks = 0;
        after.lease = lease;
        after.lease_until = Some(now.plus(lease));
        let asked_anew = matches!(ask, Ask::Person { .. } | Ask::Replay { .. })
            && matches!(seen.state, State::Failed | State::Parked | State::Cancelled | State::Unknown);
        if asked_anew {
            after.failures = 0;
        }
        if let Ask::Replay { nonce, .. } = ask {
            remember(&mut after.replays, nonce);
        }
        Change { fence: Fence::of(Some(seen)), after }
    }

    /// How an attempt, a look or a person leaves the task.
    #[must_use]
    pub fn close(
        seen: &Record,
        outcome: &Outcome,
        account: Account,
        retention: Duration,
        writer: &str,
        now: Timestamp,
    ) -> Change {
        let mut after = changed(seen, retention, writer, now);
        after.state = outcome.state();
        match outcome {
            Outcome::Succeeded { result } => {
                after.error = None;
                after.result = Some(result.clone());
            }
            Outcome::Retry { error, at, failures } => {
                after.failures = *failures;
                after.retry_at = Some(*at);
                after.error = Some(error.clone());
            }
            Outcome::Waiting { token, look_at, deadline } => {
                after.looks = if seen.state == State::Waiting { seen.looks.saturating_add(1) } else { 0 };
                after.retry_at = Some(*look_at);
                after.waiting = Some(Waiting { token: token.clone(), deadline: *deadline });
                after.error = None;
            }
            Outcome::Unknown { error, look_at, failures } => {
                after.looks = if seen.state == State::Unknown { seen.looks.saturating_add(1) } else { 0 };
                after.failures = *failures;
                after.retry_at = Some(*look_at);
                after.error = Some(error.clone());
            }
            Outcome::Failed { error } => {
                after.failures = seen.failures.saturating_add(u32::from(seen.state == State::Running));
                after.error = Some(error.clone());
            }
            Outcome::Parked { error } | Outcome::Cancelled { error } => after.error = Some(error.clone()),
        }
        if account.postponed {
            after.postponed = seen.postponed.saturating_add(1);
            return Change { fence: Fence::of(Some(seen)), after };
        }
        after.attempts.push(Attempt {
            n: seen.attempt,
            at: now,
            ms: account.ms,
            decision: word(outcome).to_owned(),
            by: account.by,
            status: outcome.error().and_then(|error| error.status),
            code: outcome.error().map(|error| error.code.as_str().to_owned()),
            // Of others the last failure's evidence is enough; an endpoint's owner asks about each attempt.
            answer: outcome.error().and_then(|error| error.evidence.clone()).filter(|_| seen.is_delivery()),
        });
        let surplus = after.attempts.len().saturating_sub(MAX_ATTEMPTS);
        after.attempts.drain(..surplus);
        Change { fence: Fence::of(Some(seen)), after }
    }
}

/// Adds a replay to those that ran a task.
fn remember(replays: &mut Vec<String>, nonce: &str) {
    if replays.iter().any(|known| known == nonce) {
        return;
    }
    replays.push(nonce.to_owned());
    let surplus = replays.len().saturating_sub(MAX_REPLAYS);
    replays.drain(..surplus);
}

/// `seen` with what belonged to its last state alone taken away.
fn changed(seen: &Record, retention: Duration, writer: &str, now: Timestamp) -> Record {
    Record {
        lease_until: None,
        retry_at: None,
        waiting: None,
        updated_at: now,
        expires_at: now.plus(retention),
        writer: writer.to_owned(),
        ..seen.clone()
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Retry { .. } => "retry",
        Outcome::Waiting { .. } => "waiting",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Failed { .. } => "failed",
        Outcome::Parked { .. } => "parked",
        Outcome::Cancelled { .. } => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane;
    use crate::machine::{Finding, Verdict, Verify, Wish, consider, judge, postpone, settle};
    use crate::{Class, Code, Origin, TaskError};
    use clawbridge_trace::TraceContext;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::HashSet;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const POLICY: Policy = Policy {
        repeatable: false,
        max_failures: 5,
        timeout: Duration::from_secs(10),
        verify: Some(Verify { settle: Duration::from_secs(30), max_looks: 3 }),
        retention: crate::RETENTION,
    };

    fn new() -> NewTask {
        let origin = Origin::Route { event: "evt_1".into(), route: "r".into() };
        NewTask { tool: "t".into(), key: "k".into(), origin, input: json!({}), hops: 0, seat: None, trace: None }
    }

    #[test]
    fn a_change_is_written_where_its_record_stood_and_known_again_by_its_writer() {
        let first = Change::first(&new(), None, POLICY, "one", NOW);
        assert_eq!(first.rule(None), Rule::Write);
        assert_eq!(first.rule(Some(&first.after)), Rule::Written);
        let other = Change::first(&new(), None, POLICY, "two", NOW);
        assert_eq!(other.rule(Some(&first.after)), Rule::Lost);
        let taken = Change::claim(&first.after, &Ask::Due, POLICY, "two", NOW);
        assert_eq!(taken.rule(Some(&first.after)), Rule::Write);
        // What the first attempt came to no longer counts, nor does a record that is gone.
        let outcome = Outcome::Succeeded { result: json!(1) };
        let late = Change::close(&first.after, &outcome, Account::default(), crate::RETENTION, "one", NOW);
        assert_eq!(late.rule(Some(&taken.after)), Rule::Lost);
        assert_eq!(late.rule(None), Rule::Lost);
    }

    #[test]
    fn whatever_runs_a_task_again_it_stays_in_its_trace_and_each_attempt_is_another_step() {
        let trace = TraceContext::begin(1);
        let first = Change::first(&NewTask { trace: Some(trace), ..new() }, None, POLICY, "a", NOW).after;
        let ended = Record { state: State::Failed, ..first.clone() };
        let replay = Ask::Replay {
            origin: first.origin.clone().expect("an origin"),
            input_hash: String::new(),
            nonce: "r".into(),
        };
        let asks = [Ask::Due, Ask::Person { after_attempt: 1, wish: Wish::Retry }, replay];
        let steps = asks.map(|ask| Change::claim(&ended, &ask, POLICY, "b", NOW).after.step());
        assert_eq!(steps, [Some(trace.attempt(&first.id, 2)); 3]);
        assert_ne!(first.step(), steps[0]);
        assert_eq!(Change::back(&ended, None, POLICY, "b", NOW).after.trace, Some(trace));
        let queued = Change::queued(&NewTask { trace: Some(trace), ..new() }, None, POLICY, "a", NOW).after;
        assert_eq!((queued.step(), Record { trace: None, ..first }.step()), (Some(trace), None));
    }

    #[test]
    fn each_change_keeps_the_record_for_another_retention_and_the_latest_attempts() {
        let mut record = Change::first(&new(), None, POLICY, "w", NOW).after;
        for _ in 0..MAX_ATTEMPTS + 5 {
            let error = TaskError::unsent(Code::Unavailable, Class::Transient, "");
            let outcome = postpone(error, 0, record.updated_at, 0.5);
            let account = Account { ms: 7, ..Account::default() };
            record = Change::close(&record, &outcome, account, crate::RETENTION, "w", record.updated_at).after;
            let now = record.retry_at.expect("a time");
            record = Change::claim(&record, &Ask::Due, POLICY, "w", now).after;
            assert_eq!(record.expires_at, now.plus(crate::RETENTION));
        }
        let attempts: Vec<u32> = record.attempts.iter().map(|attempt| attempt.n).collect();
        assert_eq!((attempts.len(), attempts[0], record.attempt), (MAX_ATTEMPTS, 6, 56));
    }

    /// What may happen to a record next, chosen by `choice`.
    fn step(record: &Record, choice: u8, now: Timestamp, dice: f64) -> Option<Change> {
        let error =
            |may_have_acted| TaskError { may_have_acted, ..TaskError::unsent(Code::Timeout, Class::Transient, "") };
        let wish = match choice % 5 {
            0 => Wish::Retry,
            1 => Wish::Done { result: json!(1) },
            2 => Wish::Fail { reason: None },
            _ => Wish::Cancel { reason: None },
        };
        let ask = match choice % 3 {
            0 => Ask::Person { after_attempt: record.attempt, wish },
            1 => Ask::Answer { token: "t".into(), answer: Ok(json!(1)) },
            _ => Ask::Due,
        };
        let close = |outcome| Some(Change::close(record, &outcome, Account::default(), POLICY.retention, "w", now));
        if record.state == State::Running && choice.is_multiple_of(2) {
            return close(match choice % 6 {
                0 => settle(Err(error(true)), record.failures, POLICY, now, dice),
                2 => settle(Err(error(false)), record.failures, POLICY, now, dice),
                _ => Outcome::Waiting { token: "t".into(), look_at: now, deadline: now.plus(Duration::from_secs(9)) },
            });
        }
        match consider(record, &ask, POLICY, now) {
            // Where it has a seat in a lane, it goes back there first, and waits as long as it takes.
            Verdict::Run if lane::comes_back(record.state) && choice % 2 == 1 => {
                Some(Change::back(record, lane::replay(&ask), POLICY, "w", now))
            }
            Verdict::Run if record.state == State::Queued && choice.is_multiple_of(7) => {
                Some(Change::kept(record, POLICY, "w", now))
            }
            Verdict::Run => Some(Change::claim(record, &ask, POLICY, "w", now)),
            Verdict::Look => close(match choice % 4 {
                0 => judge(record, Finding::NotDone, POLICY, now, dice),
                1 => judge(record, Finding::Done { result: json!(1) }, POLICY, now, dice),
                _ => judge(record, Finding::Failed(error(false)), POLICY, now, dice),
            }),
            Verdict::Poll => {
                let deadline = record.waiting.as_ref().map_or(now, |waiting| waiting.deadline);
                close(Outcome::Waiting { token: "t".into(), look_at: now, deadline })
            }
            Verdict::Resume(answer) => close(settle(answer, record.failures, POLICY, now, dice)),
            Verdict::Close(outcome) => close(outcome),
            Verdict::Ended | Verdict::Conflict | Verdict::Later { .. } => None,
        }
    }

    proptest! {
        /// Otherwise a fence could hold although the record has changed and changed back.
        #[test]
        fn a_record_never_stands_twice_at_one_fence(
            choices in proptest::collection::vec((any::<u8>(), 0u64..20_000, 0.0f64..1.0), 1..80),
        ) {
            let mut now = NOW;
            let mut record = Change::first(&new(), None, POLICY, "w", now).after;
            let mut seen = HashSet::from([Fence::Absent, Fence::of(Some(&record))]);
            for (choice, millis, dice) in choices {
                now = now.plus(Duration::from_millis(millis));
                let Some(change) = step(&record, choice, now, dice) else { continue };
                prop_assert_eq!(change.rule(Some(&record)), Rule::Write);
                record = change.after;
                prop_assert!(seen.insert(Fence::of(Some(&record))), "{:?} again", Fence::of(Some(&record)));
                // What a state needs to go on is there, and what another left is not.
                prop_assert_eq!(record.lease_until.is_some(), record.state == State::Running);
                prop_assert_eq!(record.waiting.is_some(), record.state == State::Waiting);
                let goes_on = matches!(record.state, State::Queued | State::Unknown | State::Waiting);
                prop_assert_eq!(record.retry_at.is_some(), goes_on);
            }
        }
    }
}
