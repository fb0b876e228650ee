//! Tasks: the state machine, the record and the table that fences it.
//!
//! A task is one piece of outbound work, done once in effect, and its record is the idempotency record. [`machine`](mod@machine) decides
//! (pure: a record, what is asked, the time in; what to do out), [`Tasks`] carries the decisions out with conditional writes: one that
//! claims, one that finishes, both fenced by the attempt number.

mod error;
mod item;
pub mod machine;
mod record;
mod store;

pub use error::{Class, Code, TaskError};
pub use record::{Attempt, Origin, Record, RecordError, State, input_hash, task_id};
pub use store::{Claimed, Holder, Listing, NewTask, StoreError, Tasks};

use std::time::Duration;

/// How long a task's record is kept, and so how long its key is remembered.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The largest input that a record holds, bytes of JSON.
pub const MAX_INPUT_BYTES: usize = 1024 * 1024;

/// The largest packed input or result in a record, bytes: both together stay below DynamoDB's 400 KB an item.
pub const MAX_PACKED_BYTES: usize = 170 * 1024;

/// Added to a tool's time limit to make a lease: room for the finishing write, and for clocks that disagree.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
