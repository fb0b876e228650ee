//! What the bridge itself does is an event as well, from the source `bridge`: `task.created`, `task.started`, `task.completed`, `task.failed`,
//! `task.parked`, `task.cancelled`, `webhook.failed`, `system.error`; `deliver` makes `webhook.paused`.
//!
//! They are made only where a route listens or a subscription wants them, since each costs a message and a write. That a task has ended is
//! told only after its record says the same: a worker that dies between the two leaves it to the message's next receipt, which finds the
//! record and makes the event again, under the same id. That one has begun is told before its call, and never keeps it from being made.
//!
//! Deliveries are tasks, and no events of tasks are made of them: they would be delivered, and that would be told in turn.

use crate::{Loaded, Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_queue::BridgeEvent;
use clawbridge_submit::agent_of;
use clawbridge_subscriptions::of_tool;
use clawbridge_tasks::{Code, Origin, Record, State};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A result larger than this is looked up by the task's id instead of travelling with the event, bytes of JSON.
const MAX_RESULT_BYTES: usize = 64 * 1024;

/// What the event of an agent's task repeats of the prompt, bytes.
const MAX_PROMPT_BYTES: usize = 1000;

/// How often the same kind of failure of the bridge is told.
const ERRORS_EVERY: Duration = Duration::from_secs(60);

/// When which failure of the bridge was told last, by code. Clones share it.
pub(crate) type Told = Arc<Mutex<HashMap<&'static str, Instant>>>;

impl Worker {
    /// Makes the event of a task that has ended, if somebody wants it.
    pub(crate) async fn happened(&self, loaded: &Loaded, record: &Record) -> Result<(), Trouble> {
        if let Some(id) = of_tool(&record.tool) {
            return self.given_up(loaded, record, id).await;
        }
        let event_type = match record.state {
            State::Succeeded => "task.completed",
            State::Failed => "task.failed",
            State::Parked => "task.parked",
            State::Cancelled => "task.cancelled",
            State::Queued | State::Running | State::Waiting | State::Unknown => return Ok(()),
        };
        // A task that a person has run again ends again: each ending is an event of its own.
        let delivery_id = format!("{}/{}/{event_type}", record.id, record.attempt);
        self.tell_of(loaded, record, event_type, delivery_id, record.updated_at, ended(record)).await
    }

    /// Makes the event of a delivery that was given up. Tests are made by somebody who looks at what comes of them.
    async fn given_up(&self, loaded: &Loaded, record: &Record, id: &str) -> Result<(), Trouble> {
        let is_of_event = record.origin.as_ref().is_some_and(|origin| origin.event().is_some());
        let is_deleted = record.error.as_ref().is_some_and(|error| error.code == Code::UnknownTool);
        if record.state != State::Failed || !is_of_event || is_deleted {
            return Ok(());
        }
        let delivery_id = format!("{}/{}/webhook.failed", record.id, record.attempt);
        let data = json!({"webhook_id": id, "delivery_id": record.id, "event_id": record.input["id"], "event": record.input["event"],
            "attempts": record.attempts.len(), "error": error(record)});
        self.tell_of(loaded, record, "webhook.failed", delivery_id, record.updated_at, data).await
    }

    /// Makes the event of a task that there is now.
    pub(crate) async fn created(&self, loaded: &Loaded, record: &Record) {
        self.begun(loaded, record, "task.created", record.created_at).await;
    }

    /// Makes the events of a task whose first attempt begins.
    pub(crate) async fn started(&self, loaded: &Loaded, record: &Record) {
        // A worker that was lost in the first attempt may have told it, or not.
        if record.attempts.is_empty() {
            self.created(loaded, record).await;
            self.begun(loaded, record, "task.started", record.updated_at).await;
        }
    }

    async fn begun(&self, loaded: &Loaded, record: &Record, event_type: &str, at: Timestamp) {
        if of_tool(&record.tool).is_some() {
            return;
        }
        let delivery_id = format!("{}/{event_type}", record.id);
        if let Err(trouble) = self.tell_of(loaded, record, event_type, delivery_id, at, begun(record)).await {
            // The task is claimed: whatever is wrong with what is told of it, its call is made.
            let reason = trouble.to_string();
            let entry = Entry::BridgeFailed { code: trouble.code(), reason: &reason, subject: &record.id };
            clawbridge_journal::write(&entry);
        }
    }

    async fn tell_of(
        &self,
        loaded: &Loaded,
        record: &Record,
        event_type: &str,
        delivery_id: String,
        at: Timestamp,
        data: Value,
    ) -> Result<(), Trouble> {
        if !self.registry.wants(&loaded.config, clawbridge_queue::BRIDGE_SOURCE, event_type).await? {
            return Ok(());
        }
        let max_hops = loaded.config.config().limits.max_hops;
        if record.hops >= max_hops {
            clawbridge_journal::write(&Entry::TooManyHops { task: &record.id, r#type: event_type, max_hops });
            return Ok(());
        }
        let event = BridgeEvent { event_type, delivery_id, at, data, hops: record.hops + 1, trace: record.step() };
        self.tell(loaded, &event).await
    }

    /// Makes the event of something that the bridge should have done and could not, at most one of its kind a minute: what is to tell of it
    /// may fail for the same reason.
    pub(crate) async fn system_error(&self, code: &'static str, reason: &str) {
        {
            // No half-made state between statements, so a panic elsewhere leaves the map usable.
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.get(code).is_some_and(|at| at.elapsed() < ERRORS_EVERY) {
                return;
            }
            told.insert(code, Instant::now());
        }
        let Ok(loaded) = self.loaded().await else { return };
        let now = Timestamp::now();
        let event = BridgeEvent {
            data: json!({"function": "worker", "code": code, "message": clawbridge_journal::shortened(reason, 500)}),
            // One a minute, whoever tells it.
            ..BridgeEvent::of("system.error", format!("{code}/{}", now.seconds() / 60), now)
        };
        // The line of the failure is written; that it could not be told has none of its own.
        drop(self.tell(&loaded, &event).await);
    }
}

/// `{task_id, status, tool, event_id, attempts, duration_ms, result | error}`, and the prompt of an agent's task.
fn ended(record: &Record) -> Value {
    let result = record.result.as_ref().filter(|result| result.to_string().len() <= MAX_RESULT_BYTES);
    let status = if record.state == State::Succeeded { "completed" } else { record.state.as_str() };
    let mut data = of_task(record, status);
    data["attempts"] = json!(record.attempt);
    data["duration_ms"] =
        json!(u64::try_from(record.created_at.until(record.updated_at).as_millis()).unwrap_or(u64::MAX));
    data["result"] = json!(result);
    data["error"] = error(record);
    data
}

/// `{task_id, status, tool, event_id}`, and the prompt of an agent's task.
fn begun(record: &Record) -> Value {
    of_task(record, record.state.as_str())
}

fn of_task(record: &Record, status: &str) -> Value {
    let event_id = record.origin.as_ref().and_then(Origin::event);
    let mut data = json!({"task_id": record.id, "status": status, "tool": record.tool, "event_id": event_id});
    // What somebody asked an agent for is what a person knows the task by. Other inputs are nobody else's business.
    if agent_of(&record.tool).is_some()
        && let Some(prompt) = record.input.as_str().or_else(|| record.input["prompt"].as_str())
    {
        data["prompt"] = json!(clawbridge_journal::shortened(prompt, MAX_PROMPT_BYTES));
    }
    data
}

fn error(record: &Record) -> Value {
    let error = record.error.as_ref();
    json!(error.map(|error| json!({"code": error.code, "message": error.message, "status": error.status})))
}
