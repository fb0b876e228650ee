//! Events: their identity, their record and the table that keeps them.
//!
//! An event is one verified delivery, or one happening inside the bridge; immutable; kept for replay. Its id follows from its source and
//! the provider's own delivery id, so a delivery that comes twice is the same event.

mod body;
mod event;
mod store;

pub use body::body_value;
pub use event::{Event, event_id};
pub use store::{Events, Listed, StoreError, Stored};

use std::time::Duration;

/// How long an event is kept, and so how long its delivery id is remembered.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Bytes of a packed body in one item; an item holds 400 KB.
pub const CHUNK_BYTES: usize = 350 * 1024;
