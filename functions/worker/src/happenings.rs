//! What the bridge itself does is an event as well: `task.completed`, `task.failed`, `task.parked`, `task.cancelled` from the source `bridge`.
//!
//! They are made only where a route listens, since each costs a message and a write, and only after the task's record says the same. A
//! worker that dies between the two leaves it to the message's next receipt, which finds the record and makes the event again, under
//! the same id.

use crate::{Loaded, Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_packed::Packed;
use clawbridge_queue::{BRIDGE_SOURCE, Body, EventMessage, event_messages};
use clawbridge_submit::agent_of;
use clawbridge_tasks::{Origin, Record, State};
use serde_json::{Value, json};
use std::time::Duration;

/// A result larger than this is looked up by the task's id instead of travelling with the event, bytes of JSON.
const MAX_RESULT_BYTES: usize = 64 * 1024;

/// What the event of an agent's task repeats of the prompt, bytes.
const MAX_PROMPT_BYTES: usize = 1000;

impl Worker {
    /// Makes the event of a task that has ended, if some route wants it.
    pub(crate) async fn happened(&self, loaded: &Loaded, record: &Record) -> Result<(), Trouble> {
        let event_type = match record.state {
            State::Succeeded => "task.completed",
            State::Failed => "task.failed",
            State::Parked => "task.parked",
            State::Cancelled => "task.cancelled",
            State::Queued | State::Running | State::Waiting | State::Unknown => return Ok(()),
        };
        if loaded.config.routes_for(BRIDGE_SOURCE, event_type).next().is_none() {
            return Ok(());
        }
        let max_hops = loaded.config.config().limits.max_hops;
        if record.hops >= max_hops {
            clawbridge_journal::write(&Entry::TooManyHops { task: &record.id, r#type: event_type, max_hops });
            return Ok(());
        }
        // A task that a person has run again ends again: each ending is an event of its own.
        let delivery_id = format!("{}/{}/{event_type}", record.id, record.attempt);
        let message = EventMessage {
            nonce: delivery_id.clone(),
            source: BRIDGE_SOURCE.to_owned(),
            r#type: event_type.to_owned(),
            delivery_id,
            received_at: Timestamp::now(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Body::inline(Packed::pack(&[])),
            hops: record.hops + 1,
            deferrals: 0,
            trace: record.step(),
        };
        let body = body(event_type, record).to_string();
        for text in event_messages(message, Packed::pack(body.as_bytes()))? {
            self.queues.work.send_text(text, Duration::ZERO).await?;
        }
        Ok(())
    }
}

/// `{event, timestamp, data: {task_id, status, tool, event_id, attempts, duration_ms, result | error}}`; with `prompt` where an agent was asked.
fn body(event_type: &str, record: &Record) -> Value {
    let result = record.result.as_ref().filter(|result| result.to_string().len() <= MAX_RESULT_BYTES);
    let error = record
        .error
        .as_ref()
        .map(|error| json!({"code": error.code, "message": error.message, "status": error.status}));
    let status = if record.state == State::Succeeded { "completed" } else { record.state.as_str() };
    let mut body = json!({
        "event": event_type,
        "timestamp": record.updated_at.rfc3339(),
        "data": {
            "task_id": record.id,
            "status": status,
            "tool": record.tool,
            "event_id": record.origin.as_ref().and_then(Origin::event),
            "attempts": record.attempt,
            "duration_ms": u64::try_from(record.created_at.until(record.updated_at).as_millis()).unwrap_or(u64::MAX),
            "result": result,
            "error": error,
        }
    });
    if agent_of(&record.tool).is_some()
        && let Some(prompt) = record.input.as_str().or_else(|| record.input["prompt"].as_str())
    {
        body["data"]["prompt"] = json!(clawbridge_journal::shortened(prompt, MAX_PROMPT_BYTES));
    }
    body
}
