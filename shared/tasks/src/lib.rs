//! Tasks: the state machine, the record and the table that fences it.
//!
//! A task is one piece of outbound work, done once in effect, and its record is the idempotency record. [`machine`](mod@machine) decides
//! (a record, what is asked, the time in; what to do out), [`lane`](mod@lane) whose turn it is where a route keeps an order, [`change`] makes
//! conditional writes of decisions, [`receipt`] puts them and the calls in order. All four are pure: the worker carries them out with [`Tasks`], the table, and the simulation without.

pub mod change;
mod error;
mod item;
pub mod lane;
mod lane_store;
pub mod machine;
pub mod receipt;
mod record;
mod store;

pub use error::{Class, Code, TaskError};
pub use item::input_fits;
pub use record::{Attempt, By, NewTask, Origin, Record, RecordError, State, Waiting, input_hash, task_id};
pub use store::{Listing, Page, Place, StoreError, Tasks};

use std::time::Duration;

/// How long a task's record is kept after its last change, and so how long its key is remembered, where its tool says nothing else.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The largest input that a record holds, bytes of JSON.
pub const MAX_INPUT_BYTES: usize = 1024 * 1024;

/// The largest packed input or result in a record, bytes: both together stay below DynamoDB's 400 KB an item.
pub const MAX_PACKED_BYTES: usize = 170 * 1024;

/// Added to a tool's time limit to make a lease: room for what comes before the call and after it, and for clocks that disagree.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// A call ends so long before its lease. Two workers' clocks may differ by less.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(3);
