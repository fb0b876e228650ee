//! From a claim to a finished record.

use crate::{Loaded, Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_config::{CompiledTool, Effect};
use clawbridge_journal::{Decision, Entry};
use clawbridge_queue::{Message, TaskMessage};
use clawbridge_tasks::machine::{Ask, Outcome, Policy, postpone, settle};
use clawbridge_tasks::{Claimed, Class, Code, Holder, NewTask, Record, StoreError, TaskError, task_id};
use clawbridge_tools::Called;
use std::time::{Duration, Instant};

/// Left of an invocation when a call must have ended: room for the finishing write and the answer.
const RESERVE: Duration = Duration::from_secs(2);

/// A call that has less time than this is not begun.
const SHORTEST_CALL: Duration = Duration::from_millis(500);

/// What a task is treated as whose tool is not declared any more: nothing that is not known to be safe is repeated.
const UNKNOWN_TOOL: Policy = Policy { repeatable: false, max_failures: 1 };

impl Worker {
    /// Runs a task that a route made, unless it was run before.
    pub(crate) async fn run_new(
        &self,
        loaded: &Loaded,
        new: &NewTask,
        replay: Option<&str>,
        deadline: Timestamp,
    ) -> Result<(), Trouble> {
        let policy = loaded.config.tool(&new.tool).map_or(UNKNOWN_TOOL, policy);
        let claimed = match self.tasks.claim_new(new, replay, policy, &holder(), Timestamp::now()).await {
            Ok(claimed) => claimed,
            Err(error @ StoreError::InputTooLarge { .. }) => {
                // Nothing is recorded that could be looked up, but the event is, and a smaller mapping can be replayed over it.
                let reason = error.to_string();
                let entry = Entry::RouteFailed { event: &new.origin.event, route: &new.origin.route, reason: &reason };
                clawbridge_journal::write(&entry);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.follow(loaded, &task_id(&new.tool, &new.key), claimed, None, deadline).await
    }

    /// Runs a task whose message came.
    pub(crate) async fn task(&self, message: &TaskMessage, deadline: Timestamp) -> Result<(), Trouble> {
        let loaded = self.loaded().await?;
        let ask = match message.retry_after_attempt {
            Some(after_attempt) => Ask::Person { after_attempt },
            None => Ask::Due,
        };
        let policy_of = |record: &Record| loaded.config.tool(&record.tool).map_or(UNKNOWN_TOOL, policy);
        let claimed = self.tasks.claim(&message.task, &ask, policy_of, &holder(), Timestamp::now()).await?;
        self.follow(&loaded, &message.task, claimed, message.retry_after_attempt, deadline).await
    }

    async fn follow(
        &self,
        loaded: &Loaded,
        id: &str,
        claimed: Claimed,
        retry_after_attempt: Option<u32>,
        deadline: Timestamp,
    ) -> Result<(), Trouble> {
        match claimed {
            Claimed::Ours(record) => self.execute(loaded, *record, deadline).await,
            Claimed::Ended(record) => {
                note(&record, Decision::Reused, None, None, 0, None);
                // The worker may have died between the finish and its event; the event's id is the same each time.
                self.happened(loaded, &record).await
            }
            Claimed::Conflict(record) => {
                let reason = "this key was used before with another input; nothing was called";
                note(&record, Decision::Conflict, None, Some("IDEMPOTENCY_CONFLICT"), 0, Some(reason));
                Ok(())
            }
            Claimed::Later { at, record } => {
                note(&record, Decision::Deferred, None, None, 0, None);
                self.later(id, retry_after_attempt, at).await
            }
            Claimed::Closed(record) => {
                let decision =
                    if record.state == clawbridge_tasks::State::Parked { Decision::Parked } else { Decision::Failed };
                let (code, message) = describe(record.error.as_ref());
                note(&record, decision, None, code, 0, message);
                self.happened(loaded, &record).await
            }
            Claimed::Gone => {
                let reason = "the record of this task is not in the table any more";
                clawbridge_journal::write(&Entry::BridgeFailed { code: "TASK_GONE", reason, subject: id });
                Ok(())
            }
        }
    }

    async fn later(&self, id: &str, retry_after_attempt: Option<u32>, at: Timestamp) -> Result<(), Trouble> {
        let message = Message::Task(TaskMessage { task: id.to_owned(), retry_after_attempt });
        Ok(self.queue.send(&message, Timestamp::now().until(at)).await?)
    }

    /// Makes the call that was claimed and writes down what came of it.
    async fn execute(&self, loaded: &Loaded, record: Record, deadline: Timestamp) -> Result<(), Trouble> {
        let started = Instant::now();
        let left = Timestamp::now().until(deadline).saturating_sub(RESERVE);
        let tool = loaded.config.tool(&record.tool);
        let called = match tool {
            // Another invocation has more time.
            Some(_) if left < SHORTEST_CALL => None,
            Some(tool) => Some(loaded.caller.call(tool, &record.input, &record.id, left).await),
            None => Some(Called::unsent(unknown_tool(&record.tool))),
        };
        let policy = tool.map_or(UNKNOWN_TOOL, policy);
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = Timestamp::now();
        let status = called.as_ref().and_then(|called| called.status);
        let outcome = match called {
            Some(called) => settle(called.answer, record.failures, policy, now, fastrand::f64()),
            None => postpone(no_time_left(), record.failures, now, fastrand::f64()),
        };
        let Some(ended) = self.tasks.finish(&record, &outcome, ms, now).await? else {
            // The lease ran out during the call and somebody else has the task: its outcome is theirs to write.
            let reason = "the lease ran out before the outcome could be written; the attempt that took over decides";
            clawbridge_journal::write(&Entry::BridgeFailed { code: "LEASE_LOST", reason, subject: &record.id });
            return Ok(());
        };
        let (decision, error, at) = match &outcome {
            Outcome::Succeeded { .. } => (Decision::Succeeded, None, None),
            Outcome::Retry { error, at, .. } => (Decision::Retry, Some(error), Some(*at)),
            Outcome::Failed { error } => (Decision::Failed, Some(error), None),
            Outcome::Parked { error } => (Decision::Parked, Some(error), None),
        };
        let (code, message) = describe(error);
        clawbridge_journal::write(&Entry::TaskAttempt {
            task: &record.id,
            tool: &record.tool,
            event: record.origin.as_ref().map_or("", |origin| &origin.event),
            attempt: record.attempt,
            decision,
            status,
            code,
            reason: message,
            ms,
            retry_in_ms: at.map(|at| u64::try_from(now.until(at).as_millis()).unwrap_or(u64::MAX)),
        });
        match at {
            Some(at) => self.later(&record.id, None, at).await,
            None => self.happened(loaded, &ended).await,
        }
    }
}

pub(crate) fn policy(tool: &CompiledTool) -> Policy {
    let repeatable = match tool.tool().effect {
        Effect::Read | Effect::Idempotent | Effect::Keyed => true,
        Effect::Unsafe => false,
    };
    Policy { repeatable, max_failures: tool.tool().attempts }
}

fn holder() -> Holder {
    Holder(format!("{:032x}", fastrand::u128(..)))
}

fn unknown_tool(name: &str) -> TaskError {
    let message = format!("the tool {name} is not declared any more; declare it again and retry the task");
    TaskError::unsent(Code::UnknownTool, Class::Client, message)
}

fn no_time_left() -> TaskError {
    TaskError::unsent(Code::Timeout, Class::Transient, "the invocation had no time left for the call")
}

fn describe(error: Option<&TaskError>) -> (Option<&'static str>, Option<&str>) {
    (error.map(|error| error.code.as_str()), error.map(|error| clawbridge_journal::shortened(&error.message, 300)))
}

/// The line of a task that was not called this time.
fn note(record: &Record, decision: Decision, status: Option<u16>, code: Option<&str>, ms: u64, reason: Option<&str>) {
    clawbridge_journal::write(&Entry::TaskAttempt {
        task: &record.id,
        tool: &record.tool,
        event: record.origin.as_ref().map_or("", |origin| &origin.event),
        attempt: record.attempt,
        decision,
        status,
        code,
        reason,
        ms,
        retry_in_ms: None,
    });
}
