//! Protection of upstreams: rates, pauses and circuits that all environments keep together.
//!
//! [`Limits::acquire`] is asked before a call, [`Limits::report`] told after it; what must wait goes back to the queue. What decides is pure:
//! [`bucket`] (how often), [`circuit`] (whether at all), [`lease`] (what one environment takes ahead, and in which order it comes back),
//! [`learn`] (what an upstream says). The `limits` table carries the decisions out, each with one conditional update.
//!
//! Table calls, by path:
//!
//! | a tool with | costs |
//! |---|---|
//! | neither limit nor circuit | none |
//! | a limit | one update for each call, fewer where calls are frequent (an environment takes several tokens at once); [`MAX_TRIES`] at most. None while it is known that there is no token |
//! | a circuit | one read each [`circuit::FRESH`] in which there are calls; one update for each failure, [`MAX_TRIES`] at most; two for a probe. None while it is known to be open |
//! | an answer that says to wait | one update, if there is a limit or a circuit |
//!
//! When the table does not answer within a second, an environment goes by what it knows for five seconds: limits and circuits are
//! then kept by each environment for itself. No work is lost or held up.

pub mod bucket;
pub mod circuit;
mod guard;
pub mod learn;
pub mod lease;
mod limits;
mod memory;
mod store;

pub use guard::{Guard, Scope};
pub use learn::Said;
pub use limits::{Acquired, Ended, Later, Limits, MAX_TRIES, Permit, Why};
pub use store::{Circuit, Kept, StoreError};
