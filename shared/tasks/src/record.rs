//! The record of a task, as it stands in the `tasks` table.

use crate::error::TaskError;
use crate::lane::Seat;
use clawbridge_clock::Timestamp;
use clawbridge_trace::TraceContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be run at [`Record::retry_at`].
    Queued,
    /// Somebody is at it until [`Record::lease_until`]; after that its outcome is unknown.
    Running,
    /// The upstream took it and answers later: see [`Record::waiting`].
    Waiting,
    /// Nobody knows whether the upstream acted, and it must not act twice: its `verify` is asked at [`Record::retry_at`].
    Unknown,
    /// Done; the result is kept.
    Succeeded,
    /// Given up; the error is kept.
    Failed,
    /// Its outcome is unknown and it must not be repeated: a person decides.
    Parked,
    /// A person took it back.
    Cancelled,
}

impl State {
    /// All of them, for commands and indexes.
    pub const ALL: [State; 8] = [
        State::Queued,
        State::Running,
        State::Waiting,
        State::Unknown,
        State::Succeeded,
        State::Failed,
        State::Parked,
        State::Cancelled,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Unknown => "unknown",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Parked => "parked",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens any more unless somebody asks.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            State::Succeeded | State::Failed | State::Parked | State::Cancelled => true,
            State::Queued | State::Running | State::Waiting | State::Unknown => false,
        }
    }

    /// Whether it is found by its state: somebody may have to look after it. Kept to these, the healthy path writes no such index entry.
    #[must_use]
    pub fn is_listed(self) -> bool {
        match self {
            State::Queued | State::Waiting | State::Unknown | State::Failed | State::Parked => true,
            State::Running | State::Succeeded | State::Cancelled => false,
        }
    }

    /// From the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Where a task comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Origin {
    /// An event and the route that made the task of it.
    Route {
        /// Event id.
        event: String,
        /// Route name.
        route: String,
    },
    /// Somebody who wants a tool called.
    Submitter {
        /// Who.
        submitter: String,
    },
}

impl Origin {
    /// The event's id, if it comes from one.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        match self {
            Origin::Route { event, .. } => Some(event),
            Origin::Submitter { .. } => None,
        }
    }
}

/// A task that may not have a record yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Tool name.
    pub tool: String,
    /// Idempotency key within the tool.
    pub key: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The input.
    pub input: Value,
    /// The event's hops.
    pub hops: u32,
    /// Its place in a lane, where the route keeps an order.
    pub seat: Option<Seat>,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// What a task waits for that the upstream has taken and answers later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Names the answer. Who brings one must bring this as well. Not a secret: keep a hash here of what is one.
    pub token: String,
    /// When it is given up waiting: what then is unknown.
    pub deadline: Timestamp,
}

/// Who settled what the worker did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The tool's `verify`.
    Verify,
    /// A person.
    Person,
}

/// One thing that was done about a task, as the record remembers it: mostly an attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The attempt's number, from 1.
    pub n: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How long the call took, milliseconds.
    pub ms: u64,
    /// `succeeded`, `retry`, `waiting`, `unknown`, `failed`, `parked` or `cancelled`.
    pub decision: String,
    /// Whose decision it was, unless the answer's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// HTTP status of the upstream, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Error code, if it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of a delivery that did not succeed: the beginning of what its endpoint answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// [`task_id`] of tool and key.
    pub id: String,
    /// Tool name.
    pub tool: String,
    /// Idempotency key within the tool.
    pub key: String,
    /// Where it came from, as far as the record knows.
    pub origin: Option<Origin>,
    /// [`input_hash`] of the input.
    pub input_hash: String,
    /// The input.
    pub input: Value,
    /// Where it stands.
    pub state: State,
    /// Claims so far; the fence.
    pub attempt: u32,
    /// Claims after which the call was not begun, for the bridge's own reasons.
    pub postponed: u32,
    /// How often it has been looked at since the last claim, while its outcome is unknown or it waits. Part of the fence.
    pub looks: u32,
    /// Attempts that the upstream made fail. Attempts that the worker did not live to finish are not among them.
    pub failures: u32,
    /// How long one claim holds.
    pub lease: Duration,
    /// Until when the present claim holds.
    pub lease_until: Option<Timestamp>,
    /// When it may run next, or is looked at next.
    pub retry_at: Option<Timestamp>,
    /// What it waits for, in the state [`State::Waiting`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// What the tool returned. `None` also where it was too large to keep (then `result_omitted`).
    pub result: Option<Value>,
    /// The result was too large to keep.
    pub result_omitted: bool,
    /// The last failure.
    pub error: Option<TaskError>,
    /// Attempts that ended.
    pub attempts: Vec<Attempt>,
    /// How many tasks' events lie between a provider's delivery and this task.
    pub hops: u32,
    /// The replays that ran it, the latest of them: each asks once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<String>,
    /// Its place in a lane, where its route keeps an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seat: Option<Seat>,
    /// The trace that it belongs to: that of what made it, whatever asks for it later. `None`: it was made before records said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// When it was first claimed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the table forgets it, and so its key. Whole seconds count.
    pub expires_at: Timestamp,
    /// Who wrote it last: random, so that a write whose answer got lost on the way can be recognised as one's own.
    #[serde(skip)]
    pub writer: String,
}

impl Record {
    /// Whether it delivers an event to a subscription: its tool is `webhook:ID`, which no declared tool can be called.
    #[must_use]
    pub fn is_delivery(&self) -> bool {
        self.tool.starts_with("webhook:")
    }

    /// Its last attempt as a step of its trace: what all requests of the attempt are sent with. Before the first, where the task comes from.
    #[must_use]
    pub fn step(&self) -> Option<TraceContext> {
        self.trace.map(|trace| if self.attempt == 0 { trace } else { trace.attempt(&self.id, self.attempt) })
    }
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record of task {id} cannot be read: {what}")]
pub struct RecordError {
    /// Task id, if even that could be read.
    pub id: String,
    /// Which attribute, and how.
    pub what: String,
}

/// A task's id: `task_` and 24 hexadecimal digits of a SHA-256 over tool and key. The same tool and key are the same task.
#[must_use]
pub fn task_id(tool: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(tool.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    format!("task_{}", &hex::encode(hash.finalize())[..24])
}

/// A fingerprint of an input, the same whatever the order of its members: 32 hexadecimal digits of a SHA-256.
#[must_use]
pub fn input_hash(input: &Value) -> String {
    let mut hash = Sha256::new();
    feed(input, &mut hash);
    hex::encode(&hash.finalize()[..16])
}

/// Whether serde_json's map sorts its members depends on a feature that any crate in the build may switch on, so they are sorted here.
fn feed(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            hash.update(b"{");
            for (name, value) in members {
                feed(&Value::String(name.clone()), hash);
                feed(value, hash);
            }
            hash.update(b"}");
        }
        Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed(item, hash);
            }
            hash.update(b"]");
        }
        // A scalar's text ends where the next one begins: strings are quoted, and a comma follows each.
        scalar => hash.update(format!("{scalar},").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tool_and_key_are_told_apart() {
        assert_eq!(task_id("a", "b"), task_id("a", "b"));
        assert_ne!(task_id("a", "b"), task_id("ab", ""));
        assert_eq!(task_id("a", "b").len(), 29);
    }

    #[test]
    fn the_order_of_members_does_not_change_an_inputs_fingerprint() {
        let one: Value = serde_json::from_str("{\"a\":1,\"b\":[{\"c\":2,\"d\":3}]}").expect("JSON");
        let two: Value = serde_json::from_str("{\"b\":[{\"d\":3,\"c\":2}],\"a\":1}").expect("JSON");
        assert_eq!(input_hash(&one), input_hash(&two));
        assert_ne!(input_hash(&one), input_hash(&json!({"a": 1})));
    }

    #[test]
    fn states_are_read_back_from_their_words() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("done"), None);
    }
}
